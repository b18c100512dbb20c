//! What is kept, and how several requests for one thing become one piece of work.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | the identity of an enhanced object |
//! | [`store`] | enhanced objects in memory, weighed by bytes |
//! | [`flight`] | single-flight: the first asks, the others wait, nobody's leaving stops it |

pub mod flight;
pub mod flow;
pub mod key;
pub mod store;
