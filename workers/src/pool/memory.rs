//! What each new worker must be told: the sets in play, whose sessions it should have, and the tiers that are not to be used.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::lock;
use super::member::Member;
use crate::wire::v1;

/// For how long a set counts as in play after it was put into a playlist: as long as the enhancer itself keeps idle sessions.
const IN_PLAY: Duration = Duration::from_secs(10 * 60);

/// Things that are remembered at most; the oldest make room.
const LIMIT: usize = 512;

#[derive(Default)]
pub(super) struct Memory {
    prepared: Mutex<Vec<(v1::PrepareRequest, Instant)>>,
    withdrawn: Mutex<Vec<(v1::WithdrawRequest, Instant)>>,
}

/// All that is to be told at one moment.
pub(super) struct All {
    prepared: Vec<v1::PrepareRequest>,
    withdrawn: Vec<v1::WithdrawRequest>,
}

impl All {
    pub(super) fn tell(&self, member: &Member, handle: &Handle) {
        for request in &self.withdrawn {
            member.tell_withdraw(handle, request.clone());
        }
        for request in &self.prepared {
            member.tell_prepare(handle, request.clone());
        }
    }
}

impl Memory {
    pub(super) fn prepared(&self, request: &v1::PrepareRequest, now: Instant) {
        put(&mut lock(&self.prepared), request, now + IN_PLAY);
    }

    pub(super) fn withdrawn(&self, request: &v1::WithdrawRequest, now: Instant) {
        put(&mut lock(&self.withdrawn), request, now + Duration::from_millis(request.at_least_ms));
    }

    pub(super) fn all(&self, now: Instant) -> All {
        All {
            prepared: current(&mut lock(&self.prepared), now),
            withdrawn: current(&mut lock(&self.withdrawn), now),
        }
    }
}

fn put<T: Clone + PartialEq>(list: &mut Vec<(T, Instant)>, request: &T, until: Instant) {
    list.retain(|(other, _)| other != request);
    if list.len() >= LIMIT {
        list.remove(0);
    }
    list.push((request.clone(), until));
}

fn current<T: Clone>(list: &mut Vec<(T, Instant)>, now: Instant) -> Vec<T> {
    list.retain(|(_, until)| *until > now);
    list.iter().map(|(request, _)| request.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_play_is_forgotten() {
        let (memory, now) = (Memory::default(), Instant::now());
        let set = |cluster: &str| v1::PrepareRequest {
            set: Some(v1::ModelSet { cluster: cluster.to_owned(), digest: "0".to_owned() }),
            scale: Some(2),
            ..v1::PrepareRequest::default()
        };
        memory.prepared(&set("a"), now);
        memory.prepared(&set("b"), now + IN_PLAY / 2);
        memory.prepared(&set("a"), now + IN_PLAY / 2);
        assert_eq!(memory.all(now + IN_PLAY).prepared, [set("b"), set("a")]);
        assert!(memory.all(now + IN_PLAY * 2).prepared.is_empty());
    }
}
