//! Certificates that nobody has signed, for edges and nodes that speak TLS.

use std::path::Path;
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
    if output.status.success() {
        return Ok(());
    }
    Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
