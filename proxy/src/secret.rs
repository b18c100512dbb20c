//! Files that hold a secret and nothing else.
//!
//! Each is a file of its own, so that a configuration can be shown to anybody. A file that everybody on the machine may read or write
//! holds no secret: that is a fault, as is one that is missing, too short or too long.

use std::fs::File;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// How long secrets are: 128 bits, what HMAC-SHA256 is asked to hold against and nobody guesses, to far above any. Who names a larger file
/// has named the wrong one.
pub const BYTES: RangeInclusive<usize> = 16..=1024;

/// "Others" may read or write.
const OPEN_TO_ALL: u32 = 0o006;

/// A file that cannot be used. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// Everybody may read or write it.
    #[error("is open to every user of this machine (mode {0:03o}): chmod o-rw it")]
    Open(u32),
    /// It holds too little or too much; how much, in words, and what it should.
    #[error("has {0}, not {min} to {max} bytes", min = .1.start(), max = .1.end())]
    Length(String, RangeInclusive<usize>),
}

/// What stands in the file, without a line ending.
///
/// # Errors
/// Why it cannot be used; `bytes` is how long a secret may be.
pub fn read(path: &Path, bytes: RangeInclusive<usize>) -> Result<Vec<u8>, SecretFault> {
    let opened = File::open(path).map_err(SecretFault::Unreadable)?;
    // Of what was opened, not of what the name may lead to by now.
    let mode = opened.metadata().map_err(SecretFault::Unreadable)?.permissions().mode() & 0o777;
    if mode & OPEN_TO_ALL != 0 {
        return Err(SecretFault::Open(mode));
    }
    // A line ending may follow, and one byte more tells that there is too much.
    let limit = *bytes.end() as u64 + 3;
    let mut secret = Vec::new();
    opened.take(limit).read_to_end(&mut secret).map_err(SecretFault::Unreadable)?;
    for ending in [b'\n', b'\r'] {
        if secret.last() == Some(&ending) {
            secret.pop();
        }
    }
    if secret.len() > *bytes.end() {
        return Err(SecretFault::Length("more".to_owned(), bytes));
    }
    if secret.len() < *bytes.start() {
        return Err(SecretFault::Length(secret.len().to_string(), bytes));
    }
    Ok(secret)
}
