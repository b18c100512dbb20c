//! Segment in, enhanced segment out.
//!
//! This crate knows nothing of HTTP or playlists. It takes the bytes of one HLS media segment (MPEG-TS or
//! fragmented MP4, decrypted) and gives back the same segment with its pictures upscaled: every byte that
//! is not video is the source's, every timestamp is the source's, and all segments made for one
//! [`RenditionSpec`] share one SPS and PPS, so that they belong to one rendition.
//!
//! The interface is message-shaped (owned bytes, a deadline, a cancel flag, a reply), because the same
//! requests are meant to cross a process boundary later.
//!
//! The data's path: [`container`] takes the segment apart, `codec` decodes, `inference` enlarges luma,
//! `codec` scales chroma and encodes, [`container`] splices the new pictures in. [`pipeline`] joins the
//! three over bounded channels, [`workers`] owns the threads and the queue, [`schedule`] decides.

mod codec;
pub mod container;
mod describe;
mod error;
pub mod h264;
mod inference;
mod lane;
mod metrics;
mod pipeline;
mod probe;
mod queue;
mod report;
mod request;
mod schedule;
mod timeline;
mod upscale;
mod workers;

pub use codec::{RATE_BUFFER_SECONDS, enhanced_init, output_codec_string, remux};
pub use describe::{DescribeError, Describer};
pub use error::{EnhanceError, StartError, Unsupported};
pub use probe::{ContainerKind, SourceInfo, probe};
pub use report::{EnhancedSegment, FallbackReason, MadeBy, Report, StageSeconds};
pub use request::{CancelFlag, EnhanceRequest, Priority, RenditionSpec, Upscaler};
pub use workers::{Enhancer, Readiness, Reply};
