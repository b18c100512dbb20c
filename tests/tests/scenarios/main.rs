//! End-to-end scenarios: the real binary between an origin in this process and a player without a screen.
//!
//! One test program, so that clips are made once and the whole is linked once; a file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ahead;
mod answers;
mod clusters;
mod commands;
mod crowd;
mod faults;
mod flowing;
mod guard;
mod kit;
mod live;
mod looks;
mod offers;
mod operators;
mod packaging;
mod real_media;
mod tools;
