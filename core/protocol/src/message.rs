//! The traits every message has, and the macro that turns its declaration into code.
//!
//! A declaration names each field once, with the versions it exists in:
//!
//! ```text
//! message! {
//!     /// Asks the coordinator to let a member into its group.
//!     pub struct JoinGroupRequest: JoinGroup [0..=9, flexible 6..] {
//!         /// The group to join.
//!         group_id: String [0..],
//!         /// How long the member may take to rejoin; -1 means the session timeout.
//!         rebalance_timeout_ms: i32 [1..] = -1,
//!         /// The name of a static member (KIP-345).
//!         group_instance_id: Option<String> [5.., nullable 5..],
//!         /// What the member can speak, most wanted first.
//!         protocols: Vec<JoinGroupRequestProtocol> [0..],
//!     }
//!
//!     pub struct JoinGroupRequestProtocol { .. }
//! }
//! ```
//!
//! - `flexible 6..` says from which version the message is written in the flexible style (KIP-482).
//! - `nullable 5..` says in which versions null is allowed; elsewhere it is an error.
//! - `tag 0` makes a field a tagged one: sent only when it differs from its default.
//! - `= -1` is the default, also for versions that lack the field; without it, it is the type's.
//!
//! One structure serves all versions. A field that the version at hand lacks is not written, and
//! holds its default after reading. Tagged fields nobody here knows are passed over.

use crate::error::{DecodeError, EncodeError};
use crate::primitives::{Reader, Writer};
use crate::{ApiKey, ErrorCode, VersionRange};

/// A request or a response.
pub trait Message: Sized {
    /// The API it belongs to.
    const API_KEY: ApiKey;
    /// The versions that can be read and written.
    const VERSIONS: VersionRange;
    /// The first version in the flexible style, or `i16::MAX` if there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads the message as `version` writes it.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message as `version` has it.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Returns every error code in the message, wherever it stands in it, but for those that say that
    /// all went well.
    fn errors(&self) -> Vec<ErrorCode>;
}

/// A message that asks for an answer.
pub trait Request: Message {
    /// The answer.
    type Response: Message;
}

/// Turns a declaration into structures that can be read and written; see the module's page.
///
/// The first structure is the message. `Name: Api [..]` makes it a [`Message`] of that API, and
/// `Name: payload [..]` one that travels inside other messages or records, with the same functions
/// as inherent ones.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: payload [$versions:expr $(, flexible $flexible:expr)?]
        { $($body:tt)* }
        $($nested:tt)*
    ) => {
        $crate::message::structures! { $(#[$meta])* pub struct $name { $($body)* } $($nested)* }

        impl $name {
            /// The versions that can be read and written.
            pub const VERSIONS: $crate::VersionRange = $crate::VersionRange::of(&$versions);
            /// The first version in the flexible style, or `i16::MAX` if there is none.
            pub const FLEXIBLE_FROM: i16 = $crate::message::flexible_from!($($flexible)?);

            /// Reads the structure as `version` writes it.
            pub fn decode(
                reader: &mut $crate::Reader<'_>,
                version: i16,
            ) -> Result<Self, $crate::DecodeError> {
                $crate::message::decode(reader, version, Self::VERSIONS, Self::FLEXIBLE_FROM)
                    .map_err(|error| error.in_field(stringify!($name)))
            }

            /// Writes the structure as `version` has it.
            pub fn encode(
                &self,
                writer: &mut $crate::Writer,
                version: i16,
            ) -> Result<(), $crate::EncodeError> {
                $crate::message::encode(self, writer, version, Self::VERSIONS, Self::FLEXIBLE_FROM)
                    .map_err(|error| error.in_field(stringify!($name)))
            }
        }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $api:ident [$versions:expr $(, flexible $flexible:expr)?]
        { $($body:tt)* }
        $($nested:tt)*
    ) => {
        $crate::message::structures! { $(#[$meta])* pub struct $name { $($body)* } $($nested)* }

        impl $crate::Message for $name {
            const API_KEY: $crate::ApiKey = $crate::ApiKey::$api;
            const VERSIONS: $crate::VersionRange = $crate::VersionRange::of(&$versions);
            const FLEXIBLE_FROM: i16 = $crate::message::flexible_from!($($flexible)?);

            fn decode(
                reader: &mut $crate::Reader<'_>,
                version: i16,
            ) -> Result<Self, $crate::DecodeError> {
                $crate::message::decode(reader, version, Self::VERSIONS, Self::FLEXIBLE_FROM)
                    .map_err(|error| error.in_field(stringify!($name)))
            }

            fn encode(
                &self,
                writer: &mut $crate::Writer,
                version: i16,
            ) -> Result<(), $crate::EncodeError> {
                $crate::message::encode(self, writer, version, Self::VERSIONS, Self::FLEXIBLE_FROM)
                    .map_err(|error| error.in_field(stringify!($name)))
            }

            fn errors(&self) -> Vec<$crate::ErrorCode> {
                let mut errors = Vec::new();
                $crate::field::Field::collect_errors(self, &mut errors);
                errors
            }
        }
    };
}

/// The structures of a declaration, without knowledge of the message around them.
macro_rules! structures {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty [
                    $versions:expr
                    $(, nullable $nullable:expr)?
                    $(, tag $tag:literal)?
                ] $(= $default:expr)?,
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::message::default_value!($($default)?),)* }
            }
        }

        impl $crate::field::Structure for $name {}

        impl $crate::field::Field for $name {
            fn read(
                reader: &mut $crate::Reader<'_>,
                version: i16,
            ) -> Result<Self, $crate::DecodeError> {
                let _ = version;
                let mut value = Self::default();
                $($crate::message::unless_tagged! { [$($tag)?]
                    if ($versions).contains(&version) {
                        $crate::message::read_field!(
                            read, reader, version, value, $name, $field $(, $nullable)?
                        );
                    }
                })*
                if reader.is_flexible() {
                    reader.read_tagged_fields(&mut |_tag, _reader| {
                        $($crate::message::if_tagged! { [$($tag)?]
                            if _tag == TAG && ($versions).contains(&version) {
                                $crate::message::read_field!(
                                    read_tagged, _reader, version, value, $name, $field
                                    $(, $nullable)?
                                );
                                return Ok(true);
                            }
                        })*
                        Ok(false)
                    }).map_err(|error| error.in_field(concat!(stringify!($name), " (tags)")))?;
                }
                Ok(value)
            }

            fn write(
                &self,
                writer: &mut $crate::Writer,
                version: i16,
            ) -> Result<(), $crate::EncodeError> {
                let _ = version;
                $($crate::message::unless_tagged! { [$($tag)?]
                    if ($versions).contains(&version) {
                        $crate::message::write_field!(
                            write, self, writer, version, $name, $field $(, $nullable)?
                        );
                    }
                })*
                if writer.is_flexible() {
                    #[allow(unused_mut, reason = "most structures have no tagged fields")]
                    let mut tagged: Vec<(u32, $crate::Writer)> = Vec::new();
                    $($crate::message::if_tagged! { [$($tag)?]
                        if ($versions).contains(&version) {
                            let default: $type = $crate::message::default_value!($($default)?);
                            if self.$field != default {
                                let mut field = $crate::Writer::for_tagged_field();
                                $crate::message::write_field!(
                                    write_tagged, self, &mut field, version, $name, $field
                                    $(, $nullable)?
                                );
                                tagged.push((TAG, field));
                            }
                        }
                    })*
                    writer.put_tagged_fields(tagged)?;
                }
                Ok(())
            }

            fn collect_errors(&self, into: &mut Vec<$crate::ErrorCode>) {
                let _ = &into;
                $($crate::field::Field::collect_errors(&self.$field, into);)*
            }
        }

        #[cfg(feature = "testing")]
        impl $crate::testing::Sample for $name {
            fn sample(dice: &mut $crate::testing::Dice, version: i16) -> Self {
                let _ = (&dice, version);
                let mut value = Self::default();
                $(
                    if ($versions).contains(&version)
                        && !($crate::message::is_tagged!($($tag)?) && dice.one_in(2))
                    {
                        $(dice.allow_null(($nullable).contains(&version));)?
                        value.$field = $crate::testing::Sample::sample(dice, version);
                    }
                )*
                value
            }

            #[allow(clippy::float_cmp, reason = "a default is exactly the default")]
            fn json(&self, version: i16) -> serde_json::Value {
                let mut object = serde_json::Map::new();
                $(
                    let default: $type = $crate::message::default_value!($($default)?);
                    if ($versions).contains(&version)
                        && !($crate::message::is_tagged!($($tag)?) && self.$field == default)
                    {
                        let value = $crate::testing::Sample::json(&self.$field, version);
                        $crate::testing::put_json(&mut object, stringify!($field), value);
                    }
                )*
                object.into()
            }
        }
    )*};
}

macro_rules! read_field {
    (
        $read:ident, $reader:ident, $version:ident, $value:ident, $name:ident, $field:ident
        $(, $nullable:expr)?
    ) => {
        $value.$field = $crate::field::Field::$read($reader, $version)
            .map_err(|error: $crate::DecodeError| {
                error.in_field(concat!(stringify!($name), ".", stringify!($field)))
            })?;
        $(
            if $value.$field.is_none() && !($nullable).contains(&$version) {
                return Err($crate::field::read_null()
                    .in_field(concat!(stringify!($name), ".", stringify!($field))));
            }
        )?
    };
}

macro_rules! write_field {
    (
        $write:ident, $self:ident, $writer:expr, $version:ident, $name:ident, $field:ident
        $(, $nullable:expr)?
    ) => {
        $(
            if $self.$field.is_none() && !($nullable).contains(&$version) {
                return Err($crate::field::write_null()
                    .in_field(concat!(stringify!($name), ".", stringify!($field))));
            }
        )?
        $crate::field::Field::$write(&$self.$field, $writer, $version)
            .map_err(|error: $crate::EncodeError| {
                error.in_field(concat!(stringify!($name), ".", stringify!($field)))
            })?;
    };
}

macro_rules! unless_tagged {
    ([] $($code:tt)*) => { $($code)* };
    ([$tag:literal] $($code:tt)*) => {};
}

/// Makes the tag known to the code as `TAG`.
macro_rules! if_tagged {
    ([] $($code:tt)*) => {};
    ([$tag:literal] $($code:tt)*) => {{
        const TAG: u32 = $tag;
        $($code)*
    }};
}

#[cfg(feature = "testing")]
macro_rules! is_tagged {
    () => {
        false
    };
    ($tag:literal) => {
        true
    };
}

macro_rules! default_value {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! flexible_from {
    () => {
        i16::MAX
    };
    ($flexible:expr) => {
        $flexible.start
    };
}

pub(crate) use {
    default_value, flexible_from, if_tagged, message, read_field, structures, unless_tagged,
    write_field,
};

#[cfg(feature = "testing")]
pub(crate) use is_tagged;

/// Reads a whole message: the version is checked and the style of its lengths chosen here.
pub(crate) fn decode<T: crate::field::Field>(
    reader: &mut Reader<'_>,
    version: i16,
    versions: VersionRange,
    flexible_from: i16,
) -> Result<T, DecodeError> {
    if !versions.contains(version) {
        return Err(crate::DecodeErrorKind::UnsupportedVersion(version).into());
    }
    reader.set_flexible(version >= flexible_from);
    T::read(reader, version)
}

/// Writes a whole message: the version is checked and the style of its lengths chosen here.
pub(crate) fn encode<T: crate::field::Field>(
    value: &T,
    writer: &mut Writer,
    version: i16,
    versions: VersionRange,
    flexible_from: i16,
) -> Result<(), EncodeError> {
    if !versions.contains(version) {
        return Err(crate::EncodeErrorKind::UnsupportedVersion(version).into());
    }
    writer.set_flexible(version >= flexible_from);
    value.write(writer, version)
}
