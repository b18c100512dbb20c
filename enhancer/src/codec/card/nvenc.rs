//! Pictures to H.264 access units by the card, through FFmpeg's `h264_nvenc`, with settings that promise players the same as those of
//! the processor's encoder: High profile, the same level, no B-frames, key pictures where the source has them and closed groups between
//! them, a peak rate over the same window.
//!
//! What differs is how much picture a bitrate buys. x264 is told a quality and kept below a rate. NVENC's mode for that
//! (`cq`) drops the window that the rate is counted over, so that a segment could exceed its peak; here it is a variable rate with
//! the cap for its mean, and no quantiser finer than the quality asks for, which comes to the same from the other side.

use ffmpeg_next::Dictionary;

use super::super::encoder::{Encoder, EncoderSettings, RATE_BUFFER_SECONDS};
use super::device::Device;
use crate::EnhanceError;

const NAME: &str = "h264_nvenc";

/// NVIDIA's presets go from p1 (fastest) to p7; p4 is the middle, and FFmpeg's default. None has been measured here.
const PRESET: &str = "p4";

/// Pictures that may be on their way in the card: each is one less that it waits for, and one more that a player does.
const DELAY_PICTURES: &str = "2";

/// An encoder for one segment.
pub(super) fn open(device: &Device, settings: &EncoderSettings) -> Result<Encoder, EnhanceError> {
    // SAFETY: the context that is handed in is live and not open yet.
    let attach = |context| unsafe { device.attach(context) };
    Encoder::open_as(NAME, options(settings), settings, Some(&attach))
}

fn options(settings: &EncoderSettings) -> Dictionary<'static> {
    let bits = u64::from(settings.max_video_kbps) * 1000;
    let level = settings.level_idc();
    let mut options = Dictionary::new();
    for (key, value) in [
        ("preset", PRESET.to_owned()),
        ("tune", "hq".to_owned()),
        ("profile", "high".to_owned()),
        ("level", format!("{}.{}", level / 10, level % 10)),
        ("rc", "vbr".to_owned()),
        ("b", bits.to_string()),
        ("maxrate", bits.to_string()),
        ("bufsize", format!("{:.0}", bits as f64 * RATE_BUFFER_SECONDS)),
        ("qmin", format!("{:.0}", settings.crf)),
        ("qmax", "51".to_owned()),
        ("g", settings.longest_group().to_string()),
        ("bf", "0".to_owned()),
        ("forced-idr", "1".to_owned()),
        // No adaptive quantisation, for the reason that x264 has none; no look ahead, so no pictures of its own choice are key pictures.
        ("spatial-aq", "0".to_owned()),
        ("temporal-aq", "0".to_owned()),
        ("rc-lookahead", "0".to_owned()),
        ("coder", "cabac".to_owned()),
        ("delay", DELAY_PICTURES.to_owned()),
    ] {
        options.set(key, &value);
    }
    options
}

#[cfg(test)]
mod tests {
    use acuity_config::Preset;

    use super::*;
    use crate::codec::Effort;
    use crate::h264::ColourFacts;

    fn settings() -> EncoderSettings {
        EncoderSettings {
            width: 1280,
            height: 720,
            frame_rate_milli: 29_970,
            max_video_kbps: 4500,
            preset: Preset::Superfast,
            crf: 15.0,
            effort: Effort::Full,
            threads: 1,
            sample_aspect: None,
            colour: ColourFacts::default(),
        }
    }

    #[test]
    fn rate_and_groups_are_those_of_the_other_encoder() {
        let options = options(&settings());
        let told = |key: &str| options.get(key).unwrap_or_default().to_owned();
        assert_eq!([told("maxrate"), told("bufsize")], ["4500000", "2250000"]);
        assert_eq!([told("level"), told("g"), told("bf"), told("qmin")], ["3.1", "300", "0", "15"]);
        assert_eq!(told("cq"), "", "it would drop the window that the rate is counted over");
    }

    /// As far as that can be known without a card: an option that FFmpeg does not know would be ignored in silence.
    #[test]
    fn ffmpeg_knows_each_option() {
        super::super::super::initialise();
        let Ok(output) =
            std::process::Command::new("ffmpeg").args(["-hide_banner", "-h", "encoder=h264_nvenc"]).output()
        else {
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("NVENC") {
            return;
        }
        let of_all_codecs = ["b", "maxrate", "bufsize", "qmin", "qmax", "g", "bf"];
        for (key, value) in options(&settings()).iter().filter(|(key, _)| !of_all_codecs.contains(key)) {
            assert!(text.contains(&format!("\n  -{key} ")), "no {key}");
            let is_word = value.chars().all(|letter| letter.is_ascii_alphabetic());
            assert!(!is_word || text.contains(&format!("\n     {value} ")), "{key} knows no {value}");
        }
    }
}
