//! `[enhancer]`: how much of the machine enhancement may use, and within which limits it takes strangers' video.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::detail::DetailShareOf;
use crate::gpu::GpuConfig;
use crate::reader::Section;

/// Threads, limits and encoder settings of the enhancer.
#[derive(Clone, Debug, PartialEq)]
pub struct EnhancerConfig {
    /// Segments enhanced at the same time (1 to 64); each lane has its own decoder, inference session and encoder.
    pub lanes: usize,
    /// Threads of one lane's inference session (1 to 64).
    pub inference_threads: usize,
    /// Threads of one lane's encoder (1 to 16).
    pub encoder_threads: usize,
    /// Segments that may wait for a lane (1 to 4096); one more is refused and served by the ladder of fall-backs.
    pub queue_limit: usize,
    /// Segments of a rendition that are produced ahead of their request (0 to 16).
    pub look_ahead: usize,
    /// x264's trade of processor time for quality at a bitrate.
    pub preset: Preset,
    /// x264's constant rate factor (10 to 40, lower is better); the rendition's bitrate cap holds above it.
    pub crf: f32,
    /// Source pictures of more pixels than this are not enhanced (16 384 to 4 194 304).
    pub max_source_pixels: u32,
    /// Source segments of more bytes than this are not enhanced (64 KiB to 1 GiB).
    pub max_segment_bytes: u64,
    /// Source segments of more pictures than this are not enhanced (1 to 36 000).
    pub max_frames_per_segment: u32,
    /// Source segments that their playlist says are longer are not enhanced (1 s to 10 min).
    pub max_segment_duration: Duration,
    /// What runs the networks. One that is named is it or a failed start, never a silent other one.
    pub provider: Provider,
    /// Whether networks run in floating point or in eight bits.
    pub precision: Precision,
    /// ONNX Runtime's shared library; none means the loader's search path.
    pub runtime_library: Option<PathBuf>,
    /// Part of each picture that a tier far dearer than its set's cheapest makes anew (0.05 to 1); what it adds to the cheapest is
    /// carried from picture to picture. 1: all of it, always.
    pub detail_share: f64,
    /// The same for single tiers.
    pub detail_share_of: DetailShareOf,
    /// A part of a picture that differs by no more than this (mean squared, in 8-bit code values; 0 to 4) from what a network last made of
    /// it is not made again; 0: only where nothing has changed as far as networks look.
    pub still_limit: f64,
    /// A segment is sent while it is being made if that makes its transfer so many times as quick as the film (1 to 100); it is
    /// held back until then.
    pub stream_pace: f64,
    /// Share of segments that a predicted time must hold for (0.5 to 0.999). The higher, the fewer are finished by the plain scaler,
    /// and the smaller the tiers.
    pub confidence: f64,
    /// Where what models cost on this machine is kept between runs; none: it is learned anew.
    pub cost_file: Option<PathBuf>,
    /// The cards that `cuda` and `tensorrt` run on.
    pub gpu: GpuConfig,
    /// By when a segment must be ready.
    pub deadline: DeadlinePolicy,
}

/// By when a segment that a player asked for must be ready. Without word from the player that is
/// `fraction` of the playlist's target duration; with CMCD's buffer length it is that less `buffer_reserve`. Both are
/// then kept between `shortest` and `longest`. A player that starts or seeks waits for `startup_fraction` of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadlinePolicy {
    /// Part of the target duration (0.1 to 10).
    pub fraction: f64,
    /// The same for a player that starts, seeks or has run dry (0.1 to 10).
    pub startup_fraction: f64,
    /// What must be left in the player's buffer when the segment is ready (0 s to 30 s).
    pub buffer_reserve: Duration,
    /// No deadline is nearer than this (50 ms to 30 s).
    pub shortest: Duration,
    /// No deadline is further than this (500 ms to 60 s), and not below `shortest`.
    pub longest: Duration,
}

/// x264's presets that are of use to an edge, cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names are x264's
pub enum Preset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
}

/// ONNX Runtime's execution provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The quicker of `cpu` and `openvino` on this machine, found out at the start.
    Auto,
    /// ONNX Runtime's own kernels; in every build of it.
    Cpu,
    /// Intel's OpenVINO (x86 of any maker); needs the library of `onnxruntime-openvino`.
    OpenVino,
    /// NVIDIA CUDA; needs the library of `onnxruntime-gpu`.
    Cuda,
    /// NVIDIA TensorRT; needs the library of `onnxruntime-gpu` and TensorRT.
    TensorRt,
}

/// The numbers that networks are run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// On processors the quicker of the two for models that have an int8 file, found out at the start; `float` on GPUs.
    Auto,
    /// The model's own weights.
    Float,
    /// The int8 file of models that have one, `float` for others.
    Int8,
}

impl EnhancerConfig {
    /// Lanes for a machine of `cores`: a lane keeps about two busy, since its decode, inference and encode overlap.
    pub(crate) fn lanes_for(cores: usize) -> usize {
        (cores / 2).clamp(1, 64)
    }

    /// Inference threads so that all lanes together have a thread for each core.
    pub(crate) fn inference_threads_for(cores: usize, lanes: usize) -> usize {
        (cores / lanes.max(1)).clamp(1, 64)
    }

    /// Encoder threads: with more, x264's rate control asks how far the other pictures have come, and the same pictures come out
    /// differently each time. What one worker has begun another could not go on with, and no two nodes would serve the same bytes.
    pub(crate) const ENCODER_THREADS: usize = 1;
}

impl Default for EnhancerConfig {
    fn default() -> Self {
        let cores = crate::cores();
        let lanes = Self::lanes_for(cores);
        Self {
            lanes,
            inference_threads: Self::inference_threads_for(cores, lanes),
            encoder_threads: Self::ENCODER_THREADS,
            // Each entry holds a source segment (about 0.5 MB at 600 kbit/s); whoever is further back than this would
            // miss the deadline anyway.
            queue_limit: 32,
            // One being played and two ready is what players buffer before they start; more is lost on a switch or seek.
            look_ahead: 2,
            // Re-encoding costs 0.13 dB at 2.8 Mbit/s against 0.34 (ultrafast) and 0.06 (veryfast), for 6.0 ms of
            // wall clock a frame against 3.6 and 9.3.
            preset: Preset::Superfast,
            // x264's own default of 23 would give back part of what the network gained; the bitrate cap bounds the cost. At 15
            // the encoder loses less than the network gains also where the source is nearly perfect.
            crf: 15.0,
            // 1280x720: enhanced it is 1440 lines, above what any of the sources by `max_source_lines` = 540 reach.
            max_source_pixels: 1280 * 720,
            // 8 Mbit/s for 30 s: no source of 540 lines comes near; a bound on what one request can make us hold.
            max_segment_bytes: 32 << 20,
            // 30 s at 60 pictures a second.
            max_frames_per_segment: 1800,
            // As many pictures at 30 a second.
            max_segment_duration: Duration::from_secs(60),
            // A minute of an operator's time is worth less than a factor of three.
            provider: Provider::Auto,
            precision: Precision::Auto,
            runtime_library: None,
            // Players take the transfer's speed for the network's and leave a rendition whose peak rate is above 0.7 to 0.95 of
            // it; the peak is up to 1.5 times the mean.
            stream_pace: 2.0,
            // Loses 0.03 dB against all of it, for less than half the time.
            detail_share: 0.25,
            detail_share_of: DetailShareOf::default(),
            still_limit: 1.0,
            // The measure that players are judged by is the 95th percentile; one segment in twenty is finished plainly at worst.
            confidence: 0.95,
            cost_file: None,
            gpu: GpuConfig::default(),
            deadline: DeadlinePolicy::default(),
        }
    }
}

impl Default for DeadlinePolicy {
    fn default() -> Self {
        Self {
            // A player downloads one segment per target duration; the rest of it is for the transfer.
            fraction: 0.85,
            // Viewers begin to leave after two seconds of a spinner (Krishnan and Sitaraman, 2012): two of 4 s, three of 6 s.
            startup_fraction: 0.5,
            // Time for the transfer, and for the player to append what it got.
            buffer_reserve: Duration::from_secs(1),
            // Below this even the plain scaler is not ready; a nearer deadline would only fail everything.
            shortest: Duration::from_millis(500),
            // hls.js gives up on a segment whose first byte takes 10 s.
            longest: Duration::from_secs(8),
        }
    }
}

impl EnhancerConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let cores = crate::cores();
        let lanes = section.integer_or_auto("lanes", 1..=64).unwrap_or(default.lanes);
        let config = Self {
            lanes,
            inference_threads: section
                .integer_or_auto("inference_threads", 1..=64)
                .unwrap_or_else(|| Self::inference_threads_for(cores, lanes)),
            encoder_threads: section
                .integer_or_auto("encoder_threads", 1..=16)
                .unwrap_or(Self::ENCODER_THREADS),
            queue_limit: section.integer("queue_limit", default.queue_limit, 1..=4096),
            look_ahead: section.integer("look_ahead", default.look_ahead, 0..=16),
            preset: section.choice(
                "preset",
                default.preset,
                &Preset::ALL.map(|preset| (preset.as_str(), preset)),
            ),
            // Within bounds that f32 holds exactly enough: x264 takes one itself.
            crf: section.number("crf", f64::from(default.crf), 10.0..=40.0) as f32,
            // 2048x2048: twice that is the largest picture an enhanced URL can name.
            max_source_pixels: section.integer(
                "max_source_pixels",
                default.max_source_pixels,
                16_384..=4_194_304,
            ),
            max_segment_bytes: section.size(
                "max_segment_bytes",
                default.max_segment_bytes,
                64 << 10..=1 << 30,
            ),
            max_frames_per_segment: section.integer(
                "max_frames_per_segment",
                default.max_frames_per_segment,
                1..=36_000,
            ),
            max_segment_duration: section.duration(
                "max_segment_duration",
                default.max_segment_duration,
                Duration::from_secs(1)..=Duration::from_secs(600),
            ),
            provider: section.choice(
                "provider",
                default.provider,
                &Provider::ALL.map(|provider| (provider.as_str(), provider)),
            ),
            precision: section.choice(
                "precision",
                default.precision,
                &Precision::ALL.map(|precision| (precision.as_str(), precision)),
            ),
            runtime_library: section.path("runtime_library"),
            detail_share: section.number("detail_share", default.detail_share, 0.05..=1.0),
            detail_share_of: DetailShareOf::read(section.child("detail_share_of")),
            still_limit: section.number("still_limit", default.still_limit, 0.0..=4.0),
            stream_pace: section.number("stream_pace", default.stream_pace, 1.0..=100.0),
            confidence: section.number("confidence", default.confidence, 0.5..=0.999),
            cost_file: section.path("cost_file"),
            gpu: GpuConfig::read(section.child("gpu")),
            deadline: DeadlinePolicy::read(section.child("deadline")),
        };
        section.finish();
        config
    }
}

impl EnhancerConfig {
    /// The part of each picture that `tier` (its name in the catalogue) makes anew.
    #[must_use]
    pub fn detail_share(&self, tier: &str) -> f64 {
        self.detail_share_of.get(tier).unwrap_or(self.detail_share)
    }
}

impl DeadlinePolicy {
    fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let policy = Self {
            fraction: section.number("fraction", default.fraction, 0.1..=10.0),
            startup_fraction: section.number("startup_fraction", default.startup_fraction, 0.1..=10.0),
            buffer_reserve: section.duration("buffer_reserve", default.buffer_reserve, ms(0)..=s(30)),
            shortest: section.duration("shortest", default.shortest, ms(50)..=s(30)),
            longest: section.duration("longest", default.longest, ms(500)..=s(60)),
        };
        if policy.longest < policy.shortest {
            section.fault("longest", "is below `shortest`", None);
        }
        section.finish();
        policy
    }

    /// Time left for a segment that was just asked for.
    ///
    /// `buffered` is what the player says is still in its buffer, if it says so.
    #[must_use]
    pub fn allowance(&self, target_duration: Duration, buffered: Option<Duration>) -> Duration {
        let allowance = buffered.map_or_else(
            // Bounded first: a playlist can claim any target duration, and a product could overflow.
            || target_duration.min(Duration::from_secs(3600)).mul_f64(self.fraction),
            |buffered| buffered.saturating_sub(self.buffer_reserve),
        );
        // Not `clamp`, which panics on bounds the wrong way round.
        allowance.max(self.shortest).min(self.longest)
    }
}

impl Preset {
    /// All presets, cheap to dear.
    pub const ALL: [Self; 6] =
        [Self::Ultrafast, Self::Superfast, Self::Veryfast, Self::Faster, Self::Fast, Self::Medium];

    /// x264's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
        }
    }
}

impl Provider {
    /// All providers.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Cpu, Self::OpenVino, Self::Cuda, Self::TensorRt];

    /// Whether it runs networks on a graphics card.
    #[must_use]
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }

    /// Its name in the configuration and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

impl Precision {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Float, Self::Int8];

    /// Its name in the configuration and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Float => "float",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_threads_share_the_cores() {
        for (cores, lanes, inference) in [(1, 1, 1), (2, 1, 2), (8, 4, 2), (200, 64, 3)] {
            assert_eq!(EnhancerConfig::lanes_for(cores), lanes);
            assert_eq!(EnhancerConfig::inference_threads_for(cores, lanes), inference);
        }
    }

    #[test]
    fn allowances() {
        let policy = DeadlinePolicy::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        for (target, buffered, allowance) in [
            (s(6), None, ms(5100)),
            (s(6), Some(s(4)), s(3)),
            (s(6), Some(s(30)), s(8)), // a full buffer does not make players wait for ever
            (s(6), Some(s(0)), ms(500)),
            (ms(100), None, ms(500)),
            (Duration::MAX, None, s(8)),
        ] {
            assert_eq!(policy.allowance(target, buffered), allowance, "{target:?} {buffered:?}");
        }
    }
}
