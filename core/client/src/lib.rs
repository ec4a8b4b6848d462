//! A consumer's and a producer's decisions, without I/O.
