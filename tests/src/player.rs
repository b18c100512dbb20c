//! An HLS player without a screen: reads playlists with a parser that had no part in writing them, fetches segments,
//! decrypts them, and keeps status, headers and times of everything.

use std::time::{Duration, Instant};

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use bytes::{Bytes, BytesMut};
use m3u8_rs::{KeyMethod, MasterPlaylist, MediaPlaylist, VariantStream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::Result;

/// The path prefix below which the edge serves what it made.
pub const ENHANCED_PREFIX: &str = "/~acuity/";

/// One answer, whole.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What was asked for.
    pub url: Url,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the request until the first byte of the body.
    pub first_byte_seconds: f64,
    /// From the request until the last byte.
    pub seconds: f64,
}

impl Fetched {
    /// A header's text, empty when it is absent. Several lines of one name are one list (RFC 9110, 5.2).
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let lines: Vec<_> =
            self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        lines.join(", ")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client with a multivariant playlist.
#[derive(Debug, Clone)]
pub struct Player {
    client: reqwest::Client,
    /// Sent with every request.
    pub headers: HeaderMap,
}

/// A multivariant playlist and where it came from.
#[derive(Debug, Clone)]
pub struct Multivariant {
    /// How it was answered.
    pub fetched: Fetched,
    /// As read by m3u8-rs.
    pub playlist: MasterPlaylist,
}

/// A media playlist and where it came from.
#[derive(Debug, Clone)]
pub struct Media {
    /// How it was answered.
    pub fetched: Fetched,
    /// As read by m3u8-rs.
    pub playlist: MediaPlaylist,
}

/// One segment, in the clear, with the init that goes before it.
#[derive(Debug, Clone)]
pub struct Segment {
    /// How it was answered (the body as it came, encrypted if it was).
    pub fetched: Fetched,
    /// Init segment of fragmented MP4.
    pub init: Option<Bytes>,
    /// Media bytes in the clear.
    pub clear: Bytes,
}

impl Player {
    /// A player with its own connections. It gives up on an answer after a minute: a hung request is a failure.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new() -> Result<Self> {
        // no_gzip and no_brotli: what came over the wire is what we look at
        let client = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self { client, headers: HeaderMap::new() })
    }

    /// The same player with one more header on every request.
    ///
    /// # Errors
    /// When the name or value is not fit for HTTP.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        self.headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        Ok(self)
    }

    /// Any request, its answer read to the end.
    ///
    /// # Errors
    /// When the connection fails or the body ends early; a status of 4xx or 5xx is an answer, not an error.
    pub async fn request(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Fetched> {
        let url = Url::parse(url)?;
        let start = Instant::now();
        let mut request = self.client.request(method, url.clone()).headers(self.headers.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = BytesMut::new();
        let mut first_byte = None;
        while let Some(piece) = answer.chunk().await? {
            first_byte.get_or_insert_with(|| start.elapsed());
            body.extend_from_slice(&piece);
        }
        let seconds = start.elapsed();
        let first_byte_seconds = first_byte.unwrap_or(seconds).as_secs_f64();
        let (body, seconds) = (body.freeze(), seconds.as_secs_f64());
        Ok(Fetched { url, status, headers, body, first_byte_seconds, seconds })
    }

    /// A plain GET.
    ///
    /// # Errors
    /// As [`Player::request`].
    pub async fn get(&self, url: &str) -> Result<Fetched> {
        self.request(Method::GET, url, &[]).await
    }

    /// A GET that must be answered with 2xx.
    ///
    /// # Errors
    /// As [`Player::request`], and for any other status.
    pub async fn get_ok(&self, url: &str, headers: &[(&str, &str)]) -> Result<Fetched> {
        let fetched = self.request(Method::GET, url, headers).await?;
        if fetched.status.is_success() {
            return Ok(fetched);
        }
        Err(format!("{url} was answered {}: {}", fetched.status, fetched.text().trim()).into())
    }

    /// Opens a stream by its multivariant playlist.
    ///
    /// # Errors
    /// When it cannot be fetched or read.
    pub async fn open(&self, url: &str) -> Result<Multivariant> {
        let fetched = self.get_ok(url, &[]).await?;
        let (_, playlist) = m3u8_rs::parse_master_playlist(&fetched.body)
            .map_err(|error| format!("{url} is no multivariant playlist: {error:?}"))?;
        Ok(Multivariant { fetched, playlist })
    }

    /// Fetches a media playlist.
    ///
    /// # Errors
    /// When it cannot be fetched or read.
    pub async fn media(&self, url: &Url) -> Result<Media> {
        let fetched = self.get_ok(url.as_str(), &[]).await?;
        let (_, playlist) = m3u8_rs::parse_media_playlist(&fetched.body)
            .map_err(|error| format!("{url} is no media playlist: {error:?}"))?;
        Ok(Media { fetched, playlist })
    }

    /// Fetches a segment as a player would: init, byte range, key and all.
    ///
    /// # Errors
    /// When a part of it cannot be fetched or decrypted.
    pub async fn segment(&self, media: &Media, index: usize) -> Result<Segment> {
        let segments = &media.playlist.segments;
        let entry = segments.get(index).ok_or_else(|| format!("there is no segment {index}"))?;
        let base = &media.fetched.url;
        let upto = segments.get(..=index).unwrap_or_default();
        let init = match upto.iter().rev().find_map(|segment| segment.map.as_ref()) {
            Some(map) => {
                let range = map.byte_range.as_ref().map(|range| (range.offset.unwrap_or(0), range.length));
                Some(self.part(base.join(&map.uri)?.as_str(), range).await?.body)
            }
            None => None,
        };
        let range = entry.byte_range.as_ref().map(|range| {
            // without an offset it follows the range before it (RFC 8216, 4.3.2.2)
            let offset = range.offset.unwrap_or_else(|| implied_offset(upto));
            (offset, range.length)
        });
        let fetched = self.part(base.join(&entry.uri)?.as_str(), range).await?;
        let clear = match upto.iter().rev().find_map(|segment| segment.key.as_ref()) {
            Some(key) if key.method == KeyMethod::AES128 => {
                let uri = key.uri.as_deref().ok_or("a KEY without URI")?;
                let secret = self.get_ok(base.join(uri)?.as_str(), &[]).await?.body;
                let sequence = media.playlist.media_sequence + index as u64;
                decrypt(&secret, &initialisation_vector(key.iv.as_deref(), sequence)?, &fetched.body)?
            }
            _ => fetched.body.clone(),
        };
        Ok(Segment { fetched, init, clear })
    }

    async fn part(&self, url: &str, range: Option<(u64, u64)>) -> Result<Fetched> {
        let Some((offset, length)) = range else { return self.get_ok(url, &[]).await };
        let wanted = format!("bytes={offset}-{}", offset + length.saturating_sub(1));
        let fetched = self.get_ok(url, &[("range", &wanted)]).await?;
        if fetched.status != StatusCode::PARTIAL_CONTENT || fetched.body.len() as u64 != length {
            return Err(format!(
                "{url}, {wanted}, was answered {} with {} bytes",
                fetched.status,
                fetched.body.len()
            )
            .into());
        }
        Ok(fetched)
    }
}

impl Multivariant {
    /// The absolute URL of a variant's media playlist.
    ///
    /// # Errors
    /// When its URI is none.
    pub fn url_of(&self, variant: &VariantStream) -> Result<Url> {
        Ok(self.fetched.url.join(&variant.uri)?)
    }

    /// The variants the edge made.
    #[must_use]
    pub fn enhanced(&self) -> Vec<&VariantStream> {
        self.playlist.variants.iter().filter(|variant| variant.uri.contains(ENHANCED_PREFIX)).collect()
    }

    /// The variants that are the origin's own.
    #[must_use]
    pub fn original(&self) -> Vec<&VariantStream> {
        self.playlist.variants.iter().filter(|variant| !variant.uri.contains(ENHANCED_PREFIX)).collect()
    }

    /// The variant of that many lines, if it is offered.
    #[must_use]
    pub fn of_height(&self, height: u64) -> Option<&VariantStream> {
        self.playlist
            .variants
            .iter()
            .find(|variant| variant.resolution.is_some_and(|size| size.height == height))
    }
}

/// Where a byte range without an offset begins: at the end of the ranges before it, back to the last explicit one.
fn implied_offset(upto: &[m3u8_rs::MediaSegment]) -> u64 {
    let before = upto.split_last().map_or(&[][..], |(_, before)| before);
    let mut offset = 0;
    for range in before.iter().rev().map_while(|segment| segment.byte_range.as_ref()) {
        offset += range.length;
        if let Some(start) = range.offset {
            return offset + start;
        }
    }
    offset
}

/// The IV: the attribute's, else the media sequence number as a 128-bit big-endian number (RFC 8216, 5.2).
fn initialisation_vector(attribute: Option<&str>, sequence: u64) -> Result<[u8; 16]> {
    let Some(text) = attribute else { return Ok(u128::from(sequence).to_be_bytes()) };
    let digits = text.trim_start_matches("0x").trim_start_matches("0X");
    Ok(u128::from_str_radix(digits, 16)?.to_be_bytes())
}

fn decrypt(key: &[u8], iv: &[u8; 16], body: &[u8]) -> Result<Bytes> {
    let cipher = cbc::Decryptor::<aes::Aes128>::new_from_slices(key, iv)
        .map_err(|_| format!("a key of {} bytes", key.len()))?;
    let clear =
        cipher.decrypt_padded_vec_mut::<Pkcs7>(body).map_err(|error| format!("decryption: {error}"))?;
    Ok(clear.into())
}
