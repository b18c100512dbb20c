//! What one worker owns (networks, scalers, picture memory) and how it makes one segment.
//!
//! A lane is a thread that enhances one segment at a time. Networks live here because a session must not be
//! shared, and because a thread that owns its memory needs no locks on the path of pictures.

use std::sync::Arc;
use std::time::Instant;

use acuity_config::EnhancerConfig;

use crate::codec::{Decoder, Encoder, EncoderSettings};
use crate::container::{SourceSegment, VideoTrack};
use crate::feed::{Feed, Sink, lead_in};
use crate::library::{Hand, Library};
use crate::luma::{self, Base, Luma, Memory};
use crate::model::Session;
use crate::outlet::{Outlet, Pieces};
use crate::pipeline;
use crate::probe::require_supported;
use crate::report::{EnhancedSegment, FallbackReason, MadeBy, Report, StageSeconds};
use crate::schedule::{Choice, Facts, PLAIN, Tier, Verdict, Why};
use crate::timeline::Timeline;
use crate::upscale::{PicturePool, Scalers, Upscale};
use crate::{EnhanceError, EnhanceRequest, Upscaler};

pub(crate) struct Lane {
    number: usize,
    config: Arc<EnhancerConfig>,
    library: Arc<Library>,
    scalers: Scalers,
    memory: Memory,
    pool: PicturePool,
}

impl Lane {
    pub(crate) fn new(number: usize, config: Arc<EnhancerConfig>, library: Arc<Library>) -> Self {
        Self {
            number,
            config,
            library,
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
        hand: Hand,
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

        let timeline = Timeline::new(&video.units, video.timescale);
        let media_seconds = timeline.seconds();
        let frames = u32::try_from(timeline.len()).unwrap_or(u32::MAX);
        let picture_pixels = u64::from(request.spec.width) * u64::from(request.spec.height);
        let pixels = picture_pixels * u64::from(frames);
        let tiers: Vec<Tier> = hand
            .tiers
            .iter()
            .map(|(model, session)| Tier {
                forecast: model.forecast(picture_pixels, pixels, busy),
                at_hand: session.is_some(),
            })
            .collect();
        let plain = self.library.costs.plain(picture_pixels, pixels, busy);
        let Verdict { choice, why, limit, plain_seconds } =
            decide(&Facts { tiers: &tiers, plain, media_seconds });
        let settings = encoder_settings(request, video, &self.config);
        if let Some((passed_over, _)) = hand.tiers.get(choice.next_better()).filter(|_| why == Why::Deadline)
        {
            passed_over.relax();
        }
        let instead = hand.fallback;
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
        let Self { scalers, memory, pool, number, config, library, .. } = self;
        let share = config.detail_share;
        base = base.filter(|base| session.as_ref().is_some_and(|dear| goes_with(dear, base, share, request)));
        let base = base.as_mut().and_then(Session::network).map(|network| Base { network, share });
        let network = session.as_mut().and_then(Session::network);
        let luma = network.map(|network| Luma::new(network, base, memory));
        let size = (request.spec.width, request.spec.height);
        let mut stage = Upscale::new(
            luma,
            scalers,
            pool.clone(),
            size,
            request.spec.scale,
            limit.clone(),
            (timeline.len(), plain_seconds / f64::from(frames.max(1))),
        );
        let running = Instant::now();
        let made = pipeline::run(
            *number,
            &timeline,
            &request.cancel,
            || Ok(Feed { decoder: Decoder::open()?, lead_in: &lead_in, video, timeline: &timeline }),
            &mut stage,
            || {
                Ok(Sink {
                    encoder: Encoder::open(&settings)?,
                    splicer: source.splicer()?,
                    outlet: Outlet::new(
                        pieces,
                        made_by,
                        timeline.len(),
                        media_seconds,
                        self.config.stream_pace,
                    ),
                    splice_seconds: 0.0,
                    pool: pool.clone(),
                    size,
                })
            },
        )?;
        let running_seconds = running.elapsed().as_secs_f64() - limit.rested_seconds(Instant::now());
        let (by_network, network_seconds) = (stage.by_network, stage.network_seconds());
        let (infer_seconds, scale_seconds) = (stage.infer_seconds, stage.scale_seconds);
        let wanted_model = matches!(request.spec.upscaler, Upscaler::Model { .. });
        let short = (wanted_model && is_plain).then_some(FallbackReason::DeadlineShort);
        let fallback =
            if made.blank { Some(FallbackReason::Undecodable) } else { stage.fallback.or(instead).or(short) };
        let made_by = match &session {
            Some(session) if by_network > 0 => {
                let seconds = if by_network < frames { network_seconds } else { running_seconds };
                let model = session.model();
                model.learn(seconds, u64::from(by_network), picture_pixels, busy);
                MadeBy::Model {
                    id: model.identity.id.clone(),
                    tier: model.identity.tier.label().to_owned(),
                    provider: model.engine.provider(),
                    precision: model.engine.precision(),
                }
            }
            _ => {
                library.costs.learn(PLAIN, running_seconds, u64::from(frames), picture_pixels, busy);
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
            encode: (made.encode_seconds - splice_seconds).max(0.0),
            mux: splice_seconds,
            total: started.elapsed().as_secs_f64(),
        };
        let report = Report {
            frames,
            held_frames: u32::try_from(made.held).unwrap_or(u32::MAX),
            made_by,
            fallback,
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
            made_by: MadeBy::Untouched,
            fallback: Some(FallbackReason::NoVideo),
            stages: StageSeconds { queue: queued_seconds, demux: total, total, ..StageSeconds::default() },
            source_bytes: request.segment.len(),
            media_seconds: 0.0,
        },
    }
}
