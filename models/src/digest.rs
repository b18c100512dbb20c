//! Digests: what a model's file must be, and whether it is.
//!
//! The bytes that were hashed are the bytes that are used: a file is read once, hashed in memory and handed on, so that
//! nobody can change it in between.

use std::fmt;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::Digest as _;

use crate::entry::ModelEntry;

/// Largest model file, in bytes. The largest network of the design has well under a million parameters (4 MB);
/// the bound keeps a wrong path from filling the memory.
pub const MODEL_LIMIT_BYTES: u64 = 256 << 20;

/// A SHA-256 digest. Its `Display` is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// Text that is not a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hexadecimal digits")]
pub struct NotADigest;

/// Whether a model's files are the ones the catalogue means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestState {
    /// They are.
    Verified,
    /// One is another file.
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What the catalogue says.
        expected: Sha256,
        /// What its bytes hash to.
        found: Sha256,
    },
    /// There is no such file.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, as the system says it.
        reason: String,
    },
}

/// Why a model's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The file is not the one the catalogue means.
    #[error(
        "{path:?} has the SHA-256 {found}, the catalogue says {expected}; fetch or train the model again"
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What the catalogue says.
        expected: Sha256,
        /// What its bytes hash to.
        found: Sha256,
    },
    /// There is no such file.
    #[error("{path:?} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read.
    #[error("{path:?} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// It is larger than any model.
    #[error("{path:?} is larger than {MODEL_LIMIT_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A digest of what comes in pieces.
#[derive(Clone, Default)]
pub struct Summing(sha2::Sha256);

impl Summing {
    /// The next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all pieces.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl ModelEntry {
    /// Reads the model's file and gives its bytes if they are the ones the catalogue means.
    ///
    /// # Errors
    /// When the file is missing, unreadable, larger than [`MODEL_LIMIT_BYTES`] or another one.
    pub fn read_verified(&self) -> Result<Vec<u8>, DigestError> {
        read_as(&self.file, self.sha256)
    }

    /// Reads the model's files to see whether they are the ones the catalogue means; what is wrong with the first that is
    /// not.
    #[must_use]
    pub fn digest_state(&self) -> DigestState {
        let int8 = || self.int8.as_ref().map_or(Ok(()), |int8| int8.read_verified().map(drop));
        match self.read_verified().and_then(|_| int8()) {
            Ok(()) => DigestState::Verified,
            Err(DigestError::Mismatch { path, expected, found }) => {
                DigestState::Mismatch { path, expected, found }
            }
            Err(DigestError::Missing { path }) => DigestState::Missing { path },
            Err(DigestError::Unreadable { path, source }) => {
                DigestState::Unreadable { path, reason: source.to_string() }
            }
            Err(ref error @ DigestError::TooLarge { ref path }) => {
                DigestState::Unreadable { path: path.clone(), reason: error.to_string() }
            }
        }
    }
}

/// The bytes of a file if they hash to `expected`.
pub(crate) fn read_as(path: &Path, expected: Sha256) -> Result<Vec<u8>, DigestError> {
    let bytes = read_bounded(path)?;
    let found = Sha256::of(&bytes);
    if found != expected {
        return Err(DigestError::Mismatch { path: path.to_owned(), expected, found });
    }
    Ok(bytes)
}

/// The bytes of a file that is no larger than any model.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, DigestError> {
    let at = || path.to_owned();
    let open = |source: Error| match source.kind() {
        ErrorKind::NotFound => DigestError::Missing { path: at() },
        _ => DigestError::Unreadable { path: at(), source },
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path).map_err(open)?;
    if !metadata.is_file() {
        return Err(open(Error::new(ErrorKind::InvalidInput, "it is not a regular file")));
    }
    // Nor is memory spent on what is too large; the second look is for a file that grows meanwhile.
    let mut bytes = Vec::new();
    if metadata.len() <= MODEL_LIMIT_BYTES {
        File::open(path)
            .and_then(|file| file.take(MODEL_LIMIT_BYTES + 1).read_to_end(&mut bytes))
            .map_err(open)?;
    }
    if metadata.len().max(bytes.len() as u64) > MODEL_LIMIT_BYTES {
        return Err(DigestError::TooLarge { path: at() });
    }
    Ok(bytes)
}

impl DigestState {
    /// One word for tables and metric labels: `verified`, `mismatch`, `missing` or `unreadable`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Mismatch { .. } => "mismatch",
            Self::Missing { .. } => "missing",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

impl fmt::Display for DigestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Sha256 {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotADigest);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotADigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_as_they_print() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
        assert_eq!(abc.parse(), Ok(Sha256::of(b"abc")));
        assert_eq!(abc.to_uppercase().parse(), Ok(Sha256::of(b"abc")));
        for text in ["", "ba78", &format!("+{}", &abc[1..]), &format!("{abc}0"), &"é".repeat(32)] {
            assert_eq!(text.parse::<Sha256>(), Err(NotADigest), "{text}");
        }
    }
}
