//! `EXT-X-KEY`: which keys are in force, and what AES-128 needs (RFC 8216bis sections 4.4.4.4 and 5.2).

use crate::attributes::Attributes;
use crate::uri::Target;
use std::sync::Arc;

/// Keys of different formats that are in force at one time.
const FORMATS_MAX: usize = 16;

/// An `EXT-X-KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The tag's line.
    pub line: usize,
    /// `METHOD`.
    pub method: KeyMethod,
    /// `URI` as written.
    pub uri: Option<String>,
    /// The same with variables put in, where there are some.
    pub(super) substituted: Option<String>,
    /// Where it leads; [`Target::Opaque`] without URI.
    pub target: Target,
    /// `IV`, if there is one.
    pub iv: Option<[u8; 16]>,
    /// There is an `IV` that cannot be read.
    pub iv_unreadable: bool,
    /// `KEYFORMAT`, `identity` by default.
    pub format: String,
}

/// `METHOD` of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMethod {
    /// Nothing is encrypted.
    None,
    /// Whole segments, AES-128-CBC with PKCS#7.
    Aes128,
    /// Samples (FairPlay); never touched.
    SampleAes,
    /// Common encryption in CTR mode; never touched.
    SampleAesCtr,
    /// Something else.
    Unknown,
}

impl Key {
    /// Reads the tag's value; where the URI leads is the caller's to find out.
    pub(super) fn read(
        line: usize,
        value: &str,
        resolve: impl FnOnce(&str) -> (Target, Option<String>),
    ) -> Self {
        let attributes = Attributes::read(value);
        let method = match attributes.get("METHOD") {
            Some("NONE") => KeyMethod::None,
            Some("AES-128") => KeyMethod::Aes128,
            Some("SAMPLE-AES") => KeyMethod::SampleAes,
            Some("SAMPLE-AES-CTR" | "SAMPLE-AES-CENC" | "ISO-23001-7") => KeyMethod::SampleAesCtr,
            _ => KeyMethod::Unknown,
        };
        let uri = attributes.text("URI");
        let (target, substituted) = uri.as_deref().map_or((Target::Opaque, None), resolve);
        let iv_text = attributes.get("IV");
        let iv = iv_text.and_then(initialisation_vector);
        Self {
            line,
            method,
            target,
            uri,
            substituted,
            iv,
            iv_unreadable: iv_text.is_some() && iv.is_none(),
            format: attributes.text("KEYFORMAT").unwrap_or_else(|| "identity".to_owned()),
        }
    }

    /// Puts this key in force: it replaces that of the same format; METHOD=NONE ends all.
    pub(super) fn enter(self: &Arc<Self>, in_force: &mut Vec<Arc<Self>>) {
        match self.method {
            KeyMethod::None => in_force.clear(),
            _ => {
                in_force.retain(|key| key.format != self.format);
                // Each segment keeps them all. There are not so many systems; that there are keys is known by then.
                if in_force.len() < FORMATS_MAX {
                    in_force.push(Arc::clone(self));
                }
            }
        }
    }
}

/// What decrypting (and encrypting again) one AES-128 resource takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aes128 {
    /// The key's edge path; [`Target::Foreign`] or [`Target::Opaque`] if the edge may not fetch it.
    pub key: Target,
    /// The key's URI as written.
    pub key_uri: String,
    /// Initialisation vector: explicit, or the media sequence number.
    pub iv: [u8; 16],
}

/// `msn`: the segment's media sequence number, which is the IV where none is given.
pub(super) fn aes128(keys: &[Arc<Key>], msn: Option<u64>) -> Option<Aes128> {
    let key = keys.iter().find(|key| key.method == KeyMethod::Aes128 && key.format == "identity")?;
    if key.iv_unreadable {
        return None;
    }
    let from_sequence = msn.map(|msn| u128::from(msn).to_be_bytes());
    Some(Aes128 { key: key.target.clone(), key_uri: key.uri.clone()?, iv: key.iv.or(from_sequence)? })
}

/// `0x` and up to 32 hex digits; fewer are padded on the left, as a number.
fn initialisation_vector(text: &str) -> Option<[u8; 16]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let plain = (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(digits, 16).ok()).flatten().map(u128::to_be_bytes)
}
