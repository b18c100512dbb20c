//! What a card has to show before it decodes or encodes for viewers.
//!
//! Codecs that are compiled in may have no library to call, no card, a card without the circuit, a driver that is too old, or no session
//! left. And one that runs may drop pictures, give them in another order or at other times, or write other parameters than the
//! playlist promises. So both are tried with a short stream, and held against what the processor makes of it.

use super::super::encoder::{Encoder, EncoderSettings};
use super::super::{Decoder, Picture, Plane, output_codec_string};
use super::device::Device;
use super::{CardDecoder, nvenc};
use crate::h264::{self, SpsFacts};
use crate::{EnhanceError, RenditionSpec, Upscaler};

/// 16 pictures of 176x100 (so with cropping) in two groups of I, P and B pictures, High profile, with delimiters; without text.
/// `ffmpeg -f lavfi -i testsrc2=size=176x100:rate=25 -frames:v 16 -pix_fmt yuv420p -c:v libx264 -preset medium -threads 1 -profile:v high
/// -x264-params aud=1:keyint=8:min-keyint=8:scenecut=0:bframes=2:b-adapt=0:crf=34:info=0 -bsf:v filter_units=remove_types=6 -f h264`
const SAMPLE: &[u8] = include_bytes!("sample.h264");

/// Times are given as the frame path gives them: those of a lead-in are far below any that occur.
const FIRST_PTS: i64 = i64::MIN / 2;

/// Below this, in dB, luma is no copy of what went in: at the sample's generous rate encoders are above 35.
const LEAST_PSNR: f64 = 28.0;

/// The sample's access units with times, in decoding order.
fn sample() -> Vec<(Vec<u8>, i64)> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for nal in h264::annex_b_nals(SAMPLE) {
        if h264::nal_type(nal) == h264::nal::AUD || units.is_empty() {
            units.push(Vec::new());
        }
        if let Some(unit) = units.last_mut() {
            unit.extend(h264::START_CODE);
            unit.extend(nal);
        }
    }
    // Decoding order is I P B B P B B P in each group; these are the places in presentation.
    let places = [0, 3, 1, 2, 6, 4, 5, 7];
    let times = (0..).flat_map(|group| places.map(|place| FIRST_PTS + group * 8 + place));
    units.into_iter().zip(times).collect()
}

/// A way to decode.
type Decode<'a> =
    &'a mut dyn FnMut(Option<(&[u8], i64)>, &mut dyn FnMut(i64, Picture)) -> Result<(), EnhanceError>;

fn decoded(units: &[(Vec<u8>, i64)], decode: Decode<'_>) -> Result<Vec<(i64, Picture)>, String> {
    let mut pictures = Vec::new();
    let mut emit = |pts, picture| pictures.push((pts, picture));
    for (unit, pts) in units {
        decode(Some((unit, *pts)), &mut emit).map_err(|error| error.to_string())?;
    }
    decode(None, &mut emit).map_err(|error| error.to_string())?;
    Ok(pictures)
}

fn by_processor(units: &[(Vec<u8>, i64)]) -> Result<Vec<(i64, Picture)>, String> {
    let mut decoder = Decoder::open().map_err(|error| error.to_string())?;
    decoded(units, &mut |unit, emit| match unit {
        Some((unit, pts)) => decoder.push(unit, pts, emit),
        None => decoder.drain(emit),
    })
}

/// Whether a card decodes, and to the very pictures that the processor decodes to.
pub(super) fn decoder(device: &Device) -> Result<(), String> {
    let mut decoder = CardDecoder::open(device).map_err(|error| error.to_string())?;
    decodes(&mut |unit, emit| match unit {
        Some((unit, pts)) => decoder.push(unit, pts, emit),
        None => decoder.drain(emit),
    })
}

fn decodes(decode: Decode<'_>) -> Result<(), String> {
    let units = sample();
    let (made, meant) = (decoded(&units, decode)?, by_processor(&units)?);
    if made.len() != meant.len() {
        return Err(format!("{} pictures of {}", made.len(), meant.len()));
    }
    for (place, ((pts, made), (meant_pts, meant))) in made.iter().zip(&meant).enumerate() {
        if pts != meant_pts {
            return Err(format!("picture {place} comes at {pts} instead of {meant_pts}"));
        }
        if made.is_key() != meant.is_key() {
            return Err(format!("picture {place}: not known for what it is, a key picture or none"));
        }
        let is_same = |plane: usize| rows(made.plane(plane)).eq(rows(meant.plane(plane)));
        if !made.is_planar_420() || !(0..3).all(is_same) {
            return Err(format!("picture {place} is not what the processor decodes it to"));
        }
    }
    Ok(())
}

/// A plane's rows, and how wide it is.
fn rows(plane: Plane<'_>) -> impl Iterator<Item = &[u8]> {
    plane
        .data
        .chunks(plane.stride.max(1))
        .take(plane.height)
        .map(move |row| row.get(..plane.width).unwrap_or_default())
}

/// Whether a card encodes, to what a rendition promises.
pub(super) fn encoder(device: &Device) -> Result<(), String> {
    encodes(&|settings| nvenc::open(device, settings))
}

/// Places of the key pictures that are asked for.
const KEYS: [usize; 2] = [0, 5];

fn encodes(open: &dyn Fn(&EncoderSettings) -> Result<Encoder, EnhanceError>) -> Result<(), String> {
    let spec = RenditionSpec {
        width: 176,
        height: 100,
        scale: 2,
        frame_rate_milli: 25_000,
        max_video_kbps: 1500,
        upscaler: Upscaler::Bicubic,
        interpolation: None,
    };
    let config =
        acuity_config::EnhancerConfig { encoder_threads: 1, ..acuity_config::EnhancerConfig::default() };
    let settings = EncoderSettings::new(&spec, &config, None);
    let said = |error: EnhanceError| error.to_string();
    let mut encoder = open(&settings).map_err(said)?;
    let mut pictures: Vec<Picture> =
        by_processor(&sample())?.into_iter().map(|(_, picture)| picture).collect();
    let mut units = Vec::new();
    for (place, picture) in pictures.iter_mut().enumerate() {
        encoder.push(picture, 3600 * place as i64, KEYS.contains(&place)).map_err(said)?;
        units.extend(encoder.take_units());
    }
    units.extend(encoder.finish().map_err(said)?);
    if units.len() != pictures.len() {
        return Err(format!("{} access units of {} pictures", units.len(), pictures.len()));
    }
    for (place, unit) in units.iter().enumerate() {
        if h264::starts_with_idr(&unit.data) != KEYS.contains(&place)
            || unit.keyframe != KEYS.contains(&place)
        {
            return Err(format!(
                "picture {place} is a key picture without having been asked for, or the reverse"
            ));
        }
    }
    let sps = units.first().and_then(|unit| {
        let nal = h264::annex_b_nals(&unit.data).find(|nal| h264::nal_type(nal) == h264::nal::SPS)?;
        SpsFacts::parse(nal).ok()
    });
    let sps = sps.ok_or("no parameter sets before a key picture")?;
    let promised = output_codec_string(&spec);
    if (sps.width, sps.height) != (spec.width, spec.height) || sps.codec_string() != promised {
        return Err(format!("{}x{} of {} instead of {promised}", sps.width, sps.height, sps.codec_string()));
    }
    if sps.frame_rate.is_none_or(|(num, den)| num != 25 * den) {
        return Err("its parameter sets do not tell the rate of pictures".to_owned());
    }
    // In decoding order, which is that of presentation where there are no B-frames.
    let times: Vec<(Vec<u8>, i64)> =
        units.into_iter().zip(0..).map(|(unit, pts)| (unit.data.to_vec(), pts)).collect();
    let decoded = by_processor(&times)?;
    if decoded.len() != pictures.len() {
        return Err(format!("{} of {} pictures can be decoded", decoded.len(), pictures.len()));
    }
    for (place, ((_, made), meant)) in decoded.iter().zip(&pictures).enumerate() {
        let psnr = luma_psnr(made, meant);
        if psnr < LEAST_PSNR {
            return Err(format!("picture {place} is not what was given in ({psnr:.1} dB)"));
        }
    }
    Ok(())
}

fn luma_psnr(made: &Picture, meant: &Picture) -> f64 {
    let pairs =
        rows(made.plane(0)).zip(rows(meant.plane(0))).flat_map(|(made, meant)| made.iter().zip(meant));
    let (sum, count) =
        pairs.fold((0.0, 0.0), |(sum, count), (a, b)| (sum + f64::from(a.abs_diff(*b)).powi(2), count + 1.0));
    10.0 * (255.0 * 255.0 * f64::max(count, 1.0) / f64::max(sum, 1e-9)).log10()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn processor(
        decoder: &mut Decoder,
        unit: Option<(&[u8], i64)>,
        emit: &mut dyn FnMut(i64, Picture),
    ) -> Result<(), EnhanceError> {
        match unit {
            Some((unit, pts)) => decoder.push(unit, pts, emit),
            None => decoder.drain(emit),
        }
    }

    /// Gives one picture of the processor's on, or another, or none.
    type Change<'a> = &'a mut dyn FnMut(i64, Picture, &mut dyn FnMut(i64, Picture));

    /// The verdict on a decoder that gives `change` of each picture: none, or others, or at another time.
    fn verdict(change: Change<'_>) -> String {
        let mut decoder = Decoder::open().unwrap();
        let made = decodes(&mut |unit, emit| {
            processor(&mut decoder, unit, &mut |pts, picture| change(pts, picture, emit))
        });
        made.err().unwrap_or_default()
    }

    #[test]
    fn the_sample_is_what_it_should_be() {
        let units = sample();
        assert_eq!(units.len(), 16);
        let pictures = by_processor(&units).unwrap();
        let times: Vec<i64> = pictures.iter().map(|(pts, _)| pts - FIRST_PTS).collect();
        assert_eq!(times, (0..16).collect::<Vec<_>>());
        assert_eq!(pictures.iter().filter(|(_, picture)| picture.is_key()).count(), 2);
    }

    #[test]
    fn decoders_that_go_wrong_are_found_out() {
        assert_eq!(verdict(&mut |pts, picture, emit| emit(pts, picture)), "", "the processor's own is right");
        assert_eq!(
            verdict(&mut |pts, picture, emit| if pts != FIRST_PTS + 5 {
                emit(pts, picture)
            }),
            "15 pictures of 16"
        );
        assert!(verdict(&mut |pts, picture, emit| emit(pts + 1, picture)).contains("comes at"));
        let mut count = 0;
        let wrong = verdict(&mut |pts, mut picture, emit| {
            count += 1;
            if count == 9 {
                let chroma = picture.plane_mut(2);
                chroma.data[chroma.stride * 3 + 4] ^= 1;
            }
            emit(pts, picture);
        });
        assert_eq!(wrong, "picture 8 is not what the processor decodes it to");
    }

    #[test]
    fn encoders_that_go_wrong_are_found_out() {
        assert_eq!(encodes(&Encoder::open), Ok(()), "the processor's own is right");
        let other = |change: &dyn Fn(&mut EncoderSettings)| {
            encodes(&|settings| {
                let mut settings = settings.clone();
                change(&mut settings);
                Encoder::open(&settings)
            })
            .unwrap_err()
        };
        assert!(other(&|settings| settings.max_video_kbps = 60_000).contains("instead of avc1.6400"));
        assert!(other(&|settings| settings.frame_rate_milli = 30_000).contains("rate of pictures"));
        assert!(other(&|settings| settings.crf = 51.0).contains("not what was given in"));
        let broken =
            encodes(&|_| Err(EnhanceError::Codec { stage: "encode", message: "no session left".into() }));
        assert_eq!(broken.unwrap_err(), "encode: no session left");
    }
}
