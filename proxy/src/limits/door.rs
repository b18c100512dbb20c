//! How many connections are open, and by whom.
//!
//! The limit stands before the system's own: where files run out, a process can neither accept (the backlog fills, and nobody gets so much as a refusal)
//! nor reach its origins. Connections above it are closed at once, before TLS; those that stand are not touched.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::{Config, IpNet};
use async_trait::async_trait;
use pingora::listeners::ConnectionFilter;

use super::address::ClientKey;
use super::clients::{Clients, Held};
use super::{Instruments, Limit};
use crate::process;

/// Where nobody says how many files may be open, `limits.connections = "auto"` is this.
const UNLIMITED: usize = 100_000;

/// As long as pingora gives a TLS handshake. One that fails counts as long for its client, because nobody tells.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(61);

/// Between two looks at what is really open, while it is full: each costs a microsecond a file.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Counts connections. Clones are of one door.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

struct Shared {
    /// Where the configuration does not say how many there may be.
    auto: usize,
    clients: Arc<Clients>,
    trusted: Vec<IpNet>,
    instruments: Instruments,
    /// Files that were open before the first connection.
    other_files: usize,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Connections that are served.
    served: usize,
    /// Those that were let in and are not served yet: TLS handshakes. Nobody tells when one fails.
    greeting: HashMap<SocketAddr, Greeting>,
    looked: Option<Instant>,
    tidied: Option<Instant>,
}

/// A connection between being let in and being served.
struct Greeting {
    since: Instant,
    /// Of its client's own number; none of a trusted proxy's.
    of_client: Option<Held>,
}

/// A connection that is served; it counts until this is dropped.
pub struct Entered {
    door: Door,
    _of_client: Option<Held>,
}

impl Door {
    /// A door through which nobody has come.
    #[must_use]
    pub fn new(config: &Config, clients: Arc<Clients>) -> Self {
        // Half is for what connections cause: each may need one to an origin.
        let auto = process::max_files().map_or(UNLIMITED, |most| (most / 2).max(16));
        Self(Arc::new(Shared {
            auto,
            trusted: config.server.trusted_proxies.clone(),
            instruments: clients.instruments().clone(),
            clients,
            other_files: process::open_files().unwrap_or(0),
            book: Mutex::default(),
        }))
    }

    /// A connection is to be served; `None`: it is one too many for its client, counted.
    #[must_use]
    pub fn enter(&self, peer: Option<SocketAddr>) -> Option<Entered> {
        let mut book = self.book();
        let of_client = match peer.map(|peer| (peer, book.greeting.remove(&peer))) {
            None => None,
            Some((_, Some(greeting))) => greeting.of_client,
            // forgotten, because room was short
            Some((peer, None)) => self.of_client(peer).or_else(|| self.too_many(Limit::ClientConnections))?,
        };
        book.served += 1;
        drop(book);
        self.0.instruments.opened.inc();
        self.0.instruments.open.inc();
        Some(Entered { door: self.clone(), _of_client: of_client })
    }

    /// One connection more of this client's number, if it has one; `None`: it is one too many.
    fn of_client(&self, peer: SocketAddr) -> Option<Option<Held>> {
        if self.is_trusted(peer.ip()) {
            return Some(None);
        }
        let client = self.0.clients.client(ClientKey::from(peer.ip()));
        self.0.clients.connection(&client).map(Some)
    }

    /// Nothing, and that is counted.
    fn too_many<T>(&self, limit: Limit) -> Option<T> {
        self.0.instruments.met(limit);
        None
    }

    /// A connection comes; `None`: it is one too many, counted.
    fn greet(&self, peer: Option<&SocketAddr>) -> Option<()> {
        let (now, most) = (Instant::now(), self.most());
        let mut book = self.book();
        let files = || process::open_files().map(|files| files.saturating_sub(self.0.other_files));
        if !book.has_room(most, now, files) {
            return self.too_many(Limit::Connections);
        }
        let Some(peer) = peer else { return Some(()) };
        // A handshake is a connection of its client already: whoever begins thousands of them and goes on with none would fill
        // the place of all others.
        let of_client = self.of_client(*peer).or_else(|| {
            book.tidy(now);
            self.of_client(*peer).or_else(|| self.too_many(Limit::ClientConnections))
        })?;
        book.greeting.insert(*peer, Greeting { since: now, of_client });
        Some(())
    }

    /// How many there may be by now.
    fn most(&self) -> usize {
        self.0.clients.limits().connections.unwrap_or(self.0.auto)
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The limits that are in force.
    #[must_use]
    pub fn limits(&self) -> impl std::ops::Deref<Target = acuity_config::LimitsConfig> {
        self.0.clients.limits()
    }

    /// What is changed under this lock is whole after each step.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Whether one more may come. `open_files`: what the process has open, looked at only where it matters.
    fn has_room(&mut self, most: usize, now: Instant, open_files: impl FnOnce() -> Option<usize>) -> bool {
        if self.served + self.greeting.len() < most {
            return true;
        }
        if self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_AGAIN) {
            self.looked = Some(now);
            self.forget_old(now);
            // Who fails its handshake is gone and nobody says so; but there are no more of them than files.
            if let Some(files) = open_files() {
                self.forget_oldest(files.saturating_sub(self.served));
            }
        }
        self.served + self.greeting.len() < most
    }

    /// Forgets what can be no handshake any more, now and then.
    fn tidy(&mut self, now: Instant) {
        if self.tidied.is_none_or(|tidied| now.duration_since(tidied) >= LOOK_AGAIN) {
            self.tidied = Some(now);
            self.forget_old(now);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        self.greeting.retain(|_, greeting| now.duration_since(greeting.since) < HANDSHAKE_LIMIT);
    }

    fn forget_oldest(&mut self, keep: usize) {
        let mut ages: Vec<(Instant, SocketAddr)> =
            self.greeting.iter().map(|(peer, greeting)| (greeting.since, *peer)).collect();
        ages.sort_unstable();
        for (_, peer) in ages.iter().take(self.greeting.len().saturating_sub(keep)) {
            self.greeting.remove(peer);
        }
    }
}

#[async_trait]
impl ConnectionFilter for Door {
    async fn should_accept(&self, peer: Option<&SocketAddr>) -> bool {
        self.greet(peer).is_some()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("most", &self.most()).finish_non_exhaustive()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut book = self.door.book();
        book.served = book.served.saturating_sub(1);
        drop(book);
        self.door.0.instruments.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn handshakes_that_failed_are_forgotten_when_room_is_short() {
        let (mut book, now) = (Book::default(), Instant::now());
        let never = || -> Option<usize> { unreachable!("there is room") };
        for port in 0..10 {
            assert!(book.has_room(10, now, never));
            let since = now + Duration::from_millis(u64::from(port));
            book.greeting.insert(peer(port), Greeting { since, of_client: None });
        }
        assert!(!book.has_room(10, now, || Some(10)), "all of them are open");
        assert!(!book.has_room(10, now, || Some(0)), "looked a moment ago");
        let later = now + LOOK_AGAIN;
        assert!(book.has_room(10, later, || Some(7)));
        assert!(book.greeting.len() == 7 && !book.greeting.contains_key(&peer(0)), "the oldest went");
        book.served = 3;
        let much_later = later + HANDSHAKE_LIMIT + Duration::from_secs(1);
        assert!(book.has_room(10, much_later, || None), "no handshake takes so long");
        assert!(book.greeting.is_empty());
    }

    #[test]
    fn what_is_served_counts() {
        let mut book = Book { served: 10, ..Book::default() };
        assert!(!book.has_room(10, Instant::now(), || Some(10)));
        book.served = 9;
        assert!(book.has_room(10, Instant::now(), || Some(10)));
    }
}
