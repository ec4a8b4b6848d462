//! A producer's decisions.
