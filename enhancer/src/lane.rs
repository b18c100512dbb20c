//! What one worker owns (networks, scalers, picture memory) and how it makes one segment.
//!
//! A lane is a thread that enhances one segment at a time. Networks live here because a session must not be
//! shared, and because a thread that owns its memory needs no locks on the path of pictures.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use acuity_config::EnhancerConfig;
use acuity_models::{Catalogue, ModelEntry};
use bytes::Bytes;

use crate::codec::{Decoder, Encoder, EncoderSettings, Picture};
use crate::container::{AccessUnit, EncodedUnit, Framing, SourceSegment, VideoTrack};
use crate::h264;
use crate::inference::{Network, Runtime};
use crate::metrics::Metrics;
use crate::pipeline::{self, Decode, Emit, Encode, Placed};
use crate::probe::require_supported;
use crate::report::{EnhancedSegment, FallbackReason, MadeBy, Report, StageSeconds};
use crate::schedule::{Choice, Cost, choose};
use crate::timeline::Timeline;
use crate::upscale::{PicturePool, Scalers, Upscale};
use crate::{EnhanceError, EnhanceRequest, Upscaler};

/// Size of the warm-up picture: the usual source, so that the first estimate of cost is near the truth.
const WARM_UP: (usize, usize) = (640, 360);

/// Ten milliseconds for a 720p picture, about what two cores take; replaced by what is measured.
const PLAIN_SECONDS_PER_PIXEL: f64 = 1.1e-8;

/// A verified model file, read once and shared by the lanes.
pub(crate) struct VerifiedModel {
    pub(crate) entry: Arc<ModelEntry>,
    pub(crate) bytes: Vec<u8>,
}

/// A tier that is loaded in this lane.
struct Loaded {
    entry: Arc<ModelEntry>,
    network: Network,
    cost: Cost,
}

pub(crate) struct Lane {
    number: usize,
    config: Arc<EnhancerConfig>,
    provider: &'static str,
    /// Tiers by (cluster, scale), cheapest first, with the digest of the set as the catalogue has it.
    sets: HashMap<(String, u32), (String, Vec<Loaded>)>,
    scalers: Scalers,
    pool: PicturePool,
    /// What decoder, plain scaler and encoder cost.
    plain: Cost,
}

impl Lane {
    /// Loads and warms every verified model. One that fails is left out, with a line in the log: its renditions
    /// fall back, and `model_missing` counts them.
    pub(crate) fn new(
        number: usize,
        config: Arc<EnhancerConfig>,
        runtime: &Runtime,
        catalogue: &Catalogue,
        models: &[VerifiedModel],
        metrics: &Metrics,
    ) -> Self {
        let mut sets = HashMap::new();
        for set in catalogue.sets() {
            let mut tiers = Vec::new();
            for entry in set.entries() {
                let Some(model) = models.iter().find(|model| model.entry.id == entry.id) else { continue };
                match load(runtime, model) {
                    Ok(loaded) => {
                        let digest = entry.sha256.to_string();
                        let short = digest.get(..12).unwrap_or(&digest);
                        let labels =
                            [&entry.id, &entry.cluster, entry.tier.label(), short, runtime.provider_label()];
                        metrics.models.with_label_values(&labels).inc();
                        tiers.push(loaded);
                    }
                    Err(error) => tracing::error!(model = %entry.id, %error, "model left out"),
                }
            }
            sets.insert((set.cluster().to_owned(), set.scale()), (set.digest(), tiers));
        }
        Self {
            number,
            config,
            provider: runtime.provider_label(),
            sets,
            scalers: Scalers::default(),
            pool: PicturePool::default(),
            plain: Cost::estimate(PLAIN_SECONDS_PER_PIXEL),
        }
    }

    /// Makes one segment. `queued_seconds` is how long it waited, `waiting` how many viewers' segments wait for each
    /// lane behind it.
    pub(crate) fn enhance(
        &mut self,
        request: &EnhanceRequest,
        queued_seconds: f64,
        waiting: f64,
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
        let (tiers, missing) = self.tiers(request);
        let frames = u32::try_from(timeline.len()).unwrap_or(u32::MAX);
        let picture_pixels = u64::from(request.spec.width) * u64::from(request.spec.height);
        let pixels = picture_pixels * u64::from(frames);
        // However far the deadline is, a tier slower than the film would take the time of the segments behind this one.
        let left = request
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64().min(media_seconds.max(0.1)));
        let costs: Vec<Cost> = tiers.iter().map(|tier| tier.cost).collect();
        let choice = choose(&costs, pixels, left, waiting);
        let provider = self.provider;
        let settings = encoder_settings(request, video, &self.config);
        // Taken out of `self` so that the network can be borrowed while the scalers are.
        let Self { sets, scalers, pool, number, plain, .. } = self;
        if let Some(passed_over) =
            tiers_mut(sets, request).and_then(|tiers| tiers.get_mut(choice.next_better()))
        {
            passed_over.cost.relax();
        }
        let mut chosen = match choice {
            Choice::Tier(place) => tiers_mut(sets, request).and_then(|tiers| tiers.get_mut(place)),
            Choice::Plain => None,
        };
        let network = chosen.as_mut().map(|tier| &mut tier.network);
        let size = (request.spec.width, request.spec.height);
        let mut stage = Upscale::new(
            network,
            scalers,
            pool.clone(),
            size,
            request.spec.scale,
            request.deadline,
            (timeline.len(), plain.predict(picture_pixels)),
        );
        let running = Instant::now();
        let made = pipeline::run(
            *number,
            &timeline,
            &request.cancel,
            || Ok(Feed { decoder: Decoder::open()?, lead_in: &lead_in, video, timeline: &timeline }),
            &mut stage,
            || Ok(Sink { encoder: Encoder::open(&settings)?, pool: pool.clone(), size }),
        )?;
        let running_seconds = running.elapsed().as_secs_f64();
        let (by_network, network_seconds) = (stage.by_network, stage.network_seconds());
        let (infer_seconds, scale_seconds) = (stage.infer_seconds, stage.scale_seconds);
        let wanted_model = matches!(request.spec.upscaler, Upscaler::Model { .. });
        let fallback = if made.blank {
            Some(FallbackReason::Undecodable)
        } else {
            stage.fallback.or(match (wanted_model, missing, choice) {
                (true, true, _) => Some(FallbackReason::ModelMissing),
                (true, false, Choice::Plain) => Some(FallbackReason::DeadlineShort),
                _ => None,
            })
        };
        let made_by = match &mut chosen {
            Some(tier) if by_network > 0 => {
                let seconds = if by_network < frames { network_seconds } else { running_seconds };
                tier.cost.learn(seconds, u64::from(by_network), picture_pixels);
                MadeBy::Model {
                    id: tier.entry.id.clone(),
                    tier: tier.entry.tier.label().to_owned(),
                    provider,
                }
            }
            _ => {
                plain.learn(running_seconds, u64::from(frames), picture_pixels);
                MadeBy::Plain
            }
        };
        let muxing = Instant::now();
        let bytes = source.splice(&made.units)?;
        let stages = StageSeconds {
            queue: queued_seconds,
            demux: demux_seconds,
            decode: made.decode_seconds,
            infer: infer_seconds,
            scale: scale_seconds,
            encode: made.encode_seconds,
            mux: muxing.elapsed().as_secs_f64(),
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

    /// The tiers a request may use, and whether the model it names is missing. The generic set stands in for a
    /// cluster's that is gone; a set whose digest has changed is another one.
    fn tiers(&self, request: &EnhanceRequest) -> (&[Loaded], bool) {
        let Upscaler::Model { cluster, digest } = &request.spec.upscaler else { return (&[], false) };
        match self.sets.get(&(cluster.clone(), request.spec.scale)) {
            Some((found, tiers)) if found == digest && !tiers.is_empty() => (tiers, false),
            _ => match self.sets.get(&(GENERIC.to_owned(), request.spec.scale)) {
                Some((_, tiers)) if cluster != GENERIC => (tiers, true),
                _ => (&[], true),
            },
        }
    }
}

/// The cluster that stands in for others.
const GENERIC: &str = "generic";

type Sets = HashMap<(String, u32), (String, Vec<Loaded>)>;

/// The same tiers as [`Lane::tiers`] gives, to be run.
fn tiers_mut<'a>(sets: &'a mut Sets, request: &EnhanceRequest) -> Option<&'a mut Vec<Loaded>> {
    let Upscaler::Model { cluster, digest } = &request.spec.upscaler else { return None };
    let own = (cluster.clone(), request.spec.scale);
    let own_fits = sets.get(&own).is_some_and(|(found, tiers)| found == digest && !tiers.is_empty());
    let key = if own_fits { own } else { (GENERIC.to_owned(), request.spec.scale) };
    sets.get_mut(&key).map(|(_, tiers)| tiers)
}

fn load(runtime: &Runtime, model: &VerifiedModel) -> Result<Loaded, crate::inference::InferenceError> {
    let mut network = Network::load(runtime, &model.bytes, &model.entry.contract)?;
    let seconds_per_pixel = network.warm_up(WARM_UP.0, WARM_UP.1)?;
    Ok(Loaded { entry: Arc::clone(&model.entry), network, cost: Cost::estimate(seconds_per_pixel) })
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

/// The lead-in's pictures. A lead-in that cannot be read is as good as none: what refers to it is held.
fn lead_in(request: &EnhanceRequest) -> Vec<VideoTrack> {
    let parse = |bytes: &Bytes| SourceSegment::parse(request.init.as_deref(), bytes.clone()).ok();
    request.lead_in.iter().filter_map(parse).filter_map(|segment| segment.video().cloned()).collect()
}

/// Decodes a segment, after the segments it refers to.
struct Feed<'a> {
    decoder: Decoder,
    lead_in: &'a [VideoTrack],
    video: &'a VideoTrack,
    timeline: &'a Timeline,
}

impl Decode for Feed<'_> {
    type Picture = Picture;

    fn run(mut self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        // The last picture before the segment: shown if the segment itself gives none.
        let mut before = None;
        let mut emitted = false;
        let mut outcome = Ok(());
        // Lead-in pictures may have times that the segment's also have (each segment unwraps its own): they
        // are given times of their own, below any that can occur.
        let mut place = |pts: i64, picture: Picture| {
            if outcome.is_err() {
                return;
            }
            if pts < LEAD_IN_PTS {
                before = Some(picture);
            } else if let Some(index) = self.timeline.index_of(pts)
                && picture.is_planar_420()
            {
                emitted = true;
                outcome = emit(Placed { index, picture });
            }
        };
        let mut lead_in_pts = i64::MIN / 2;
        for track in self.lead_in {
            for unit in &track.units {
                // Order is all that matters of these times, and the decoder derives none from them.
                lead_in_pts += 1;
                self.decoder.push(&annex_b(track, unit), lead_in_pts, &mut place)?;
            }
        }
        for unit in &self.video.units {
            self.decoder.push(&annex_b(self.video, unit), unit.pts, &mut place)?;
        }
        self.decoder.drain(&mut place)?;
        outcome?;
        match before {
            Some(picture) if !emitted && picture.is_planar_420() => emit(Placed { index: 0, picture }),
            _ => Ok(()),
        }
    }
}

/// Times below this belong to lead-in pictures.
const LEAD_IN_PTS: i64 = i64::MIN / 4;

/// An access unit as the decoder takes it. Parameter sets from an init segment go before every IDR picture, where a
/// transport stream has them.
pub(crate) fn annex_b<'a>(track: &VideoTrack, unit: &'a AccessUnit) -> std::borrow::Cow<'a, [u8]> {
    match track.framing {
        Framing::AnnexB => std::borrow::Cow::Borrowed(&unit.data),
        Framing::LengthPrefixed(size) => {
            let is_first = track.units.first().is_some_and(|first| std::ptr::eq(first, unit));
            let mut data =
                if unit.random_access || is_first { track.parameter_sets.annex_b() } else { Vec::new() };
            data.extend_from_slice(&h264::length_prefixed_to_annex_b(&unit.data, size));
            std::borrow::Cow::Owned(data)
        }
    }
}

/// The encoder with the memory its pictures go back to.
struct Sink {
    encoder: Encoder,
    pool: PicturePool,
    size: (u32, u32),
}

impl Encode for Sink {
    type Picture = Picture;

    fn push(&mut self, picture: &mut Picture, pts_90k: i64, idr: bool) -> Result<(), EnhanceError> {
        self.encoder.push(picture, pts_90k, idr)
    }

    fn blank(&mut self) -> Result<Picture, EnhanceError> {
        Picture::black(self.size.0, self.size.1)
    }

    fn recycle(&mut self, picture: Picture) {
        self.pool.give_back(picture);
    }

    fn finish(self) -> Result<Vec<EncodedUnit>, EnhanceError> {
        self.encoder.finish()
    }
}
