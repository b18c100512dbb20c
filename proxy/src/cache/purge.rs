//! Forgetting on request: which objects an operator wants gone, and that what is made of them meanwhile does not come back.
//!
//! A purge has a number. Whatever is made notes the number in force when it begins, before it reads its source, and asks when it is done
//! whether a later purge meant it: then it is still sent to those who waited for it, who asked before the purge, and is not kept. Those
//! who ask after the purge do not join it but cause a new one.
//!
//! A tier of the cache takes part by keeping [`Named`] with each object and forgetting those that [`Purge::matches`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use acuity_playlist::uri;
use serde::{Deserialize, Serialize};

use super::key::ObjectKey;

/// Purges that are remembered. What began before the oldest of them is not kept, whatever it is: so many purges within the minutes that
/// a segment can take are a script gone wild, and forgetting too much is only slow.
const REMEMBERED: usize = 1024;

/// What an enhanced object is called, as far as a purge can mean it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The site it is kept for; empty where the host decides nothing.
    pub site: Box<str>,
    /// Edge path and query of its source.
    pub path_and_query: Box<str>,
    /// Clusters whose networks its rendition is for: that which enlarges, and that which makes pictures between, if one does.
    pub clusters: Vec<Box<str>>,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purge {
    /// Everything that is made of one source, whatever its query.
    Path(String),
    /// Everything whose source's path begins so, in whole segments.
    Prefix(String),
    /// Everything of renditions for a cluster.
    Cluster(String),
    /// Everything.
    All,
}

/// A purge, perhaps of one site only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Only what is kept for this site; `None`: of all.
    pub site: Option<String>,
    /// What.
    pub purge: Purge,
}

impl Order {
    /// Whether it means an object of that name.
    #[must_use]
    pub fn matches(&self, named: &Named) -> bool {
        self.site.as_ref().is_none_or(|site| **site == *named.site) && self.purge.matches(named)
    }
}

impl Purge {
    fn matches(&self, named: &Named) -> bool {
        let path = || uri::canonical_path(uri::split_query(&named.path_and_query).0);
        match self {
            Self::Path(wanted) => path() == uri::canonical_path(wanted),
            Self::Prefix(prefix) => crate::signed::covers(prefix, &named.path_and_query),
            Self::Cluster(name) => named.clusters.iter().any(|cluster| **cluster == **name),
            Self::All => true,
        }
    }
}

/// The purges so far, and what is being made. Clones share them.
#[derive(Clone, Default)]
pub struct Purges(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for reading while something is kept and for writing while a purge is noted, so that no purge falls between asking and
    /// keeping.
    log: RwLock<Log>,
    begun: AtomicU64,
    making: Mutex<HashMap<u64, (ObjectKey, Named)>>,
}

#[derive(Default)]
struct Log {
    /// Purges ever noted.
    count: u64,
    latest: VecDeque<Order>,
}

impl Log {
    /// Whether something that began when `since` purges had been noted has been meant by one since.
    fn means(&self, since: u64, named: &Named) -> bool {
        let later = usize::try_from(self.count.saturating_sub(since)).unwrap_or(usize::MAX);
        later > self.latest.len() || self.latest.iter().rev().take(later).any(|order| order.matches(named))
    }
}

/// Something that is being made; over when it is dropped.
pub struct Making {
    purges: Purges,
    id: u64,
    since: u64,
    named: Named,
}

impl Purges {
    /// Something is being made from now on.
    #[must_use]
    pub fn begin(&self, key: ObjectKey, named: Named) -> Making {
        let since = self.0.log.read().unwrap_or_else(PoisonError::into_inner).count;
        let id = self.0.begun.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.making).insert(id, (key, named.clone()));
        Making { purges: self.clone(), id, since, named }
    }

    /// Notes a purge; gives the keys of what is being made and is meant by it.
    pub fn note(&self, order: &Order) -> Vec<ObjectKey> {
        let mut log = self.0.log.write().unwrap_or_else(PoisonError::into_inner);
        log.count += 1;
        log.latest.push_back(order.clone());
        if log.latest.len() > REMEMBERED {
            log.latest.pop_front();
        }
        drop(log);
        let making = lock(&self.0.making);
        making.values().filter(|(_, named)| order.matches(named)).map(|(key, _)| *key).collect()
    }
}

impl Making {
    /// What it is called.
    #[must_use]
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// Calls `keep` unless a purge has meant this meanwhile; whether it did.
    pub fn keep(&self, keep: impl FnOnce()) -> bool {
        let log = self.purges.0.log.read().unwrap_or_else(PoisonError::into_inner);
        let purged = log.means(self.since, &self.named);
        if !purged {
            keep();
        }
        !purged
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        lock(&self.purges.0.making).remove(&self.id);
    }
}

/// The map is changed in single steps: a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, cluster: &str) -> Named {
        Named { site: "".into(), path_and_query: path.into(), clusters: vec![cluster.into()] }
    }

    fn key(path: &str) -> ObjectKey {
        ObjectKey::new("", "http://o/", "t", path)
    }

    fn all_sites(purge: Purge) -> Order {
        Order { site: None, purge }
    }

    #[test]
    fn what_a_purge_means() {
        let path = |text: &str| Purge::Path(text.to_owned());
        let prefix = |text: &str| Purge::Prefix(text.to_owned());
        for (purge, object, expected) in [
            (path("/a/1.ts"), "/a/1.ts", true),
            (path("/a/1.ts"), "/a/1.ts?v=2", true),
            (path("/a/%31.ts"), "/a/1.ts", true),
            (path("/a/1.ts"), "/a/1.tsx", false),
            (prefix("/a"), "/a/1.ts", true),
            (prefix("/a/"), "/a/b/1.ts", true),
            (prefix("/a"), "/ab/1.ts", false),
            (prefix("/"), "/ab/1.ts", true),
            (Purge::Cluster("games".to_owned()), "/x", true),
            (Purge::Cluster("sport".to_owned()), "/x", false),
            (Purge::All, "/x", true),
        ] {
            assert_eq!(
                all_sites(purge.clone()).matches(&named(object, "games")),
                expected,
                "{purge:?} {object}"
            );
        }
        let elsewhere = Order { site: Some("tv.example".to_owned()), purge: Purge::All };
        assert!(!elsewhere.matches(&named("/x", "games")));
    }

    #[test]
    fn what_was_begun_before_a_purge_is_not_kept_after_it() {
        let purges = Purges::default();
        let (old, other) =
            (purges.begin(key("/a/1.ts"), named("/a/1.ts", "g")), purges.begin(key("/b"), named("/b", "g")));
        assert_eq!(purges.note(&all_sites(Purge::Prefix("/a".to_owned()))), [key("/a/1.ts")]);
        let new = purges.begin(key("/a/1.ts"), named("/a/1.ts", "g"));
        assert!(!old.keep(|| unreachable!("it was purged")));
        assert!(other.keep(|| {}) && new.keep(|| {}));
        drop((old, other, new));
        assert!(purges.note(&all_sites(Purge::All)).is_empty(), "nothing is being made any more");
    }

    #[test]
    fn what_is_older_than_what_is_remembered_is_not_kept() {
        let purges = Purges::default();
        let old = purges.begin(key("/a"), named("/a", "g"));
        for _ in 0..=REMEMBERED {
            purges.note(&all_sites(Purge::Cluster("none".to_owned())));
        }
        assert!(!old.keep(|| unreachable!("too much has been forgotten to tell")));
    }
}
