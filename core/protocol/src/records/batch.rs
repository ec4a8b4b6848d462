//! Walking over batches without touching their records.

use super::batch_header::{BatchError, BatchHeader};
use super::record::RecordIter;
use super::{BATCH_HEADER_BYTES, RecordError, field};
use crate::compression::{Compression, Decompressor};

/// A whole batch in borrowed bytes, its header parsed, its CRC not yet verified.
#[derive(Debug, Clone, Copy)]
pub struct BatchRef<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchRef<'a> {
    /// Reads the batch at the front of `bytes`, which may go on after it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let needed = header.size_in_bytes();
        let Some(bytes) = bytes.get(..needed) else {
            return Err(BatchError::Truncated { needed, available: bytes.len() });
        };
        Ok(Self { header, bytes })
    }

    /// Returns the header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Returns the whole batch.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the records as stored, packed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// Verifies the CRC.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[field::CRC_START..]);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchError::BadCrc {
                base_offset: self.header.base_offset,
                stored: self.header.crc,
                computed,
            })
        }
    }

    /// Returns the records, unpacked into `buffer` if they are packed.
    ///
    /// A batch that would unpack to more than `limit` bytes is an error. `buffer` is scratch, as in
    /// [`Decompressor::decompress`]; an unpacked batch does not touch it.
    pub fn records<'b>(
        &self,
        decompressor: &mut Decompressor,
        buffer: &'b mut Vec<u8>,
        limit: usize,
    ) -> Result<RecordIter<'b>, RecordError>
    where
        'a: 'b,
    {
        let compression = self.header.compression()?;
        let records = match compression {
            Compression::None => self.payload(),
            _ => decompressor.decompress(compression, self.payload(), buffer, limit)?,
        };
        Ok(RecordIter::new(&self.header, records))
    }
}

/// Walks over concatenated batches.
///
/// A last batch that is cut off ends the walk without an error, because that is how a Fetch
/// response ends when its size limit falls inside a batch; [`BatchIter::rest`] tells what was left.
/// Anything malformed is an `Err`, after which the walk is over.
///
/// ```
/// use kohort_protocol::compression::Compressor;
/// use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord, batches};
///
/// let mut builder = BatchBuilder::new();
/// builder.append(&NewRecord { value: Some(b"hello"), ..NewRecord::default() })?;
/// let bytes = builder.build(&BatchOptions::default(), &mut Compressor::none());
/// for batch in batches(&bytes) {
///     assert_eq!(batch?.header().record_count, 1);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const fn batches(bytes: &[u8]) -> BatchIter<'_> {
    BatchIter { rest: bytes, failed: false }
}

/// The iterator of [`batches`].
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> BatchIter<'a> {
    /// Returns the bytes not walked over: empty, a cut-off batch, or a malformed one and the rest.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<BatchRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        match BatchRef::parse(self.rest) {
            Ok(batch) => {
                self.rest = &self.rest[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Err(BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for BatchIter<'_> {}
