//! One object, step by step: what the playlist says of it, its source, what is made of that, and what instead where that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_enhancer::EnhanceError;
use acuity_playlist::media::{Map, MediaPlaylist, Segment};
use acuity_playlist::{Found, uri};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio::time::timeout;

use super::company::can_be_the_sources;
use super::job::{Job, Reason, SOURCE, content_type, is_improvable, made_by, seal};
use super::kept::Kept;
use super::turns::Place;
use super::{Made, Shared, freshness};
use crate::cache::flight::{Early, FlightError, Urgency};
use crate::cache::flow::{Flow, FlowEnd, Inlet};
use crate::cache::store::{MP4, NewObject, Object};
use crate::inputs::Ingredients;
use crate::metrics::{Kind, Outcome};
use crate::origin::Source;
use crate::rescue::{Remedy, Tried, Trouble};
use crate::traces;
use crate::wanted::{Wanted, spec_of};

/// How long a viewer's segment waits for room where its player could not read the source's: of fragmented MP4 that is packed as nobody we know
/// packs it. Players give up after 20 s or so.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

impl Shared {
    /// Makes what is wanted, or gives what is there by then.
    pub(super) async fn make(
        &self,
        wanted: &Wanted,
        reason: Reason,
        urgency: &Urgency,
        early: Early<Made>,
        line: Option<Place>,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        let making = self.purges.begin(wanted.key, wanted.named());
        let Kept { object: kept, replaces } = match self.kept(wanted, &reason, &making).await {
            Ok(kept) => kept,
            Err(good) => return Ok(good),
        };
        let party = self.waiting.party(wanted.key);
        party.is_made_in(traces::current());
        let _turn = turn(line, urgency).await;
        let lists_it = |playlist: &MediaPlaylist| playlist.find(&wanted.path_and_query) != Found::None;
        let playlist = self.playlists.media_that(&wanted.site, &wanted.token.playlist, lists_it).await?;
        let found = playlist.find(&wanted.path_and_query);
        let segment = match found {
            Found::Segment(at) => playlist.segments.get(at),
            Found::Map(_) | Found::None => None,
        };
        let init = match segment.and_then(|segment| segment.map.as_ref()) {
            Some(map) => self.inputs.init(&wanted.site, map).await.map(|init| Some(init.clear)),
            None => Ok(None),
        };
        let can_be_the_sources = segment.is_some() && can_be_the_sources(&init);
        let _place = self.place(urgency, self.patience(&reason, &playlist, can_be_the_sources)).await?;
        let started = Instant::now();
        let is_stopped = self.is_stopped(wanted);
        let job = Job {
            wanted,
            reason,
            urgency,
            early,
            playlist: &playlist,
            started,
            party: &party,
            making: &making,
            is_stopped,
            can_be_the_sources,
            replaces,
        };
        match found {
            Found::Segment(at) => match segment {
                Some(segment) => self.segment(&job, (at, segment), init, kept).await,
                None => Err(Trouble::NotListed),
            },
            Found::Map(at) => match playlist.maps.get(at) {
                Some(map) => self.init(&job, map).await,
                None => Err(Trouble::NotListed),
            },
            Found::None => Err(Trouble::NotListed),
        }
    }

    /// Whether somebody wants nothing enhanced there now.
    pub(super) fn is_stopped(&self, wanted: &Wanted) -> bool {
        let (path, _) = uri::take_range(&wanted.path_and_query);
        let found = self.sites.find(&wanted.site, &path);
        let route = found.and_then(|found| self.config.routes.get(found.route));
        route.is_some_and(|route| self.switches.stops(route))
    }

    /// A place among those in hand, for which a viewer waits so long. Work ahead takes one only if it is free.
    async fn place(&self, urgency: &Urgency, patience: Duration) -> Result<SemaphorePermit<'_>, Trouble> {
        let overloaded = || Trouble::Flight(FlightError::TooMany);
        if !urgency.is_waited_for() {
            return self.in_hand.try_acquire().map_err(|_| overloaded());
        }
        match timeout(patience, self.in_hand.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }

    /// How long a viewer's segment waits for a place: half of the time that there is where the origin can answer instead, so that it has the
    /// other half.
    fn patience(&self, reason: &Reason, playlist: &MediaPlaylist, can_be_the_sources: bool) -> Duration {
        match reason.deadline(&self.config, playlist, false).filter(|_| can_be_the_sources) {
            Some(by) => by.saturating_duration_since(Instant::now()) / 2,
            None => PATIENCE,
        }
    }

    async fn segment(
        &self,
        job: &Job<'_>,
        (at, segment): (usize, &Segment),
        init: Result<Option<Bytes>, Trouble>,
        kept: Option<Arc<Object>>,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        if !self.inputs.takes(segment) {
            self.metrics.fell_back(job.wanted, Trouble::TooLong.label());
            return Err(Trouble::TooLong);
        }
        if let Some(kept) = kept.filter(|kept| kept.validator.is_conditional() && &*kept.made_by != SOURCE) {
            let (target, range) = (&segment.target, segment.byte_range);
            if self.inputs.is_unchanged(&job.wanted.site, target, range, &kept.validator).await? {
                let object = Arc::new(kept.confirmed_again(freshness::of(None, job.playlist.ended)));
                job.making.keep(|| self.store.put(job.wanted.key, Arc::clone(&object)));
                return Ok((object, Outcome::Revalidated));
            }
        }
        let source = self.inputs.segment(&job.wanted.site, segment).await?;
        may_be_given(job, &source)?;
        // Where players could not read it, the plain scaler goes on through the encoder that they have the parameters of (see `enhance`).
        if job.is_stopped && job.can_be_the_sources {
            return self.give_up(job, &source, &Trouble::SwitchedOff, Kind::Segment);
        }
        let init = match init {
            Ok(init) => init,
            Err(trouble) => return self.give_up(job, &source, &trouble, Kind::Segment),
        };
        let ingredients = match self.inputs.open(&job.wanted.site, segment, Arc::clone(&source)).await {
            Ok(ingredients) => ingredients,
            Err(trouble) => return self.give_up(job, &source, &trouble, Kind::Segment),
        };
        let content_type = content_type(init.is_some(), &ingredients.clear);
        let Ingredients { clear, cipher, .. } = ingredients;
        let fresh_for = freshness::of(source.max_age, job.playlist.ended);
        // What has to be encrypted again is sent when it is whole.
        let flow = cipher.is_none().then(|| Flow::new(content_type, fresh_for, source.private));
        let inlet = flow.clone().map(Inlet);
        let enhanced = match self.enhance(job, (at, segment), init.clone(), clear.clone(), flow).await {
            Ok(enhanced) => enhanced,
            // Nobody waits for it and its place in the queue went to somebody who does.
            Err(trouble)
                if trouble.remedy(Tried::default()) == Remedy::Wait && !job.urgency.is_waited_for() =>
            {
                return Err(trouble);
            }
            Err(trouble) => {
                // What was to be improved is better than the source, and is so until it is tried again.
                let better = self.store.get(&job.wanted.key).filter(|there| &*there.made_by != SOURCE);
                if let Some(there) = better.filter(|_| matches!(job.reason, Reason::Improve)) {
                    self.metrics.fell_back(job.wanted, trouble.label());
                    let object = Arc::new(there.confirmed_again(there.fresh_for));
                    job.making.keep(|| self.store.put(job.wanted.key, Arc::clone(&object)));
                    return Ok((object, Outcome::Revalidated));
                }
                return self.give_up(job, &source, &trouble, Kind::Segment);
            }
        };
        let report = enhanced.report;
        if let Some(reason) = report.fallback {
            self.metrics.fell_back(job.wanted, reason.label());
        }
        self.tell_guard(job, segment, init, clear, &report);
        let made_by = made_by(&report);
        let object = NewObject {
            bytes: seal(cipher, enhanced.bytes).await?,
            content_type,
            kind: Kind::Segment,
            named: job.making.named().clone(),
            validator: source.validator.clone(),
            made_by,
            fresh_for,
            improve_after: is_improvable(&report, &job.wanted.token).then_some(freshness::IMPROVE_AFTER),
            seconds: job.started.elapsed().as_secs_f64(),
            private: source.private,
        };
        let lasts = report.fallback.is_none() && !source.private;
        let object = self.keep(job, object, lasts);
        if let Some(Inlet(flow)) = &inlet {
            flow.end(FlowEnd::Whole);
        }
        Ok((object, Outcome::Made))
    }

    async fn init(&self, job: &Job<'_>, map: &Map) -> Result<(Arc<Object>, Outcome), Trouble> {
        let Ingredients { source, clear, cipher } = self.inputs.init(&job.wanted.site, map).await?;
        may_be_given(job, &source)?;
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
            named: job.making.named().clone(),
            validator: source.validator.clone(),
            made_by: "init".into(),
            fresh_for: freshness::of(source.max_age, job.playlist.ended),
            improve_after: None,
            seconds: job.started.elapsed().as_secs_f64(),
            private: source.private,
        };
        Ok((self.keep(job, object, !source.private), Outcome::Made))
    }

    /// The end of the ladder: the source's bytes as they are, kept so briefly that a passing trouble passes.
    fn give_up(
        &self,
        job: &Job<'_>,
        source: &Source,
        trouble: &Trouble,
        kind: Kind,
    ) -> Result<(Arc<Object>, Outcome), Trouble> {
        self.metrics.fell_back(job.wanted, trouble.label());
        match trouble {
            // Of these there are many, and the metric counts them.
            Trouble::Enhance(EnhanceError::TooLate) => {
                tracing::debug!(path = %job.wanted.path_and_query, %trouble, "the source's bytes are served");
            }
            _ => tracing::warn!(path = %job.wanted.path_and_query, %trouble, "the source's bytes are served"),
        }
        let mp4 = kind == Kind::Init || !job.playlist.maps.is_empty();
        let object = NewObject {
            bytes: source.bytes.clone(),
            content_type: content_type(mp4, &source.bytes),
            kind,
            named: job.making.named().clone(),
            validator: source.validator.clone(),
            made_by: SOURCE.into(),
            fresh_for: freshness::OF_SOURCE_BYTES,
            improve_after: None,
            seconds: job.started.elapsed().as_secs_f64(),
            private: source.private,
        };
        Ok((self.keep(job, object, false), Outcome::SourceBytes))
    }
}

/// What another node wants is not made here where its origin forbids that it is shared: that node has to make it for its own viewers.
fn may_be_given(job: &Job<'_>, source: &Source) -> Result<(), Trouble> {
    if source.private && job.reason.is_nodes() { Err(Trouble::Private) } else { Ok(()) }
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
