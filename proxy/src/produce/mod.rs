//! From "somebody wants this enhanced segment" to an object in the cache.
//!
//! The order of things: the source playlist says what the URL means; the source is fetched, or, where an older object
//! is at hand, the origin is asked whether it changed; it is decrypted, enhanced, encrypted again and kept. What goes wrong
//! on the way is looked up in [`crate::rescue`]. All of it runs in a task of its own (see [`crate::cache::flight`]).

mod company;
mod elsewhere;
mod enhance;
mod following;
mod freshness;
mod guarded;
mod job;
mod kept;
mod lead_in;
mod make;
mod traced;
mod turns;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::Config;
use acuity_workers::Engine;
use tokio::sync::Semaphore;

use crate::cache::depot::Depot;
use crate::cache::flight::{Early, FlightError, Flights, Role, Urgency};
use crate::cache::flow::Flow;
use crate::cache::key::ObjectKey;
use crate::cache::purge::{Order, Purges};
use crate::cache::store::{Object, Store};
use crate::deadline::Hurry;
use crate::guard::Guard;
use crate::inputs::Inputs;
use crate::limits::clients::Slot;
use crate::metrics::{Metrics, Outcome};
use crate::nodes::Nodes;
use crate::playlists::Playlists;
use crate::rescue::{Remedy, Tried, Trouble};
use crate::site::Sites;
use crate::switches::Switches;
use crate::traces;
use crate::wanted::Wanted;

use job::Reason;
pub use job::SOURCE;
pub(crate) use job::{Told, Viewer};
use turns::{Place, Turns};
use waiting::{Ask, Waiting};

/// Objects being made at one time. Each holds a source segment, its clear copy and its enhanced one (a few megabytes), so
/// this bounds the memory outside of caches; those who wait for a place hold nothing.
const IN_HAND_LIMIT: usize = 32;

/// Different objects that may be wanted at one time, waiting ones included.
const FLIGHTS_LIMIT: usize = 4096;

/// How often a request joins work that then turns out to have been given up (work ahead that was displaced).
const ATTEMPTS: usize = 3;

/// What is to be sent.
#[derive(Debug, Clone)]
pub enum Product {
    /// All of it.
    Whole(Arc<Object>),
    /// What is there of it, and the rest as it comes.
    Flowing(Arc<Flow>),
}

/// What came of a flight: an object and how it was come by.
type Made = Result<(Product, Outcome), Arc<Trouble>>;

/// Makes enhanced objects. Clones share everything.
#[derive(Clone)]
pub struct Producer(Arc<Shared>);

struct Shared {
    config: Arc<Config>,
    playlists: Playlists,
    inputs: Inputs,
    engine: Engine,
    store: Store,
    depot: Depot,
    guard: Guard,
    metrics: Arc<Metrics>,
    flights: Flights<ObjectKey, Made>,
    fetches: Flights<ObjectKey, Made>,
    nodes: Nodes,
    sites: Arc<Sites>,
    waiting: Waiting,
    in_hand: Arc<Semaphore>,
    ahead: Turns,
    purges: Purges,
    switches: Switches,
}

/// What is being made and who waits for it. It outlives a configuration: what was begun under one is joined under the next.
#[derive(Clone)]
pub struct Floor {
    flights: Flights<ObjectKey, Made>,
    /// What is being had from other nodes. Apart from what is made here, so that two nodes never wait for each other.
    fetches: Flights<ObjectKey, Made>,
    waiting: Waiting,
    in_hand: Arc<Semaphore>,
    /// Work done ahead, at most as much as there are lanes: so it never fills the queue, and what waits here becomes
    /// urgent at once when a player asks for it.
    ahead: Turns,
    purges: Purges,
}

impl Floor {
    /// Nothing is being made. `lanes`: segments that the enhancer makes at a time.
    #[must_use]
    pub fn new(lanes: usize) -> Self {
        Self {
            flights: Flights::new(FLIGHTS_LIMIT),
            fetches: Flights::new(FLIGHTS_LIMIT),
            waiting: Waiting::default(),
            in_hand: Arc::new(Semaphore::new(IN_HAND_LIMIT)),
            ahead: Turns::new(lanes),
            purges: Purges::default(),
        }
    }

    /// From now on nothing is kept that `order` means and that is being made, and nobody joins it; gives how many objects that are.
    pub fn purge(&self, order: &Order) -> usize {
        let meant = self.purges.note(order);
        for key in &meant {
            self.flights.part_with(key);
            self.fetches.part_with(key);
        }
        meant.len()
    }
}

/// What a producer works with.
#[allow(missing_docs)]
pub struct Parts {
    pub config: Arc<Config>,
    pub playlists: Playlists,
    pub inputs: Inputs,
    pub sites: Arc<Sites>,
    pub engine: Engine,
    pub store: Store,
    pub depot: Depot,
    pub guard: Guard,
    pub metrics: Arc<Metrics>,
    pub floor: Floor,
    pub nodes: Nodes,
    pub switches: Switches,
}

impl Producer {
    /// A producer from its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            config,
            playlists,
            inputs,
            sites,
            engine,
            store,
            depot,
            guard,
            metrics,
            floor,
            nodes,
            switches,
        } = parts;
        let Floor { flights, fetches, waiting, in_hand, ahead, purges } = floor;
        Self(Arc::new(Shared {
            config,
            playlists,
            inputs,
            engine,
            store,
            depot,
            guard,
            metrics,
            flights,
            fetches,
            nodes,
            sites,
            waiting,
            in_hand,
            ahead,
            purges,
            switches,
        }))
    }

    /// The object that is wanted, had from its node or made now if need be; with `takes_pieces` as soon as its begin is there. `slot`: the
    /// client's leave, held for as long as what is made for it takes, whether the client waits or not.
    ///
    /// # Errors
    /// What stands against it; its remedy is one that needs no enhancer (pass through, pass on, a status).
    pub async fn get(
        &self,
        wanted: &Wanted,
        hurry: Hurry,
        takes_pieces: bool,
        slot: Slot,
    ) -> Result<(Product, Outcome), Arc<Trouble>> {
        let viewer = Viewer { asked: Instant::now(), hurry, told: None };
        match self.owner(wanted) {
            Some(owner) => self.elsewhere(wanted, owner, viewer, takes_pieces, slot).await,
            None => self.here(wanted, viewer, takes_pieces, slot).await,
        }
    }

    /// The object, made here if need be.
    async fn here(&self, wanted: &Wanted, viewer: Viewer, takes_pieces: bool, slot: Slot) -> Made {
        let party = self.0.waiting.party(wanted.key);
        party.ask(Ask { asked: viewer.asked, hurry: viewer.hurry });
        let reason = Reason::Viewer(viewer);
        let mut last = Arc::new(Trouble::Flight(FlightError::Lost));
        for _ in 0..ATTEMPTS {
            match self.join(wanted, &reason, takes_pieces, slot.clone()).await {
                Err(trouble) if matches!(*trouble, Trouble::Private) && reason.is_nodes() => {
                    return Err(trouble);
                }
                Err(trouble) if trouble.remedy(Tried::default()) == Remedy::Wait => last = trouble,
                other => {
                    if matches!(other, Ok((_, Outcome::Joined))) {
                        traces::link(party.flight().as_ref());
                    }
                    return other;
                }
            }
        }
        Err(last)
    }

    async fn join(&self, wanted: &Wanted, reason: &Reason, takes_pieces: bool, slot: Slot) -> Made {
        let enough = |made: &Made| takes_pieces || !matches!(made, Ok((Product::Flowing(_), _)));
        let joined = self
            .0
            .flights
            .join(wanted.key, enough, |urgency, early| {
                let make = self.clone().make(wanted.clone(), reason.clone(), urgency, early, None);
                async move {
                    let _slot = slot;
                    make.await
                }
            })
            .await;
        match joined {
            Ok((Ok((product, Outcome::Made)), Role::Joined)) => Ok((product, Outcome::Joined)),
            Ok((made, _)) => made,
            Err(error) => Err(Arc::new(Trouble::Flight(error))),
        }
    }

    /// Has an object made that nobody has asked for yet, by the node that it belongs to; `false` if it is there or being made. `media`: from
    /// the start of the segment that a player has just got to the start of this one; `fills`: with that one it has just started.
    #[must_use]
    pub fn launch(&self, wanted: &Wanted, media: Duration, fills: bool) -> bool {
        if self.0.store.has_fresh(&wanted.key, Instant::now()) || self.0.is_stopped(wanted) {
            return false;
        }
        if let Some(owner) = self.owner(wanted) {
            self.0.nodes.launch(owner, wanted, media, fills);
            return true;
        }
        self.launch_here(wanted, media, fills, false)
    }

    fn launch_here(&self, wanted: &Wanted, media: Duration, fills: bool, is_nodes: bool) -> bool {
        let reason = Reason::Ahead { asked: Instant::now(), media, fills, is_nodes };
        self.0.flights.launch(wanted.key, |urgency, early| self.in_line(wanted, reason, urgency, early))
    }

    /// Starts making an object anew that is there but less than was promised, if nothing else is being made: others' segments come first.
    /// What is another node's that one makes anew, when it is asked for it.
    pub fn improve(&self, wanted: &Wanted) {
        if self.owner(wanted).is_none() {
            self.improve_here(wanted);
        }
    }

    /// The same, whosever it is.
    pub(crate) fn improve_here(&self, wanted: &Wanted) {
        if self.0.flights.is_empty() && !self.0.is_stopped(wanted) {
            self.0
                .flights
                .launch(wanted.key, |urgency, early| self.in_line(wanted, Reason::Improve, urgency, early));
        }
    }

    /// Work that nobody waits for yet: it has its place in the line from now on, whenever its task comes to run.
    fn in_line(
        &self,
        wanted: &Wanted,
        reason: Reason,
        urgency: Urgency,
        early: Early<Made>,
    ) -> impl Future<Output = Made> + Send + use<> {
        let place = self.0.ahead.line_up();
        self.clone().make(wanted.clone(), reason, urgency, early, Some(place))
    }

    /// Whether an object is being made, for whomever.
    #[must_use]
    pub fn is_making(&self, wanted: &Wanted) -> bool {
        self.0.flights.has(&wanted.key) || self.0.fetches.has(&wanted.key)
    }

    /// Whether an object is in the cache, however old.
    #[must_use]
    pub fn has(&self, wanted: &Wanted) -> bool {
        self.0.store.get(&wanted.key).is_some()
    }

    /// Objects being made or waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.flights.len() + self.0.fetches.len()
    }

    /// Makes it, in a span of its own where the request is traced.
    fn make(
        self,
        wanted: Wanted,
        reason: Reason,
        urgency: Urgency,
        early: Early<Made>,
        line: Option<Place>,
    ) -> impl Future<Output = Made> + Send + use<> {
        let span = traced::begin(&wanted, &reason);
        traced::flight(span, self.made(wanted, reason, urgency, early, line))
    }

    async fn made(
        self,
        wanted: Wanted,
        reason: Reason,
        urgency: Urgency,
        early: Early<Made>,
        line: Option<Place>,
    ) -> Made {
        let is_ahead = !matches!(reason, Reason::Viewer(_));
        let made = self.0.make(&wanted, reason, &urgency, early, line).await;
        if is_ahead {
            let outcome = match &made {
                Ok((_, Outcome::SourceBytes)) => "source_bytes",
                Ok((_, Outcome::Stored)) => "stored",
                Ok(_) if urgency.is_waited_for() => "made_and_waited_for",
                Ok(_) => "made",
                Err(_) => "given_up",
            };
            self.0.metrics.ahead.with_label_values(&[outcome]).inc();
        }
        if let Err(trouble) = &made {
            tracing::debug!(path = %wanted.path_and_query, %trouble, "not made");
        }
        made.map(|(object, outcome)| (Product::Whole(object), outcome)).map_err(Arc::new)
    }
}
