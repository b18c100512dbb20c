//! Segment in, enhanced segment out.
//!
//! This crate knows nothing of HTTP or playlists. It takes the bytes of one HLS media segment (MPEG-TS or
//! fragmented MP4, decrypted) and gives back the same segment with its pictures upscaled: every byte that
//! is not video is the source's, every timestamp is the source's, and all segments made for one
//! [`RenditionSpec`] share one SPS and PPS, so that they belong to one rendition.
//!
//! The interface is message-shaped (owned bytes, a deadline, a cancel flag, a reply), because the same
//! requests cross a process boundary where segments are made in worker processes.
//!
//! The data's path: [`container`] takes the segment apart, `codec` decodes, `inference` enlarges luma,
//! `codec` scales chroma and encodes, [`container`] splices the new pictures in. [`pipeline`] joins the
//! three over bounded channels, [`workers`] owns the threads and the queue, [`schedule`] decides.
//!
//! The models' path: a catalogue goes to the [`loader`], which verifies its files and makes ONNX sessions; [`sets`] decides
//! which set serves which rendition; the [`library`] hands sessions to lanes. Whether a specialised model is worth using,
//! [`compare`] finds out in idle moments.

pub mod begun;
mod cards;
mod codec;
mod compare;
pub mod container;
mod demand;
mod describe;
mod error;
mod feed;
pub mod h264;
mod inference;
mod interpolate;
mod interpolators;
mod lane;
mod library;
mod loader;
mod luma;
mod metrics;
mod model;
mod offered;
mod outlet;
mod pipeline;
mod probe;
mod report;
mod request;
mod schedule;
mod sets;
mod timeline;
mod upscale;
mod workers;

pub use acuity_models::{Interpolation, Interpolator, UnknownInterpolator};
pub use codec::{RATE_BUFFER_SECONDS, enhanced_init, output_codec_string, remux, stream_identity};
pub use compare::{
    CompareError, CompareHalvesRequest, CompareReply, CompareRequest, Comparison, TierComparison,
};
pub use demand::{Demand, Haste, Wish};
pub use describe::{DescribeError, Describer};
pub use error::{EnhanceError, StartError, Unsupported};
pub use interpolators::OfferedInterpolator;
pub use offered::{Keeping, OfferedModel, OfferedSet, Refusal, RefusalReason};
pub use outlet::Pieces;
pub use probe::{ContainerKind, SourceInfo, probe};
pub use report::{Between, EnhancedSegment, FallbackReason, MadeBy, Report, StageSeconds};
pub use request::{CancelFlag, EnhanceRequest, Following, Priority, RenditionSpec, Upscaler};
pub use workers::{Enhancer, Readiness, Reply};
