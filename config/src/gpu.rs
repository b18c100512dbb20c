//! `[enhancer.gpu]`: the card that `provider = "cuda"` or `"tensorrt"` runs networks on, and with what numbers.

use std::path::PathBuf;

use crate::reader::Section;

/// Settings of the providers that run on a graphics card; others ignore them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuConfig {
    /// The card (0 to 63), as CUDA counts those that the process may see.
    pub device: u32,
    /// The numbers that layers are computed with.
    pub precision: GpuPrecision,
    /// Where TensorRT's compiled networks are kept between runs; none: they are compiled at each start. Whoever can write there
    /// decides what the card runs.
    pub engine_cache: Option<PathBuf>,
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

impl GpuConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            device: section.integer("device", default.device, 0..=63),
            precision: section.choice(
                "precision",
                default.precision,
                &GpuPrecision::ALL.map(|precision| (precision.as_str(), precision)),
            ),
            engine_cache: section.path("engine_cache"),
        };
        section.finish();
        config
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::parse;
    use crate::tests::one_fault;

    #[test]
    fn keys_of_the_card() {
        let text = "[enhancer.gpu]\ndevice = 3\nprecision = \"float16\"\nengine_cache = \"/var/lib/acuity/engines\"\n\
                    [[route]]\norigin = \"https://o.example\"";
        let expected = GpuConfig {
            device: 3,
            precision: GpuPrecision::Float16,
            engine_cache: Some("/var/lib/acuity/engines".into()),
        };
        assert_eq!(parse(text).unwrap().enhancer.gpu, expected);
        one_fault("[enhancer.gpu]\ndevice = 64", "2:10 enhancer.gpu.device: 64 is not between 0 and 63");
        one_fault("[enhancer.gpu]\nprecision = \"half\"", "\"half\" is not one of");
        one_fault("[enhancer.gpu]\ncard = 1", "enhancer.gpu.card: is not a known key");
    }
}
