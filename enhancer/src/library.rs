//! The models that lanes work with, and the door between those who ask for them and the loader that makes them.
//!
//! Locks are held for look-ups only, never while a file is read or a session made, so neither a segment in flight nor a
//! request waits for a new catalogue.

mod hand;
mod losers;
mod middles;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::{Precision, Provider};
use acuity_models::{Catalogue, Sha256, Tier};
use bytes::Bytes;

use crate::interpolators::{Interpolating, Interpolators, Size};
use crate::model::{Model, SetModel};
use crate::offered::{Keeping, OfferedModel, OfferedSet, Refusal};
use crate::schedule::Costs;
use crate::sets::{Resolved, SetName, Sets, State};
use crate::{RenditionSpec, Upscaler};
pub(crate) use hand::Hand;
use hand::likely;
pub(crate) use losers::Losers;

pub(crate) struct Library {
    sets: Mutex<Sets<SetModel>>,
    /// Those that interpolate.
    pub(crate) interpolators: Interpolators,
    /// Of those that enlarge. Locked after `sets`.
    losers: Mutex<Losers>,
    published: Mutex<Published>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    lanes: usize,
    pub(crate) keeping: Keeping,
    /// What models cost on this machine.
    pub(crate) costs: Arc<Costs>,
}

/// What others see, as of the last install.
#[derive(Default)]
struct Published {
    offered: Arc<Vec<OfferedSet>>,
    refused: Arc<Vec<Refusal>>,
    installs: u64,
    settled: Option<(Provider, Precision)>,
}

#[derive(Default)]
struct Inbox {
    /// Only the newest counts.
    catalogue: Option<Arc<Catalogue>>,
    /// Each model at most once (see [`Model::wish`]), so there are no more than models.
    wishes: VecDeque<Arc<Model>>,
    /// Sessions of models that interpolate, each size of each at most once.
    middles: VecDeque<(Arc<Interpolating>, Size)>,
    closed: bool,
}

/// What the loader is to do next.
pub(crate) enum Errand {
    /// Somebody waits for a session of this model.
    Make(Arc<Model>),
    /// The same of a model that interpolates, for a size of picture.
    MakeMiddle(Arc<Interpolating>, Size),
    Install(Arc<Catalogue>),
    Close,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is changed in single steps: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    pub(crate) fn new(lanes: usize, keeping: Keeping, costs: Arc<Costs>) -> Self {
        Self {
            sets: Mutex::new(Sets::new(keeping.retire_after)),
            interpolators: Interpolators::new(keeping.retire_after),
            losers: Mutex::default(),
            published: Mutex::default(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            lanes,
            keeping,
            costs,
        }
    }

    pub(crate) fn sets(&self) -> MutexGuard<'_, Sets<SetModel>> {
        lock(&self.sets)
    }

    // What others see.

    pub(crate) fn offered(&self) -> Arc<Vec<OfferedSet>> {
        Arc::clone(&lock(&self.published).offered)
    }

    pub(crate) fn refused(&self) -> Arc<Vec<Refusal>> {
        Arc::clone(&lock(&self.published).refused)
    }

    pub(crate) fn installs(&self) -> u64 {
        lock(&self.published).installs
    }

    pub(crate) fn settled(&self) -> Option<(Provider, Precision)> {
        lock(&self.published).settled
    }

    pub(crate) fn set(&self, cluster: &str, scale: u32, digest: &str) -> Option<OfferedSet> {
        let sets = self.sets();
        let is_it = |name: &SetName| {
            (name.cluster.as_str(), name.scale, name.digest.as_str()) == (cluster, scale, digest)
        };
        let found = sets.all().into_iter().find(|(name, _, state)| *state != State::Stopped && is_it(name));
        found.map(|(name, models, _)| offered(name, models))
    }

    pub(crate) fn model_file(&self, sha256: &Sha256) -> Option<Bytes> {
        let sets = self.sets();
        let serving = sets.all().into_iter().filter(|(.., state)| *state != State::Stopped);
        let mut models = serving.flat_map(|(_, models, _)| models);
        models.find_map(|model| model.model.file(sha256))
    }

    // The loader's side.

    /// Makes `named` what is in force, but for what was found to lose.
    pub(crate) fn swap(&self, mut named: Vec<(SetName, Vec<SetModel>)>, refused: Vec<Refusal>) {
        let now = Instant::now();
        let mut sets = self.sets();
        lock(&self.losers).keep_out(&mut named, |model| model.entry.tier, now);
        sets.install(named, now);
        self.publish(&sets);
        lock(&self.published).refused = Arc::new(refused);
    }

    fn publish(&self, sets: &Sets<SetModel>) {
        let current = sets.all().into_iter().filter(|(.., state)| *state == State::Current);
        let offered = current.map(|(name, models, _)| offered(name, models)).collect();
        lock(&self.published).offered = Arc::new(offered);
    }

    /// Stops using a model, for `at_least` so long and until a new catalogue brings it again; whether it was in use.
    pub(crate) fn withdraw(&self, name: &SetName, tier: Tier, at_least: Duration) -> bool {
        let mut sets = self.sets();
        let withdrawn = sets.withdraw(name, |model| model.entry.tier == tier);
        if withdrawn {
            lock(&self.losers).add(name, tier, at_least);
            self.publish(&sets);
        }
        withdrawn
    }

    /// The models of a set in use and those of the current generic set of its scale, each cheap to dear.
    pub(crate) fn rivals(&self, name: &SetName) -> (Vec<Arc<Model>>, Vec<Arc<Model>>) {
        let (own, generic) = self.sets().rivals(name);
        let models = |models: Vec<SetModel>| models.into_iter().map(|model| model.model).collect();
        (models(own), models(generic))
    }

    /// Says that an install has come to its end.
    pub(crate) fn installed(&self) {
        lock(&self.published).installs += 1;
    }

    /// Says what was found to run networks quickest.
    pub(crate) fn settle(&self, way: (Provider, Precision)) {
        lock(&self.published).settled = Some(way);
    }

    /// Waits for something to do, at most for `longest`. Who waits for a session comes first.
    pub(crate) fn next_errand(&self, longest: Duration) -> Option<Errand> {
        let is_empty = |inbox: &mut Inbox| {
            !inbox.closed && inbox.wishes.is_empty() && inbox.middles.is_empty() && inbox.catalogue.is_none()
        };
        let inbox = lock(&self.inbox);
        let (mut inbox, _) =
            self.arrived.wait_timeout_while(inbox, longest, is_empty).unwrap_or_else(PoisonError::into_inner);
        if inbox.closed {
            return Some(Errand::Close);
        }
        if let Some(model) = inbox.wishes.pop_front() {
            return Some(Errand::Make(model));
        }
        if let Some((model, size)) = inbox.middles.pop_front() {
            return Some(Errand::MakeMiddle(model, size));
        }
        inbox.catalogue.take().map(Errand::Install)
    }

    /// A wish that came while the loader is at a long errand.
    pub(crate) fn next_wish(&self) -> Option<Arc<Model>> {
        lock(&self.inbox).wishes.pop_front()
    }

    // The askers' side.

    pub(crate) fn install(&self, catalogue: Arc<Catalogue>) {
        lock(&self.inbox).catalogue = Some(catalogue);
        self.arrived.notify_one();
    }

    pub(crate) fn close(&self) {
        lock(&self.inbox).closed = true;
        self.arrived.notify_one();
    }

    /// Asks for one more session of `model`, unless there are as many as could be run at one time.
    pub(crate) fn wish(&self, model: &Arc<Model>) {
        if model.wish(self.lanes, Instant::now()) {
            lock(&self.inbox).wishes.push_back(Arc::clone(model));
            self.arrived.notify_one();
        }
    }

    /// Sees to it that the set which will be asked for has sessions.
    pub(crate) fn prepare(&self, name: &SetName) {
        let Resolved { models, .. } = self.sets().resolve(name, Instant::now());
        let idle = |place: &usize| models.get(*place).is_some_and(|model| model.model.has_idle());
        for place in likely(&models).into_iter().filter(|place| !idle(place)) {
            if let Some(model) = models.get(place) {
                self.wish(&model.model);
            }
        }
    }
}

fn name(spec: &RenditionSpec) -> Option<SetName> {
    match &spec.upscaler {
        Upscaler::Bicubic => None,
        Upscaler::Model { cluster, digest } => {
            Some(SetName { cluster: cluster.clone(), scale: spec.scale, digest: digest.clone() })
        }
    }
}

fn offered(name: &SetName, models: &[SetModel]) -> OfferedSet {
    let model = |model: &SetModel| OfferedModel {
        id: model.entry.id.clone(),
        tier: model.entry.tier,
        sha256: model.entry.sha256,
        parameters: model.entry.parameters,
        bytes: model.model.file_bytes(),
        entry: Arc::clone(&model.entry),
    };
    OfferedSet {
        cluster: name.cluster.clone(),
        scale: name.scale,
        digest: name.digest.clone(),
        models: models.iter().map(model).collect(),
    }
}
