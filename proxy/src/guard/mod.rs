//! Are specialised models worth using? Found out while they are used. Where the origin has the high rendition too, one of its
//! segments is fetched now and then, and what enlarges the low one is compared with it. What makes pictures between the source's
//! is compared with the source itself: of three pictures the middle one is what is to be made of the others. A model that loses
//! against the generic one is not used any more.
//!
//! It is nobody's business to wait for this. A check runs behind a segment that has landed, one at a time, begins when nothing
//! else is being made, and the enhancer puts it aside whenever something is. It is off unless the configuration asks for
//! it: each check of what enlarges costs the origin the very traffic that the edge is there to save.
//!
//! | module | what |
//! |---|---|
//! | [`subject`] | which sets are watched, and whose segment it is |
//! | [`counterpart`] | which segment of the high rendition shows the same; pure |
//! | [`book`] | what was found, and what follows from it; pure |
//! | `check` | one check, from the segment to the verdict |
//! | [`instruments`] | the metrics |

pub mod book;
mod check;
pub mod counterpart;
pub mod instruments;
pub mod subject;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acuity_config::GuardConfig;
use acuity_enhancer::Report;
use acuity_models::{Task, Tier};
use acuity_playlist::RenditionToken;
use acuity_playlist::media::Segment;
use acuity_workers::Engine;
use arc_swap::ArcSwap;
use bytes::Bytes;
use moka::sync::Cache;
use tokio::sync::Semaphore;

use crate::inputs::Inputs;
use crate::playlists::Playlists;
use crate::site::Site;
use book::Book;
use instruments::Instruments;
use subject::{Subject, maker, subjects};

/// Renditions whose counterparts are remembered: more than an edge has in play at a time. Of one that was forgotten
/// nothing is checked until its multivariant playlist is asked for again.
const COUNTERPARTS_LIMIT: u64 = 4096;

/// The guard. Clones share it.
#[derive(Clone)]
pub struct Guard(Option<Arc<Shared>>);

struct Shared {
    config: GuardConfig,
    /// Changed with the configuration.
    sources: ArcSwap<(Playlists, Inputs)>,
    engine: Engine,
    counterparts: Cache<(Site, RenditionToken), Arc<str>>,
    book: Mutex<Book>,
    enlarging: Line,
    interpolating: Line,
    /// One check at a time, whatever it is of.
    turn: Semaphore,
    instruments: Instruments,
}

/// What comes of one task. A segment may be made by models of both, which are judged independently.
struct Line {
    sampler: Mutex<Sampler>,
    /// One is checked or waits for its turn; others are not held for it.
    place: Arc<Semaphore>,
}

impl Default for Line {
    fn default() -> Self {
        Self { sampler: Mutex::default(), place: Arc::new(Semaphore::new(1)) }
    }
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
    /// The set that is judged by it.
    pub subject: Subject,
    /// The set's tier that made it.
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
        engine: Engine,
        instruments: Instruments,
    ) -> Self {
        if config.rate <= 0.0 {
            return Self(None);
        }
        let book = Mutex::new(Book::new(config.at_least, config.margin_db));
        let counterparts = Cache::new(COUNTERPARTS_LIMIT);
        Self(Some(Arc::new(Shared {
            config,
            sources: ArcSwap::from_pointee((playlists, inputs)),
            engine,
            counterparts,
            book,
            enlarging: Line::default(),
            interpolating: Line::default(),
            turn: Semaphore::new(1),
            instruments,
        })))
    }

    /// Takes sources from here from now on.
    pub fn read_from(&self, playlists: Playlists, inputs: Inputs) {
        if let Some(shared) = &self.0 {
            shared.sources.store(Arc::new((playlists, inputs)));
        }
    }

    /// The origin's own variant of the size that a rendition reaches has its media playlist here (edge path and query).
    pub fn remember(&self, site: &Site, token: &RenditionToken, playlist: &str) {
        let enlarges = |subject: &Subject| subject.task == Task::Upscale;
        if let Some(shared) = self.0.as_ref().filter(|_| subjects(token).iter().any(enlarges)) {
            shared.counterparts.insert((site.clone(), token.clone()), playlist.into());
        }
    }

    /// What is to be told of a segment of this rendition: the sets that are judged by it, each with the tier that made it.
    #[must_use]
    pub fn judged_by(&self, token: &RenditionToken, report: &Report) -> Vec<(Subject, Tier)> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let tier = |subject: &Subject| {
            let id = maker(subject.task, report)?;
            // A set that was replaced goes on for those who play it; it is judged no more.
            let models = subject.models(&shared.engine);
            models.into_iter().find_map(|(model, tier)| (model == id).then_some(tier))
        };
        let with_tier = |subject: Subject| tier(&subject).map(|tier| (subject, tier));
        subjects(token).into_iter().filter_map(with_tier).collect()
    }

    /// A segment has been made by a set's own model. `is_quiet`: whether nothing is being made. Returns at once.
    pub fn landed(&self, landed: Landed, is_quiet: impl Fn() -> bool + Send + 'static) {
        let Some(shared) = &self.0 else { return };
        let task = landed.subject.task;
        let line = shared.line(task);
        if !lock(&line.sampler).takes(shared.config.rate) {
            return;
        }
        let Ok(place) = Arc::clone(&line.place).try_acquire_owned() else {
            return shared.instruments.check(task, "busy");
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            shared.check(landed, is_quiet).await;
            drop(place);
        });
    }

    /// Brings the gauges up to date, for a look at the metrics.
    pub fn show(&self) {
        let Some(shared) = &self.0 else { return };
        for name in lock(&shared.book).stopped() {
            let (task, cluster) = (name.task, name.cluster.as_str());
            let is_back = subject::offers(&shared.engine, task, cluster, name.scale)
                .iter()
                .any(|(_, models)| models.iter().any(|(_, tier)| *tier == name.tier));
            shared.instruments.stopped(name, !is_back);
        }
    }
}

impl Shared {
    fn line(&self, task: Task) -> &Line {
        match task {
            Task::Upscale => &self.enlarging,
            Task::Interpolate => &self.interpolating,
        }
    }
}

/// What is behind these locks is changed in single steps: a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
