//! What the end-to-end scenarios are told with: an origin that misbehaves on request, a player without a screen,
//! clips made on the spot, and a world that puts the real `acuity` binary between them.
//!
//! Why a library: `make run` shows the same origin and the same player to a person that the scenarios use, so what
//! is demonstrated is what is tested.
#![forbid(unsafe_code)]

pub mod certificates;
pub mod clips;
pub mod clock;
pub mod collector;
pub mod liar;
pub mod live;
pub mod metrics;
pub mod mutations;
pub mod netns;
pub mod onnx;
pub mod origin;
pub mod packets;
pub mod player;
pub mod pool;
pub mod ports;
pub mod processes;
pub mod psnr;
pub mod region;
pub mod signing;
pub mod tiny;
pub mod viewers;
pub mod wire;
pub mod world;
pub mod zoo;

/// Any error, for callers who only show it: a failed fixture or fetch ends the scenario or the tour.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Shorthand for fallible helpers here.
pub type Result<T> = std::result::Result<T, BoxError>;
