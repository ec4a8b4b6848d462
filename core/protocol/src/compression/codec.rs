//! Which codecs there are, and what can be wrong with packed bytes.

use std::fmt;

/// The codec of a batch, as the low three bits of its attributes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    /// Records lie in the batch as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in xerial's framing or bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their wire ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the id used in a batch's attributes.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns the codec with this wire id, if there is one.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the name Kafka's `compression.type` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Returns whether Kafka accepts `level` for this codec.
    ///
    /// gzip takes -1 and 1 to 9, lz4 1 to 17, zstd -131072 to 22. Snappy and none have no levels.
    pub const fn accepts_level(self, level: i32) -> bool {
        match self {
            Self::None | Self::Snappy => false,
            Self::Gzip => level == -1 || (level >= 1 && level <= 9),
            Self::Lz4 => level >= 1 && level <= 17,
            Self::Zstd => level >= -131_072 && level <= 22,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A compression level outside what Kafka accepts for the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{compression} has no compression level {level}")]
pub struct InvalidLevel {
    /// The codec asked for.
    pub compression: Compression,
    /// The level it does not have.
    pub level: i32,
}

/// Why packed bytes could not be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The bytes are not what the codec writes.
    #[error("{compression} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        compression: Compression,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes unpack to more than the caller allows.
    #[error("{compression} data unpacks to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        compression: Compression,
        /// The caller's limit.
        limit: usize,
    },
}
