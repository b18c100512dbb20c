//! The rendition token: the one path segment of an enhanced URL that says what is served and from what.
//!
//! Why it is so long: the edge keeps no session. Which source, which size, which rate and which weights were
//! decided once, at the multivariant playlist; the token carries the decision, so that any node answers any later
//! request alike, and a downstream cache sees a different URL for different bytes.
//!
//! `v1.x<scale>.<W>x<H>.<fps * 1000>.<kbit/s>.<cluster>-<digest>.<base64url of the source playlist's edge path>`
//!
//! One of more pictures a second than its source has a part more, before the last: `i<factor>-<what makes them>`.

use crate::uri;
use acuity_models::Interpolation;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

/// The longest source playlist path and query, in bytes. Base64 makes it 2731, which leaves room for the rest of
/// the path in the 8 KiB that servers and caches commonly allow a request line.
pub const PLAYLIST_BYTES_MAX: usize = 2048;
/// The longest cluster name, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 32;
/// Width and height: even (4:2:0), in pixels.
pub const SIDE_PIXELS_MAX: u32 = 4096;
/// Bounds of the nominal frame rate, in frames per 1000 s.
pub const FRAME_RATE_MILLI: std::ops::RangeInclusive<u32> = 1_000..=240_000;
/// Bounds of the video bit rate, in kbit/s.
pub const VIDEO_KBPS: std::ops::RangeInclusive<u32> = 50..=50_000;
/// Scales there are models for, or will be. The source's own size (1) is for renditions of more pictures a second.
pub const SCALES: std::ops::RangeInclusive<u32> = 2..=4;
/// How many pictures there may be for each of the source's.
pub const FACTORS: [u32; 2] = [2, 4];

/// The cluster for all content, which stands in for others.
pub const GENERIC_CLUSTER: &str = "generic";
/// The cluster that stands for "no model": the plain scaler.
pub const PLAIN_CLUSTER: &str = "plain";
/// The digest that goes with [`PLAIN_CLUSTER`].
pub const PLAIN_DIGEST: &str = "00000000";

/// What an enhanced rendition is and what it is made from. All fields are within the bounds above; [`Self::check`]
/// says so, and parsing does it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RenditionToken {
    /// Enlargement per side.
    pub scale: u32,
    /// Output width in pixels, even.
    pub width: u32,
    /// Output height in pixels, even.
    pub height: u32,
    /// Nominal output frame rate, frames per 1000 s.
    pub frame_rate_milli: u32,
    /// VBV rate of the video, kbit/s.
    pub max_video_kbps: u32,
    /// The model cluster, `[a-z0-9_]+`.
    pub cluster: String,
    /// First 8 hex digits of the digest of the cluster's model set, lower case.
    pub digest: String,
    /// More pictures a second than the source has.
    pub interpolation: Option<Interpolation>,
    /// The source media playlist's edge path and query, normalised.
    pub playlist: String,
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than any token.
    #[error("the token is too long")]
    TooLong,
    /// Not the version this edge writes; a cache may still hold URLs of another one.
    #[error("the token is of another version")]
    Version,
    /// Not seven parts, or eight.
    #[error("the token has too few or too many parts")]
    Parts,
    /// Scale out of bounds or not a number.
    #[error("the token's scale is out of bounds")]
    Scale,
    /// Size odd, out of bounds or not two numbers.
    #[error("the token's size is out of bounds")]
    Size,
    /// Frame rate out of bounds or not a number.
    #[error("the token's frame rate is out of bounds")]
    FrameRate,
    /// Bit rate out of bounds or not a number.
    #[error("the token's bit rate is out of bounds")]
    VideoRate,
    /// Cluster or digest are not what they must be.
    #[error("the token names no model set")]
    ModelSet,
    /// The frame rate is multiplied by another factor than there is, or by nobody that is known.
    #[error("the token does not say how the frame rate is multiplied")]
    Interpolation,
    /// The source playlist is no normalised edge path, too long, or itself an enhanced one.
    #[error("the token's playlist is no path on this edge")]
    Playlist,
}

impl RenditionToken {
    /// Whether every field is within bounds, so that the token can be written and read again.
    pub fn check(&self) -> Result<(), TokenError> {
        let side = |pixels: u32| (2..=SIDE_PIXELS_MAX).contains(&pixels) && pixels.is_multiple_of(2);
        let name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let cluster = (1..=CLUSTER_BYTES_MAX).contains(&self.cluster.len()) && self.cluster.bytes().all(name);
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digest = self.digest.len() == 8 && self.digest.bytes().all(hex);
        let playlist = self.playlist.len() <= PLAYLIST_BYTES_MAX
            && uri::normalise(&self.playlist).is_ok_and(|normal| normal == self.playlist)
            && !self.playlist.starts_with(uri::RESERVED_PREFIX);
        for (holds, error) in [
            (SCALES.contains(&self.scale) || self.keeps_size(), TokenError::Scale),
            (
                self.interpolation.as_ref().is_none_or(|by| FACTORS.contains(&by.factor)),
                TokenError::Interpolation,
            ),
            (side(self.width) && side(self.height), TokenError::Size),
            (FRAME_RATE_MILLI.contains(&self.frame_rate_milli), TokenError::FrameRate),
            (VIDEO_KBPS.contains(&self.max_video_kbps), TokenError::VideoRate),
            (cluster && digest, TokenError::ModelSet),
            (playlist, TokenError::Playlist),
        ] {
            if !holds {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether it is of the source's size: only more pictures.
    pub fn keeps_size(&self) -> bool {
        self.scale == 1 && self.interpolation.is_some() && self.is_plain()
    }

    /// Whether no model is used.
    pub fn is_plain(&self) -> bool {
        self.cluster == PLAIN_CLUSTER && self.digest == PLAIN_DIGEST
    }

    /// `/~acuity/<token>`: what stands before a source's edge path.
    pub fn prefix(&self) -> String {
        format!("{}{self}", uri::RESERVED_PREFIX)
    }

    /// The edge path and query of the enhanced media playlist.
    pub fn playlist_path(&self) -> String {
        format!("{}{}", self.prefix(), self.playlist)
    }

    /// Whether a request below the token (path and query without `/~acuity/<token>`) is the enhanced media
    /// playlist itself; `_HLS_*`, CMCD and other added parameters do not matter.
    pub fn means_playlist(&self, path_and_query: &str) -> bool {
        uri::means(path_and_query, &self.playlist)
    }
}

impl fmt::Display for RenditionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scale, width, height, frame_rate_milli, max_video_kbps, cluster, digest, .. } = self;
        let playlist = URL_SAFE_NO_PAD.encode(&self.playlist);
        write!(f, "v1.x{scale}.{width}x{height}.{frame_rate_milli}.{max_video_kbps}.{cluster}-{digest}.")?;
        if let Some(Interpolation { factor, by }) = &self.interpolation {
            write!(f, "i{factor}-{by}.")?;
        }
        f.write_str(&playlist)
    }
}

impl FromStr for RenditionToken {
    type Err = TokenError;

    /// Only what [`fmt::Display`] writes is read: one rendition has one URL.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > PLAYLIST_BYTES_MAX * 4 / 3 + 128 {
            return Err(TokenError::TooLong);
        }
        let rest = text.strip_prefix("v1.").ok_or(TokenError::Version)?;
        let parts: Vec<&str> = rest.split('.').collect();
        let (scale, size, frame_rate, video_rate, model_set, more, playlist) = match parts[..] {
            [scale, size, rate, video_rate, set, playlist] => {
                (scale, size, rate, video_rate, set, None, playlist)
            }
            [scale, size, rate, video_rate, set, more, playlist] => {
                (scale, size, rate, video_rate, set, Some(more), playlist)
            }
            _ => return Err(TokenError::Parts),
        };
        let (width, height) = size.split_once('x').ok_or(TokenError::Size)?;
        let (cluster, digest) = model_set.split_once('-').ok_or(TokenError::ModelSet)?;
        let playlist = URL_SAFE_NO_PAD.decode(playlist).map_err(|_| TokenError::Playlist)?;
        let token = Self {
            scale: scale.strip_prefix('x').and_then(number).ok_or(TokenError::Scale)?,
            width: number(width).ok_or(TokenError::Size)?,
            height: number(height).ok_or(TokenError::Size)?,
            frame_rate_milli: number(frame_rate).ok_or(TokenError::FrameRate)?,
            max_video_kbps: number(video_rate).ok_or(TokenError::VideoRate)?,
            cluster: cluster.to_owned(),
            digest: digest.to_owned(),
            interpolation: more.map(interpolation).transpose()?,
            playlist: String::from_utf8(playlist).map_err(|_| TokenError::Playlist)?,
        };
        token.check().map(|()| token)
    }
}

/// `i<factor>-<what makes them>`.
fn interpolation(text: &str) -> Result<Interpolation, TokenError> {
    let parts = text.strip_prefix('i').and_then(|rest| rest.split_once('-'));
    let (factor, by) = parts.ok_or(TokenError::Interpolation)?;
    let factor = number(factor).filter(|factor| FACTORS.contains(factor)).ok_or(TokenError::Interpolation)?;
    Ok(Interpolation { factor, by: by.parse().map_err(|_| TokenError::Interpolation)? })
}

/// Digits without sign and leading zero.
fn number(text: &str) -> Option<u32> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    canonical.then(|| text.parse().ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use acuity_models::Interpolator;
    use proptest::prelude::*;

    const TEXT: &str = "v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L29jZWFuLzM2MHAvMzYwcC5tM3U4";

    fn token() -> RenditionToken {
        TEXT.parse().unwrap()
    }

    #[test]
    fn reads_and_writes() {
        let token = token();
        assert_eq!(token.to_string(), TEXT);
        assert_eq!(token.playlist, "/ocean/360p/360p.m3u8");
        assert_eq!((token.width, token.height, token.frame_rate_milli), (1280, 720, 30_000));
        assert_eq!(token.playlist_path(), format!("/~acuity/{TEXT}/ocean/360p/360p.m3u8"));
        assert!(token.means_playlist("/ocean/360p/360p.m3u8?_HLS_msn=3"));
        assert!(!token.means_playlist("/ocean/360p/seg_000.ts"));
        assert!(!token.is_plain());
    }

    #[test]
    fn more_pictures_are_a_part_more() {
        let more = TEXT.replace(".L29j", ".i2-blend.L29j");
        let token: RenditionToken = more.parse().unwrap();
        assert_eq!(token.interpolation, Some(Interpolation { factor: 2, by: Interpolator::Blend }));
        assert_eq!(token.to_string(), more);
        // The source's own size goes with more pictures, and without a model, alone.
        let own = TEXT.replace("x2.", "x1.").replace("generic-1a2b3c4d", "plain-00000000");
        assert_eq!(own.parse::<RenditionToken>(), Err(TokenError::Scale));
        let own = own.replace(".L29j", ".i4-repeat.L29j");
        assert!(own.parse::<RenditionToken>().unwrap().keeps_size());
        let with_model = more.replace("x2.", "x1.");
        assert_eq!(with_model.parse::<RenditionToken>(), Err(TokenError::Scale));
    }

    #[test]
    fn refuses_what_is_out_of_bounds() {
        for (from, to, expected) in [
            ("v1.", "v2.", TokenError::Version),
            ("v1.", "", TokenError::Version),
            (".30000.", ".", TokenError::Parts),
            ("x2.", "x5.", TokenError::Scale),
            ("x2.", "2.", TokenError::Scale),
            ("1280x", "1281x", TokenError::Size),
            ("1280x", "4098x", TokenError::Size),
            ("1280x", "01280x", TokenError::Size),
            ("1280x720", "1280", TokenError::Size),
            ("30000", "999", TokenError::FrameRate),
            ("30000", "+30000", TokenError::FrameRate),
            ("2800", "49", TokenError::VideoRate),
            ("2800", "99999999999", TokenError::VideoRate),
            ("generic-", "Generic-", TokenError::ModelSet),
            ("generic-", "-", TokenError::ModelSet),
            ("1a2b3c4d", "1A2B3C4D", TokenError::ModelSet),
            ("1a2b3c4d", "1a2b3c4", TokenError::ModelSet),
            (".L29j", ".i2-magic.L29j", TokenError::Interpolation),
            (".L29j", ".i3-blend.L29j", TokenError::Interpolation),
            (".L29j", ".blend.L29j", TokenError::Interpolation),
            (".L29j", ".i2-blend.i2-blend.L29j", TokenError::Parts),
            ("L29jZWFu", "!", TokenError::Playlist),
            ("L29jZWFu", "AAAA", TokenError::Playlist),
        ] {
            assert_eq!(TEXT.replacen(from, to, 1).parse::<RenditionToken>(), Err(expected), "{from} -> {to}");
        }
        let with = |playlist: &str| RenditionToken { playlist: playlist.into(), ..token() }.to_string();
        for playlist in ["", "a.m3u8", "/a/../b.m3u8", "/~acuity/x/a.m3u8", "/a\n.m3u8", "/é.m3u8"] {
            assert_eq!(with(playlist).parse::<RenditionToken>(), Err(TokenError::Playlist), "{playlist:?}");
        }
        assert_eq!(
            with(&format!("/{}", "a".repeat(2048))).parse::<RenditionToken>(),
            Err(TokenError::Playlist)
        );
        assert_eq!("v1.".repeat(2000).parse::<RenditionToken>(), Err(TokenError::TooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn round_trips(
            (scale, width, height) in (2u32..=4, 1u32..=2048, 1u32..=2048),
            frame_rate_milli in 1_000u32..=240_000,
            max_video_kbps in 50u32..=50_000,
            cluster in "[a-z0-9_]{1,32}",
            digest in "[0-9a-f]{8}",
            more in proptest::option::of((proptest::sample::select(FACTORS.to_vec()), proptest::bool::ANY)),
            playlist in "/[a-z]{1,9}(/[!-~&&[^#\"<>?\\\\%.]]{1,20}){0,5}(\\?[!-~&&[^#\"<>]]{0,40})?",
        ) {
            let by = |blends| if blends { Interpolator::Blend } else { Interpolator::Repeat };
            let interpolation = more.map(|(factor, blends)| Interpolation { factor, by: by(blends) });
            let token = RenditionToken {
                scale, width: width * 2, height: height * 2, frame_rate_milli, max_video_kbps, cluster, digest,
                interpolation, playlist,
            };
            prop_assert_eq!(token.check(), Ok(()));
            let text = token.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            prop_assert_eq!(text.parse::<RenditionToken>(), Ok(token));
        }

        #[test]
        fn never_panics_and_reads_only_what_it_writes(text in "(v1\\.)?[ -~]{0,80}") {
            if let Ok(token) = text.parse::<RenditionToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
