//! A usable model: its verified files, and the ONNX sessions that lanes run it with.
//!
//! A session is run by one thread at a time, so as many are needed as lanes run the model at the same moment, and no
//! more: they cost tens of megabytes each, and a catalogue may have hundreds of clusters. The loader makes them, one
//! when the model is checked and others when somebody asks and none is free; a lane takes one for a segment and puts it
//! back; the loader drops them when nobody has used them for a while. A lane never makes one itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_models::{ModelEntry, Sha256, TensorContract, Tier};
use bytes::Bytes;

use crate::inference::{Engine, Files, Network};
use crate::schedule::{Costs, Forecast};

/// What makes two catalogue entries the same model: what is run, and what it is called in metrics and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) cluster: String,
    pub(crate) tier: Tier,
    pub(crate) sha256: Sha256,
    /// The int8 file's.
    pub(crate) int8: Option<Sha256>,
    pub(crate) contract: TensorContract,
}

impl Identity {
    pub(crate) fn of(entry: &ModelEntry) -> Self {
        Self {
            id: entry.id.clone(),
            cluster: entry.cluster.clone(),
            tier: entry.tier,
            sha256: entry.sha256,
            int8: entry.int8.as_ref().map(|int8| int8.sha256),
            contract: entry.contract.clone(),
        }
    }
}

/// A model of a set: the model as such, and its entry as the catalogue has it now (figures and licence may change
/// while the file does not).
#[derive(Clone)]
pub(crate) struct SetModel {
    pub(crate) entry: Arc<ModelEntry>,
    pub(crate) model: Arc<Model>,
}

pub(crate) struct Model {
    pub(crate) identity: Identity,
    files: Files,
    /// How it is run on this machine.
    pub(crate) engine: Engine,
    /// Seconds for an output pixel of a whole picture, when it proved itself.
    pub(crate) proof_seconds: f64,
    /// What it costs on this machine, under the digest of what runs; all lanes learn together.
    costs: Arc<Costs>,
    expected_seconds: f64,
    digest: String,
    sessions: Mutex<Sessions>,
}

struct Sessions {
    idle: Vec<Network>,
    /// Sessions that exist, those in lanes' hands included.
    made: usize,
    /// The loader has been asked for one more.
    wished: bool,
    /// When making one failed last.
    failed: Option<Instant>,
    last_run: Instant,
}

/// After a session could not be made (no memory, most likely) the next try waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Thirty of these have to be made within a second to keep up with the largest common output, 720p at 30 pictures a second.
const REAL_TIME_PICTURE: u64 = 1280 * 720;

impl Model {
    /// A model that has proven itself with `network`, which took `proof_seconds` for a pixel of output and is expected to take
    /// `expected_seconds` at work.
    pub(crate) fn new(
        identity: Identity,
        files: Files,
        engine: Engine,
        (mut network, proof_seconds, expected_seconds): (Network, f64, f64),
        costs: &Arc<Costs>,
    ) -> Self {
        network.rest();
        let digest = identity.int8.filter(|_| engine.is_int8()).unwrap_or(identity.sha256).to_string();
        costs.introduce(&digest, expected_seconds);
        let sessions =
            Sessions { idle: vec![network], made: 1, wished: false, failed: None, last_run: Instant::now() };
        Self {
            identity,
            files,
            engine,
            proof_seconds,
            costs: Arc::clone(costs),
            expected_seconds,
            digest,
            sessions: Mutex::new(sessions),
        }
    }

    /// The file that has this digest, if it is one of the model's.
    pub(crate) fn file(&self, sha256: &Sha256) -> Option<Bytes> {
        if self.identity.sha256 == *sha256 {
            return Some(self.files.float.clone());
        }
        self.files.int8.clone().filter(|_| self.identity.int8.as_ref() == Some(sha256))
    }

    /// Size of the float file, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.float.len() as u64
    }

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Session> {
        let mut sessions = self.lock();
        let cards: Vec<usize> = sessions.idle.iter().map(Network::card).collect();
        let mut network = sessions.idle.remove(self.engine.cards().quietest(&cards)?);
        drop(sessions);
        network.begin(self.proof_seconds);
        Some(Session { model: Arc::clone(self), network: Some(network) })
    }

    /// Cards that it may have sessions on; one where there are none.
    pub(crate) fn cards(&self) -> usize {
        self.engine.cards().len()
    }

    /// Whether it may be given source pictures of this size.
    pub(crate) fn takes(&self, size: (u32, u32)) -> bool {
        self.engine.takes(size)
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.lock().idle.is_empty()
    }

    /// Sessions that exist.
    pub(crate) fn made(&self) -> usize {
        self.lock().made
    }

    /// Whether one more session should be made, and that the caller now sees to it.
    pub(crate) fn wish(&self, limit: usize, now: Instant) -> bool {
        let mut sessions = self.lock();
        if sessions.wished || sessions.made >= limit || sessions.is_failing(now) {
            return false;
        }
        sessions.wished = true;
        true
    }

    /// The wish is fulfilled, or cannot be.
    pub(crate) fn granted(&self, network: Option<Network>, now: Instant) {
        let mut sessions = self.lock();
        sessions.wished = false;
        match network {
            Some(mut network) => {
                network.rest();
                sessions.idle.push(network);
                sessions.made += 1;
                sessions.failed = None;
                sessions.last_run = now;
            }
            None => sessions.failed = Some(now),
        }
    }

    /// Whether waiting for a session is in vain: there is none, and none can be made for now.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        let sessions = self.lock();
        sessions.made == 0 && !sessions.wished && sessions.is_failing(now)
    }

    /// Drops the sessions that nobody uses if the last run was `idle_after` ago.
    pub(crate) fn drop_idle(&self, idle_after: Duration, now: Instant) {
        let mut sessions = self.lock();
        if now.saturating_duration_since(sessions.last_run) >= idle_after {
            let dropped = std::mem::take(&mut sessions.idle);
            sessions.made -= dropped.len();
            // A session's end frees much memory: not under the lock.
            drop(sessions);
            drop(dropped);
        }
    }

    /// What a segment of `pixels` output pixels in pictures of `picture_pixels` takes while `busy` lanes work; `recipe`: with what
    /// is done beside the model (see `interpolate`).
    pub(crate) fn forecast(&self, recipe: &str, picture_pixels: u64, pixels: u64, busy: usize) -> Forecast {
        self.costs.forecast(&self.key(recipe), picture_pixels, pixels, busy)
    }

    pub(crate) fn learn(&self, recipe: &str, seconds: f64, pictures: u64, picture_pixels: u64, busy: usize) {
        self.costs.learn(&self.key(recipe), seconds, pictures, picture_pixels, busy);
    }

    /// The model was passed over for its cost.
    pub(crate) fn relax(&self, recipe: &str) {
        self.costs.relax(&self.key(recipe));
    }

    /// What its costs are learned under. Of a recipe that is new, what the model takes alone is the first word.
    fn key(&self, recipe: &str) -> String {
        let key = format!("{}{recipe}", self.digest);
        if !recipe.is_empty() {
            self.costs.introduce(&key, self.expected_seconds);
        }
        key
    }

    /// Whether it is likely to be chosen for a viewer: it keeps up with a film.
    pub(crate) fn is_real_time(&self) -> bool {
        self.forecast("", REAL_TIME_PICTURE, 30 * REAL_TIME_PICTURE, 1).seconds <= 1.0
    }
}

impl Sessions {
    fn is_failing(&self, now: Instant) -> bool {
        self.failed.is_some_and(|failed| now.saturating_duration_since(failed) < RETRY_AFTER)
    }
}

/// A session in the hands of a lane; it goes back when dropped.
pub(crate) struct Session {
    model: Arc<Model>,
    network: Option<Network>,
}

impl Session {
    pub(crate) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// It failed: it does not go back, and the loader makes another if it can.
    pub(crate) fn discard(mut self) {
        if let Some(network) = self.network.take() {
            self.model.lock().made -= 1;
            drop(network);
        }
    }

    /// What to run. There always is one until the session is dropped.
    pub(crate) fn network(&mut self) -> Option<&mut Network> {
        self.network.as_mut()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut network = self.network.take();
        if let Some(network) = &mut network {
            network.rest();
        }
        let mut sessions = self.model.lock();
        sessions.idle.extend(network);
        sessions.last_run = Instant::now();
    }
}
