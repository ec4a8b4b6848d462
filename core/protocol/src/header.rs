//! What precedes the body of every request and response.
//!
//! The header has versions of its own, decided by the API and its version: flexible requests have
//! header 2, others 1; flexible responses have header 1, others 0. ApiVersions responses always
//! have header 0, since the client cannot know yet which versions the broker speaks (KIP-511).

use std::borrow::Cow;

use crate::error::{DecodeError, EncodeError};
use crate::primitives::{Reader, Writer};
use crate::{ApiKey, messages};

/// The header of a request.
///
/// `api_key` stays a number: whether it is known is for the reader of the body to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader<'a> {
    /// The API asked for, see [`ApiKey`].
    pub api_key: i16,
    /// The version the body is written in.
    pub api_version: i16,
    /// A number the response repeats.
    pub correlation_id: i32,
    /// What the client calls itself, in logs and quotas.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> RequestHeader<'a> {
    /// Reads a header. Of an unknown API, only what all header versions share.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::read(reader).map_err(|error| error.in_field("RequestHeader"))
    }

    /// Writes the header in the version its API asks for.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.set_flexible(false);
        writer.put_i16(self.api_key);
        writer.put_i16(self.api_version);
        writer.put_i32(self.correlation_id);
        writer.put_string(self.client_id.as_deref())?;
        if self.header_version() >= 2 {
            writer.put_uvarint(0);
        }
        Ok(())
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.set_flexible(false);
        let mut header = Self {
            api_key: reader.read_i16()?,
            api_version: reader.read_i16()?,
            correlation_id: reader.read_i32()?,
            client_id: None,
        };
        header.client_id = reader.read_label()?;
        if header.header_version() >= 2 {
            reader.skip_tagged_fields()?;
        }
        Ok(header)
    }

    fn header_version(&self) -> i16 {
        ApiKey::from_i16(self.api_key)
            .map_or(1, |key| request_header_version(key, self.api_version))
    }
}

/// Returns the version of the request header that goes with a version of an API.
pub fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if is_flexible(key, version) { 2 } else { 1 }
}

/// Returns the version of the response header that goes with a version of an API.
pub fn response_header_version(key: ApiKey, version: i16) -> i16 {
    i16::from(key != ApiKey::ApiVersions && is_flexible(key, version))
}

/// Writes a response's header.
pub fn encode_response_header(writer: &mut Writer, key: ApiKey, version: i16, correlation_id: i32) {
    writer.put_i32(correlation_id);
    if response_header_version(key, version) >= 1 {
        writer.put_uvarint(0);
    }
}

/// Reads a response's header and returns its correlation id.
pub fn decode_response_header(
    reader: &mut Reader<'_>,
    key: ApiKey,
    version: i16,
) -> Result<i32, DecodeError> {
    let correlation_id =
        reader.read_i32().map_err(|error| error.in_field("ResponseHeader.correlation_id"))?;
    if response_header_version(key, version) >= 1 {
        reader.skip_tagged_fields().map_err(|error| error.in_field("ResponseHeader (tags)"))?;
    }
    Ok(correlation_id)
}

fn is_flexible(key: ApiKey, version: i16) -> bool {
    version >= messages::flexible_from(key)
}
