//! Are specialised models worth using? Found out while they are used: where the origin has the high rendition too, one of its
//! segments is fetched now and then, and what the models make of the low one is compared with it. A model that loses against
//! the generic one is not used any more.
//!
//! It is nobody's business to wait for this. A check runs behind a segment that has landed, one at a time, begins when nothing
//! else is being made, and the enhancer puts it aside whenever something is. It is off unless the configuration asks for
//! it: each check costs the origin the very traffic that the edge is there to save.
//!
//! | module | what |
//! |---|---|
//! | [`counterpart`] | which segment of the high rendition shows the same; pure |
//! | [`book`] | what was found, and what follows from it; pure |
//! | [`instruments`] | the metrics |

pub mod book;
pub mod counterpart;
pub mod instruments;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::GuardConfig;
use acuity_enhancer::{CancelFlag, CompareError, CompareRequest, Comparison, Enhancer};
use acuity_models::Tier;
use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::hls::RenditionToken;
use crate::hls::media::Segment;
use crate::hls::token::GENERIC_CLUSTER;
use crate::inputs::Inputs;
use crate::playlists::Playlists;
use crate::rescue::Trouble;
use crate::site::Site;
use book::{Book, Judged, ModelName, Sample};
use counterpart::counterpart;
use instruments::Instruments;

/// Renditions whose counterparts are remembered: more than an edge has in play at a time. Of one that was forgotten
/// nothing is checked until its multivariant playlist is asked for again.
const COUNTERPARTS_LIMIT: u64 = 4096;

/// How long a check waits for a moment at which nothing is being made. After that its segment is leaving a live playlist.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the enhancer may take over a comparison, interruptions included; what is held meanwhile is some tens of megabytes.
const COMPARE_PATIENCE: Duration = Duration::from_secs(120);

/// The guard. Clones share it.
#[derive(Clone)]
pub struct Guard(Option<Arc<Shared>>);

struct Shared {
    config: GuardConfig,
    playlists: Playlists,
    inputs: Inputs,
    enhancer: Enhancer,
    counterparts: Cache<(Site, RenditionToken), Arc<str>>,
    book: Mutex<Book>,
    sampler: Mutex<Sampler>,
    turns: Arc<Semaphore>,
    instruments: Instruments,
}

/// A segment that a model has just made.
#[derive(Debug, Clone)]
pub struct Landed {
    /// Whose it is.
    pub site: Site,
    /// The rendition.
    pub token: Arc<RenditionToken>,
    /// The source segment, as its playlist has it.
    pub segment: Segment,
    /// The clear initialisation section, if there is one.
    pub init: Option<Bytes>,
    /// The clear source segment.
    pub clear: Bytes,
    /// The tier that made it.
    pub tier: Tier,
}

/// Takes a share of what comes, evenly: of a fifth, every fifth.
#[derive(Debug, Default)]
struct Sampler {
    owed: f64,
}

impl Sampler {
    fn takes(&mut self, rate: f64) -> bool {
        self.owed += rate;
        let takes = self.owed >= 1.0;
        if takes {
            self.owed -= 1.0;
        }
        takes
    }
}

impl Guard {
    /// A guard as configured; off if its rate is zero.
    #[must_use]
    pub fn new(
        config: GuardConfig,
        playlists: Playlists,
        inputs: Inputs,
        enhancer: Enhancer,
        instruments: Instruments,
    ) -> Self {
        if config.rate <= 0.0 {
            return Self(None);
        }
        let book = Mutex::new(Book::new(config.at_least, config.margin_db));
        let counterparts = Cache::new(COUNTERPARTS_LIMIT);
        let (sampler, turns) = (Mutex::default(), Arc::new(Semaphore::new(1)));
        Self(Some(Arc::new(Shared {
            config,
            playlists,
            inputs,
            enhancer,
            counterparts,
            book,
            sampler,
            turns,
            instruments,
        })))
    }

    /// The origin's own variant of the size that a rendition reaches has its media playlist here (edge path and query).
    pub fn remember(&self, site: &Site, token: &RenditionToken, playlist: &str) {
        if let Some(shared) = self.0.as_ref().filter(|_| is_specialised(token)) {
            shared.counterparts.insert((site.clone(), token.clone()), playlist.into());
        }
    }

    /// Whether anything is to be told of segments of this rendition.
    #[must_use]
    pub fn watches(&self, token: &RenditionToken) -> bool {
        self.0.is_some() && is_specialised(token)
    }

    /// A segment has been made as its rendition promised. `is_quiet`: whether nothing is being made. Returns at once.
    pub fn landed(&self, landed: Landed, is_quiet: impl Fn() -> bool + Send + 'static) {
        let Some(shared) = self.0.as_ref().filter(|_| self.watches(&landed.token)) else { return };
        // A set that was replaced goes on for those who play it; it is judged no more.
        if !shared.is_offered(&landed.token, landed.tier) || !lock(&shared.sampler).takes(shared.config.rate)
        {
            return;
        }
        let Ok(turn) = Arc::clone(&shared.turns).try_acquire_owned() else {
            return shared.instruments.check("busy");
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move { shared.check(landed, turn, is_quiet).await });
    }

    /// Brings the gauges up to date, for a look at the metrics.
    pub fn show(&self) {
        let Some(shared) = &self.0 else { return };
        let offered = shared.enhancer.offered();
        for name in lock(&shared.book).stopped() {
            let is_back = offered.iter().any(|set| {
                (&set.cluster, set.scale) == (&name.cluster, name.scale)
                    && set.models.iter().any(|model| model.tier == name.tier)
            });
            shared.instruments.stopped(name, !is_back);
        }
    }
}

/// Whether a rendition is made by models that have the generic ones to beat.
fn is_specialised(token: &RenditionToken) -> bool {
    !token.is_plain() && token.cluster != GENERIC_CLUSTER
}

/// What is behind these locks is changed in single steps: a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_offered(&self, token: &RenditionToken, tier: Tier) -> bool {
        let offered = self.enhancer.offered();
        let set = offered.iter().find(|set| {
            (&set.cluster, set.scale, &set.digest) == (&token.cluster, token.scale, &token.digest)
        });
        set.is_some_and(|set| set.models.iter().any(|model| model.tier == tier))
    }

    async fn check(&self, landed: Landed, turn: OwnedSemaphorePermit, is_quiet: impl Fn() -> bool) {
        let outcome = match self.compare(&landed, is_quiet).await {
            Ok(comparison) => self.judge(&landed, &comparison),
            Err(why) => {
                tracing::debug!(uri = %landed.segment.uri, why, "no check");
                why
            }
        };
        self.instruments.check(outcome);
        drop(turn);
    }

    /// What the models make of a segment, against the origin's high rendition; or why that cannot be said.
    async fn compare(
        &self,
        landed: &Landed,
        is_quiet: impl Fn() -> bool,
    ) -> Result<Comparison, &'static str> {
        let Landed { site, token, segment, .. } = landed;
        let known = self.counterparts.get(&(site.clone(), (**token).clone()));
        let path = known.ok_or("no_counterpart")?;
        quiet(is_quiet).await?;
        let half_frame_seconds = 500.0 / f64::from(token.frame_rate_milli.max(1));
        let lists_it =
            |playlist: &crate::hls::MediaPlaylist| counterpart(segment, playlist, half_frame_seconds).is_ok();
        let playlist = self.playlists.media_that(site, &path, lists_it).await.map_err(|why| label(&why))?;
        let high = counterpart(segment, &playlist, half_frame_seconds).map_err(|why| why.label())?;
        let high_segment = self.inputs.clear(site, high).await.map_err(|why| label(&why))?;
        let high_init = match &high.map {
            Some(map) => Some(self.inputs.init(site, map).await.map_err(|why| label(&why))?.clear),
            None => None,
        };
        self.ask(CompareRequest {
            init: landed.init.clone(),
            segment: landed.clear.clone(),
            high_init,
            high_segment,
            cluster: token.cluster.clone(),
            scale: token.scale,
            digest: token.digest.clone(),
            tiers: vec![landed.tier],
            frames: self.config.frames,
            cancel: CancelFlag::default(),
        })
        .await
        .map_err(|why| why.label())
    }

    async fn ask(&self, request: CompareRequest) -> Result<Comparison, CompareError> {
        let (sender, reply) = oneshot::channel();
        let cancel = request.cancel.clone();
        self.enhancer.compare(request, Box::new(move |result| drop(sender.send(result))));
        match timeout(COMPARE_PATIENCE, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CompareError::WorkerLost),
            Err(_) => {
                cancel.cancel();
                Err(CompareError::Cancelled)
            }
        }
    }

    /// Writes a comparison down, and acts if that settles it.
    fn judge(&self, landed: &Landed, comparison: &Comparison) -> &'static str {
        let Landed { token, tier, .. } = landed;
        let found = comparison.tiers.iter().find(|found| found.tier == *tier);
        // It may have been stopped, replaced or removed meanwhile.
        let Some(found) = found.filter(|_| self.is_offered(token, *tier)) else {
            return CompareError::NoModel.label();
        };
        let name = ModelName { cluster: token.cluster.clone(), scale: token.scale, tier: *tier };
        let sample = Sample {
            over_generic_db: found.generic_db.map(|generic| found.own_db - generic),
            over_plain_db: found.own_db - comparison.plain_db,
        };
        let Judged { standing, wins, stop } = lock(&self.book).record(&name, &token.digest, sample);
        self.instruments.standing(&name, &standing);
        tracing::debug!(
            cluster = name.cluster,
            scale = name.scale,
            tier = name.tier.label(),
            own_db = found.own_db,
            generic_db = found.generic_db,
            plain_db = comparison.plain_db,
            "checked against the origin's high rendition"
        );
        if stop {
            self.enhancer.withdraw(
                &name.cluster,
                name.scale,
                &token.digest,
                name.tier,
                self.config.stopped_for,
            );
            self.instruments.stopped(&name, true);
            tracing::warn!(
                cluster = name.cluster,
                scale = name.scale,
                tier = name.tier.label(),
                digest = token.digest,
                checks = standing.checks,
                over_generic_db = standing.over_generic_db,
                over_plain_db = standing.over_plain_db,
                margin_db = self.config.margin_db,
                "a specialised model loses and is not used any more"
            );
        }
        if wins { "won" } else { "lost" }
    }
}

/// Waits until nothing is being made.
async fn quiet(is_quiet: impl Fn() -> bool) -> Result<(), &'static str> {
    let give_up = Instant::now() + QUIET_PATIENCE;
    while !is_quiet() {
        if Instant::now() >= give_up {
            return Err("busy");
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn label(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Key(_) | Trouble::Crypt(_) => "encrypted",
        Trouble::Origin(_) | Trouble::Enhance(_) | Trouble::Flight(_) | Trouble::NotListed => "origin_failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_evenly() {
        for (rate, taken) in [
            (1.0, vec![0, 1, 2, 3, 4, 5, 6, 7]),
            (0.5, vec![1, 3, 5, 7]),
            (0.375, vec![2, 5, 7]),
            (0.25, vec![3, 7]),
            (0.1, vec![]),
        ] {
            let mut sampler = Sampler::default();
            let places: Vec<usize> = (0..8).filter(|_| sampler.takes(rate)).collect();
            assert_eq!(places, taken, "{rate}");
        }
    }
}
