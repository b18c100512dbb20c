//! What an enhanced segment is made of: the source segment, its initialisation section and its key, fetched and decrypted.
//!
//! Keys and init sections are shared by all segments of a rendition, and a segment may be wanted twice within a few
//! seconds (probed, then enhanced; enhanced, then as lead-in for the next), so they are kept for a minute within a small
//! budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acuity_config::Config;
use acuity_playlist::media::{Aes128, Map, Segment};
use acuity_playlist::{ByteRange, Target};
use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use url::Url;

use crate::crypt::SegmentCipher;
use crate::origin::{Fetch, Fetched, OriginError, Origins, Source, Validator};
use crate::rescue::Trouble;
use crate::route::RouteMatch;
use crate::site::{Site, Sites};

/// How long a source object is used again without asking. Short, because nothing tells when it changes.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// An AES-128 key has 16 bytes; whatever is longer than this is an error page.
const KEY_LIMIT_BYTES: u64 = 1024;

/// Init sections hold tables without samples: a few kilobytes.
const INIT_LIMIT_BYTES: u64 = 1 << 20;

/// Fetches sources. Clones share what is kept.
#[derive(Clone)]
pub struct Inputs {
    origins: Arc<Origins>,
    sites: Arc<Sites>,
    kept: Cache<Arc<SourceKey>, Arc<Source>>,
    /// How often all was forgotten.
    forgotten: Arc<AtomicU64>,
    max_segment_bytes: u64,
    max_segment_seconds: f64,
}

#[derive(PartialEq, Eq, Hash)]
struct SourceKey {
    url: Url,
    range: Option<ByteRange>,
}

/// A source segment as the origin has it, and what it takes to read it.
#[derive(Debug, Clone)]
pub struct Ingredients {
    /// The origin's bytes, encrypted if they are.
    pub source: Arc<Source>,
    /// The clear bytes.
    pub clear: Bytes,
    /// What encrypts the result again.
    pub cipher: Option<SegmentCipher>,
}

impl Inputs {
    /// Sources within the configuration's limits.
    #[must_use]
    pub fn new(origins: Arc<Origins>, sites: Arc<Sites>, config: &Config) -> Self {
        let kept = Cache::builder()
            .max_capacity(config.cache.source_budget_bytes)
            .weigher(|_: &Arc<SourceKey>, source: &Arc<Source>| {
                u32::try_from(source.bytes.len() + 512).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(KEPT_FOR)
            .build();
        let forgotten = Arc::default();
        Self {
            origins,
            sites,
            kept,
            forgotten,
            max_segment_bytes: config.enhancer.max_segment_bytes,
            max_segment_seconds: config.enhancer.max_segment_duration.as_secs_f64(),
        }
    }

    /// Nothing that was fetched before is used again, what is being fetched now included.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.kept.invalidate_all();
    }

    /// Keeps what was fetched since `forgotten` was read.
    fn keep(&self, key: SourceKey, source: Arc<Source>, forgotten: u64) {
        let key = Arc::new(key);
        if self.forgotten.load(Ordering::SeqCst) == forgotten {
            self.kept.insert(Arc::clone(&key), source);
        }
        // Between the look and the insertion all may have been forgotten.
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.kept.invalidate(&key);
        }
    }

    /// Whether a segment is short enough to be one piece of work, as far as its playlist tells.
    #[must_use]
    pub fn takes(&self, segment: &Segment) -> bool {
        segment.duration_seconds <= self.max_segment_seconds
    }

    /// The source segment as the origin has it.
    ///
    /// # Errors
    /// [`Trouble::Origin`]; [`Trouble::NotListed`] where the edge may not fetch it.
    pub async fn segment(&self, site: &Site, segment: &Segment) -> Result<Arc<Source>, Trouble> {
        self.fetch(site, &segment.target, segment.byte_range, self.max_segment_bytes).await
    }

    /// The source segment, if it was fetched a moment ago.
    pub fn at_hand(&self, site: &Site, segment: &Segment) -> Option<Arc<Source>> {
        let url = self.place(site, &segment.target).ok()?.origin_url;
        self.kept.get(&SourceKey { url, range: segment.byte_range })
    }

    /// Whether the origin still has the version of the segment that `known` tells of. A new version is kept for the
    /// fetch that follows.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub async fn is_unchanged(
        &self,
        site: &Site,
        target: &Target,
        range: Option<ByteRange>,
        known: &Validator,
    ) -> Result<bool, Trouble> {
        let RouteMatch { route, origin_url: url } = self.place(site, target)?;
        let fetch = Fetch {
            url: &url,
            route,
            listed: true,
            range,
            limit_bytes: self.max_segment_bytes,
            unless: known.is_conditional().then_some(known),
            user_agent: None,
            text: false,
        };
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        match self.origins.fetch(&fetch).await.map_err(Trouble::Origin)? {
            Fetched::NotModified => Ok(true),
            Fetched::New(source) => {
                let unchanged = source.validator.matches(known);
                self.keep(SourceKey { url, range }, Arc::from(source), forgotten);
                Ok(unchanged)
            }
        }
    }

    /// What it takes to read `segment` once it is fetched.
    ///
    /// # Errors
    /// [`Trouble::Key`] or [`Trouble::Crypt`]: the source's bytes are then all there is.
    pub async fn open(
        &self,
        site: &Site,
        segment: &Segment,
        source: Arc<Source>,
    ) -> Result<Ingredients, Trouble> {
        let Some(cipher) = self.cipher(site, segment.aes128(), segment.keys.is_empty()).await? else {
            return Ok(Ingredients { clear: source.bytes.clone(), source, cipher: None });
        };
        let clear = decrypt(&cipher, &source.bytes).await?;
        Ok(Ingredients { source, clear, cipher: Some(cipher) })
    }

    /// The clear bytes of a source segment.
    ///
    /// # Errors
    /// As [`Self::segment`] and [`Self::open`].
    pub async fn clear(&self, site: &Site, segment: &Segment) -> Result<Bytes, Trouble> {
        let source = self.segment(site, segment).await?;
        Ok(self.open(site, segment, source).await?.clear)
    }

    /// A clear initialisation section, and what encrypts it again.
    ///
    /// # Errors
    /// [`Trouble::Origin`], [`Trouble::Key`] or [`Trouble::Crypt`].
    pub async fn init(&self, site: &Site, map: &Map) -> Result<Ingredients, Trouble> {
        let source = self.fetch(site, &map.target, map.byte_range, INIT_LIMIT_BYTES).await?;
        let Some(cipher) = self.cipher(site, map.aes128(), map.keys.is_empty()).await? else {
            return Ok(Ingredients { clear: source.bytes.clone(), source, cipher: None });
        };
        let clear = cipher.decrypt(&source.bytes).map_err(Trouble::Crypt)?;
        Ok(Ingredients { source, clear, cipher: Some(cipher) })
    }

    async fn cipher(
        &self,
        site: &Site,
        aes128: Option<Aes128>,
        is_clear: bool,
    ) -> Result<Option<SegmentCipher>, Trouble> {
        let Some(aes128) = aes128 else {
            // Encrypted, but not in a way the edge may or can undo.
            return if is_clear { Ok(None) } else { Err(Trouble::Key(None)) };
        };
        let key =
            self.fetch(site, &aes128.key, None, KEY_LIMIT_BYTES).await.map_err(|trouble| match trouble {
                Trouble::Origin(error) => Trouble::Key(Some(error)),
                _ => Trouble::Key(None),
            })?;
        SegmentCipher::new(&key.bytes, aes128.iv).map(Some).map_err(Trouble::Crypt)
    }

    async fn fetch(
        &self,
        site: &Site,
        target: &Target,
        range: Option<ByteRange>,
        limit_bytes: u64,
    ) -> Result<Arc<Source>, Trouble> {
        let RouteMatch { route, origin_url: url } = self.place(site, target)?;
        let key = SourceKey { url, range };
        if let Some(source) = self.kept.get(&key) {
            return Ok(source);
        }
        let fetch = Fetch {
            url: &key.url,
            route,
            listed: true,
            range,
            limit_bytes,
            unless: None,
            user_agent: None,
            text: false,
        };
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        match self.origins.fetch(&fetch).await.map_err(Trouble::Origin)? {
            Fetched::New(source) => {
                let source: Arc<Source> = Arc::from(source);
                self.keep(key, Arc::clone(&source), forgotten);
                Ok(source)
            }
            Fetched::NotModified => Err(Trouble::Origin(OriginError::Range)),
        }
    }

    fn place(&self, site: &Site, target: &Target) -> Result<RouteMatch, Trouble> {
        let path = target.edge().ok_or(Trouble::NotListed)?;
        self.sites.find(site, path).ok_or(Trouble::NotListed)
    }
}

/// A large segment decrypts in milliseconds: off the threads that move bytes.
async fn decrypt(cipher: &SegmentCipher, encrypted: &Bytes) -> Result<Bytes, Trouble> {
    let (cipher, encrypted) = (cipher.clone(), encrypted.clone());
    let decrypted = tokio::task::spawn_blocking(move || cipher.decrypt(&encrypted)).await;
    match decrypted {
        Ok(result) => result.map_err(Trouble::Crypt),
        Err(_) => Err(Trouble::Flight(crate::cache::flight::FlightError::Lost)),
    }
}
