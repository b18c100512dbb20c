//! Certificates: ones that nobody has signed, for edges and nodes that speak TLS, and ones of an authority, for edges and workers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Writes a certificate for `name` (as OpenSSL's `subjectAltName` has it: `DNS:localhost`, `IP:127.0.0.1`) and its key, good for two days.
///
/// # Errors
/// When there is no `openssl` or it refuses.
pub fn self_signed(certificate: &Path, key: &Path, name: &str) -> Result<()> {
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName={name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(certificate)
        .arg("-keyout")
        .arg(key)
        .output()?;
    done(&output)
}

fn done(output: &std::process::Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Workers, which are servers.
    Workers,
    /// Edges, which are their clients.
    Edges,
}

/// An authority, with the commands that docs/workers.md tells.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    name: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Signed {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one whose files lie in `folder` and begin with `name`.
    ///
    /// # Errors
    /// When there is no `openssl` or it refuses.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
                "-out",
            ])
            .arg(authority.certificate())
            .arg("-keyout")
            .arg(authority.file("ca.key"))
            .output()?;
        done(&output).map(|()| authority)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Signs a certificate for `name` (as OpenSSL's `subjectAltName` has it), good for so many days; 0: for this second.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn sign(&self, file: &str, name: &str, purpose: For, days: u32) -> Result<Signed> {
        let signed =
            Signed { certificate: self.file(&format!("{file}.pem")), key: self.file(&format!("{file}.key")) };
        let (request, extensions) = (self.file(&format!("{file}.csr")), self.file(&format!("{file}.ext")));
        let usage = match purpose {
            For::Workers => "serverAuth",
            For::Edges => "clientAuth",
        };
        std::fs::write(&extensions, format!("subjectAltName={name}\nextendedKeyUsage={usage}\n"))?;
        let output = Command::new("openssl")
            .args([
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-subj",
                "/CN=acuity",
            ])
            .arg("-out")
            .arg(&request)
            .arg("-keyout")
            .arg(&signed.key)
            .output()?;
        done(&output)?;
        let output = Command::new("openssl")
            .args(["x509", "-req", "-days", &days.to_string(), "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(self.certificate())
            .arg("-CAkey")
            .arg(self.file("ca.key"))
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&signed.certificate)
            .output()?;
        done(&output).map(|()| signed)
    }

    /// Takes certificates back; gives the list that says so.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn revoke(&self, taken_back: &[&Signed]) -> Result<PathBuf> {
        let (config, index, list) = (self.file("ca.cnf"), self.file("ca.index"), self.file("ca.crl"));
        let text = format!(
            "[ca]\ndefault_ca = this\n[this]\ndatabase = {}\ncrlnumber = {}\ndefault_md = sha256\ndefault_crl_days = 1\n",
            index.display(),
            self.file("ca.crlnumber").display(),
        );
        std::fs::write(&config, text)?;
        std::fs::write(&index, "")?;
        std::fs::write(self.file("ca.crlnumber"), "01\n")?;
        let asked = |more: &[&std::ffi::OsStr]| {
            let output = Command::new("openssl")
                .args(["ca", "-batch", "-config"])
                .arg(&config)
                .arg("-cert")
                .arg(self.certificate())
                .arg("-keyfile")
                .arg(self.file("ca.key"))
                .args(more)
                .output()?;
            done(&output)
        };
        for signed in taken_back {
            asked(&["-revoke".as_ref(), signed.certificate.as_ref()])?;
        }
        asked(&["-gencrl".as_ref(), "-out".as_ref(), list.as_ref()])?;
        Ok(list)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{name}", self.name))
    }
}
