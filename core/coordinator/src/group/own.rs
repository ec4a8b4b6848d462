//! Bytes that outlive the frame or batch they came in.

use bytes::Bytes;

/// Copies bytes out of the frame or batch they arrived in, so that keeping them does not keep it.
pub(crate) fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
