//! What a rendition promises before any of its segments is made: codec string, peak rate, initialisation.

use acuity_config::EnhancerConfig;
use bytes::Bytes;

use super::{Encoder, EncoderSettings, Picture, level};
use crate::container;
use crate::h264;
use crate::{EnhanceError, RenditionSpec, Upscaler};

/// RFC 6381 codec string of the rendition's video: High profile (`64`), no constraint flags, the level that
/// size, rate and bitrate need. For example `avc1.64001f`.
#[must_use]
pub fn output_codec_string(spec: &RenditionSpec) -> String {
    let level = level::level_idc(spec.width, spec.height, spec.frame_rate_milli, spec.max_video_kbps);
    format!("avc1.6400{level:02x}")
}

/// The initialisation segment of the enhanced rendition: the source's, with size and parameter sets of the
/// enhanced video. The same inputs give the same bytes.
///
/// # Errors
/// The source's init cannot be read, or the encoder does not open.
pub fn enhanced_init(
    source_init: &[u8],
    spec: &RenditionSpec,
    config: &EnhancerConfig,
) -> Result<Bytes, EnhanceError> {
    let source = container::init_sps(source_init)?;
    let settings = EncoderSettings::new(spec, config, source.as_ref());
    let (sps, pps) = parameter_sets(&settings)?;
    Ok(container::rewrite_init(source_init, spec.width, spec.height, &sps, &pps)?)
}

/// What the encoder writes in front of a picture of one certain rendition: two configurations, or two builds of the encoder, for which it
/// differs make segments that must not be mixed in one stream. Takes milliseconds.
///
/// # Errors
/// The encoder does not open.
pub fn stream_identity(config: &EnhancerConfig) -> Result<Vec<u8>, EnhanceError> {
    let spec = RenditionSpec {
        width: 1280,
        height: 720,
        scale: 2,
        frame_rate_milli: 30_000,
        max_video_kbps: 2800,
        upscaler: Upscaler::Bicubic,
        interpolation: None,
    };
    let (sps, pps) = parameter_sets(&EncoderSettings::new(&spec, config, None))?;
    Ok([sps, pps].concat())
}

/// SPS and PPS as the encoder writes them in front of every IDR picture: encodes one black picture.
fn parameter_sets(settings: &EncoderSettings) -> Result<(Vec<u8>, Vec<u8>), EnhanceError> {
    let mut encoder = Encoder::open(settings)?;
    let mut black = Picture::black(settings.width, settings.height)?;
    encoder.push(&mut black, 0, true)?;
    let units = encoder.finish()?;
    let first = units.first().map(|unit| unit.data.clone()).unwrap_or_default();
    let find =
        |kind: u8| h264::annex_b_nals(&first).find(|nal| h264::nal_type(nal) == kind).map(<[u8]>::to_vec);
    match (find(h264::nal::SPS), find(h264::nal::PPS)) {
        (Some(sps), Some(pps)) => Ok((sps, pps)),
        _ => Err(EnhanceError::Codec {
            stage: "encode",
            message: "the encoder wrote no parameter sets".into(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::h264::SpsFacts;

    fn spec(width: u32, height: u32, frame_rate_milli: u32) -> RenditionSpec {
        RenditionSpec {
            width,
            height,
            scale: 2,
            frame_rate_milli,
            max_video_kbps: 2800,
            upscaler: Upscaler::Bicubic,
            interpolation: None,
        }
    }

    #[test]
    fn encoders_that_write_other_parameter_sets_are_told_apart() {
        let of = |preset, crf| {
            stream_identity(&EnhancerConfig { preset, crf, ..EnhancerConfig::default() }).unwrap()
        };
        let superfast = of(acuity_config::Preset::Superfast, 15.0);
        assert_eq!(superfast, of(acuity_config::Preset::Superfast, 15.0));
        assert_ne!(superfast, of(acuity_config::Preset::Medium, 15.0));
    }

    #[test]
    fn parameter_sets_say_what_the_codec_string_promises() {
        for (width, height, rate) in
            [(1280, 720, 30_000), (1280, 720, 59_940), (852, 480, 25_000), (640, 272, 23_976)]
        {
            let spec = spec(width, height, rate);
            for preset in [
                acuity_config::Preset::Ultrafast,
                acuity_config::Preset::Superfast,
                acuity_config::Preset::Medium,
            ] {
                let config = EnhancerConfig { preset, ..EnhancerConfig::default() };
                let settings = EncoderSettings::new(&spec, &config, None);
                let (sps, _) = parameter_sets(&settings).unwrap();
                let facts = SpsFacts::parse(&sps).unwrap();
                assert_eq!((facts.width, facts.height), (width, height));
                let (num, den) = facts.frame_rate.unwrap();
                assert_eq!((u64::from(num) * 1000 + u64::from(den) / 2) / u64::from(den), u64::from(rate));
                assert_eq!(
                    output_codec_string(&spec),
                    format!(
                        "avc1.{:02x}{:02x}{:02x}",
                        facts.profile_idc, facts.constraint_flags, facts.level_idc
                    ),
                    "{preset:?}"
                );
            }
        }
    }
}
