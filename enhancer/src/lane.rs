//! What one worker owns (networks, scalers, picture memory) and how it makes one segment.
//!
//! A lane is a thread that enhances one segment at a time. Networks live here because a session must not be
//! shared, and because a thread that owns its memory needs no locks on the path of pictures.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use acuity_config::EnhancerConfig;

use crate::begun;
use crate::codec::{Codecs, Effort, EncoderSettings, OnCard};
use crate::container::{ContainerKind, SourceSegment, VideoTrack};
use crate::feed::{Feed, Sink, lead_in};
use crate::interpolate::{self, Crew, Interpolate, Settled};
use crate::library::{Hand, Library};
use crate::luma::{self, Base, Luma, Memory};
use crate::model::Session;
use crate::outlet::{Outlet, Pieces};
use crate::pipeline::{self, Then};
use crate::probe::require_supported;
use crate::report::{Between, EnhancedSegment, FallbackReason, MadeBy, Report, StageSeconds};
use crate::schedule::{Choice, Facts, Limit, Tier, Verdict, Why};
use crate::upscale::{PicturePool, Scalers, Upscale};
use crate::{EnhanceError, EnhanceRequest, Upscaler};

pub(crate) struct Lane {
    number: usize,
    config: Arc<EnhancerConfig>,
    library: Arc<Library>,
    codecs: Arc<Codecs>,
    scalers: Scalers,
    memory: Memory,
    pool: PicturePool,
}

impl Lane {
    pub(crate) fn new(
        number: usize,
        config: Arc<EnhancerConfig>,
        library: Arc<Library>,
        codecs: Arc<Codecs>,
    ) -> Self {
        Self {
            number,
            config,
            library,
            codecs,
            scalers: Scalers::default(),
            memory: Memory::default(),
            pool: PicturePool::default(),
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Makes one segment with what is in `hand`. `queued_seconds` is how long it waited, `busy` how many lanes work, this one included;
    /// `decide` says what it is made with, once it is known what it takes. `pieces` gets the segment's bytes while it is being made.
    pub(crate) fn enhance(
        &mut self,
        request: &EnhanceRequest,
        mut hand: Hand,
        queued_seconds: f64,
        (busy, decide): (usize, &dyn Fn(&Facts<'_>) -> Verdict),
        pieces: Option<Pieces>,
    ) -> Result<EnhancedSegment, EnhanceError> {
        let started = Instant::now();
        if request.segment.len() as u64 > self.config.max_segment_bytes {
            return Err(crate::Unsupported::TooLarge.into());
        }
        let source = SourceSegment::parse(request.init.as_deref(), request.segment.clone())?;
        let Some(video) = source.video().filter(|video| !video.units.is_empty() || video.encrypted) else {
            return Ok(untouched(request, queued_seconds, started));
        };
        require_supported(video, &self.config)?;
        let opens_on_idr = video.units.first().is_some_and(|unit| unit.random_access);
        if !opens_on_idr && request.lead_in.is_empty() {
            return Err(EnhanceError::OpensMidGop);
        }
        let lead_in = lead_in(request);
        let demux_seconds = started.elapsed().as_secs_f64();

        let (timeline, slots) = interpolate::plan(video, &request.spec);
        let crew = Crew::new(&self.library, request, video, hand.middle.take());
        crew.introduce(&self.library, request.spec.scale);
        let (recipe, plain_recipe) = (crew.recipe.clone(), crew.plain_recipe.clone());
        let media_seconds = timeline.seconds();
        let frames = u32::try_from(timeline.len()).unwrap_or(u32::MAX);
        let picture_pixels = u64::from(request.spec.width) * u64::from(request.spec.height);
        let pixels = picture_pixels * u64::from(frames);
        let mut tiers: Vec<Tier> = hand
            .tiers
            .iter()
            .map(|(model, session)| Tier {
                forecast: model.forecast(&recipe, picture_pixels, pixels, busy),
                at_hand: session.is_some(),
            })
            .collect();
        if tiers.is_empty() {
            tiers.extend(crew.tier(&self.library, (picture_pixels, pixels), busy));
        }
        let stopped = self.library.costs.plain(&plain_recipe, picture_pixels, pixels, busy);
        let plain = match tiers.is_empty() {
            true => stopped,
            false => self.library.costs.quick(&plain_recipe, picture_pixels, pixels, busy),
        };
        let Verdict { choice, why, limit, plain_seconds } =
            decide(&Facts { tiers: &tiers, plain, stopped, media_seconds });
        // Plain for want of time: what the encoder would add to a scaler's picture is little, and somebody's network waits for the time.
        let is_hasty = choice == Choice::Plain && !tiers.is_empty();
        let effort = if is_hasty { Effort::Least } else { Effort::Full };
        // What is made again is made by the same, and nothing cuts it short but what did before: the first bytes of it have been sent.
        let (choice, limit, effort) = match &request.again_by {
            Some(by) => (hand.made_by(by), Limit::again(begun::cuts(by)), begun::effort(by)),
            None => (choice, limit, effort),
        };
        let settings = EncoderSettings { effort, ..encoder_settings(request, video, &self.config) };
        if let Some((passed_over, _)) = hand.tiers.get(choice.next_better()).filter(|_| why == Why::Deadline)
        {
            passed_over.relax(&recipe);
        }
        let instead = hand.fallback;
        let Settled { way, fallback: between_fallback, key: between_key, name: interpolator } =
            crew.settle(request, choice, tiers.len());
        let (mut session, mut base) = match choice {
            Choice::Tier(place) => hand.pick(place, &self.library),
            Choice::Plain => {
                drop(hand);
                (None, None)
            }
        };
        // No tier fits, or none that would has a session yet.
        let is_plain = session.is_none();
        let made_by = session
            .as_ref()
            .map_or_else(|| "plain".to_owned(), |session| session.model().identity.id.clone());
        let made_by = crate::report::made_by(&made_by, interpolator.as_deref());
        let Self { scalers, memory, pool, number, config, library, codecs } = self;
        let share =
            session.as_ref().map_or(1.0, |dear| config.detail_share(dear.model().identity.tier.label()));
        base = base.filter(|base| match (&session, &request.again_by) {
            (Some(_), Some(by)) => begun::base(by) == Some(&base.model().identity.id),
            (Some(dear), None) => goes_with(dear, base, share, request),
            (None, _) => false,
        });
        let helps = base.as_ref().map(|base| base.model().identity.id.as_str());
        let said = begun::with(&made_by, helps, effort);
        let base = base.as_mut().and_then(Session::network).map(|network| Base { network, share });
        let network = session.as_mut().and_then(Session::network);
        let luma = network.map(|network| Luma::new(network, base, memory, config.still_limit));
        let size = (request.spec.width, request.spec.height);
        let plain_picture_seconds = plain_seconds / f64::from(frames.max(1));
        let upscale = Upscale::new(
            luma,
            scalers,
            pool.clone(),
            size,
            request.spec.scale,
            limit.clone(),
            (timeline.len(), plain_picture_seconds),
        );
        let interpolate = Interpolate::new(way, &timeline, limit.clone(), plain_picture_seconds);
        let mut stages = Then(interpolate, upscale);
        let running = Instant::now();
        // Where the initialisation holds the encoder's parameter sets, it is always the same encoder.
        let in_band = source.kind() == ContainerKind::Ts;
        let on_card = OnCard::default();
        let made = pipeline::run(
            *number,
            &timeline,
            &request.cancel,
            || {
                let (lead_in, timeline, on_card) = (&lead_in, &timeline, &on_card);
                let (init, following) = (request.init.as_deref(), &request.following);
                Ok(Feed { codecs, on_card, lead_in, video, timeline, init, following })
            },
            &mut stages,
            || {
                let encoder = codecs.encoder(&settings, in_band)?;
                on_card.encoder.store(encoder.is_on_card(), Ordering::Relaxed);
                Ok(Sink {
                    encoder,
                    codecs,
                    splicer: match &slots {
                        Some(slots) => source.splicer_into(slots)?,
                        None => source.splicer()?,
                    },
                    outlet: Outlet::new(
                        pieces,
                        said,
                        timeline.len(),
                        media_seconds,
                        self.config.stream_pace,
                        limit.clone(),
                    ),
                    splice_seconds: 0.0,
                    pool: pool.clone(),
                    size,
                })
            },
        )?;
        let running_seconds = running.elapsed().as_secs_f64() - limit.rested_seconds(Instant::now());
        let Then(interpolate, stage) = stages;
        let (by_network, network_seconds) = (stage.by_network, stage.network_seconds());
        let (stopped, network_places) = (stage.fallback.is_some(), stage.network_places);
        let (infer_seconds, scale_seconds) = (stage.infer_seconds, stage.scale_seconds);
        let wanted_model = matches!(request.spec.upscaler, Upscaler::Model { .. });
        let short = (wanted_model && is_plain).then_some(FallbackReason::DeadlineShort);
        let fallback = if made.blank {
            Some(FallbackReason::Undecodable)
        } else {
            stage.fallback.or(interpolate.fallback).or(instead).or(short).or(between_fallback)
        };
        let made_by = match &session {
            Some(session) if by_network > 0 => {
                // Places that repeat take no network; it has come as far as its last picture.
                let done = match (&slots, stopped) {
                    (Some(_), false) => frames,
                    (Some(_), true) => network_places,
                    (None, _) => by_network,
                };
                let seconds = if done < frames { network_seconds } else { running_seconds };
                let model = session.model();
                model.learn(&recipe, seconds, u64::from(done), picture_pixels, busy);
                MadeBy::Model {
                    id: model.identity.id.clone(),
                    tier: model.identity.tier.label().to_owned(),
                    provider: model.engine.provider(),
                    precision: model.engine.precision(),
                }
            }
            _ => {
                match between_key.filter(|_| interpolate.fallback.is_none()) {
                    Some(key) => {
                        library.costs.learn(&key, running_seconds, u64::from(frames), picture_pixels, busy)
                    }
                    None => library.costs.learn_plain(
                        (effort, &plain_recipe),
                        running_seconds,
                        u64::from(frames),
                        picture_pixels,
                        busy,
                    ),
                }
                MadeBy::Plain
            }
        };
        match session {
            Some(session) if fallback == Some(FallbackReason::ModelFailed) => session.discard(),
            session => drop(session),
        }
        let (bytes, splice_seconds) = made.output;
        let stages = StageSeconds {
            queue: queued_seconds,
            demux: demux_seconds,
            decode: made.decode_seconds,
            infer: infer_seconds,
            scale: scale_seconds,
            interpolate: interpolate.seconds,
            encode: (made.encode_seconds - splice_seconds).max(0.0),
            mux: splice_seconds,
            total: started.elapsed().as_secs_f64(),
        };
        let report = Report {
            frames,
            // What stays because nothing was to be made of it is no loss.
            held_frames: u32::try_from(made.held).unwrap_or(u32::MAX).saturating_sub(interpolate.stays()),
            between: interpolate.between,
            interpolator,
            made_by,
            fallback,
            decoder: by(on_card.decoder.into_inner()),
            encoder: by(on_card.encoder.into_inner()),
            stages,
            source_bytes: request.segment.len(),
            media_seconds,
        };
        Ok(EnhancedSegment { bytes, report })
    }
}

/// Whether a session is worth being spared most of its work by a cheaper one.
fn goes_with(dear: &Session, base: &Session, share: f64, request: &EnhanceRequest) -> bool {
    let scale = request.spec.scale.max(1);
    let size = ((request.spec.width / scale) as usize, (request.spec.height / scale) as usize);
    luma::is_worthwhile(dear.model().proof_seconds, base.model().proof_seconds, share, size)
}

/// What decoded or encoded, in metrics and reports.
fn by(is_on_card: bool) -> &'static str {
    if is_on_card { "card" } else { "cpu" }
}

fn encoder_settings(
    request: &EnhanceRequest,
    video: &VideoTrack,
    config: &EnhancerConfig,
) -> EncoderSettings {
    EncoderSettings::new(&request.spec, config, video.sps().as_ref())
}

fn untouched(request: &EnhanceRequest, queued_seconds: f64, started: Instant) -> EnhancedSegment {
    let total = started.elapsed().as_secs_f64();
    EnhancedSegment {
        bytes: request.segment.clone(),
        report: Report {
            frames: 0,
            held_frames: 0,
            between: Between::default(),
            interpolator: None,
            made_by: MadeBy::Untouched,
            fallback: Some(FallbackReason::NoVideo),
            decoder: "none",
            encoder: "none",
            stages: StageSeconds { queue: queued_seconds, demux: total, total, ..StageSeconds::default() },
            source_bytes: request.segment.len(),
            media_seconds: 0.0,
        },
    }
}
