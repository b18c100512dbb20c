//! Many nodes: each object is made once for all of a region.
//!
//! The nodes know each other ([`members`]). Which of them an object belongs to follows from its key ([`ring`]) and from who is up
//! ([`health`]); the others ask that one for it ([`ask`], [`listen`]) and keep a copy for a while. [`crate::produce`] asks here whose an object
//! is and has it fetched; what is asked for by another node is made here or refused and never asked of a third, so that nothing can go
//! round. Whatever goes wrong on the way costs a request to the next node or work of one's own, never a viewer's answer.
//!
//! | module | what |
//! |---|---|
//! | [`ring`] | the order in which nodes are asked for an object; pure |
//! | [`health`] | whether a node is asked; pure |
//! | [`seal`] | how nodes know each other; pure |
//! | [`wire`] | what they say; pure |
//! | [`members`] | who they are, by list or by name |
//! | [`ask`] | asking for an object |
//! | [`listen`] | being asked |
//! | [`watch`] | looking at the others, and at who they are |

mod ask;
mod health;
mod instruments;
pub mod listen;
mod members;
mod ring;
mod seal;
mod watch;
mod wire;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use acuity_config::{NodeName, NodesConfig, TlsConfig};
use arc_swap::ArcSwap;
use moka::sync::Cache;
use prometheus::Registry;
use tokio::sync::{Notify, Semaphore};

use crate::cache::key::hex;
use crate::cache::purge::Order;
use crate::secret::{self, SecretFault};
use crate::wanted::Wanted;
use health::Change;
use instruments::Instruments;
use members::Region;
use seal::{Binding, Secret};
use sha2::{Digest as _, Sha256};
use wire::{Kind, LaunchAsked, PurgeAsked, Which};

pub(crate) use ask::{Ask, Miss, Sent};
pub(crate) use members::Member;
pub use wire::Reached;
pub(crate) use wire::Refusal;

/// Objects asked of others at one time. Each is a few megabytes that are not in any cache yet.
const ASKED_AT_ONCE: usize = 256;
/// Work ahead that others are being told of at one time; more is not told.
const LAUNCHES_AT_ONCE: usize = 64;
/// How long another node may take to forget: its disk or store has to remember it.
const PURGE_PATIENCE: Duration = Duration::from_secs(8);
/// Renditions that are known to be nobody else's, and for how long: their origin may come to say otherwise.
const PRIVATE_LIMIT: u64 = 10_000;
const PRIVATE_FOR: Duration = Duration::from_secs(60);

/// The other nodes, if there are any. Clones share everything.
#[derive(Clone, Default)]
pub struct Nodes(Option<Arc<Shared>>);

struct Shared {
    config: ArcSwap<NodesConfig>,
    secret: Secret,
    /// Digest of what decides, beside tokens, which segments belong into one stream.
    settings: String,
    region: ArcSwap<Region>,
    /// Another configuration is there.
    changed: Notify,
    asking: Semaphore,
    serving: Semaphore,
    launching: Arc<Semaphore>,
    private: Cache<u64, ()>,
    hasher: RandomState,
    nonces: AtomicU64,
    instruments: Instruments,
}

/// Why this node cannot join the others.
#[derive(Debug, thiserror::Error)]
pub enum NodesFault {
    /// The secret cannot be used.
    #[error("nodes.secret_file {} {fault}", file.display())]
    Secret {
        /// Its file.
        file: PathBuf,
        /// Why.
        #[source]
        fault: SecretFault,
    },
    /// The authorities cannot be used.
    #[error("nodes.tls.authority {} {why}", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Which member this node is cannot be told.
    #[error("nodes.own is needed: more than one member may be this node: {0}")]
    Own(String),
    /// The client cannot be built.
    #[error("cannot set up the client toward other nodes: {0}")]
    Client(String),
    /// The encoder does not say what it writes.
    #[error("cannot tell which segments of other nodes go with this one's: {0}")]
    Encoder(#[from] acuity_enhancer::EnhanceError),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Nodes {
    /// The nodes of a configuration. `settings`: what decides, beside tokens, which segments belong into one stream.
    ///
    /// # Errors
    /// See [`NodesFault`].
    pub fn new<'a>(
        config: &NodesConfig,
        settings: impl IntoIterator<Item = &'a [u8]>,
        registry: &Registry,
    ) -> Result<Self, NodesFault> {
        let secret = Secret::new(&secret_of(&config.secret_file)?);
        let mut digest = Sha256::new();
        for part in settings {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let region = if config.discover { Region::empty() } else { Region::named(config, &Region::empty())? };
        let instruments = Instruments::register(registry)?;
        let shared = Shared {
            secret,
            settings: hex(digest.finalize().get(..8).unwrap_or_default()),
            region: ArcSwap::from_pointee(region),
            changed: Notify::new(),
            asking: Semaphore::new(ASKED_AT_ONCE),
            serving: Semaphore::new(config.serve_at_once),
            launching: Arc::new(Semaphore::new(LAUNCHES_AT_ONCE)),
            private: Cache::builder().max_capacity(PRIVATE_LIMIT).time_to_live(PRIVATE_FOR).build(),
            hasher: RandomState::new(),
            nonces: AtomicU64::new(0),
            instruments,
            config: ArcSwap::from_pointee(config.clone()),
        };
        shared.show_members();
        Ok(Self(Some(Arc::new(shared))))
    }

    /// Begins to look at the others. Within the runtime that serves; once.
    pub fn start(&self) {
        if let Some(shared) = &self.0 {
            tokio::spawn(watch::keep(Arc::clone(shared)));
        }
    }

    /// Takes another configuration, as far as a running node can.
    pub fn take(&self, config: Option<&NodesConfig>) {
        let (Some(shared), Some(config)) = (&self.0, config) else { return };
        if **shared.config.load() != *config {
            shared.config.store(Arc::new(config.clone()));
            shared.changed.notify_one();
        }
    }

    /// Whose an object is now, if not this node's and shared at all. `passed_over`: nodes that were asked in vain.
    pub(crate) fn owner(&self, wanted: &Wanted, passed_over: &[Arc<Member>]) -> Option<Arc<Member>> {
        let shared = self.0.as_ref()?;
        if shared.private.contains_key(&shared.rendition(wanted)) {
            return None;
        }
        shared.region.load().owner(&wanted.key, passed_over)
    }

    /// An origin forbids that objects of this rendition are shared.
    pub(crate) fn is_private(&self, wanted: &Wanted) {
        if let Some(shared) = &self.0 {
            shared.private.insert(shared.rendition(wanted), ());
        }
    }

    /// Share of a viewer's deadline that another node may take until its first byte.
    pub(crate) fn share_of_deadline(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |shared| shared.config.load().share_of_deadline)
    }

    /// Has `member` make an object that nobody has asked for yet, and does not wait for it.
    pub(crate) fn launch(&self, member: Arc<Member>, wanted: &Wanted, media: Duration, fills: bool) {
        let Some(shared) = self.0.clone() else { return };
        let Ok(place) = Arc::clone(&shared.launching).try_acquire_owned() else { return };
        let media_ms = u64::try_from(media.as_millis()).unwrap_or(u64::MAX);
        let asked = LaunchAsked { which: Which::new(wanted, &shared.settings), media_ms, fills };
        tokio::spawn(async move {
            let _place = place;
            let within = shared.config.load().answer_within;
            let told = shared.tell(&member, wire::LAUNCH, &asked, within).await;
            let label = if told.is_ok() { "done" } else { "failed" };
            shared.instruments.launches.with_label_values(&[label]).inc();
        });
    }

    /// Has all other nodes forget, and waits for it. Nothing where there are none. `again`: all have been told once.
    pub async fn purge(&self, order: &Order, again: bool) -> Option<Reached> {
        let shared = self.0.as_ref()?;
        let asked = PurgeAsked { order: order.clone(), again };
        let region = shared.region.load_full();
        let tell = async |member: &Arc<Member>| {
            let told = shared.tell(member, wire::PURGE, &asked, PURGE_PATIENCE).await;
            let label = if told.is_ok() { "done" } else { "failed" };
            shared.instruments.purges.with_label_values(&[label]).inc();
            told.map_err(|miss| {
                tracing::warn!(node = %member.name, why = miss.label(), "a purge did not reach a node");
                member.name.clone()
            })
        };
        let told: Vec<Result<(), NodeName>> = futures::future::join_all(region.others().map(tell)).await;
        let reached = told.iter().filter(|told| told.is_ok()).count();
        Some(Reached { reached, not_reached: told.into_iter().filter_map(Result::err).collect() })
    }

    /// Shows how much of memory holds copies.
    pub fn show_copies(&self, bytes: u64) {
        if let Some(shared) = &self.0 {
            shared.instruments.hot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

impl Shared {
    fn rendition(&self, wanted: &Wanted) -> u64 {
        self.hasher.hash_one((wanted.site.name(), &*wanted.token))
    }

    fn sign(&self, path: &str, body: &[u8]) -> (String, Binding) {
        let count = self.nonces.fetch_add(1, Ordering::Relaxed);
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(count);
        let mut nonce = [0; 16];
        // Of this process alone, by the system's random numbers, and never twice.
        let parts = hasher.finish().to_le_bytes().into_iter().chain(count.to_le_bytes());
        nonce.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        self.secret.sign("POST", path, body, SystemTime::now(), nonce)
    }

    /// Tells a node something and waits until it says that it is done.
    async fn tell(
        &self,
        member: &Member,
        path: &str,
        body: &(impl serde::Serialize + Sync),
        within: Duration,
    ) -> Result<(), Miss> {
        let telling = async {
            // The answer's head is the first sign of life.
            let head_within = self.config.load().answer_within;
            let (response, frames) = self.send(member, path, body, head_within).await?;
            let mut reader = ask::Reader { response, frames, patience: within };
            match reader.next().await? {
                (Kind::End, _) => Ok(()),
                (Kind::Refused, why) => Err(Miss::Refused(Refusal::read(&why))),
                _ => Err(Miss::Broken),
            }
        };
        tokio::time::timeout(within, telling).await.unwrap_or(Err(Miss::Silent))
    }

    /// A node failed a viewer's request.
    fn failed(&self, member: &Member, why: &str) {
        let change = member.health.failed(Instant::now(), self.config.load().down_for);
        self.tell_of(member, change, why);
    }

    fn tell_of(&self, member: &Member, change: Option<Change>, why: &str) {
        match change {
            Some(Change::Down) => tracing::warn!(
                node = %member.name,
                why,
                "a node is out: the next on the ring makes what it owns"
            ),
            Some(Change::Up) => tracing::info!(node = %member.name, "a node is back"),
            None => return,
        }
        self.show_members();
    }

    fn show_members(&self) {
        let region = self.region.load();
        let (all, up) = region
            .others()
            .fold((0, 0), |(all, up), member| (all + 1, up + i64::from(member.health.is_up())));
        self.instruments.members.with_label_values(&["up"]).set(up);
        self.instruments.members.with_label_values(&["down"]).set(all - up);
    }
}

fn secret_of(file: &Path) -> Result<Vec<u8>, NodesFault> {
    secret::read(file, secret::BYTES).map_err(|fault| NodesFault::Secret { file: file.to_owned(), fault })
}

/// What the listener shows, in the words that listeners' certificates have.
#[must_use]
pub fn tls_of(config: &NodesConfig) -> Option<TlsConfig> {
    let tls = config.tls.as_ref()?;
    Some(TlsConfig { listen: config.listen, certificate: tls.certificate.clone(), key: tls.key.clone() })
}

/// Every fault of files that a configuration names, for `acuity check`.
#[must_use]
pub fn check(config: &NodesConfig) -> Vec<String> {
    let secret = secret_of(&config.secret_file).err();
    let authority = config.tls.as_ref().and_then(|tls| members::authorities(tls).err());
    let certificate = tls_of(config).and_then(|tls| crate::certificates::Certificate::load(&tls).err());
    let faults = secret.into_iter().chain(authority).map(|fault| fault.to_string());
    faults.chain(certificate.map(|fault| fault.to_string().replace("(server.tls)", "(nodes.tls)"))).collect()
}
