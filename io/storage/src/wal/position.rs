//! Places in the log.

/// A place in the log: where the next frame goes and what it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalPosition {
    pub(crate) file_number: u64,
    pub(crate) position: u64,
    pub(crate) sequence: u64,
    pub(crate) previous_crc: u32,
}
