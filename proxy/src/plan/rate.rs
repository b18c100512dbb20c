//! How many bits: the video rate of an enhanced rendition, and the BANDWIDTH that is true for it.
//!
//! The encoder's VBV has the rate `R` (the token's kbit/s) and a buffer of [`VBV_SECONDS`]` * R`. Each segment
//! is encoded by itself with a buffer that is at most full at its start, so a segment of `T` seconds has at most
//! `R * (T + VBV_SECONDS)` bits of video: its bit rate is at most `R * (T + VBV_SECONDS) / T`, most for the shortest
//! segment. RFC 8216bis section 4.4.6.2 makes BANDWIDTH the peak over segments of 0.5 to 1.5 target durations.
//! To that come x264's known excess over its VBV, the container's bytes, and all that is not video.

use acuity_playlist::multivariant::{Multivariant, Resolution, Variant, family};
use acuity_playlist::token::{RenditionToken, VIDEO_KBPS};

use super::{Container, SourceFacts};

/// The encoder's VBV buffer, in seconds of its rate.
pub const VBV_SECONDS: f64 = acuity_enhancer::RATE_BUFFER_SECONDS;

/// Margin: x264 meets its VBV by prediction. Single segments of film, game and camera (2 and 4 s, 720p, preset superfast,
/// 0.7 to 2.8 Mbit/s, rate-bound) used 0.94 to 0.965 of the bound, so none of it was needed there.
const VBV_EXCESS: f64 = 1.03;

/// A transport packet carries 184 bytes in 188.
const TS_EXPANSION: f64 = 188.0 / 184.0;

/// PES header (19), access unit delimiter (6), PCR field (8) and the stuffing of the last packet (up to 183) of
/// each picture, bytes; the stuffing is the worst case, half of it the mean.
const TS_BYTES_PER_FRAME: f64 = 216.0;

/// Sample entry in `trun` with all four fields, bytes.
const FMP4_BYTES_PER_FRAME: f64 = 16.0;

/// Parameter sets, x264's SEI and `moof`/`mdat` heads (or PAT and PMT) in each segment, bytes.
const BYTES_PER_SEGMENT: f64 = 2_000.0;

/// The rate floor: 4.5 Mbit/s at 720p30, the upper of the two rates that Apple's HLS authoring specification has for it. With
/// x264's faster presets 2.4 Mbit/s cost half of what the network gained on an animated film, 3.6 a quarter, 5 a fifth.
const FLOOR_BITS_PER_SECOND: f64 = 4_500_000.0;
const FLOOR_PIXELS_PER_SECOND: f64 = 1280.0 * 720.0 * 30.0;
/// Bits grow slower than pixels: twice the lines need 2.8 times the bits.
const FLOOR_EXPONENT: f64 = 0.75;

/// Where the origin has no such variant: what ladders do between 360p and 720p (0.8 to 2.8 Mbit/s, say).
const GROWTH: f64 = 3.5;
/// Where it does: half as much again, since a one-pass real-time encoder needs about that for the quality which the origin's
/// had time for.
const RIVAL_FACTOR: f64 = 1.5;
/// Bounds of growth where the origin does have one: below, the encoder eats the gain; above, bits are wasted on
/// what is not in the source.
const GROWTH_BOUNDS: (f64, f64) = (2.0, 8.0);

/// Video rates are rounded to this, kbit/s: small differences must not make other URLs.
const STEP_KBPS: f64 = 50.0;

/// The mean of a rendition's rate to its declared peak, where no AVERAGE-BANDWIDTH is declared.
const MEAN_TO_PEAK: f64 = 0.7;

/// The VBV rate for an enhanced rendition, kbit/s, within the token's bounds.
///
/// `declared`: BANDWIDTH and AVERAGE-BANDWIDTH of the source variant, `rival_bps`: BANDWIDTH of the origin's variant of
/// the reached resolution. The measured rate is of one segment, which may be a black one: it counts only where
/// nothing is declared.
pub fn video_rate_cap_kbps(
    resolution: Resolution,
    frame_rate_milli: u32,
    declared: Option<(u64, Option<u64>)>,
    rival_bps: Option<u64>,
    facts: &SourceFacts,
) -> u32 {
    // In steps of 32 kbit/s: measured, but what audio encoders are set to.
    let audio = (facts.other_bits_per_second as f64 / 32_000.0).ceil() * 32_000.0;
    let measured = facts.video_bits_per_second as f64;
    let source = match declared {
        Some((peak, average)) => {
            let mean = average.map_or(peak as f64 * MEAN_TO_PEAK, |average| average as f64);
            (mean - audio).max(mean * 0.5)
        }
        None => measured,
    };
    let rate = match rival_bps {
        Some(rival) => {
            let (lowest, highest) = GROWTH_BOUNDS;
            ((rival as f64 - audio) * RIVAL_FACTOR).clamp(source * lowest, source * highest)
        }
        None => {
            let pixels = f64::from(resolution.width) * f64::from(resolution.height);
            let pixels_per_second = pixels * f64::from(frame_rate_milli) / 1000.0;
            let floor =
                FLOOR_BITS_PER_SECOND * (pixels_per_second / FLOOR_PIXELS_PER_SECOND).powf(FLOOR_EXPONENT);
            (source * GROWTH).max(floor)
        }
    };
    let steps = (rate / 1000.0 / STEP_KBPS).round() * STEP_KBPS;
    steps.clamp(f64::from(*VIDEO_KBPS.start()), f64::from(*VIDEO_KBPS.end())) as u32
}

/// What a rendition of `bps` takes with so many pictures for each of its own. Bits grow with pictures as they do with pixels.
pub(super) fn bits_of_more_pictures(bps: u64, factor: u32) -> u64 {
    (bps as f64 * f64::from(factor).powf(FLOOR_EXPONENT)) as u64
}

/// What a segment's bit rate is bounded by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// VBV rate of the video, kbit/s.
    pub max_video_kbps: u32,
    /// Frames per 1000 s.
    pub frame_rate_milli: u32,
    /// How it is packed.
    pub container: Container,
    /// The shortest segment that counts, seconds.
    pub shortest_segment_seconds: f64,
    /// Everything that is not video, bit/s: muxed with it, or in an audio group that plays beside it.
    pub other_bits_per_second: f64,
}

impl Peak {
    /// For an enhanced copy of `variant`.
    pub fn of(
        playlist: &Multivariant,
        variant: &Variant,
        facts: &SourceFacts,
        token: &RenditionToken,
    ) -> Self {
        let beside = variant
            .audio
            .as_deref()
            .is_some_and(|group| playlist.audio_group(group).any(|r| r.uri.is_some()));
        // Muxed audio was measured in one segment; encoders with a bit reservoir vary by about as much as this.
        let muxed = facts.other_bits_per_second as f64 * 1.2;
        Self {
            max_video_kbps: token.max_video_kbps,
            frame_rate_milli: token.frame_rate_milli,
            container: facts.container,
            shortest_segment_seconds: facts.shortest_segment_seconds,
            other_bits_per_second: muxed + if beside { audio_beside(variant, facts) } else { 0.0 },
        }
    }

    /// The bound, bit/s, rounded up to a full kbit/s.
    pub fn bits_per_second(&self) -> u64 {
        let seconds = self.seconds();
        let video = f64::from(self.max_video_kbps) * 1000.0 * VBV_EXCESS * (seconds + VBV_SECONDS) / seconds;
        self.packed(video)
    }

    /// The rate of a segment that uses the video's full rate from end to end, bit/s, rounded up to a full kbit/s.
    pub fn average_bits_per_second(&self) -> u64 {
        self.packed(f64::from(self.max_video_kbps) * 1000.0)
    }

    fn seconds(&self) -> f64 {
        // A playlist may state anything; below this the bound would be of no use to a player.
        if self.shortest_segment_seconds.is_finite() { self.shortest_segment_seconds.max(0.1) } else { 1.0 }
    }

    fn packed(&self, video: f64) -> u64 {
        let frames = f64::from(self.frame_rate_milli) / 1000.0;
        let (expansion, per_frame) = match self.container {
            Container::Ts => (TS_EXPANSION, TS_BYTES_PER_FRAME),
            Container::Fmp4 => (1.0, FMP4_BYTES_PER_FRAME),
        };
        let overhead = 8.0 * (per_frame * frames + BYTES_PER_SEGMENT / self.seconds());
        let bits = video * expansion + overhead + self.other_bits_per_second;
        (bits / 1000.0).ceil() as u64 * 1000
    }
}

/// Audio that plays beside the variant, bit/s. The variant's BANDWIDTH holds it: what is left of that after the video
/// of a segment is a bound, if a loose one; what the codec is used at in HLS is another.
fn audio_beside(variant: &Variant, facts: &SourceFacts) -> f64 {
    let usual = |codec: &str| match family(codec) {
        "mp4a" => 384_000.0,
        "ac-3" | "ac-4" => 640_000.0,
        "ec-3" => 1_024_000.0,
        _ => f64::INFINITY,
    };
    let known = variant.other_codecs().filter(|codec| !matches!(family(codec), "wvtt" | "stpp")).map(usual);
    let usual = known.fold(None, |most: Option<f64>, bits| Some(most.map_or(bits, |most| most.max(bits))));
    let left = variant.bandwidth_bps.map(|total| total.saturating_sub(facts.video_bits_per_second) as f64);
    match (left, usual) {
        (Some(left), Some(usual)) => left.min(usual).max(64_000.0),
        (Some(left), None) => left.max(64_000.0),
        (None, usual) => usual.filter(|bits| bits.is_finite()).unwrap_or(384_000.0),
    }
}
