//! A consumer's and a producer's decisions, without I/O.
//!
//! Everything here is told the time and hands back what to do; `io/client` does it.

pub mod backoff;
pub mod consumer;
pub mod metadata;
pub mod panics;
pub mod placement;
pub mod producer;
pub mod sasl;
