//! AES-128 of whole segments (RFC 8216, section 4.3.2.4): CBC with PKCS#7 padding.
//!
//! The edge decrypts with a key the playlist names, enhances, and encrypts again with the same key and IV, so that the
//! playlist's `EXT-X-KEY` lines stay true and no clear segment leaves an edge that was given an encrypted one.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use bytes::Bytes;

/// Key and initialisation vector of one segment.
#[derive(Clone, PartialEq, Eq)]
pub struct SegmentCipher {
    key: [u8; 16],
    iv: [u8; 16],
}

/// Why a segment could not be decrypted or a key not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// The key resource has another size than 16 bytes.
    #[error("the key has {found_bytes} bytes, an AES-128 key has 16")]
    KeySize {
        /// Size of what the key's URI gave.
        found_bytes: usize,
    },
    /// The segment is no whole number of blocks, or its padding does not fit the key.
    #[error(
        "the {segment_bytes} bytes do not decrypt with this key and IV (a truncated segment or another key)"
    )]
    Padding {
        /// Size of the encrypted segment.
        segment_bytes: usize,
    },
}

impl SegmentCipher {
    /// A cipher from the bytes behind the key's URI.
    ///
    /// # Errors
    /// When these are not 16 bytes.
    pub fn new(key: &[u8], iv: [u8; 16]) -> Result<Self, CryptError> {
        let key = key.try_into().map_err(|_| CryptError::KeySize { found_bytes: key.len() })?;
        Ok(Self { key, iv })
    }

    /// The clear bytes of an encrypted segment.
    ///
    /// # Errors
    /// When size or padding are wrong, which is how a wrong key shows in 255 of 256 cases.
    pub fn decrypt(&self, encrypted: &[u8]) -> Result<Bytes, CryptError> {
        cbc::Decryptor::<aes::Aes128>::new(&self.key.into(), &self.iv.into())
            .decrypt_padded_vec_mut::<Pkcs7>(encrypted)
            .map(Bytes::from)
            .map_err(|_| CryptError::Padding { segment_bytes: encrypted.len() })
    }

    /// The encrypted bytes of a clear segment.
    #[must_use]
    pub fn encrypt(&self, clear: &[u8]) -> Bytes {
        cbc::Encryptor::<aes::Aes128>::new(&self.key.into(), &self.iv.into())
            .encrypt_padded_vec_mut::<Pkcs7>(clear)
            .into()
    }
}

/// The IV of a segment whose key line gives none: its media sequence number, big endian.
#[must_use]
pub fn sequence_iv(media_sequence: u64) -> [u8; 16] {
    u128::from(media_sequence).to_be_bytes()
}

/// A key is never written to a log.
impl std::fmt::Debug for SegmentCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SegmentCipher(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// NIST SP 800-38A, F.2.1 (CBC-AES128.Encrypt).
    const NIST_KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
    const NIST_IV: &str = "000102030405060708090a0b0c0d0e0f";
    const NIST_CLEAR: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                              30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
    const NIST_ENCRYPTED: &str = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                                  73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7";

    #[test]
    fn the_standards_vectors() {
        let cipher = SegmentCipher::new(&hex(NIST_KEY), hex(NIST_IV).try_into().unwrap()).unwrap();
        let encrypted = cipher.encrypt(&hex(NIST_CLEAR));
        // The vectors end at a block's end, PKCS#7 adds one block.
        assert_eq!(encrypted[..64], hex(NIST_ENCRYPTED)[..]);
        assert_eq!(encrypted.len(), 80);
        assert_eq!(cipher.decrypt(&encrypted).unwrap()[..], hex(NIST_CLEAR)[..]);
    }

    #[test]
    fn every_length_comes_back() {
        let cipher = SegmentCipher::new(&[7; 16], sequence_iv(9)).unwrap();
        for length in 0..50 {
            let clear: Vec<u8> = (0..length).collect();
            let encrypted = cipher.encrypt(&clear);
            assert_eq!(encrypted.len() % 16, 0);
            assert!(encrypted.len() > clear.len());
            assert_eq!(cipher.decrypt(&encrypted).unwrap()[..], clear[..]);
        }
    }

    #[test]
    fn what_cannot_be_decrypted_says_so() {
        let cipher = SegmentCipher::new(&[7; 16], [0; 16]).unwrap();
        let encrypted = cipher.encrypt(&[1; 100]);
        assert_eq!(cipher.decrypt(&encrypted[..50]), Err(CryptError::Padding { segment_bytes: 50 }));
        assert_eq!(cipher.decrypt(&[]), Err(CryptError::Padding { segment_bytes: 0 }));
        assert_eq!(
            SegmentCipher::new(&[1; 15], [0; 16]).err(),
            Some(CryptError::KeySize { found_bytes: 15 })
        );
        assert!(!format!("{cipher:?}").contains('7'));
    }

    #[test]
    fn an_iv_from_the_media_sequence_is_big_endian() {
        assert_eq!(sequence_iv(0x0102), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_real_encrypted_segment() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/hls/segments");
        let Ok(encrypted) = std::fs::read(format!("{folder}/encrypted.ts")) else {
            eprintln!("skipped: no encrypted.ts beside the repository");
            return;
        };
        let key = std::fs::read(format!("{folder}/encryptionKey.key")).unwrap();
        let cipher = SegmentCipher::new(&key, sequence_iv(0)).unwrap();
        let clear = cipher.decrypt(&encrypted).unwrap();
        assert_eq!(clear.len() % 188, 0, "a transport stream is whole packets");
        assert!(clear.chunks(188).all(|packet| packet[0] == 0x47));
        assert_eq!(cipher.encrypt(&clear)[..], encrypted[..]);
    }
}
