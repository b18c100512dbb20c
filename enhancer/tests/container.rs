//! Splicing of real segments, judged by tools that know nothing of this code: `ffprobe` for packets and
//! times, `ffmpeg` for decoding, and a packet walk of ten lines for transport streams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "container/damage.rs"]
mod damage;
#[path = "container/flowing.rs"]
mod flowing;
#[path = "container/fragments.rs"]
mod fragments;
#[path = "container/parameter_sets.rs"]
mod parameter_sets;
#[path = "container/parted.rs"]
mod parted;
#[path = "container/tools.rs"]
mod tools;
#[path = "container/transport.rs"]
mod transport;
