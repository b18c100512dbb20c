//! The last fall-backs, with their reasons.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use acuity_playlist::RenditionToken;

use crate::wanted::Wanted;

/// So many are kept; each is some hundred bytes.
const LIMIT: usize = 40;

/// One, or several of one rendition and reason in a row.
#[derive(Debug, Clone)]
pub(super) struct Fallback {
    pub(super) last: SystemTime,
    pub(super) reason: &'static str,
    /// Without query and signature.
    pub(super) path: String,
    pub(super) site: String,
    pub(super) token: Arc<RenditionToken>,
    pub(super) count: u64,
}

/// The last ones, the latest first. Clones share them.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<VecDeque<Fallback>>>);

impl Recent {
    /// One more, at this time.
    pub(crate) fn fell_back(&self, wanted: &Wanted, reason: &'static str, at: SystemTime) {
        let path = crate::traces::path_of(&wanted.path_and_query);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&mut Fallback| known.reason == reason && known.token == wanted.token;
        if let Some(known) = all.front_mut().filter(same) {
            (known.last, known.path) = (at, path);
            known.count += 1;
            return;
        }
        all.truncate(LIMIT - 1);
        all.push_front(Fallback {
            last: at,
            reason,
            path,
            site: wanted.site.name().to_owned(),
            token: Arc::clone(&wanted.token),
            count: 1,
        });
    }

    pub(super) fn list(&self) -> Vec<Fallback> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn wanted(kbps: usize, path: &str) -> Wanted {
        let token = format!("v1.x2.1280x720.29970.{kbps}.generic-1a2b3c4d.L29jZWFuLzM2MHAvMzYwcC5tM3U4");
        Wanted::new(Site::default(), Arc::new(token.parse().unwrap()), "http://o/", path)
    }

    #[test]
    fn the_last_ones_are_kept_without_secrets() {
        let (recent, now) = (Recent::default(), SystemTime::now());
        for number in 0..3 {
            recent.fell_back(&wanted(2800, &format!("/a/{number}.ts?token=secret")), "deadline_short", now);
        }
        recent.fell_back(&wanted(2800, "/a/3.ts"), "no_video", now);
        let list = recent.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].reason, list[0].path.as_str()), ("no_video", "/a/3.ts"));
        assert_eq!((list[1].count, list[1].path.as_str()), (3, "/a/2.ts"));
        for kbps in 100..300 {
            recent.fell_back(&wanted(kbps, "/b.ts"), "no_video", now);
        }
        assert_eq!(recent.list().len(), LIMIT);
    }
}
