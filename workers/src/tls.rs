//! Mutual TLS between edges and workers on other machines: each shows a certificate that the other's authority has signed, or there is no
//! connection.
//!
//! TLS 1.3 alone: both ends are this program. Sessions are not resumed: a certificate that has expired since would go on. gRPC's library
//! could do the handshake too, but says nothing of why one failed, and that is the first question of whoever sets this up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use acuity_config::{ListenConfig, RemoteTls};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};

/// What is spoken inside.
const PROTOCOL: &[u8] = b"h2";

/// A file that mutual TLS needs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {why}", file.display())]
pub struct TlsFault {
    file: PathBuf,
    why: String,
}

impl TlsFault {
    fn new(file: &Path, why: impl std::fmt::Display) -> Self {
        Self { file: file.to_owned(), why: why.to_string() }
    }
}

/// Why there is no connection, as metrics and the log have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// The other side speaks no TLS.
    PlainText,
    /// It shows no certificate.
    NoCertificate,
    /// Its certificate is signed by somebody else.
    Stranger,
    /// Its certificate is good no more, or not yet.
    Expired,
    /// Its certificate was taken back.
    Revoked,
    /// Its certificate is good for another name.
    Name,
    /// Its certificate is good for something else: a client's at a server, or the other way.
    Purpose,
    /// It does not take the certificate of this side.
    Refused,
    /// It took too long.
    Timeout,
    /// It broke off.
    Closed,
    /// Something else about TLS.
    Other,
}

impl Distrust {
    pub(crate) const ALL: [Self; 11] = [
        Self::PlainText,
        Self::NoCertificate,
        Self::Stranger,
        Self::Expired,
        Self::Revoked,
        Self::Name,
        Self::Purpose,
        Self::Refused,
        Self::Timeout,
        Self::Closed,
        Self::Other,
    ];

    /// The metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::PlainText => "plain_text",
            Self::NoCertificate => "no_certificate",
            Self::Stranger => "stranger",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Name => "name",
            Self::Purpose => "purpose",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// What an error of a connection says of it.
    pub(crate) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        inner.map_or(Self::Closed, Self::of_tls)
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::PlainText,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(_) => Self::Refused,
            Error::InvalidCertificate(why) => match why {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Stranger,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::Expired,
                CertificateError::Revoked => Self::Revoked,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::Name
                }
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    Self::Purpose
                }
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// The worker's side.
///
/// # Errors
/// A file cannot be read or holds something else, or they do not belong together.
pub(crate) fn server(listen: &ListenConfig) -> Result<Arc<ServerConfig>, TlsFault> {
    let provider = provider();
    let roots = Arc::new(roots(&listen.client_authority)?);
    let inner = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .with_crls(revoked(listen.revoked.as_deref())?)
        .only_check_end_entity_revocation()
        .build()
        .map_err(|error| TlsFault::new(&listen.client_authority, error))?;
    let verifier = Arc::new(Permitted { inner, names: listen.permitted.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsFault::new(&listen.certificate, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&listen.certificate)?, key(&listen.key)?)
        .map_err(|error| {
            TlsFault::new(&listen.certificate, format!("{error} (with {})", listen.key.display()))
        })?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The edge's side.
///
/// # Errors
/// As [`server`].
pub(crate) fn client(tls: &RemoteTls) -> Result<Arc<ClientConfig>, TlsFault> {
    let provider = provider();
    let roots = Arc::new(roots(&tls.authority)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .with_crls(revoked(tls.revoked.as_deref())?)
        .only_check_end_entity_revocation()
        .build()
        .map_err(|error| TlsFault::new(&tls.authority, error))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsFault::new(&tls.certificate, error))?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain(&tls.certificate)?, key(&tls.key)?)
        .map_err(|error| TlsFault::new(&tls.certificate, format!("{error} (with {})", tls.key.display())))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What of an edge's files for workers on other machines cannot be used; an edge would start without these workers, and whoever checks
/// wants to know before.
#[must_use]
pub fn check_remote(tls: &RemoteTls) -> Option<TlsFault> {
    client(tls).err()
}

/// What of a listening worker's files cannot be used: it would not start.
#[must_use]
pub fn check_listen(listen: &ListenConfig) -> Option<TlsFault> {
    server(listen).err()
}

/// The names of the certificate that the other side has shown; of a certificate that was verified.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let leaf = webpki::EndEntityCert::try_from(certificate).ok();
    leaf.map(|leaf| leaf.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

/// The one that all the rest of the program uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let fault = |error: &dyn std::fmt::Display| TlsFault::new(file, error);
    let all = CertificateDer::pem_file_iter(file).map_err(|error| fault(&error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| fault(&error))?;
    if all.is_empty() { Err(fault(&"it holds no certificate")) } else { Ok(all) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| TlsFault::new(file, error))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| TlsFault::new(file, error))?;
    }
    Ok(roots)
}

/// Lists of what authorities have taken back. A list that is over says more than none, and counts: it is read once by a worker, which is to
/// outlive it.
fn revoked(file: Option<&Path>) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFault> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let all =
        CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| TlsFault::new(file, error))?;
    if all.is_empty() { Err(TlsFault::new(file, "it holds no revocation list")) } else { Ok(all) }
}

/// Takes certificates that the authority has signed and that are good for one of some names.
#[derive(Debug)]
struct Permitted {
    inner: Arc<dyn ClientCertVerifier>,
    /// None: for any.
    names: Vec<String>,
}

/// Whether a name that is permitted stands for a certificate's.
fn permits(permitted: &str, name: &str) -> bool {
    let below = permitted.strip_prefix('*').filter(|suffix| suffix.starts_with('.'));
    permitted == name
        || below.is_some_and(|suffix| name.strip_suffix(suffix).is_some_and(|first| !first.is_empty()))
}

impl ClientCertVerifier for Permitted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(leaf, intermediates, now)?;
        let has = |permitted: &String| names(leaf).iter().any(|name| permits(permitted, name));
        if self.names.is_empty() || self.names.iter().any(has) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_permitted() {
        for (permitted, name, is) in [
            ("edge-1.example", "edge-1.example", true),
            ("edge-1.example", "edge-10.example", false),
            ("*.example", "edge-1.example", true),
            ("*.example", "a.b.example", true),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "anexample", false),
            ("*.edges.example", "*.edges.example", true),
        ] {
            assert_eq!(permits(permitted, name), is, "{permitted} {name}");
        }
    }
}
