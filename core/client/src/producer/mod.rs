//! A producer's decisions.

pub mod partitioner;
