//! The models that lanes work with, and the door between those who ask for them and the loader that makes them.
//!
//! Locks are held for look-ups only, never while a file is read or a session made, so neither a segment in flight nor a
//! request waits for a new catalogue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_models::{Catalogue, Sha256, Tier};
use bytes::Bytes;

use crate::demand::Wish;
use crate::model::{Model, Session, SetModel};
use crate::offered::{Keeping, OfferedModel, OfferedSet, Refusal};
use crate::schedule::{Costs, Need};
use crate::sets::{Resolved, SetName, Sets, State};
use crate::{EnhanceRequest, FallbackReason, Priority, RenditionSpec, Upscaler};

pub(crate) struct Library {
    sets: Mutex<Sets<SetModel>>,
    /// Models that lose against others, and until when at least they are kept out. Locked after `sets`. One is forgotten
    /// when a new catalogue brings it after that, or does not know its set any more, so there are no more than models.
    losers: Mutex<HashMap<(SetName, Tier), Instant>>,
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
}

#[derive(Default)]
struct Inbox {
    /// Only the newest counts.
    catalogue: Option<Arc<Catalogue>>,
    /// Each model at most once (see [`Model::wish`]), so there are no more than models.
    wishes: VecDeque<Arc<Model>>,
    closed: bool,
}

/// What the loader is to do next.
pub(crate) enum Errand {
    /// Somebody waits for a session of this model.
    Make(Arc<Model>),
    Install(Arc<Catalogue>),
    Close,
}

/// What a lane may make a segment with.
#[derive(Default)]
pub(crate) struct Hand {
    /// The tiers, cheap to dear, each with a session if one is free.
    pub(crate) tiers: Vec<(Arc<Model>, Option<Session>)>,
    /// Why these are not the rendition's own, if they are not.
    pub(crate) fallback: Option<FallbackReason>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is changed in single steps: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    pub(crate) fn new(lanes: usize, keeping: Keeping, costs: Arc<Costs>) -> Self {
        Self {
            sets: Mutex::new(Sets::new(keeping.retire_after)),
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
        let mut losers = lock(&self.losers);
        losers.retain(|(name, _), until| now < *until && named.iter().any(|(other, _)| other == name));
        for (name, models) in &mut named {
            models.retain(|model| !losers.contains_key(&(name.clone(), model.entry.tier)));
        }
        drop(losers);
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
            lock(&self.losers).insert((name.clone(), tier), Instant::now() + at_least);
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

    /// Waits for something to do, at most for `longest`. Who waits for a session comes first.
    pub(crate) fn next_errand(&self, longest: Duration) -> Option<Errand> {
        let is_empty =
            |inbox: &mut Inbox| !inbox.closed && inbox.wishes.is_empty() && inbox.catalogue.is_none();
        let inbox = lock(&self.inbox);
        let (mut inbox, _) =
            self.arrived.wait_timeout_while(inbox, longest, is_empty).unwrap_or_else(PoisonError::into_inner);
        if inbox.closed {
            return Some(Errand::Close);
        }
        if let Some(model) = inbox.wishes.pop_front() {
            return Some(Errand::Make(model));
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

    /// What `request` is made with if its turn were now; `None`: a session that it should have is being made or in
    /// another lane's hands, and there is time to wait for it.
    ///
    /// A request with a deadline waits until half of its time is over if no tier at all has a free session, and is then
    /// scaled plainly. One without a deadline waits for the tiers it is meant to be made with.
    pub(crate) fn hand(&self, request: &EnhanceRequest, queued: Instant) -> Option<Hand> {
        let Some(name) = name(&request.spec) else { return Some(Hand::default()) };
        let now = Instant::now();
        let Resolved { mut models, missing } = self.sets().resolve(&name, now);
        let mut fallback = missing.then_some(FallbackReason::ModelMissing);
        if !models.is_empty() {
            models.retain(|model| !model.model.is_hopeless(now));
            if models.is_empty() {
                fallback = fallback.or(Some(FallbackReason::ModelFailed));
            }
        }
        let Wish { deadline, priority, .. } = request.wish();
        let wanted = match (deadline, priority) {
            // The best, and the cheapest beside it: see `luma`.
            (None, Priority::Viewer) => {
                let best = models.len().checked_sub(1);
                best.into_iter().chain((models.len() > 1).then_some(0)).collect()
            }
            _ => likely(&models),
        };
        let all: Vec<usize> = (0..models.len()).collect();
        let taken = if deadline.is_some() { &all } else { &wanted };
        let tier = |(place, model): (usize, &SetModel)| {
            let session = if taken.contains(&place) { model.model.take() } else { None };
            (Arc::clone(&model.model), session)
        };
        let tiers: Vec<_> = models.iter().enumerate().map(tier).collect();
        let has = |place: &usize| tiers.get(*place).is_some_and(|(_, session)| session.is_some());
        let is_enough = match deadline {
            Some(deadline) => {
                let patience_ends = queued + deadline.saturating_duration_since(queued) / 2;
                models.is_empty() || all.iter().any(has) || now >= patience_ends
            }
            None => wanted.iter().all(has),
        };
        for place in wanted.iter().filter(|place| !has(place)) {
            if let Some((model, _)) = tiers.get(*place) {
                self.wish(model);
            }
        }
        is_enough.then_some(Hand { tiers, fallback })
    }
}

/// Seconds of film of a segment whose playlist says nothing: the middle of what packagers make.
const USUAL_SECONDS: f64 = 5.0;

impl Library {
    /// What a segment will take, before it is opened, beside others in all lanes. `z`: spreads above the middle that it must hold for.
    pub(crate) fn need(&self, request: &EnhanceRequest, z: f64) -> Need {
        let spec = &request.spec;
        let picture_pixels = u64::from(spec.width) * u64::from(spec.height);
        let seconds = request.demand.media().map_or(USUAL_SECONDS, |media| media.as_secs_f64());
        let pictures = (seconds * f64::from(spec.frame_rate_milli) / 1000.0).ceil() as u64;
        let pixels = picture_pixels.saturating_mul(pictures);
        let plain_seconds = self.costs.plain(picture_pixels, pixels, self.lanes).at(z);
        let models = name(spec).map(|name| self.sets().resolve(&name, Instant::now()).models);
        let cheapest = models.and_then(|models| models.into_iter().next());
        let quickest = cheapest.map(|model| model.model.forecast(picture_pixels, pixels, self.lanes).at(z));
        Need {
            plain_seconds,
            quickest_seconds: quickest.map_or(plain_seconds, |tier| tier.max(plain_seconds)),
        }
    }
}

impl Hand {
    /// The session of the tier at `place`, or of the best below it that has one, and that of the cheapest tier if it is another. All
    /// others go back.
    pub(crate) fn pick(self, place: usize, library: &Library) -> (Option<Session>, Option<Session>) {
        if let Some((model, None)) = self.tiers.get(place) {
            library.wish(model);
        }
        let mut tiers = self.tiers.into_iter().take(place + 1).map(|(_, session)| session);
        let cheapest = tiers.next().flatten();
        match tiers.flatten().next_back() {
            Some(session) => (Some(session), cheapest),
            None => (cheapest, None),
        }
    }
}

/// The places of the tiers that a viewer's segment is likely to be made with: the cheapest, and those that keep up with a film.
fn likely(models: &[SetModel]) -> Vec<usize> {
    (0..models.len())
        .filter(|place| *place == 0 || models.get(*place).is_some_and(|model| model.model.is_real_time()))
        .collect()
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
