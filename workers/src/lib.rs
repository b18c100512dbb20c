//! The enhancer behind one interface, wherever it runs: in the edge's own process, or in worker processes that the edge supervises.
//!
//! Decoders and GPU libraries parse strangers' bytes. In a process of their own they can crash, hang, leak or be taken over, and it
//! costs the segments that were in their hands their tier, nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`engine`] | the interface, and where its calls go |
//! | [`local`], [`assigner`] | the enhancer with all that it needs in one process; the edge's or a worker's |
//! | [`process`], [`service`] | a worker: from its first instruction to its answers |
//! | [`sandbox`] | what a worker gives up before it sees a stranger's byte |
//! | [`pool`] | the edge's side: supervision, sharing out, asking again |
//! | [`trail`] | on whose behalf something is done, and its spans |
//! | [`wire`] | values as messages, and back |
#![forbid(unsafe_code)]

mod assigner;
mod engine;
mod local;
mod offers;
mod pool;
mod process;
mod sandbox;
mod service;
pub mod trail;
mod wire;

pub use engine::{Asked, Engine, EngineError, Uncompared, Uses};
pub use local::LocalError;
pub use offers::Offer;
pub use process::{Worker, WorkerError};
pub use sandbox::SandboxError;
