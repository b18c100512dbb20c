//! From "somebody wants this enhanced segment" to an object in the cache.
//!
//! The order of things: the source playlist says what the URL means; the source is fetched, or, where an older object
//! is at hand, the origin is asked whether it changed; it is decrypted, enhanced, encrypted again and kept. What goes wrong
//! on the way is looked up in [`crate::rescue`]. All of it runs in a task of its own (see [`crate::cache::flight`]).

mod company;
mod enhance;
mod freshness;
mod guarded;
mod job;
mod lead_in;
mod turns;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::Config;
use acuity_enhancer::{Enhancer, MadeBy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::cache::flight::{Early, FlightError, Flights, Role, Urgency};
use crate::cache::flow::{Flow, FlowEnd, Inlet};
use crate::cache::key::ObjectKey;
use crate::cache::store::{NewObject, Object, Store};
use crate::deadline::Hurry;
use crate::guard::Guard;
use crate::hls::Found;
use crate::hls::media::{Map, MediaPlaylist, Segment};
use crate::inputs::{Ingredients, Inputs};
use crate::metrics::{Kind, Metrics, Outcome};
use crate::origin::Source;
use crate::playlists::Playlists;
use crate::rescue::{Remedy, Tried, Trouble};
use crate::site::Sites;
use crate::wanted::{Wanted, spec_of};

pub use job::SOURCE;
use job::{Job, MP4, Reason, content_type, is_improvable, seal};
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
    enhancer: Enhancer,
    store: Store,
    guard: Guard,
    metrics: Arc<Metrics>,
    flights: Flights<ObjectKey, Made>,
    sites: Arc<Sites>,
    waiting: Waiting,
    in_hand: Semaphore,
    /// Work done ahead, at most as much as there are lanes: so it never fills the queue, and what waits here becomes
    /// urgent at once when a player asks for it.
    ahead: Turns,
}

/// What a producer works with.
#[allow(missing_docs)]
pub struct Parts {
    pub config: Arc<Config>,
    pub playlists: Playlists,
    pub inputs: Inputs,
    pub sites: Arc<Sites>,
    pub enhancer: Enhancer,
    pub store: Store,
    pub guard: Guard,
    pub metrics: Arc<Metrics>,
}

impl Producer {
    /// A producer from its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, playlists, inputs, sites, enhancer, store, guard, metrics } = parts;
        let ahead = Turns::new(config.enhancer.lanes);
        Self(Arc::new(Shared {
            config,
            playlists,
            inputs,
            enhancer,
            store,
            guard,
            metrics,
            flights: Flights::new(FLIGHTS_LIMIT),
            sites,
            waiting: Waiting::default(),
            in_hand: Semaphore::new(IN_HAND_LIMIT),
            ahead,
        }))
    }

    /// The object that is wanted, made now if need be; with `takes_pieces` as soon as its begin is there.
    ///
    /// # Errors
    /// What stands against it; its remedy is one that needs no enhancer (pass through, pass on, a status).
    pub async fn get(
        &self,
        wanted: &Wanted,
        hurry: Hurry,
        takes_pieces: bool,
    ) -> Result<(Product, Outcome), Arc<Trouble>> {
        let asked = Instant::now();
        let reason = Reason::Viewer { asked, hurry };
        let party = self.0.waiting.party(wanted.key);
        party.ask(Ask { asked, hurry });
        let mut last = Arc::new(Trouble::Flight(FlightError::Lost));
        for _ in 0..ATTEMPTS {
            match self.join(wanted, reason, takes_pieces).await {
                Err(trouble) if trouble.remedy(Tried::default()) == Remedy::Wait => last = trouble,
                other => return other,
            }
        }
        Err(last)
    }

    async fn join(&self, wanted: &Wanted, reason: Reason, takes_pieces: bool) -> Made {
        let enough = |made: &Made| takes_pieces || !matches!(made, Ok((Product::Flowing(_), _)));
        let joined = self
            .0
            .flights
            .join(wanted.key, enough, |urgency, early| {
                self.clone().make(wanted.clone(), reason, urgency, early, None)
            })
            .await;
        match joined {
            Ok((Ok((product, Outcome::Made)), Role::Joined)) => Ok((product, Outcome::Joined)),
            Ok((made, _)) => made,
            Err(error) => Err(Arc::new(Trouble::Flight(error))),
        }
    }

    /// Starts making an object that nobody has asked for yet; `false` if it is there or being made. `media`: from the start
    /// of the segment that a player has just got to the start of this one; `fills`: with that one it has just started.
    #[must_use]
    pub fn launch(&self, wanted: &Wanted, media: Duration, fills: bool) -> bool {
        if self.0.store.has_fresh(&wanted.key, Instant::now()) {
            return false;
        }
        let reason = Reason::Ahead { asked: Instant::now(), media, fills };
        self.0.flights.launch(wanted.key, |urgency, early| self.in_line(wanted, reason, urgency, early))
    }

    /// Starts making an object anew that is there but less than was promised, if nothing else is being made: others'
    /// segments come first.
    pub fn improve(&self, wanted: &Wanted) {
        if self.0.flights.is_empty() {
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

    /// Whether an object is in the cache, however old.
    #[must_use]
    pub fn has(&self, wanted: &Wanted) -> bool {
        self.0.store.get(&wanted.key).is_some()
    }

    /// Objects being made or waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.flights.len()
    }

    async fn make(
        self,
        wanted: Wanted,
        reason: Reason,
        urgency: Urgency,
        early: Early<Made>,
        line: Option<Place>,
    ) -> Made {
        let made = self.0.make(&wanted, reason, &urgency, early, line).await;
        if let Reason::Ahead { .. } | Reason::Improve = reason {
            let outcome = match &made {
                Ok((_, Outcome::SourceBytes)) => "source_bytes",
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

impl Shared {
    async fn make(
        &self,
        wanted: &Wanted,
        reason: Reason,
        urgency: &Urgency,
        early: Early<Made>,
        line: Option<Place>,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        // Between the look into the cache and the start of this flight another one may have landed.
        let kept = self.store.get(&wanted.key).filter(|_| !matches!(reason, Reason::Improve));
        if let Some(object) = kept.as_ref().filter(|object| object.freshness_left(Instant::now()).is_some()) {
            return Ok((Arc::clone(object), Outcome::Hit));
        }
        let party = self.waiting.party(wanted.key);
        let _turn = turn(line, urgency).await;
        let _place = self.place(urgency).await?;
        let lists_it = |playlist: &MediaPlaylist| playlist.find(&wanted.path_and_query) != Found::None;
        let playlist = self.playlists.media_that(&wanted.site, &wanted.token.playlist, lists_it).await?;
        let started = Instant::now();
        let job = Job { wanted, reason, urgency, early, playlist: &playlist, started, party: &party };
        match playlist.find(&wanted.path_and_query) {
            Found::Segment(at) => match playlist.segments.get(at) {
                Some(segment) => self.segment(&job, at, segment, kept).await,
                None => Err(Trouble::NotListed),
            },
            Found::Map(at) => match playlist.maps.get(at) {
                Some(map) => self.init(&job, map).await,
                None => Err(Trouble::NotListed),
            },
            Found::None => Err(Trouble::NotListed),
        }
    }

    /// A place among those in hand. Work ahead takes one only if it is free.
    async fn place(&self, urgency: &Urgency) -> Result<SemaphorePermit<'_>, Trouble> {
        let overloaded = || Trouble::Flight(FlightError::TooMany);
        if !urgency.is_waited_for() {
            return self.in_hand.try_acquire().map_err(|_| overloaded());
        }
        match timeout(self.patience(), self.in_hand.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }

    /// How long a viewer's segment waits for room: as long as a deadline can be.
    fn patience(&self) -> Duration {
        self.config.enhancer.deadline.longest
    }

    async fn segment(
        &self,
        job: &Job<'_>,
        at: usize,
        segment: &Segment,
        kept: Option<Arc<Object>>,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        if let Some(kept) = kept.filter(|kept| kept.validator.is_conditional() && &*kept.made_by != SOURCE) {
            let (target, range) = (&segment.target, segment.byte_range);
            if self.inputs.is_unchanged(&job.wanted.site, target, range, &kept.validator).await? {
                let object = Arc::new(kept.confirmed_again(freshness::of(None, job.playlist.ended)));
                self.store.put(job.wanted.key, Arc::clone(&object));
                return Ok((object, Outcome::Revalidated));
            }
        }
        let source = self.inputs.segment(&job.wanted.site, segment).await?;
        let init = match &segment.map {
            Some(map) => match self.inputs.init(&job.wanted.site, map).await {
                Ok(init) => Some(init.clear),
                Err(trouble) => return self.give_up(job, &source, &trouble, Kind::Segment),
            },
            None => None,
        };
        let ingredients = match self.inputs.open(&job.wanted.site, segment, Arc::clone(&source)).await {
            Ok(ingredients) => ingredients,
            Err(trouble) => return self.give_up(job, &source, &trouble, Kind::Segment),
        };
        let content_type = content_type(init.is_some(), &ingredients.clear);
        let Ingredients { clear, cipher, .. } = ingredients;
        let fresh_for = freshness::of(source.max_age, job.playlist.ended);
        // What has to be encrypted again is sent when it is whole.
        let flow = cipher.is_none().then(|| Flow::new(content_type, fresh_for));
        let inlet = flow.clone().map(Inlet);
        let enhanced = match self.enhance(job, (at, segment), init.clone(), clear.clone(), flow).await {
            Ok(enhanced) => enhanced,
            // Nobody waits for it and its place in the queue went to somebody who does.
            Err(trouble)
                if trouble.remedy(Tried::default()) == Remedy::Wait && !job.urgency.is_waited_for() =>
            {
                return Err(trouble);
            }
            Err(trouble) => return self.give_up(job, &source, &trouble, Kind::Segment),
        };
        let report = enhanced.report;
        if let Some(reason) = report.fallback {
            self.metrics.fallbacks.with_label_values(&[reason.label()]).inc();
        }
        self.tell_guard(job, segment, init, clear, &report);
        let made_by: Arc<str> = match &report.made_by {
            MadeBy::Model { id, .. } => id.as_str().into(),
            MadeBy::Plain => "plain".into(),
            MadeBy::Untouched => "untouched".into(),
        };
        let object = NewObject {
            bytes: seal(cipher, enhanced.bytes).await?,
            content_type,
            kind: Kind::Segment,
            validator: source.validator.clone(),
            made_by,
            fresh_for,
            improve_after: is_improvable(&report, &job.wanted.token).then_some(freshness::IMPROVE_AFTER),
            seconds: job.started.elapsed().as_secs_f64(),
        };
        let object = self.keep(job, object);
        if let Some(Inlet(flow)) = &inlet {
            flow.end(FlowEnd::Whole);
        }
        Ok((object, Outcome::Made))
    }

    async fn init(&self, job: &Job<'_>, map: &Map) -> Result<(Arc<Object>, Outcome), Trouble> {
        let Ingredients { source, clear, cipher } = self.inputs.init(&job.wanted.site, map).await?;
        let (spec, config) = (spec_of(&job.wanted.token), Arc::clone(&self.config));
        // Opening an encoder for its parameter sets takes milliseconds.
        let made = tokio::task::spawn_blocking(move || {
            acuity_enhancer::enhanced_init(&clear, &spec, &config.enhancer)
        })
        .await;
        let bytes = match made {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return self.give_up(job, &source, &Trouble::Enhance(error), Kind::Init),
            Err(_) => return self.give_up(job, &source, &Trouble::Flight(FlightError::Lost), Kind::Init),
        };
        let object = NewObject {
            bytes: seal(cipher, bytes).await?,
            content_type: MP4,
            kind: Kind::Init,
            validator: source.validator.clone(),
            made_by: "init".into(),
            fresh_for: freshness::of(source.max_age, job.playlist.ended),
            improve_after: None,
            seconds: job.started.elapsed().as_secs_f64(),
        };
        Ok((self.keep(job, object), Outcome::Made))
    }

    /// The end of the ladder: the source's bytes as they are, kept so briefly that a passing trouble passes.
    fn give_up(
        &self,
        job: &Job<'_>,
        source: &Source,
        trouble: &Trouble,
        kind: Kind,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        self.metrics.fallbacks.with_label_values(&[trouble.label()]).inc();
        tracing::warn!(path = %job.wanted.path_and_query, %trouble, "the source's bytes are served");
        let mp4 = kind == Kind::Init || !job.playlist.maps.is_empty();
        let object = NewObject {
            bytes: source.bytes.clone(),
            content_type: content_type(mp4, &source.bytes),
            kind,
            validator: source.validator.clone(),
            made_by: SOURCE.into(),
            fresh_for: freshness::OF_SOURCE_BYTES,
            improve_after: None,
            seconds: job.started.elapsed().as_secs_f64(),
        };
        Ok((self.keep(job, object), Outcome::SourceBytes))
    }

    fn keep(&self, job: &Job<'_>, object: NewObject) -> Arc<Object> {
        let object = Arc::new(Object::new(object));
        self.store.put(job.wanted.key, Arc::clone(&object));
        object
    }
}

/// Work ahead waits for its turn, unless and until somebody waits for it.
async fn turn(line: Option<Place>, urgency: &Urgency) -> Option<OwnedSemaphorePermit> {
    let place = line?;
    tokio::select! {
        biased;
        () = urgency.waited_for() => None,
        turn = place.turn() => turn,
    }
}
