//! What the random test of groups of both protocols is made of.

pub(crate) mod client;
pub(crate) mod requests;
