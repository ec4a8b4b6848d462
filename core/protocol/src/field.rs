//! How each type of field is read and written: the bridge from [`Reader`] and [`Writer`] to the
//! declarations in [`crate::messages`].

use bytes::Bytes;

use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use crate::primitives::{Reader, Writer};
use crate::{ErrorCode, Uuid};

/// A value with a place in a message. Whether it is there at all is its owner's business.
pub(crate) trait Field: Sized {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Reads the value as the content of a tagged field.
    fn read_tagged(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        Self::read(reader, version)
    }

    /// Writes the value as the content of a tagged field.
    fn write_tagged(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        self.write(writer, version)
    }

    /// Adds the error codes it holds to `into`, but for those that say that all went well.
    fn collect_errors(&self, into: &mut Vec<ErrorCode>) {
        let _ = into;
    }
}

/// A structure that may be null, which costs one byte before it: -1 or 1, but 0 or 1 in a tagged field.
pub(crate) trait Structure: Field {}

macro_rules! plain_field {
    ($($type:ty: $read:ident, $put:ident;)*) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
                reader.$read()
            }

            fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
                writer.$put(*self);
                Ok(())
            }
        }
    )*};
}

plain_field! {
    bool: read_bool, put_bool;
    i8: read_i8, put_i8;
    i16: read_i16, put_i16;
    u16: read_u16, put_u16;
    i32: read_i32, put_i32;
    u32: read_u32, put_u32;
    i64: read_i64, put_i64;
    f64: read_f64, put_f64;
}

impl Field for ErrorCode {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        reader.read_i16().map(Self)
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_i16(self.0);
        Ok(())
    }

    fn collect_errors(&self, into: &mut Vec<ErrorCode>) {
        if !self.is_ok() {
            into.push(*self);
        }
    }
}

impl Field for Uuid {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        let high = reader.read_i64()?.to_be_bytes();
        let low = reader.read_i64()?.to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high);
        bytes[8..].copy_from_slice(&low);
        Ok(Self(bytes))
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_slice(&self.0);
        Ok(())
    }
}

impl Field for String {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        reader.read_string()?.ok_or_else(|| DecodeErrorKind::UnexpectedNull.into())
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_string(Some(self))
    }
}

impl Field for Option<String> {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        reader.read_string()
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_string(self.as_deref())
    }
}

impl Field for Bytes {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        reader.read_bytes()?.ok_or_else(|| DecodeErrorKind::UnexpectedNull.into())
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_shared_bytes(Some(self))
    }
}

impl Field for Option<Bytes> {
    fn read(reader: &mut Reader<'_>, _: i16) -> Result<Self, DecodeError> {
        reader.read_bytes()
    }

    fn write(&self, writer: &mut Writer, _: i16) -> Result<(), EncodeError> {
        writer.put_shared_bytes(self.as_ref())
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        Option::<Self>::read(reader, version)?.ok_or_else(|| DecodeErrorKind::UnexpectedNull.into())
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.put_array_length(Some(self.len()))?;
        self.iter().try_for_each(|element| element.write(writer, version))
    }

    fn collect_errors(&self, into: &mut Vec<ErrorCode>) {
        for element in self {
            element.collect_errors(into);
        }
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let Some(length) = reader.read_array_length()? else { return Ok(None) };
        reader.charge::<T>(length)?;
        let mut elements = Vec::with_capacity(length.min(RESERVED_BYTES / size_of::<T>().max(1)));
        for _ in 0..length {
            elements.push(T::read(reader, version)?);
        }
        Ok(Some(elements))
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(writer, version),
            None => writer.put_array_length(None),
        }
    }

    fn collect_errors(&self, into: &mut Vec<ErrorCode>) {
        for element in self.iter().flatten() {
            element.collect_errors(into);
        }
    }
}

impl<T: Structure> Field for Option<T> {
    fn read(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        match reader.read_i8()? {
            ..0 => Ok(None),
            _ => T::read(reader, version).map(Some),
        }
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.put_i8(if self.is_some() { 1 } else { -1 });
        self.iter().try_for_each(|structure| structure.write(writer, version))
    }

    fn read_tagged(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        match reader.read_uvarint()? {
            0 => Ok(None),
            _ => T::read(reader, version).map(Some),
        }
    }

    fn write_tagged(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.put_uvarint(u32::from(self.is_some()));
        self.iter().try_for_each(|structure| structure.write(writer, version))
    }

    fn collect_errors(&self, into: &mut Vec<ErrorCode>) {
        if let Some(structure) = self {
            structure.collect_errors(into);
        }
    }
}

/// The error of a null that this version does not have.
pub(crate) fn read_null() -> DecodeError {
    DecodeErrorKind::UnexpectedNull.into()
}

/// The error of being asked to write a null that this version does not have.
pub(crate) fn write_null() -> EncodeError {
    EncodeErrorKind::UnexpectedNull.into()
}

/// An array starts with room for at most this many bytes of elements and grows as they arrive, so
/// that a lie about its length costs the liar as many bytes as it costs us.
const RESERVED_BYTES: usize = 1024;
