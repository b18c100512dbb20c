//! Content encoding of playlists: gzip where the client takes it. Segments are never encoded, they are compressed already.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Below this gzip's header and the `Content-Encoding` line cost what it saves.
const WORTH_IT_BYTES: usize = 256;

/// Whether `Accept-Encoding` takes gzip (RFC 9110, section 12.5.3): named or by `*`, and not with weight 0.
#[must_use]
pub fn takes_gzip(accept_encoding: Option<&str>) -> bool {
    let mut star = false;
    for item in accept_encoding.unwrap_or_default().split(',') {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return !refused;
        }
        star |= coding == "*" && !refused;
    }
    star
}

/// `text` as gzip, or `None` where that is not worth it.
#[must_use]
pub fn gzip(text: &[u8]) -> Option<Bytes> {
    if text.len() < WORTH_IT_BYTES {
        return None;
    }
    // Level 4: playlists are repetitive, higher levels gain 1 % at twice the time.
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 6), Compression::new(4));
    encoder.write_all(text).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < text.len()).then(|| Bytes::from(packed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn accept_encoding() {
        for (header, expected) in [
            (None, false),
            (Some(""), false),
            (Some("gzip"), true),
            (Some("gzip, deflate, br"), true),
            (Some("br;q=1.0, gzip;q=0.8, *;q=0.1"), true),
            (Some("x-gzip"), true),
            (Some("GZIP"), true),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("gzip;q=0"), false),
            (Some("gzip; q=0.000"), false),
            (Some("gzip;q=0, *"), false),
            (Some("identity"), false),
            (Some("br"), false),
        ] {
            assert_eq!(takes_gzip(header), expected, "{header:?}");
        }
    }

    #[test]
    fn gzip_gives_back_what_went_in() {
        let text = "#EXTINF:4.000,\nsegment-000.ts\n".repeat(40);
        let packed = gzip(text.as_bytes()).unwrap();
        assert!(packed.len() < text.len() / 4);
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        assert_eq!(gzip(b"#EXTM3U\n"), None);
    }
}
