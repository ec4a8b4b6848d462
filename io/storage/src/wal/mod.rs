//! The write-ahead log: one sequence of frames for all partitions of a data folder.
//!
//! One `fdatasync` of it makes a whole group of appends durable, whatever number of partitions they
//! go to; per-partition segments are written behind it, lazily. It lies in a handful of files that are
//! written with zeros before use, written to past the page cache, and used again once the segments
//! hold what they held: so a commit neither allocates blocks nor changes a file's length, and its
//! `fdatasync` has only data to flush.
//!
//! The files are slots: their names mean nothing and never change. The number in a file's header says
//! when it was put to use, which keeps renames and folder syncs out of the commit path.

pub(crate) mod entry;
pub(crate) mod file;
pub(crate) mod frame;
pub(crate) mod position;
pub(crate) mod reader;
pub(crate) mod reserve;
pub(crate) mod writer;
