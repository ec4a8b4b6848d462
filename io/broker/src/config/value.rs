//! What a property's value may look like.
//!
//! Kafka keeps configuration as text and gives every name a type and a range. [`Kind`] is that
//! type; [`FromConfig`] turns checked text into the Rust value the broker works with.

use std::fmt;
use std::net::IpAddr;

/// The type and range of a property. Clients see what [`check`](Self::check) says of a
/// value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Bool,
    /// A 16-bit integer within the bounds.
    Short(i64, i64),
    /// A 32-bit integer within the bounds.
    Int(i64, i64),
    /// A 64-bit integer within the bounds.
    Long(i64, i64),
    /// A floating point number within the bounds.
    Double(f64, f64),
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Words separated by commas; when the slice is not empty, each must be in it.
    List(&'static [&'static str]),
    /// ADDRESS:LIMIT, separated by commas.
    AddressLimits,
    /// A Java class name: accepted, described, never loaded.
    Class,
    /// A secret: accepted, never shown.
    Password,
}

impl Kind {
    /// Returns the type's number in a DescribeConfigs response.
    pub const fn wire_type(self) -> i8 {
        match self {
            Kind::Bool => 1,
            Kind::Text | Kind::OneOf(_) | Kind::AddressLimits => 2,
            Kind::Int(..) => 3,
            Kind::Short(..) => 4,
            Kind::Long(..) => 5,
            Kind::Double(..) => 6,
            Kind::List(_) => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Checks `text` and returns it as Kafka would print it back, or says what is wrong with it.
    pub fn check(self, text: &str) -> Result<String, String> {
        let text = text.trim();
        match self {
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                word @ ("true" | "false") => Ok(word.to_owned()),
                _ => Err("it is neither true nor false".to_owned()),
            },
            Kind::Short(low, high) | Kind::Int(low, high) | Kind::Long(low, high) => {
                let value: i64 = text.parse().map_err(|_| self.not_a_number())?;
                if !self.type_holds(value) {
                    return Err(self.not_a_number());
                }
                in_range(value, low, high)?;
                Ok(value.to_string())
            }
            Kind::Double(low, high) => {
                let value: f64 = text.parse().map_err(|_| self.not_a_number())?;
                in_range(value, low, high)?;
                Ok(text.to_owned())
            }
            Kind::OneOf(words) => {
                if words.contains(&text) {
                    Ok(text.to_owned())
                } else {
                    Err(one_of(words))
                }
            }
            Kind::List(words) => {
                let gaps = text.contains(',') && text.split(',').any(|item| item.trim().is_empty());
                if gaps && !words.is_empty() {
                    return Err("an item of the list is empty".to_owned());
                }
                let items: Vec<&str> = split_list(text).collect();
                match items.iter().find(|item| !words.is_empty() && !words.contains(item)) {
                    Some(_) => Err(one_of(words)),
                    None => Ok(items.join(",")),
                }
            }
            Kind::AddressLimits => {
                let items: Vec<&str> = split_list(text).collect();
                match items.iter().find(|item| limit_for_address(item).is_none()) {
                    Some(item) => Err(format!("`{item}` is not ADDRESS:LIMIT")),
                    None => Ok(items.join(",")),
                }
            }
            Kind::Text | Kind::Class | Kind::Password => Ok(text.to_owned()),
        }
    }

    /// Returns the range in words, if there is one.
    pub fn range(self) -> Option<String> {
        match self {
            Kind::Short(low, high) | Kind::Int(low, high) | Kind::Long(low, high) => {
                Some(format!("{low} to {high}"))
            }
            Kind::Double(low, high) if low > f64::MIN => Some(format!("{low} to {high}")),
            _ => None,
        }
    }

    fn not_a_number(self) -> String {
        let name = match self {
            Kind::Short(..) => "whole number of 16 bits",
            Kind::Int(..) => "whole number of 32 bits",
            Kind::Long(..) => "whole number of 64 bits",
            _ => "number",
        };
        format!("it is not a {name}")
    }

    fn type_holds(self, value: i64) -> bool {
        match self {
            Kind::Short(..) => i16::try_from(value).is_ok(),
            Kind::Int(..) => i32::try_from(value).is_ok(),
            _ => true,
        }
    }
}

fn one_of(words: &[&str]) -> String {
    format!("it must be one of {}", words.join(", "))
}

/// Splits Kafka's comma-separated list form.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn in_range<T: PartialOrd + fmt::Display>(value: T, low: T, high: T) -> Result<(), String> {
    if value < low {
        Err(format!("it must be at least {low}"))
    } else if value > high {
        Err(format!("it must be at most {high}"))
    } else {
        Ok(())
    }
}

/// A Rust value made from text that [`Kind::check`] has accepted.
pub(crate) trait FromConfig: Sized {
    /// Reads the value; `None` is Kafka's null.
    fn from_config(text: Option<&str>) -> Self;
}

macro_rules! from_config_by_parsing {
    ($($ty:ty),*) => {$(
        impl FromConfig for $ty {
            fn from_config(text: Option<&str>) -> Self {
                text.and_then(|text| text.parse().ok())
                    .expect("the property table only holds checked, non-null text of this type")
            }
        }
    )*};
}

from_config_by_parsing!(bool, i16, i32, i64, f64, usize, u64);

impl FromConfig for String {
    fn from_config(text: Option<&str>) -> Self {
        text.unwrap_or_default().to_owned()
    }
}

impl FromConfig for Vec<String> {
    fn from_config(text: Option<&str>) -> Self {
        split_list(text.unwrap_or_default()).map(str::to_owned).collect()
    }
}

impl<T: FromConfig> FromConfig for Option<T> {
    fn from_config(text: Option<&str>) -> Self {
        text.map(|text| T::from_config(Some(text)))
    }
}

/// Reads ADDRESS:LIMIT.
pub(crate) fn limit_for_address(item: &str) -> Option<(IpAddr, usize)> {
    let (address, limit) = item.rsplit_once(':')?;
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    Some((address.to_canonical(), limit.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_printed_back_as_kafka_prints_them() {
        assert_eq!(Kind::Bool.check("TRUE"), Ok("true".to_owned()));
        assert_eq!(Kind::Int(0, 10).check(" 7 "), Ok("7".to_owned()));
        assert_eq!(Kind::Int(1, 10).check("0"), Err("it must be at least 1".to_owned()));
        assert!(Kind::Int(1, 10).check("x").is_err());
        assert_eq!(Kind::List(&["a", "b"]).check("a, b"), Ok("a,b".to_owned()));
        assert!(Kind::List(&["a", "b"]).check("c").is_err());
        assert!(Kind::OneOf(&["a"]).check("A").is_err());
    }
}
