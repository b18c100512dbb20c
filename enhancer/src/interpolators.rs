//! The networks that interpolate, and their sessions.
//!
//! They are verified, proven, replaced, withdrawn and stood in for like those that enlarge ([`crate::sets`] decides for both), but
//! their sessions are for one size of picture each, and they are not what a segment stands or falls with: where there is no session
//! yet, pictures repeat and the loader is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::Precision;
use acuity_models::{ModelEntry, Tier};

use crate::inference::{Middle, Runtime};
use crate::library::Losers;
use crate::sets::{Resolved, SetName, Sets, State};

/// Sizes of picture that a model has sessions for at one time: ladders have three or four that are small enough.
const SIZES_LIMIT: usize = 8;

/// Part of the film's time that a model may take on its lane to be chosen for a viewer: the upscaler, the encoder and others want
/// theirs.
const SHARE: f64 = 0.35;

/// Width and height.
pub(crate) type Size = (usize, usize);

/// A proven network.
pub(crate) struct Interpolating {
    pub(crate) entry: Arc<ModelEntry>,
    model: bytes::Bytes,
    runtime: Runtime,
    /// Seconds for a pixel of a picture, when it proved itself.
    proof_seconds: f64,
    pools: Mutex<HashMap<Size, Pool>>,
}

struct Pool {
    idle: Vec<Middle>,
    /// Sessions that exist, those in lanes' hands included.
    made: usize,
    /// The loader has been asked for one more; not again if that came to nothing.
    wished: bool,
    last_run: Instant,
}

impl Interpolating {
    pub(crate) fn new(
        entry: Arc<ModelEntry>,
        (model, runtime): (bytes::Bytes, Runtime),
        (session, size, seconds): (Middle, Size, f64),
    ) -> Self {
        let pool = Pool { idle: vec![session], made: 1, wished: false, last_run: Instant::now() };
        let proof_seconds = seconds / (size.0 * size.1).max(1) as f64;
        Self { entry, model, runtime, proof_seconds, pools: Mutex::new(HashMap::from([(size, pool)])) }
    }

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn pools(&self) -> MutexGuard<'_, HashMap<Size, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds for one picture of so many pixels.
    pub(crate) fn seconds(&self, pixels: f64) -> f64 {
        self.proof_seconds * pixels
    }

    /// Provider and precision.
    pub(crate) fn runs_on(&self) -> (&'static str, &'static str) {
        (self.runtime.provider_name(), Precision::Float.as_str())
    }

    /// Sessions that exist.
    fn made(&self) -> usize {
        self.pools().values().map(|pool| pool.made).sum()
    }

    /// What its costs are learned under.
    pub(crate) fn key(&self) -> String {
        self.entry.sha256.to_string()
    }

    /// A session for pictures of one size, if one is free.
    fn take(self: &Arc<Self>, size: Size) -> Option<MiddleSession> {
        let middle = self.pools().get_mut(&size)?.idle.pop()?;
        Some(MiddleSession { model: Arc::clone(self), size, middle: Some(middle), stands_in: false })
    }

    /// Whether one more session for this size should be made, and that the caller now sees to it.
    fn wish(&self, size: Size, limit: usize) -> bool {
        let mut pools = self.pools();
        if !pools.contains_key(&size) && pools.len() >= SIZES_LIMIT {
            let oldest = pools.iter().min_by_key(|(_, pool)| pool.last_run).map(|(size, _)| *size);
            if let Some(oldest) = oldest {
                pools.remove(&oldest);
            }
        }
        let none = || Pool { idle: Vec::new(), made: 0, wished: false, last_run: Instant::now() };
        let pool = pools.entry(size).or_insert_with(none);
        if pool.wished || pool.made >= limit {
            return false;
        }
        pool.wished = true;
        true
    }

    /// Makes the session that was wished for. On the loader's thread: it takes up to a second.
    pub(crate) fn make(&self, size: Size) {
        let made = Middle::load(&self.runtime, &self.model, size).and_then(|mut middle| {
            middle.prove()?;
            Ok(middle)
        });
        let mut pools = self.pools();
        let Some(pool) = pools.get_mut(&size) else { return };
        match made {
            Ok(middle) => {
                pool.idle.push(middle);
                pool.made += 1;
                (pool.wished, pool.last_run) = (false, Instant::now());
            }
            // It stays wished, so that nobody asks again for what cannot be had.
            Err(error) => {
                tracing::warn!(model = %self.entry.id, width = size.0, height = size.1, %error, "a session could not be made");
            }
        }
    }

    fn drop_idle(&self, idle_after: Duration, now: Instant) {
        let old = |pool: &Pool| now.saturating_duration_since(pool.last_run) >= idle_after;
        let dropped: Vec<Pool> = {
            let mut pools = self.pools();
            let sizes: Vec<Size> =
                pools.iter().filter(|(_, pool)| old(pool)).map(|(size, _)| *size).collect();
            sizes.iter().filter_map(|size| pools.remove(size)).collect()
        };
        drop(dropped);
    }
}

/// A session in the hands of a lane; it goes back when dropped.
pub(crate) struct MiddleSession {
    pub(crate) model: Arc<Interpolating>,
    size: Size,
    middle: Option<Middle>,
    /// Its model is of another set than the rendition names, which is not there.
    pub(crate) stands_in: bool,
}

impl MiddleSession {
    /// What to run; `None` once it was discarded.
    pub(crate) fn middle(&mut self) -> Option<&mut Middle> {
        self.middle.as_mut()
    }

    /// The size of picture that it is for.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// It failed: it does not go back.
    pub(crate) fn discard(&mut self) {
        if self.middle.take().is_some()
            && let Some(pool) = self.model.pools().get_mut(&self.size)
        {
            pool.made = pool.made.saturating_sub(1);
        }
    }
}

impl Drop for MiddleSession {
    fn drop(&mut self) {
        // A size that was given up meanwhile takes none back.
        if let (Some(middle), Some(pool)) = (self.middle.take(), self.model.pools().get_mut(&self.size)) {
            pool.idle.push(middle);
            pool.last_run = Instant::now();
        }
    }
}

/// A set that may be put into new playlists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedInterpolator {
    /// The kind of content its models were trained on.
    pub cluster: String,
    /// The set's digest, 8 hexadecimal digits: what [`crate::Interpolator::Model`] names.
    pub digest: String,
    /// Its usable models, cheap to dear: id in the catalogue and tier. Never empty.
    pub models: Vec<(String, Tier)>,
}

/// All of them.
pub(crate) struct Interpolators(Mutex<Inner>);

struct Inner {
    sets: Sets<Arc<Interpolating>>,
    losers: Losers,
}

/// What makes pictures for a rendition.
pub(crate) struct Chosen {
    pub(crate) model: Arc<Interpolating>,
    /// The set that the rendition names is not there: this is another's.
    pub(crate) stands_in: bool,
}

/// What the sets know a set that interpolates by. There is one scale, as the catalogue has it: two pictures for one.
pub(crate) fn name_of(cluster: &str, digest: &str) -> SetName {
    SetName { cluster: cluster.to_owned(), scale: 2, digest: digest.to_owned() }
}

impl Interpolators {
    pub(crate) fn new(retire_after: Duration) -> Self {
        Self(Mutex::new(Inner { sets: Sets::new(retire_after), losers: Losers::default() }))
    }

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model of this file, if it is known: it need not be proven again.
    pub(crate) fn known(&self, entry: &ModelEntry) -> Option<Arc<Interpolating>> {
        let inner = self.lock();
        let mut models = inner.sets.all().into_iter().flat_map(|(_, models, _)| models);
        models.find(|model| model.entry.sha256 == entry.sha256 && model.entry.id == entry.id).cloned()
    }

    /// Makes these what the catalogue says, each with its usable models, cheap to dear, but for what was found to lose.
    pub(crate) fn install(&self, mut named: Vec<(SetName, Vec<Arc<Interpolating>>)>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.losers.keep_out(&mut named, |model| model.entry.tier, now);
        inner.sets.install(named, now);
    }

    pub(crate) fn offered(&self) -> Vec<OfferedInterpolator> {
        let inner = self.lock();
        let current = inner.sets.all().into_iter().filter(|(.., state)| *state == State::Current);
        let model = |model: &Arc<Interpolating>| (model.entry.id.clone(), model.entry.tier);
        current
            .map(|(name, models, _)| OfferedInterpolator {
                cluster: name.cluster.clone(),
                digest: name.digest.clone(),
                models: models.iter().map(model).collect(),
            })
            .collect()
    }

    /// The model of a set (or of what stands in for it) that keeps up with so many made pixels a second, the dearest of these; the
    /// best at all where there is no hurry. Counts as asking for it.
    pub(crate) fn choose(&self, name: &SetName, pixels_per_second: f64, is_hurried: bool) -> Option<Chosen> {
        let Resolved { models, missing } = self.lock().sets.resolve(name, Instant::now());
        let fits = |model: &&Arc<Interpolating>| !is_hurried || model.seconds(pixels_per_second) <= SHARE;
        let model = models.iter().rev().find(fits).or_else(|| models.first()).cloned()?;
        Some(Chosen { model, stands_in: missing })
    }

    /// Stops using a model, for `at_least` so long and until a new catalogue brings it again; whether it was in use.
    pub(crate) fn withdraw(&self, name: &SetName, tier: Tier, at_least: Duration) -> bool {
        let mut inner = self.lock();
        let withdrawn = inner.sets.withdraw(name, |model| model.entry.tier == tier);
        if withdrawn {
            inner.losers.add(name, tier, at_least);
        }
        withdrawn
    }

    /// The models of a set in use and those of the current generic set, each cheap to dear. Nobody is thought to ask for them.
    pub(crate) fn rivals(&self, name: &SetName) -> (Vec<Arc<Interpolating>>, Vec<Arc<Interpolating>>) {
        self.lock().sets.rivals(name)
    }

    /// All models that are current or have sessions, and how many of these.
    pub(crate) fn sessions(&self) -> Vec<(Arc<Interpolating>, usize)> {
        let inner = self.lock();
        let all = inner.sets.all().into_iter();
        let models = all.flat_map(|(_, models, state)| models.iter().map(move |model| (state, model)));
        let counted = models.map(|(state, model)| (state, Arc::clone(model), model.made()));
        counted
            .filter(|(state, _, made)| *state == State::Current || *made > 0)
            .map(|(_, model, made)| (model, made))
            .collect()
    }

    /// Forgets what nobody has asked for.
    pub(crate) fn tidy(&self, idle_after: Duration) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.sets.expire(now);
        let all: Vec<(Arc<Interpolating>, State)> = inner
            .sets
            .all()
            .into_iter()
            .flat_map(|(_, models, state)| models.iter().map(move |model| (Arc::clone(model), state)))
            .collect();
        // A session's end frees much memory: not under the lock.
        drop(inner);
        for (model, state) in &all {
            // Nothing is made with what was stopped, unless a set in use has it too.
            let shares = |(other, state): &(Arc<Interpolating>, State)| {
                Arc::ptr_eq(other, model) && *state != State::Stopped
            };
            let is_over = *state == State::Stopped && !all.iter().any(shares);
            model.drop_idle(if is_over { Duration::ZERO } else { idle_after }, now);
        }
    }
}

impl Interpolating {
    /// A session for pictures of one size; `Err`: there is none, and whether the caller is to ask the loader for one.
    pub(crate) fn session(self: &Arc<Self>, size: Size, lanes: usize) -> Result<MiddleSession, bool> {
        self.take(size).ok_or_else(|| self.wish(size, lanes))
    }
}
