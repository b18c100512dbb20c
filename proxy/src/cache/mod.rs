//! What is kept, and how several requests for one thing become one piece of work.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | the identity of an enhanced object |
//! | [`purge`] | what is to be forgotten, also of what is being made |
//! | [`store`] | enhanced objects in memory, weighed by bytes |
//! | [`depot`] | enhanced objects below memory, on a disk or in a store that nodes share |
//! | [`flight`] | single-flight: the first asks, the others wait, nobody's leaving stops it |

pub mod depot;
pub mod flight;
pub mod flow;
pub mod key;
pub mod pages;
pub mod purge;
pub mod store;
