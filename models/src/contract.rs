//! What a network must look like to be usable here: its tensors, in one place.
//!
//! The catalogue names a contract by number; the enhancer compares a session's real inputs and outputs with it before
//! the model is used. A new kind of network (several frames, chroma, half precision) is a new number.

use std::fmt;

/// The agreement between a network and the enhancer.
///
/// **Contract 1**: one frame's luma in, one frame's luma out.
///
/// | tensor | default name | type | shape |
/// |---|---|---|---|
/// | input | `luma` | uint8 | `[1, 1, H, W]`, H and W dynamic |
/// | output | `luma_out` | uint8 | `[1, 1, scale*H, scale*W]` |
///
/// Values are the video's own 8-bit luma code values, in whatever range (limited or full) the stream declares; the
/// network neither expands nor clips it to one. Scaling to floating point, rounding and saturation are inside the network.
/// **Contract 2**: two frames in, the one half way between them out. Names are fixed; H and W are even, 64 at least.
///
/// | tensor | name | type | shape |
/// |---|---|---|---|
/// | inputs | `previous`, `next` | uint8 | `[1, 1, H, W]` luma |
/// | inputs | `previous_chroma`, `next_chroma` | uint8 | `[1, 2, H/2, W/2]`, U before V |
/// | outputs | `middle`, `middle_chroma` | uint8 | as the inputs |
/// | output | `mismatch` | float32 | `[1]`: mean luma difference of the two frames as moved, in code values |
///
/// Dimensions may be named `height`, `width`, `chroma_height`, `chroma_width`, so that a session can be made for one size. Where
/// both frames are equal around a place the middle is equal too, bit for bit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorContract {
    /// The contract's number in the catalogue.
    pub version: u32,
    /// Name of the one input tensor.
    pub input: String,
    /// Name of the one output tensor.
    pub output: String,
    /// How many output samples stand for one input sample, along each axis (2 to 4).
    pub scale: u32,
}

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// Unsigned bytes.
    Uint8,
}

impl ElementType {
    /// Its name as ONNX spells it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Uint8 => "uint8",
        }
    }
}

impl TensorContract {
    /// The version for networks that enlarge.
    pub const VERSION: u32 = 1;
    /// The version for networks that interpolate.
    pub const INTERPOLATION_VERSION: u32 = 2;
    /// Name of the input unless the catalogue says otherwise.
    pub const DEFAULT_INPUT: &'static str = "luma";
    /// Name of the output unless the catalogue says otherwise.
    pub const DEFAULT_OUTPUT: &'static str = "luma_out";
    /// Dimensions of both tensors: batch, channel, row, column.
    pub const RANK: usize = 4;
    /// Element type of both tensors.
    pub const ELEMENT: ElementType = ElementType::Uint8;

    /// Shape of the input for a picture, as ONNX counts: `[1, 1, height, width]`.
    #[must_use]
    pub fn input_shape(&self, width: u32, height: u32) -> [i64; Self::RANK] {
        [1, 1, i64::from(height), i64::from(width)]
    }

    /// Shape of the output for a *source* picture: `[1, 1, scale*height, scale*width]`.
    #[must_use]
    pub fn output_shape(&self, width: u32, height: u32) -> [i64; Self::RANK] {
        let scale = i64::from(self.scale);
        [1, 1, i64::from(height) * scale, i64::from(width) * scale]
    }

    /// Whether a session's declared input dimensions fit: rank 4, batch and channel 1 or dynamic (negative, as ONNX
    /// Runtime reports them), height and width dynamic.
    #[must_use]
    pub fn accepts_declared_input(dimensions: &[i64]) -> bool {
        matches!(dimensions, [batch, channel, height, width]
            if (*batch == 1 || *batch < 0) && (*channel == 1 || *channel < 0) && *height < 0 && *width < 0)
    }
}

impl fmt::Display for TensorContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, input, output, scale } = self;
        write!(f, "contract {version}: uint8 {input} [1,1,H,W] -> uint8 {output} [1,1,{scale}H,{scale}W]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(scale: u32) -> TensorContract {
        TensorContract { version: 1, input: "luma".into(), output: "luma_out".into(), scale }
    }

    #[test]
    fn shapes_are_rows_before_columns() {
        assert_eq!(contract(2).input_shape(640, 360), [1, 1, 360, 640]);
        assert_eq!(contract(3).output_shape(640, 360), [1, 1, 1080, 1920]);
    }

    #[test]
    fn declared_inputs() {
        for (dimensions, fits) in [
            (&[1, 1, -1, -1][..], true),
            (&[-1, 1, -1, -1], true),
            (&[1, 1, 360, 640], false), // fixed size
            (&[1, 3, -1, -1], false),   // colour
            (&[1, -1, -1], false),
        ] {
            assert_eq!(TensorContract::accepts_declared_input(dimensions), fits, "{dimensions:?}");
        }
    }

    #[test]
    fn reads_as_one_line() {
        assert_eq!(contract(2).to_string(), "contract 1: uint8 luma [1,1,H,W] -> uint8 luma_out [1,1,2H,2W]");
    }
}
