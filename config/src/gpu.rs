//! `[enhancer.gpu]`: the cards that `provider = "cuda"` or `"tensorrt"` runs networks on, with what numbers and how many pictures at
//! a time, and what decodes and encodes.

use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Refusal, Section};

/// Settings of the providers that run on graphics cards. Other providers ignore all but a `decoder` or `encoder` of `"card"`.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuConfig {
    /// The cards (each 0 to 63, at least one, none twice), as CUDA counts those that the process may see. Work goes to the one with
    /// least to do.
    pub devices: Vec<u32>,
    /// The numbers that layers are computed with.
    pub precision: GpuPrecision,
    /// Where TensorRT's compiled networks are kept between runs; none: they are compiled at each start. Whoever can write there
    /// decides what the card runs.
    pub engine_cache: Option<PathBuf>,
    /// Width and height of the largest source picture that TensorRT's networks are compiled for (64 to 4096 each). What is larger is
    /// scaled plainly.
    pub largest_source: (u32, u32),
    /// Pictures of all streams in one run of a network, at most (1 to 64); 1: each lane runs alone.
    pub batch: usize,
    /// How long a picture waits for others to be run with it, at most (0 to 20 ms).
    pub batch_wait: Duration,
    /// What decodes.
    pub decoder: CodecPlace,
    /// What encodes.
    pub encoder: CodecPlace,
}

/// The numbers that a card computes a network's layers with; the file's own are float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GpuPrecision {
    /// The file's own. The default until a card has shown what the other costs in dB.
    #[default]
    Float32,
    /// float16 under TensorRT. ONNX Runtime's CUDA provider takes a file's numbers as they are and only rounds what goes into a
    /// convolution to TensorFloat-32, which has float16's mantissa.
    Float16,
}

/// Where pictures are decoded or encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecPlace {
    /// The card's own circuits where networks run on a card that has them and they show at the start that they work, else the
    /// processor.
    Auto,
    /// The processor.
    Cpu,
    /// The card, or a failed start.
    Card,
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self {
            devices: vec![0],
            precision: GpuPrecision::default(),
            engine_cache: None,
            // The routes' `max_source_lines` is 540; an engine reserves memory for the largest picture there may be.
            largest_source: (960, 540),
            // The smallest networks of the zoo leave most of a large card idle with one picture.
            batch: 8,
            // While a run is on its way those who come next gather anyway; this is for the one that finds the card idle. Half of it is
            // lost on average, of the 33 ms that a picture of 30 a second has.
            batch_wait: Duration::from_micros(500),
            // Decoding is exact by its standard, and what is not shows in the check at the start.
            decoder: CodecPlace::Auto,
            // Encoders differ in what they make of a bitrate: not before it is known what a card's costs in dB.
            encoder: CodecPlace::Cpu,
        }
    }
}

impl GpuConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let places = CodecPlace::ALL.map(|place| (place.as_str(), place));
        let wait_ms = default.batch_wait.as_secs_f64() * 1000.0;
        let config = Self {
            devices: section.integers("devices", 0..=63).unwrap_or(default.devices),
            precision: section.choice(
                "precision",
                default.precision,
                &GpuPrecision::ALL.map(|precision| (precision.as_str(), precision)),
            ),
            engine_cache: section.path("engine_cache"),
            largest_source: section.parsed("largest_source", picture_size).unwrap_or(default.largest_source),
            batch: section.integer("batch", default.batch, 1..=64),
            batch_wait: Duration::from_secs_f64(
                section.number("batch_wait_ms", wait_ms, 0.0..=20.0) / 1000.0,
            ),
            decoder: section.choice("decoder", default.decoder, &places),
            encoder: section.choice("encoder", default.encoder, &places),
        };
        section.finish();
        config
    }
}

/// `960x540`.
fn picture_size(text: &str) -> Result<(u32, u32), Refusal> {
    let side = |side: &str| side.parse::<u32>().ok().filter(|side| (64..=4096).contains(side));
    let size = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    size.ok_or_else(|| {
        Refusal::new("is not a picture's size").hint("as \"960x540\", each side from 64 to 4096")
    })
}

impl GpuPrecision {
    /// All choices.
    pub const ALL: [Self; 2] = [Self::Float32, Self::Float16];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
        }
    }
}

impl CodecPlace {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Cpu, Self::Card];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Card => "card",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parse;
    use crate::tests::one_fault;

    fn read(keys: &str) -> GpuConfig {
        let text = format!("[enhancer.gpu]\n{keys}\n[[route]]\norigin = \"https://o.example\"");
        parse(&text).unwrap().enhancer.gpu
    }

    #[test]
    fn keys_of_the_cards() {
        let expected = GpuConfig {
            devices: vec![3, 1],
            precision: GpuPrecision::Float16,
            engine_cache: Some("/var/lib/acuity/engines".into()),
            largest_source: (1280, 720),
            batch: 1,
            batch_wait: Duration::from_micros(1250),
            decoder: CodecPlace::Card,
            encoder: CodecPlace::Auto,
        };
        let keys = "devices = [3, 1]\nprecision = \"float16\"\nengine_cache = \"/var/lib/acuity/engines\"\n\
                    largest_source = \"1280x720\"\nbatch = 1\nbatch_wait_ms = 1.25\ndecoder = \"card\"\nencoder = \"auto\"";
        assert_eq!(read(keys), expected);
        assert_eq!(read(""), GpuConfig::default());
        assert_eq!(read("devices = 2").devices, [2], "one is a list of one");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (keys, expected) in [
            ("devices = 64", "2:11 enhancer.gpu.devices: 64 is not between 0 and 63"),
            ("devices = [0, 0]", "enhancer.gpu.devices[1]: 0 is there already"),
            ("devices = []", "enhancer.gpu.devices: must hold a number"),
            // The key of earlier versions.
            ("device = 1", "2:1 enhancer.gpu.device: is not a known key [did you mean `devices`?]"),
            ("precision = \"half\"", "\"half\" is not one of"),
            ("card = 1", "enhancer.gpu.card: is not a known key"),
            (
                "largest_source = \"960\"",
                "enhancer.gpu.largest_source: is not a picture's size [as \"960x540\"",
            ),
            ("largest_source = \"960x32\"", "is not a picture's size"),
            ("batch = 0", "enhancer.gpu.batch: 0 is not between 1 and 64"),
            ("batch_wait_ms = 21", "enhancer.gpu.batch_wait_ms: 21 is not between 0 and 20"),
            ("decoder = \"gpu\"", "\"gpu\" is not one of \"auto\", \"cpu\", \"card\""),
        ] {
            one_fault(&format!("[enhancer.gpu]\n{keys}"), expected);
        }
    }
}
