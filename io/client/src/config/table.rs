//! The macro that turns a table of properties into a typed struct and its parser.

use std::collections::BTreeSet;

use super::ConfigError;

/// One property: what `--help` and the documentation print of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Kafka's name.
    pub name: &'static str,
    /// The typed setter, and the field.
    pub setter: &'static str,
    /// What a value looks like: `duration`, `bytes`, `one of ...`.
    pub kind: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
    /// The least and greatest value, in milliseconds or bytes where the property has units.
    pub range: Option<(i64, i64)>,
    /// One or two sentences.
    pub doc: &'static str,
}

/// A struct that one table declares; the roles are made of two of them.
pub(super) trait Table {
    const TABLE: &'static [Property];
    /// Sets a property if this table has it.
    fn try_set(&mut self, name: &str, value: &str) -> Option<Result<(), ConfigError>>;
    /// Returns the text of a property if this table has it.
    fn try_get(&self, name: &str) -> Option<String>;
    /// Returns whether somebody set a property of this table, be it to its default.
    fn is_set(&self, name: &str) -> bool;
    /// Holds every number to its range: a typed value may come from anywhere.
    fn in_range(&self) -> Result<(), ConfigError>;
    /// Sets a property by its typed setter, to a value whose range nobody looked at.
    #[cfg(test)]
    fn typed(self, name: &str, value: &str) -> Option<Result<Self, String>>
    where
        Self: Sized;
}

/// Names of properties. Whether a value was set is no part of it: configurations with the same values are
/// the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeSet<&'static str>);

impl Names {
    pub(super) fn add(&mut self, name: &'static str) {
        self.0.insert(name);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Declares a struct of properties. Each entry: documentation, Kafka's name, field, type, default,
/// for numbers the range, and `, nonempty` where nothing is no value. After `plus` come fields that no text can give.
macro_rules! properties {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(includes $common:ident: $common_type:ty)? {
            $(
                #[doc = $doc:literal]
                $key:literal => $field:ident: $type:ty = $default:literal
                $(in $min:literal ..= $max:literal)? $(, $nonempty:ident)?;
            )*
            $(plus {
                $($(#[$plus_meta:meta])* $plus:ident: $plus_type:ty;)*
            })?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $(
                /// The properties every role has.
                pub $common: $common_type,
            )?
            $(
                #[doc = concat!($doc, " (`", $key, "`, default `", $default, "`)")]
                pub $field: $type,
            )*
            $($($(#[$plus_meta])* pub $plus: $plus_type,)*)?
            /// Which of them somebody set.
            set: $crate::config::table::Names,
        }

        impl $name {
            $(
                #[doc = concat!("Sets `", $key, "`: ", $doc)]
                #[must_use]
                pub fn $field(mut self, value: $type) -> Self {
                    self.$field = value;
                    self.set.add($key);
                    self
                }
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($common: <$common_type>::default(),)?
                    $($field: $crate::config::table::default_of($key, $default),)*
                    $($($plus: <$plus_type>::default(),)*)?
                    set: $crate::config::table::Names::default(),
                }
            }
        }

        impl $crate::config::table::Table for $name {
            const TABLE: &'static [Property] = &[
                $(Property {
                    name: $key,
                    setter: stringify!($field),
                    kind: <$type as $crate::config::value::Value>::KIND,
                    default: $default,
                    range: $crate::config::table::range_of(&[$($min, $max)?]),
                    doc: $doc,
                },)*
            ];

            fn try_set(&mut self, name: &str, value: &str) -> Option<Result<(), ConfigError>> {
                match name {
                    $($key => Some($crate::config::table::parse(
                        $key,
                        value,
                        $crate::config::table::range_of(&[$($min, $max)?]),
                        $crate::config::table::is_said(&[$(stringify!($nonempty))?]),
                    ).map(|value| {
                        self.$field = value;
                        self.set.add($key);
                    })),)*
                    _ => None,
                }
            }

            fn try_get(&self, name: &str) -> Option<String> {
                match name {
                    $($key => Some($crate::config::value::Value::text(&self.$field)),)*
                    _ => None,
                }
            }

            fn is_set(&self, name: &str) -> bool {
                let default = Self::TABLE.iter().find(|it| it.name == name).map(|it| it.default);
                // A field may have been written to, without its setter.
                self.set.has(name) || self.try_get(name).as_deref() != default
            }

            fn in_range(&self) -> Result<(), ConfigError> {
                $($crate::config::table::hold(
                    $key,
                    &self.$field,
                    $crate::config::table::range_of(&[$($min, $max)?]),
                )?;)*
                Ok(())
            }

            #[cfg(test)]
            fn typed(self, name: &str, value: &str) -> Option<Result<Self, String>> {
                use $crate::config::value::Value;
                match name {
                    $($key => Some(<$type>::parse(value).map(|value| self.$field(value))),)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use properties;

use super::security::HIDDEN;
use super::value::Value;

pub(super) fn parse<T: Value>(
    name: &'static str,
    text: &str,
    range: Option<(i64, i64)>,
    nonempty: bool,
) -> Result<T, ConfigError> {
    let shown = if T::SECRET { HIDDEN } else { text };
    let invalid =
        |reason: String| ConfigError::InvalidValue { name, value: shown.to_owned(), reason };
    if nonempty && text.trim().is_empty() {
        return Err(invalid(NOT_EMPTY.to_owned()));
    }
    let value = T::parse(text.trim()).map_err(&invalid)?;
    match out_of_range(&value, range) {
        Some(reason) => Err(invalid(reason)),
        None => Ok(value),
    }
}

/// Holds a value that no text gave to its range, in the same words.
pub(super) fn hold<T: Value>(
    name: &'static str,
    value: &T,
    range: Option<(i64, i64)>,
) -> Result<(), ConfigError> {
    match out_of_range(value, range) {
        Some(reason) => Err(ConfigError::InvalidValue { name, value: value.text(), reason }),
        None => Ok(()),
    }
}

fn out_of_range<T: Value>(value: &T, range: Option<(i64, i64)>) -> Option<String> {
    let ((min, max), number) = (range?, value.number()?);
    (!(min..=max).contains(&number)).then(|| format!("{} is {min} to {max}", T::UNIT))
}

pub(super) fn default_of<T: Value>(name: &'static str, text: &str) -> T {
    match T::parse_default(text) {
        Ok(value) => value,
        // A test parses every default.
        Err(reason) => unreachable!("the default `{text}` of `{name}`: {reason}"),
    }
}

pub(super) const fn range_of(bounds: &[i64]) -> Option<(i64, i64)> {
    match bounds {
        [min, max] => Some((*min, *max)),
        _ => None,
    }
}

/// Whether a word of the table stands there.
pub(super) const fn is_said(words: &[&str]) -> bool {
    !words.is_empty()
}

/// What is wrong with nothing.
pub(super) const NOT_EMPTY: &str = "it is not empty; leave it out to have none";

/// Returns the name in `names` that takes the fewest edits to reach from `name`.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> &'static str {
    names.min_by_key(|candidate| edits(name, candidate)).unwrap_or_default()
}

/// The Levenshtein distance, by rows.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, left) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, right) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_takes_the_fewest_edits() {
        let names = ["linger.ms", "batch.size", "acks"];
        assert_eq!(nearest("linger", names.into_iter()), "linger.ms");
        assert_eq!(nearest("batch_size", names.into_iter()), "batch.size");
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
