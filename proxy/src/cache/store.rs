//! Enhanced objects in memory: moka, weighed by their bytes, bounded by a byte budget.
//!
//! Least recently used goes first. moka's default (TinyLFU) refuses a newcomer that was asked for less often than what
//! it would displace, and the newest segment of a live stream is exactly such a newcomer: it would be made once for
//! every viewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::key::{ObjectKey, entity_tag};
use super::pages;
use super::purge::{Named, Order};
use crate::metrics::Kind;
use crate::origin::Validator;

/// What an entry costs beside its bytes: key, validator, headers, moka's own records. Keeps a flood of tiny init
/// segments within the budget too.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// `Content-Type` of fragmented MP4.
pub const MP4: &str = "video/mp4";
/// `Content-Type` of MPEG-TS.
pub const TRANSPORT_STREAM: &str = "video/mp2t";

/// A finished object, ready to be sent.
#[derive(Debug)]
pub struct Object {
    /// The body.
    pub bytes: Bytes,
    /// Strong entity tag, as the header wants it.
    pub etag: HeaderValue,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Segment or init segment.
    pub kind: Kind,
    /// What a purge knows it by.
    pub named: Named,
    /// Which source it was made of.
    pub validator: Validator,
    /// How it was made, for `Cache-Status` and the log: a model's id, `plain` or `source`.
    pub made_by: Arc<str>,
    /// When it was made or last found to be still true.
    pub confirmed: Instant,
    /// For how long after that it is given out without asking the origin.
    pub fresh_for: Duration,
    /// For how long something less than the rendition promises is good enough; `None`: it is what was promised.
    pub improve_after: Option<Duration>,
    /// Seconds it took to make.
    pub seconds: f64,
    /// Whether the origin forbids that other nodes get it.
    pub private: bool,
    followed: AtomicBool,
    asked: AtomicU32,
}

/// What an [`Object`] is made of; the fields mean the same.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct NewObject {
    pub bytes: Bytes,
    pub content_type: &'static str,
    pub kind: Kind,
    pub named: Named,
    pub validator: Validator,
    pub made_by: Arc<str>,
    pub fresh_for: Duration,
    pub improve_after: Option<Duration>,
    pub seconds: f64,
    pub private: bool,
}

impl Object {
    /// A new object, confirmed now.
    #[must_use]
    pub fn new(new: NewObject) -> Self {
        let NewObject {
            bytes,
            content_type,
            kind,
            named,
            validator,
            made_by,
            fresh_for,
            improve_after,
            seconds,
            private,
        } = new;
        let etag =
            HeaderValue::from_str(&entity_tag(&bytes)).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        let followed = AtomicBool::new(false);
        let confirmed = Instant::now();
        Self {
            bytes: pages::settle(bytes),
            etag,
            content_type,
            kind,
            named,
            validator,
            made_by,
            confirmed,
            fresh_for,
            improve_after,
            seconds,
            private,
            followed,
            asked: AtomicU32::new(0),
        }
    }

    /// The same object, found to be still true now.
    #[must_use]
    pub fn confirmed_again(&self, fresh_for: Duration) -> Self {
        Self {
            bytes: self.bytes.clone(),
            etag: self.etag.clone(),
            content_type: self.content_type,
            kind: self.kind,
            named: self.named.clone(),
            validator: self.validator.clone(),
            made_by: Arc::clone(&self.made_by),
            confirmed: Instant::now(),
            fresh_for,
            improve_after: self.improve_after,
            seconds: self.seconds,
            private: self.private,
            followed: AtomicBool::new(false),
            asked: AtomicU32::new(self.asked.load(Ordering::Relaxed)),
        }
    }

    /// The same object, confirmed so long ago.
    #[must_use]
    pub fn confirmed_before(mut self, age: Duration) -> Self {
        match self.confirmed.checked_sub(age) {
            Some(confirmed) => self.confirmed = confirmed,
            // Before this machine's clock began.
            None => self.fresh_for = Duration::ZERO,
        }
        self
    }

    /// How long it may still be given out without asking the origin; `None` once that is over.
    #[must_use]
    pub fn freshness_left(&self, now: Instant) -> Option<Duration> {
        self.fresh_for
            .checked_sub(now.saturating_duration_since(self.confirmed))
            .filter(|left| !left.is_zero())
    }

    /// Whether it is less than was promised and has been for long enough.
    #[must_use]
    pub fn is_due_for_improvement(&self, now: Instant) -> bool {
        self.improve_after.is_some_and(|after| now.saturating_duration_since(self.confirmed) >= after)
    }

    /// For how long caches behind this one may keep it, counted from when it was confirmed as `Age` is.
    #[must_use]
    pub fn lifetime(&self, now: Instant) -> Duration {
        match self.improve_after {
            Some(after) => self.fresh_for.min(now.saturating_duration_since(self.confirmed) + after),
            None => self.fresh_for,
        }
    }

    /// A player asked for it.
    pub fn count_request(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// How many players have asked for it: about as many will ask for the next one.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// `true` for the first caller alone: the one who starts producing what follows this segment.
    pub fn first_to_follow(&self) -> bool {
        !self.followed.swap(true, Ordering::Relaxed)
    }
}

/// The cache of enhanced objects. Clones share it.
#[derive(Clone)]
pub struct Store {
    objects: Cache<ObjectKey, Arc<Object>>,
    /// Copies of what other nodes own: a part of the budget, so that they displace nothing that no other node has.
    copies: Cache<ObjectKey, Arc<Object>>,
}

impl Store {
    /// A cache that keeps at most `budget_bytes` (0 keeps nothing).
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        Self::with_copies(budget_bytes, 0.0, Duration::ZERO)
    }

    /// The same, `share` of it for copies of what other nodes own; one that nobody asks for `idle` goes.
    #[must_use]
    pub fn with_copies(budget_bytes: u64, share: f64, idle: Duration) -> Self {
        let copies_bytes = (budget_bytes as f64 * share) as u64;
        let cache = |bytes: u64| {
            Cache::builder().max_capacity(bytes).eviction_policy(EvictionPolicy::lru()).weigher(
                |_, object: &Arc<Object>| {
                    u32::try_from(object.bytes.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
                },
            )
        };
        Self {
            objects: cache(budget_bytes.saturating_sub(copies_bytes)).build(),
            copies: cache(copies_bytes).time_to_idle(idle).build(),
        }
    }

    /// The object, fresh or not.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.objects.get(key).or_else(|| self.copies.get(key))
    }

    /// Whether there is an object that may be given out as it is.
    #[must_use]
    pub fn has_fresh(&self, key: &ObjectKey, now: Instant) -> bool {
        self.get(key).is_some_and(|object| object.freshness_left(now).is_some())
    }

    /// Keeps `object`, if the budget and moka's admission let it.
    pub fn put(&self, key: ObjectKey, object: Arc<Object>) {
        self.objects.insert(key, object);
        // moka evicts behind; a segment weighs a megabyte, so the budget is held at once.
        self.objects.run_pending_tasks();
        self.copies.invalidate(&key);
    }

    /// Keeps a copy of what another node owns, for as long as somebody asks for it now and then.
    pub fn put_copy(&self, key: ObjectKey, object: Arc<Object>) {
        // What this node made itself once, and is not as good any more.
        self.objects.invalidate(&key);
        self.copies.insert(key, object);
        self.copies.run_pending_tasks();
    }

    /// Forgets what is meant; gives how many objects that were, and their bytes. Looks at every entry: milliseconds for the hundred
    /// thousand that fit into a hundred gigabytes.
    pub fn forget(&self, order: &Order) -> (u64, u64) {
        let (own, copies) = (forget(&self.objects, order), forget(&self.copies, order));
        (own.0 + copies.0, own.1 + copies.1)
    }

    /// The same, of copies alone.
    pub fn forget_copies(&self, order: &Order) {
        forget(&self.copies, order);
    }

    /// Bytes of copies (entries' overhead included).
    #[must_use]
    pub fn copies_bytes(&self) -> u64 {
        self.copies.run_pending_tasks();
        self.copies.weighted_size()
    }

    /// Bytes kept (entries' overhead included).
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.run_pending_tasks();
        self.objects.weighted_size() + self.copies_bytes()
    }

    /// Entries kept.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.objects.entry_count() + self.copies.entry_count()
    }
}

fn forget(kept: &Cache<ObjectKey, Arc<Object>>, order: &Order) -> (u64, u64) {
    let (mut objects, mut bytes) = (0, 0);
    for (key, object) in kept {
        if order.matches(&object.named) {
            kept.invalidate(&*key);
            objects += 1;
            bytes += object.bytes.len() as u64;
        }
    }
    (objects, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn object(length: usize) -> Arc<Object> {
        let bytes = Bytes::from(vec![0; length]);
        Arc::new(Object::new(NewObject {
            bytes,
            content_type: "video/mp2t",
            kind: Kind::Segment,
            named: Named { site: "".into(), path_and_query: "/a".into(), clusters: Vec::new() },
            validator: Validator::default(),
            made_by: "plain".into(),
            fresh_for: Duration::from_secs(60),
            improve_after: None,
            seconds: 0.1,
            private: false,
        }))
    }

    fn key(path: &str) -> ObjectKey {
        ObjectKey::new("", "http://o/", "t", path)
    }

    #[test]
    fn the_budget_is_in_bytes() {
        let store = Store::new(100_000);
        for at in 0..40 {
            store.put(key(&format!("/{at}.ts")), object(9_000));
        }
        assert!(store.bytes() <= 100_000, "{}", store.bytes());
        assert!((1..=10).contains(&store.entries()), "{}", store.entries());
    }

    #[test]
    fn the_newest_segment_displaces_older_ones_however_popular() {
        let store = Store::new(50_000);
        for at in 0..4 {
            store.put(key(&format!("/{at}.ts")), object(9_000));
            for _ in 0..50 {
                assert!(store.get(&key(&format!("/{at}.ts"))).is_some());
            }
        }
        for at in 4..20 {
            store.put(key(&format!("/{at}.ts")), object(9_000));
            assert!(store.bytes() <= 50_000);
            assert!(store.get(&key(&format!("/{at}.ts"))).is_some(), "segment {at} was refused");
        }
    }

    #[test]
    fn an_object_larger_than_the_budget_is_not_kept() {
        let store = Store::new(1_000);
        store.put(key("/a"), object(5_000));
        assert_eq!(store.bytes(), 0);
        assert!(store.get(&key("/a")).is_none());
    }

    #[test]
    fn copies_have_their_part_of_the_budget_and_go_when_nobody_asks() {
        let store = Store::with_copies(100_000, 0.4, Duration::from_millis(200));
        for at in 0..40 {
            store.put_copy(key(&format!("/copy{at}.ts")), object(9_000));
            store.put(key(&format!("/{at}.ts")), object(9_000));
        }
        let copies = store.copies_bytes();
        assert!((10_000..=40_000).contains(&copies), "{copies}");
        assert!(store.bytes() <= 100_000 && store.bytes() > 60_000, "{}", store.bytes());
        assert!(store.get(&key("/copy39.ts")).is_some() && store.has_fresh(&key("/39.ts"), Instant::now()));
        std::thread::sleep(Duration::from_millis(400));
        assert!(store.get(&key("/copy39.ts")).is_none(), "nobody has asked");
        assert!(store.get(&key("/39.ts")).is_some());
        store.put_copy(key("/a"), object(10));
        let order = Order { site: None, purge: crate::cache::purge::Purge::Path("/a".to_owned()) };
        assert!(store.forget(&order).0 > 1);
        assert!(store.get(&key("/a")).is_none());
    }

    #[test]
    fn freshness_ends_and_begins_again() {
        let object = object(10);
        let made = object.confirmed;
        assert!(object.freshness_left(made + Duration::from_secs(59)).is_some());
        assert!(object.freshness_left(made + Duration::from_secs(60)).is_none());
        let again = object.confirmed_again(Duration::from_secs(5));
        assert!(again.freshness_left(again.confirmed + Duration::from_secs(4)).is_some());
        assert_eq!(again.etag, object.etag);
    }

    #[test]
    fn what_is_less_than_promised_is_made_anew_after_a_while() {
        let promised = object(10);
        let later = promised.confirmed + Duration::from_secs(30);
        assert!(!promised.is_due_for_improvement(later));
        assert_eq!(promised.lifetime(later), Duration::from_secs(60));
        let less = Object {
            improve_after: Some(Duration::from_secs(20)),
            ..promised.confirmed_again(promised.fresh_for)
        };
        assert!(!less.is_due_for_improvement(less.confirmed + Duration::from_secs(19)));
        assert!(less.is_due_for_improvement(less.confirmed + Duration::from_secs(20)));
        assert_eq!(less.lifetime(less.confirmed + Duration::from_secs(5)), Duration::from_secs(25));
        assert_eq!(less.lifetime(less.confirmed + Duration::from_secs(55)), Duration::from_secs(60));
    }

    #[test]
    fn one_caller_follows() {
        let object = object(10);
        assert!(object.first_to_follow());
        assert!(!object.first_to_follow());
    }
}
