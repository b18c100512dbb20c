//! The certificate that players are shown. It can be changed while the edge runs: connections that stand keep the one they were made
//! with, new ones see the new one.

use std::path::PathBuf;
use std::sync::Arc;

use acuity_config::TlsConfig;
use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use pingora::tls::sign::CertifiedKey;
use pingora::tls::{ClientHello, ResolvesServerCert};

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the certificate {certificate:?} with the key {key:?} (server.tls): {message}")]
pub struct CertificateFault {
    /// The certificate file.
    pub certificate: PathBuf,
    /// The key file.
    pub key: PathBuf,
    /// Why.
    pub message: String,
}

/// A certificate with its key, read and found to fit each other.
pub struct Certificate(Arc<dyn ResolvesServerCert>);

/// The one in use. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<ArcSwap<Arc<dyn ResolvesServerCert>>>);

impl Certificate {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub fn load(tls: &TlsConfig) -> Result<Self, CertificateFault> {
        let fault = |message: String| CertificateFault {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            message,
        };
        // Two TLS libraries in one process leave rustls without a default unless one is named.
        pingora::tls::install_default_crypto_provider();
        let (certificate, key) = (tls.certificate.to_string_lossy(), tls.key.to_string_lossy());
        let (chain, private) = pingora::tls::load_certs_and_key_files(&certificate, &key)
            .map_err(|error| fault(error.to_string()))?
            .ok_or_else(|| fault("one of them holds no PEM of its kind".to_owned()))?;
        let config = pingora::tls::ServerConfig::builder_with_protocol_versions(&[
            &pingora::tls::version::TLS12,
            &pingora::tls::version::TLS13,
        ])
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| fault(error.to_string()))?;
        Ok(Self(config.cert_resolver))
    }
}

impl Certificates {
    /// Shows `first` until another one is taken.
    #[must_use]
    pub fn new(first: Certificate) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first.0)))
    }

    /// Shows `next` to whoever connects from now on.
    pub fn take(&self, next: Certificate) {
        self.0.store(Arc::new(next.0));
    }

    /// What a listener needs.
    ///
    /// # Errors
    /// Never with rustls; pingora's other libraries may refuse.
    pub fn settings(&self, tls: &TlsConfig) -> Result<TlsSettings, CertificateFault> {
        let (certificate, key) = (tls.certificate.to_string_lossy(), tls.key.to_string_lossy());
        let mut settings =
            TlsSettings::intermediate(&certificate, &key).map_err(|error| CertificateFault {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                message: error.to_string(),
            })?;
        settings.set_cert_resolver(Arc::new(self.clone()));
        settings.enable_h2();
        Ok(settings)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().resolve(hello)
    }
}
