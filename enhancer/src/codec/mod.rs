//! The only door to FFmpeg's libraries: decode, scale, encode, and the file remuxer of the command line.
//!
//! Nothing here knows of containers as they are served (see [`crate::container`]), threads or tensors.
//! `unsafe` is allowed in this module because `ffmpeg-next` wraps neither encoder flushing state nor scaling
//! of single planes, nor cards; each block argues its case.
#![allow(unsafe_code)]

mod card;
mod decoder;
mod encoder;
mod level;
pub(crate) mod memory;
mod picture;
pub mod remux;
mod rendition;
mod scaler;

use std::sync::Once;

#[cfg(test)]
pub(crate) use card::Rehearsal;
pub(crate) use card::{Codecs, OnCard};
pub(crate) use decoder::Decoder;
pub(crate) use encoder::{Effort, Encoder, EncoderSettings};
pub(crate) use picture::{Picture, Plane, PlaneMut};
pub(crate) use scaler::{ChromaScaler, LumaScaler, PlainScaler};

pub use encoder::RATE_BUFFER_SECONDS;
pub use rendition::{enhanced_init, output_codec_string, stream_identity};

use crate::EnhanceError;

/// Once per process: FFmpeg speaks only of errors that end something, never to a viewer's cost in log lines
/// (a corrupt segment would otherwise print one line per macroblock).
pub(crate) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = ffmpeg_next::init() {
            tracing::warn!(%error, "FFmpeg could not be initialised");
        }
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Fatal);
    });
}

/// Names the stage a library error came from.
fn failed(stage: &'static str) -> impl Fn(ffmpeg_next::Error) -> EnhanceError {
    move |error| EnhanceError::Codec { stage, message: error.to_string() }
}
