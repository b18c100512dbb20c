//! Pictures to H.264 access units, through libx264.
//!
//! Everything that enters the SPS and PPS comes from [`EncoderSettings`], and nothing in it depends on the
//! segment, so that all segments of a rendition share them and need no new initialisation. No B-frames:
//! output order is presentation order, and the source's own decoding timestamps stay valid whatever its
//! reordering was. Every segment begins with an IDR picture, because each is made by an encoder of its own.

use acuity_config::Preset;
use bytes::Bytes;
use ffmpeg_next::codec::{self, encoder, traits::Encoder as _};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, ffi, picture};

use super::{Picture, failed, level};
use crate::container::EncodedUnit;
use crate::h264::{ColourFacts, OWN_PARAMETER_SETS, SpsFacts};
use crate::{EnhanceError, RenditionSpec};

/// Size of the rate buffer (VBV) in seconds of peak rate: `T` seconds of video hold at most `cap * (T + 0.5 s)` bits. Half a second bounds what a segment can exceed its
/// peak by, and is enough for an IDR picture at twice the mean.
pub const RATE_BUFFER_SECONDS: f64 = 0.5;

/// Longest distance between IDR pictures inside a segment, in seconds. Segments open with one anyway.
const KEYFRAME_SECONDS: u64 = 10;

/// What the encoder does for a picture beyond what must be done. Nothing of it is in SPS or PPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All that the preset says.
    Full,
    /// No subpixel search, no small blocks, no look for scene cuts: 0.58 of superfast's time on enlarged 360p at the same bitrate, and 45.1
    /// instead of 46.1 dB against the scaler's picture, which itself is some 30 dB from the truth.
    Least,
}

const LEAST_EFFORT: &str = ":subme=0:me=dia:partitions=none:trellis=0:scenecut=0:rc-lookahead=0:mbtree=0";

/// All that fixes a rendition's bit stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EncoderSettings {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frame_rate_milli: u32,
    pub(crate) max_video_kbps: u32,
    pub(crate) preset: Preset,
    pub(crate) crf: f32,
    pub(crate) effort: Effort,
    pub(crate) threads: usize,
    /// Sample aspect ratio; enlargement by the same factor on both axes keeps it.
    /// `None` where the source does not say.
    pub(crate) sample_aspect: Option<(u16, u16)>,
    pub(crate) colour: ColourFacts,
}

impl EncoderSettings {
    /// Settings for `spec`; colour and shape of samples are the source's, from its SPS (unspecified without one).
    pub(crate) fn new(
        spec: &RenditionSpec,
        config: &acuity_config::EnhancerConfig,
        source: Option<&SpsFacts>,
    ) -> Self {
        Self {
            width: spec.width,
            height: spec.height,
            frame_rate_milli: spec.frame_rate_milli,
            max_video_kbps: spec.max_video_kbps,
            preset: config.preset,
            crf: config.crf,
            effort: Effort::Full,
            threads: config.encoder_threads,
            sample_aspect: source.and_then(|sps| sps.sar),
            colour: source.map(|sps| sps.colour).unwrap_or_default(),
        }
    }

    pub(crate) fn level_idc(&self) -> u8 {
        level::level_idc(self.width, self.height, self.frame_rate_milli, self.max_video_kbps)
    }

    /// Most pictures between one IDR picture and the next.
    pub(super) fn longest_group(&self) -> u64 {
        (u64::from(self.frame_rate_milli) * KEYFRAME_SECONDS).div_ceil(1000).max(1)
    }

    fn options(&self) -> Dictionary<'static> {
        let mut options = Dictionary::new();
        let preset = match self.preset {
            Preset::Ultrafast => "ultrafast",
            Preset::Superfast => "superfast",
            Preset::Veryfast => "veryfast",
            Preset::Faster => "faster",
            Preset::Fast => "fast",
            Preset::Medium => "medium",
        };
        let kbps = u64::from(self.max_video_kbps);
        let level = self.level_idc();
        options.set("preset", preset);
        options.set("crf", &format!("{:.2}", self.crf));
        options.set("maxrate", &format!("{}", kbps * 1000));
        options.set("bufsize", &format!("{:.0}", kbps as f64 * 1000.0 * RATE_BUFFER_SECONDS));
        options.set("level", &format!("{}.{}", level / 10, level % 10));
        options.set("forced-idr", "1");
        options.set("threads", &self.threads.to_string());
        let keyint = self.longest_group();
        // 8x8dct puts the stream into the High profile whatever the preset, as the codec string says.
        // No adaptive quantisation: it moves bits to flat areas, where an enlarged picture has nothing to lose, and costs
        // 0.05 dB at the rates used here. Superfast's single-pass subpixel search costs another 0.05 dB for 15 % of its time.
        // The VUI states the nominal rate rather than our time base: demuxers without durations of their own take
        // a picture's duration from it.
        let search = match (self.effort, self.preset) {
            // These presets weigh luma against chroma for the eye's sake, and have that in the PPS; without the search it must be said.
            (Effort::Least, Preset::Fast | Preset::Medium) => {
                LEAST_EFFORT.to_owned() + ":chroma-qp-offset=-2"
            }
            (Effort::Least, _) => LEAST_EFFORT.to_owned(),
            (Effort::Full, Preset::Superfast) => ":subme=2".to_owned(),
            (Effort::Full, _) => String::new(),
        };
        options.set(
            "x264-params",
            &format!(
                "bframes=0:8x8dct=1:cabac=1:keyint={keyint}:open-gop=0:sliced-threads=0:force-cfr=1:aq-mode=0:\
                 sps-id={OWN_PARAMETER_SETS}{search}"
            ),
        );
        options
    }
}

/// One segment's encoder.
pub(crate) struct Encoder {
    inner: encoder::video::Encoder,
    units: Vec<EncodedUnit>,
    is_on_card: bool,
    /// Pictures that a rehearsal of a card takes before it fails.
    #[cfg(test)]
    left: Option<usize>,
}

impl Encoder {
    /// The processor's.
    pub(crate) fn open(settings: &EncoderSettings) -> Result<Self, EnhanceError> {
        Self::open_as("libx264", settings.options(), settings, None)
    }

    /// The encoder that FFmpeg calls `name`, with its `options`. `on_card` gets its context before it is opened, live, and attaches a
    /// card to it.
    pub(super) fn open_as(
        name: &str,
        options: Dictionary<'static>,
        settings: &EncoderSettings,
        on_card: Option<&dyn Fn(*mut ffi::AVCodecContext)>,
    ) -> Result<Self, EnhanceError> {
        super::initialise();
        let codec = encoder::find_by_name(name).and_then(|codec| codec.encoder()).ok_or_else(|| {
            EnhanceError::Codec { stage: "encode", message: format!("this FFmpeg has no {name}") }
        })?;
        let mut video = codec::Context::new_with_codec(codec).encoder().video().map_err(failed("encode"))?;
        video.set_width(settings.width);
        video.set_height(settings.height);
        video.set_format(Pixel::YUV420P);
        video.set_time_base(Rational::new(1, 90_000));
        let (num, den) = nominal_rate(settings.frame_rate_milli);
        video.set_frame_rate(Some(Rational::new(as_i32(num), as_i32(den))));
        video.set_max_b_frames(0);
        // 0:1 is FFmpeg's "not said", which leaves the field out of the VUI as the source did.
        let (num, den) = settings.sample_aspect.unwrap_or((0, 1));
        video.set_aspect_ratio(Rational::new(i32::from(num), i32::from(den)));
        let colour = settings.colour;
        // SAFETY: the context is live and not yet opened. The three enumerations are written as the integers
        // H.264 codes them with; FFmpeg's values are ITU-T H.273's, and it checks them when the encoder opens.
        unsafe {
            let context = video.as_mut_ptr();
            let place = |value: u8| u32::from(value);
            (&raw mut (*context).color_primaries).cast::<u32>().write(place(colour.primaries));
            (&raw mut (*context).color_trc).cast::<u32>().write(place(colour.transfer));
            (&raw mut (*context).colorspace).cast::<u32>().write(place(colour.matrix));
            (*context).color_range = if colour.full_range {
                ffi::AVColorRange::AVCOL_RANGE_JPEG
            } else {
                ffi::AVColorRange::AVCOL_RANGE_MPEG
            };
        }
        if let Some(attach) = on_card {
            // SAFETY: none is needed for the pointer itself; it is live until `video` goes, after this call.
            attach(unsafe { video.as_mut_ptr() });
        }
        let inner = video.open_as_with(codec, options).map_err(failed("encode"))?;
        Ok(Self {
            inner,
            units: Vec::new(),
            is_on_card: on_card.is_some(),
            #[cfg(test)]
            left: None,
        })
    }

    /// The processor's encoder in a card's place, which fails after so many pictures.
    #[cfg(test)]
    pub(super) fn rehearsed(settings: &EncoderSettings, pictures: usize) -> Result<Self, EnhanceError> {
        Ok(Self { is_on_card: true, left: Some(pictures), ..Self::open(settings)? })
    }

    /// Whether it is a card's.
    pub(crate) fn is_on_card(&self) -> bool {
        self.is_on_card
    }

    /// Encodes `picture` as the next in presentation order. `pts_90k` must grow from call to call.
    pub(crate) fn push(
        &mut self,
        picture: &mut Picture,
        pts_90k: i64,
        idr: bool,
    ) -> Result<(), EnhanceError> {
        #[cfg(test)]
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(EnhanceError::WorkerLost)?;
        }
        picture.0.set_pts(Some(pts_90k));
        picture.0.set_kind(if idr { picture::Type::I } else { picture::Type::None });
        self.inner.send_frame(&picture.0).map_err(failed("encode"))?;
        self.receive()
    }

    /// The access units that are ready and were not taken yet.
    pub(crate) fn take_units(&mut self) -> Vec<EncodedUnit> {
        std::mem::take(&mut self.units)
    }

    /// Finishes the stream and gives the access units that were not taken: in all as many as pictures were pushed.
    pub(crate) fn finish(&mut self) -> Result<Vec<EncodedUnit>, EnhanceError> {
        self.inner.send_eof().map_err(failed("encode"))?;
        self.receive()?;
        Ok(self.take_units())
    }

    fn receive(&mut self) -> Result<(), EnhanceError> {
        let mut packet = Packet::empty();
        loop {
            match self.inner.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: ffmpeg_next::util::error::EAGAIN }) => return Ok(()),
                Err(error) => return Err(failed("encode")(error)),
            }
            let data = packet.data().unwrap_or_default();
            self.units.push(EncodedUnit { data: Bytes::copy_from_slice(data), keyframe: packet.is_key() });
        }
    }
}

/// Pictures per second as a fraction. Rates of the NTSC family are multiples of 1000/1001, which thousandths only
/// approximate.
fn nominal_rate(frame_rate_milli: u32) -> (u32, u32) {
    let whole = (u64::from(frame_rate_milli) * 1001).div_ceil(1_000_000);
    let ntsc = (whole * 1_000_000 + 500) / 1001;
    if frame_rate_milli.is_multiple_of(1000) {
        (frame_rate_milli / 1000, 1)
    } else if ntsc == u64::from(frame_rate_milli) {
        (u32::try_from(whole * 1000).unwrap_or(u32::MAX), 1001)
    } else {
        (frame_rate_milli, 1000)
    }
}

/// Values here are bounded far below `i32::MAX` by the rendition's limits; saturate rather than wrap.
fn as_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_become_the_fractions_they_stand_for() {
        for (milli, expected) in [
            (30_000, (30, 1)),
            (25_000, (25, 1)),
            (29_970, (30_000, 1001)),
            (23_976, (24_000, 1001)),
            (59_940, (60_000, 1001)),
            (14_985, (15_000, 1001)),
            (12_500, (12_500, 1000)),
            (1_000, (1, 1)),
        ] {
            assert_eq!(nominal_rate(milli), expected, "{milli}");
        }
    }

    #[test]
    fn the_least_effort_writes_the_same_parameter_sets() {
        for preset in [
            Preset::Ultrafast,
            Preset::Superfast,
            Preset::Veryfast,
            Preset::Faster,
            Preset::Fast,
            Preset::Medium,
        ] {
            let parameter_sets = |effort| {
                let settings = EncoderSettings {
                    width: 320,
                    height: 180,
                    frame_rate_milli: 30_000,
                    max_video_kbps: 800,
                    preset,
                    crf: 15.0,
                    effort,
                    threads: 1,
                    sample_aspect: None,
                    colour: ColourFacts::default(),
                };
                let mut encoder = Encoder::open(&settings).unwrap();
                for place in 0..3 {
                    let mut picture = Picture::black(320, 180).unwrap();
                    encoder.push(&mut picture, place * 3000, place == 0).unwrap();
                }
                let units = encoder.finish().unwrap();
                let data = units[0].data.to_vec();
                // Up to the first NAL unit that is neither SPS (7) nor PPS (8).
                let mut end = 0;
                for at in 0..data.len() - 4 {
                    if data[at..at + 3] == [0, 0, 1] && !matches!(data[at + 3] & 31, 7..=9) {
                        end = at;
                        break;
                    }
                }
                data[..end].to_vec()
            };
            let full = parameter_sets(Effort::Full);
            assert!(full.len() > 20, "{preset:?}");
            assert_eq!(full, parameter_sets(Effort::Least), "{preset:?}");
        }
    }
}
