//! The thread that verifies model files and makes ONNX sessions, so that no lane and no request ever does.
//!
//! A session of the smallest network takes tens of milliseconds to make, one of the largest more than a second: on a lane that
//! would be a stall for whoever waits there. Here it is nobody's time but the new model's.

mod between;

use std::collections::HashSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_models::{Catalogue, DigestError, ModelEntry};
use bytes::Bytes;

use crate::inference::{Files, InferenceError, Runtime};
use crate::library::{Errand, Library};
use crate::luma;
use crate::metrics::{Metrics, ModelLabels};
use crate::model::{Identity, Model, SetModel};
use crate::offered::{Refusal, RefusalReason};
use crate::schedule::PLAIN_SECONDS_PER_PIXEL;
use crate::sets::{SetName, State};

/// Models that keep the session they were checked with although nobody has asked for them yet: more than an edge with a few
/// clusters has, so that it is wholly warm from the start, and few enough that hundreds of clusters do not fill the memory.
const KEPT_WARM: usize = 32;

/// How often it is looked for what nobody uses, at most.
const TIDY_EVERY: Duration = Duration::from_secs(30);

pub(crate) struct Loader {
    pub(crate) library: Arc<Library>,
    pub(crate) runtime: Runtime,
    pub(crate) metrics: Metrics,
    /// For the part of each picture that a dear tier makes: see [`luma`].
    pub(crate) config: Arc<EnhancerConfig>,
    /// The models that metrics tell of.
    pub(crate) shown: HashSet<ModelLabels>,
}

impl Loader {
    /// Runs errands until the library is closed. `wake` is called when something has come of one.
    pub(crate) fn run(mut self, wake: impl Fn()) {
        let idle_after = self.library.keeping.idle_after.min(self.library.keeping.retire_after);
        let tidy_after = (idle_after / 4).clamp(Duration::from_millis(10), TIDY_EVERY);
        let mut tidied = Instant::now();
        loop {
            match self.library.next_errand(tidy_after) {
                Some(Errand::Close) => return,
                Some(Errand::Make(model)) => self.make(&model),
                Some(Errand::MakeMiddle(model, size)) => model.make(size),
                Some(Errand::Install(catalogue)) => self.install(&catalogue, &wake),
                None => {}
            }
            if tidied.elapsed() >= tidy_after {
                self.tidy();
                tidied = Instant::now();
            }
            self.show();
            wake();
        }
    }

    /// One more session of a model.
    fn make(&self, model: &Arc<Model>) {
        let made = guarded(|| {
            let mut network = model.engine.session()?;
            network.warm_up()?;
            Ok(network)
        });
        if let Err(refusal) = &made {
            tracing::warn!(model = %model.identity.id, reason = refusal.1, "a session could not be made");
        }
        model.granted(made.ok(), Instant::now());
    }

    /// Verifies a catalogue's models, readies them, and then swaps them in, all at once.
    fn install(&mut self, catalogue: &Catalogue, wake: &impl Fn()) {
        let mut refused: Vec<Refusal> = catalogue
            .rejected()
            .iter()
            .map(|rejected| Refusal {
                id: rejected.id.clone(),
                reason: RefusalReason::Entry,
                message: rejected.to_string(),
            })
            .collect();
        let known = self.known();
        let mut named = Vec::new();
        let mut warm = 0;
        for set in catalogue.sets() {
            let mut models = Vec::new();
            for entry in set.entries() {
                let base = models.first().map(|cheapest: &SetModel| cheapest.model.proof_seconds);
                match self.admit(entry, base, &known) {
                    Ok(model) => {
                        // The cheapest is always likely to be asked for, others if they keep up with a film.
                        let is_likely = models.is_empty() || model.is_real_time();
                        if self.match_sessions(entry, &model, &known) {
                            // One that is in use keeps what it has, and does not count against the limit.
                        } else if is_likely && warm < KEPT_WARM {
                            warm += 1;
                            // Whoever comes second finds the next card ready: TensorRT compiles for minutes.
                            for _ in model.made()..model.cards() {
                                self.make(&model);
                            }
                        } else {
                            model.drop_idle(Duration::ZERO, Instant::now());
                        }
                        models.push(SetModel { entry: Arc::clone(entry), model });
                    }
                    Err((reason, message)) => {
                        refused.push(Refusal { id: Some(entry.id.clone()), reason, message })
                    }
                }
                // Viewers do not wait for the end of a long catalogue.
                while let Some(model) = self.library.next_wish() {
                    self.make(&model);
                    wake();
                }
            }
            let name =
                SetName { cluster: set.cluster().to_owned(), scale: set.scale(), digest: set.digest() };
            named.push((name, models));
        }
        self.install_interpolators(catalogue, &mut refused);
        for Refusal { id, reason, message } in &refused {
            let model = id.as_deref().unwrap_or("without id");
            tracing::error!(model, reason = reason.label(), message, "model refused");
        }
        let usable: usize = named.iter().map(|(_, models)| models.len()).sum();
        self.metrics.refused(&refused);
        self.library.swap(named, refused);
        for (_, stopped) in self.known().iter().filter(|(state, _)| *state == State::Stopped) {
            stopped.model.drop_idle(Duration::ZERO, Instant::now());
        }
        self.show();
        self.library.installed();
        tracing::info!(usable, entries = catalogue.entries().len(), "models installed");
    }

    /// A model of the catalogue if it is what it should be; `base`: what the cheapest of its set takes for a pixel. Its files are read
    /// each time; what was checked before is not checked again.
    fn admit(
        &mut self,
        entry: &ModelEntry,
        base: Option<f64>,
        known: &[(State, SetModel)],
    ) -> Result<Arc<Model>, (RefusalReason, String)> {
        let refuse = |error: DigestError| (reason_of(&error), with_causes(&error));
        let float = Bytes::from(entry.read_verified().map_err(refuse)?);
        let int8 = entry.int8.as_ref().map(|int8| int8.read_verified().map(Bytes::from));
        let files = Files { float, int8: int8.transpose().map_err(refuse)? };
        let identity = Identity::of(entry);
        if let Some((_, same)) = known.iter().find(|(_, known)| known.model.identity == identity) {
            return Ok(Arc::clone(&same.model));
        }
        let (engine, network, seconds_per_pixel) = guarded(|| {
            // The first model that can be run in all ways decides for all.
            if self.runtime.is_open(&files) {
                self.runtime.settle(&files, &entry.contract)?;
                self.library.settle(self.runtime.way());
            }
            self.runtime.admit(&entry.id, &files, &entry.contract)
        })?;
        let costs = &self.library.costs;
        let share = self.config.detail_share(entry.tier.label());
        // The network's proof run and the rest of a segment each had the machine to themselves.
        let expected = luma::expected(seconds_per_pixel, base, share) + PLAIN_SECONDS_PER_PIXEL;
        Ok(Arc::new(Model::new(identity, files, engine, (network, seconds_per_pixel, expected), costs)))
    }

    /// If `model` takes the place of one that is in use, makes as many sessions as that one has: whoever comes to the new
    /// rendition finds what the old one had. Gives whether it does.
    fn match_sessions(&self, entry: &ModelEntry, model: &Arc<Model>, known: &[(State, SetModel)]) -> bool {
        let place = |entry: &ModelEntry| (entry.cluster.clone(), entry.scale, entry.tier);
        let before = known
            .iter()
            .find(|(state, known)| *state == State::Current && place(&known.entry) == place(entry));
        let Some((_, before)) = before else { return false };
        let sessions = before.model.made();
        for _ in model.made()..sessions {
            self.make(model);
        }
        sessions > 0
    }

    fn known(&self) -> Vec<(State, SetModel)> {
        let sets = self.library.sets();
        let all = sets.all().into_iter();
        all.flat_map(|(_, models, state)| models.iter().map(move |model| (state, model.clone()))).collect()
    }

    /// Forgets sets and drops sessions that nobody uses.
    fn tidy(&self) {
        let now = Instant::now();
        self.library.sets().expire(now);
        self.library.costs.keep();
        let keeping = self.library.keeping;
        self.library.interpolators.tidy(keeping.idle_after);
        for (_, model) in self.known() {
            model.model.drop_idle(self.library.keeping.idle_after, now);
        }
    }

    /// Brings the metrics up to date.
    fn show(&mut self) {
        let mut counts = Vec::new();
        let mut states = [0; 3];
        for (_, models, state) in self.library.sets().all() {
            states[state as usize] += 1;
            for model in models {
                let sessions = model.model.made();
                if state == State::Current || sessions > 0 {
                    counts.push((ModelLabels::new(&model.model), sessions));
                }
            }
        }
        let between = self.library.interpolators.sessions();
        counts.extend(between.iter().map(|(model, sessions)| (ModelLabels::between(model), *sessions)));
        self.metrics.show_sets(states);
        self.metrics.show_models(&counts, &mut self.shown);
    }
}

/// Runs what calls into ONNX Runtime with a stranger's file. A panic is a bug; it costs this model, not the loader.
fn guarded<T>(run: impl FnOnce() -> Result<T, InferenceError>) -> Result<T, (RefusalReason, String)> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => {
            let reason = match &error {
                InferenceError::Runtime(_) | InferenceError::Batch(_) => RefusalReason::Runtime,
                InferenceError::Contract { .. } => RefusalReason::Contract,
                InferenceError::Output { .. } | InferenceError::Shortcut { .. } => RefusalReason::Output,
                InferenceError::Overlay(_) => RefusalReason::Overlay,
            };
            Err((reason, with_causes(&error)))
        }
        Err(_) => Err((RefusalReason::Runtime, "loading it ended in a panic".to_owned())),
    }
}

fn reason_of(error: &DigestError) -> RefusalReason {
    match error {
        DigestError::Mismatch { .. } => RefusalReason::Digest,
        DigestError::Missing { .. } => RefusalReason::Missing,
        DigestError::Unreadable { .. } => RefusalReason::Unreadable,
        DigestError::TooLarge { .. } => RefusalReason::TooLarge,
    }
}

/// An error's words and those of what caused it, unless it repeats them itself.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
