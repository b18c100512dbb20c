//! What each new worker must be told: the sets in play, whose sessions it should have, and the tiers that are not to be used.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use acuity_enhancer::{RenditionSpec, Upscaler};
use acuity_models::Tier;
use tokio::runtime::Handle;

use super::lock;
use super::member::Member;
use crate::offers::Offers;
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

    /// Tiers that a rendition is not to be made with.
    pub(super) fn without(&self, spec: &RenditionSpec, now: Instant) -> Vec<Tier> {
        let Upscaler::Model { cluster, digest } = &spec.upscaler else { return Vec::new() };
        let withdrawn = current(&mut lock(&self.withdrawn), now);
        let of_it = withdrawn.iter().filter(|request| is_of(request, Some(spec.scale), cluster, digest));
        of_it.filter_map(|request| request.tier.parse().ok()).collect()
    }

    /// Takes what was withdrawn out of what a worker offers that several edges share: it is told nothing of it.
    pub(super) fn keep_out(&self, offers: &mut Offers, now: Instant) {
        for request in current(&mut lock(&self.withdrawn), now) {
            for set in &mut offers.sets {
                if is_of(&request, Some(set.scale), &set.cluster, &set.digest) {
                    set.models.retain(|(_, tier)| tier.label() != request.tier);
                }
            }
            for set in &mut offers.interpolators {
                if is_of(&request, None, &set.cluster, &set.digest) {
                    set.models.retain(|(_, tier)| tier.label() != request.tier);
                }
            }
        }
        offers.sets.retain(|set| !set.models.is_empty());
        offers.interpolators.retain(|set| !set.models.is_empty());
    }

    pub(super) fn all(&self, now: Instant) -> All {
        All {
            prepared: current(&mut lock(&self.prepared), now),
            withdrawn: current(&mut lock(&self.withdrawn), now),
        }
    }
}

fn is_of(request: &v1::WithdrawRequest, scale: Option<u32>, cluster: &str, digest: &str) -> bool {
    request.scale == scale
        && request
            .set
            .as_ref()
            .is_some_and(|set| (set.cluster.as_str(), set.digest.as_str()) == (cluster, digest))
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
    fn what_was_withdrawn_is_neither_offered_nor_asked_for() {
        let (memory, now) = (Memory::default(), Instant::now());
        let set = |tiers: &[Tier]| crate::Offer {
            cluster: "game".to_owned(),
            scale: 2,
            digest: "0a".to_owned(),
            models: tiers.iter().map(|tier| (tier.label().to_owned(), *tier)).collect(),
        };
        let spec = RenditionSpec {
            width: 640,
            height: 360,
            scale: 2,
            frame_rate_milli: 25_000,
            max_video_kbps: 1000,
            upscaler: Upscaler::Model { cluster: "game".to_owned(), digest: "0a".to_owned() },
            interpolation: None,
        };
        let withdraw = |tier: Tier| v1::WithdrawRequest {
            set: Some(v1::ModelSet { cluster: "game".to_owned(), digest: "0a".to_owned() }),
            scale: Some(2),
            tier: tier.label().to_owned(),
            at_least_ms: 1000,
        };
        let offered = |now: Instant| {
            let mut offers =
                Offers { sets: vec![set(&[Tier::Small, Tier::Medium])], interpolators: Vec::new() };
            memory.keep_out(&mut offers, now);
            offers.sets
        };
        memory.withdrawn(&withdraw(Tier::Medium), now);
        assert_eq!(
            (offered(now), memory.without(&spec, now)),
            (vec![set(&[Tier::Small])], vec![Tier::Medium])
        );
        let other = RenditionSpec { scale: 3, ..spec.clone() };
        assert_eq!(memory.without(&other, now), []);
        memory.withdrawn(&withdraw(Tier::Small), now);
        assert_eq!(offered(now), []);
        let later = now + Duration::from_secs(2);
        assert_eq!((offered(later).len(), memory.without(&spec, later)), (1, Vec::new()));
    }

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
