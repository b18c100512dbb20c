//! Who watches what: the renditions that were asked for lately, and how many different clients asked.
//!
//! A rendition is put down when a request for it was *answered*, so that made-up URLs fill nothing. Everything is bounded; what does not fit is
//! counted and not listed. Clients are told apart by a hash of address and user agent, which is forgotten after two minutes: several behind
//! one address with one player are one, and nothing here says who.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_playlist::RenditionToken;

use crate::site::Site;

/// Parts that are locked by themselves, and renditions in each.
const SHARDS: usize = 8;
const STREAMS_LIMIT: usize = 64;

/// Clients of a rendition that are told apart, in each generation; above it the figure is "at least".
const CLIENTS_LIMIT: usize = 4096;

/// Different things that a rendition is made by, and are told.
const MADE_BY_LIMIT: usize = 8;

/// How long a generation lasts: what is shown is of one to two of these.
const GENERATION: Duration = Duration::from_secs(60);

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) site: &'a Site,
    pub(crate) token: &'a Arc<RenditionToken>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) user_agent: &'a [u8],
    pub(crate) made_by: Option<&'a Arc<str>>,
    pub(crate) bytes: usize,
}

/// What is known of a rendition.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) site: Site,
    pub(super) token: Arc<RenditionToken>,
    pub(super) clients: usize,
    /// Segments by what made them, the most frequent first.
    pub(super) made_by: Vec<(Arc<str>, u64)>,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) last: Instant,
}

/// The renditions that are watched.
pub(crate) struct Streams {
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
    hasher: RandomState,
}

struct Entry {
    site: Site,
    token: Arc<RenditionToken>,
    began: Instant,
    last: Instant,
    now: Generation,
    before: Generation,
}

#[derive(Default)]
struct Generation {
    clients: HashSet<u64>,
    made_by: Vec<(Arc<str>, u64)>,
    requests: u64,
    bytes: u64,
}

impl Default for Streams {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Streams {
    /// Puts a request down. `false`: there is no room for its rendition.
    pub(crate) fn seen(&self, seen: &Seen<'_>, at: Instant) -> bool {
        let key = self.hasher.hash_one((seen.site, seen.token));
        let client = self.hasher.hash_one((seen.client, seen.user_agent));
        let mut shard = lock(&self.shards[key as usize % SHARDS]);
        if shard.len() >= STREAMS_LIMIT && !shard.contains_key(&key) {
            shard.retain(|_, entry| entry.is_shown(at));
            if shard.len() >= STREAMS_LIMIT {
                return false;
            }
        }
        let entry = shard.entry(key).or_insert_with(|| Entry {
            site: seen.site.clone(),
            token: Arc::clone(seen.token),
            began: at,
            last: at,
            now: Generation::default(),
            before: Generation::default(),
        });
        entry.turn(at);
        entry.last = at;
        entry.now.count(seen, client);
        true
    }

    /// Those of the last minutes, the most watched first.
    pub(super) fn list(&self, at: Instant) -> Vec<Stream> {
        let mut streams = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, entry| entry.is_shown(at));
            streams.extend(shard.values_mut().map(|entry| {
                entry.turn(at);
                entry.shown()
            }));
        }
        let name = |stream: &Stream| (stream.site.name().to_owned(), stream.token.to_string());
        streams.sort_by_cached_key(|stream| (usize::MAX - stream.clients, name(stream)));
        streams
    }
}

impl Entry {
    fn is_shown(&self, at: Instant) -> bool {
        at.saturating_duration_since(self.last) < GENERATION * 2
    }

    /// What is older than two generations is forgotten.
    fn turn(&mut self, at: Instant) {
        let age = at.saturating_duration_since(self.began);
        if age < GENERATION {
            return;
        }
        let now = std::mem::take(&mut self.now);
        self.before = if age < GENERATION * 2 { now } else { Generation::default() };
        self.began = at;
    }

    fn shown(&self) -> Stream {
        let mut made_by = self.now.made_by.clone();
        for (what, count) in &self.before.made_by {
            add(&mut made_by, what, *count);
        }
        made_by.sort_by_key(|(_, count)| u64::MAX - count);
        Stream {
            site: self.site.clone(),
            token: Arc::clone(&self.token),
            clients: self.now.clients.union(&self.before.clients).count(),
            made_by,
            requests: self.now.requests + self.before.requests,
            bytes: self.now.bytes + self.before.bytes,
            last: self.last,
        }
    }
}

impl Generation {
    fn count(&mut self, seen: &Seen<'_>, client: u64) {
        self.requests += 1;
        self.bytes += seen.bytes as u64;
        if self.clients.len() < CLIENTS_LIMIT {
            self.clients.insert(client);
        }
        if let Some(what) = seen.made_by {
            add(&mut self.made_by, what, 1);
        }
    }
}

fn add(made_by: &mut Vec<(Arc<str>, u64)>, what: &Arc<str>, count: u64) {
    if let Some((_, counted)) = made_by.iter_mut().find(|(known, _)| known == what) {
        *counted += count;
    } else if made_by.len() < MADE_BY_LIMIT {
        made_by.push((Arc::clone(what), count));
    }
}

/// What is changed under these locks is whole after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn token(kbps: usize) -> Arc<RenditionToken> {
        let text = format!("v1.x2.1280x720.29970.{kbps}.generic-1a2b3c4d.L29jZWFuLzM2MHAvMzYwcC5tM3U4");
        Arc::new(text.parse().unwrap())
    }

    fn ask(streams: &Streams, token: &Arc<RenditionToken>, client: u8, at: Instant) -> bool {
        let (site, made_by) = (Site::default(), Arc::from("generic-x2-s"));
        let seen = Seen {
            site: &site,
            token,
            client: Some([192, 0, 2, client].into()),
            user_agent: b"tv",
            made_by: Some(&made_by),
            bytes: 10,
        };
        streams.seen(&seen, at)
    }

    #[test]
    fn clients_are_counted_once_and_forgotten() {
        let (streams, token, start) = (Streams::default(), token(2800), Instant::now());
        for client in [1, 1, 2] {
            assert!(ask(&streams, &token, client, start));
        }
        let list = streams.list(start);
        assert_eq!((list.len(), list[0].clients, list[0].requests, list[0].bytes), (1, 2, 3, 30));
        assert_eq!(list[0].made_by, [(Arc::from("generic-x2-s"), 3)]);
        let next = start + GENERATION;
        ask(&streams, &token, 3, next);
        assert_eq!(streams.list(next)[0].clients, 3, "those of the generation before are still there");
        let later = next + GENERATION;
        ask(&streams, &token, 3, later);
        assert_eq!(streams.list(later)[0].clients, 1);
        assert!(streams.list(later + GENERATION * 2).is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_old_makes_room() {
        let (streams, start) = (Streams::default(), Instant::now());
        let taken = (0..2000).filter(|at| ask(&streams, &token(100 + at), 1, start)).count();
        assert!(taken <= SHARDS * STREAMS_LIMIT, "{taken}");
        assert_eq!(streams.list(start).len(), taken);
        let later = start + GENERATION * 3;
        assert!(ask(&streams, &token(5000), 1, later));
        assert_eq!(streams.list(later).len(), 1);
    }
}
