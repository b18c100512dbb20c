//! The enhancer behind one interface, wherever it runs: in the edge's own process, in worker processes that the edge supervises, or on
//! other machines.
//!
//! Decoders and GPU libraries parse strangers' bytes. In a process of their own they can crash, hang, leak or be taken over, and it
//! costs the segments that were in their hands their tier, nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`engine`] | the interface, and where its calls go |
//! | [`local`], [`assigner`] | the enhancer with all that it needs in one process; the edge's or a worker's |
//! | [`process`], [`service`] | a worker: from its first instruction to its answers |
//! | [`listen`] | a worker that listens for edges on other machines |
//! | [`tls`] | how these and edges know each other |
//! | [`sandbox`] | what a worker gives up before it sees a stranger's byte |
//! | [`pool`] | the edge's side: supervision, sharing out, asking again |
//! | [`trail`] | on whose behalf something is done, and its spans |
//! | [`wire`] | values as messages, and back |
#![forbid(unsafe_code)]

mod assigner;
mod engine;
mod listen;
mod local;
mod offers;
mod pool;
mod process;
mod sandbox;
mod service;
mod tls;
pub mod trail;
mod wire;

pub use engine::{Asked, Engine, EngineError, Uncompared, Uses};
pub use listen::{Listener, answer_operators};
pub use local::LocalError;
pub use offers::Offer;
pub use process::{Worker, WorkerError};
pub use sandbox::SandboxError;
pub use tls::{TlsFault, check_listen, check_remote};
