//! End-to-end scenarios: the real binary between an origin in this process and a player without a screen.
//!
//! One test program, so that clips are made once and the whole is linked once; a file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ahead;
mod answers;
mod attacks;
mod bombs;
mod bucket;
mod carried;
mod clock;
mod clusters;
mod commands;
mod crowd;
mod depot;
mod faults;
mod flowing;
mod frame_rate;
mod guard;
mod http2;
mod kit;
mod lies;
mod limits;
mod live;
mod looks;
mod model_store;
mod nodes;
mod offers;
mod operators;
mod origins;
mod overload;
mod packaging;
mod pool;
mod purge;
mod real_media;
mod reload;
mod s3;
mod secure;
mod signed;
mod slow;
mod status;
mod tools;
mod traces;
mod upgrade;
mod workers;
