//! The 128-bit ids of topics, directories and members, and how Kafka prints them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A 128-bit id. Its text is url-safe base64 without padding, 22 characters, as in Kafka's tools.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The id that stands for "none".
    pub const ZERO: Self = Self([0; 16]);

    /// Says whether this is [`Uuid::ZERO`].
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Makes a random (version 4) id from 16 random bytes.
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LENGTH];
        let mut bits = u128::from_be_bytes(self.0);
        // 22 characters hold 132 bits: the last one carries only two, left-aligned.
        text[TEXT_LENGTH - 1] = ALPHABET[((bits & 0x3) << 4) as usize];
        bits >>= 2;
        for place in text[..TEXT_LENGTH - 1].iter_mut().rev() {
            *place = ALPHABET[(bits & 0x3f) as usize];
            bits >>= 6;
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches('=').as_bytes();
        if text.len() != TEXT_LENGTH {
            return Err(ParseUuidError);
        }
        let mut bits = 0_u128;
        for (place, character) in text.iter().enumerate() {
            let digit = ALPHABET.iter().position(|c| c == character).ok_or(ParseUuidError)? as u128;
            if place < TEXT_LENGTH - 1 {
                bits = bits << 6 | digit;
            } else if digit.is_multiple_of(16) {
                bits = bits << 2 | digit >> 4;
            } else {
                return Err(ParseUuidError);
            }
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// A text that is not a [`Uuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an id is 22 characters of url-safe base64")]
pub struct ParseUuidError;

const TEXT_LENGTH: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let ids = [
            (Uuid::ZERO, "AAAAAAAAAAAAAAAAAAAAAA"),
            (Uuid([0xff; 16]), "_____________________w"),
            (Uuid(std::array::from_fn(|i| i as u8)), "AAECAwQFBgcICQoLDA0ODw"),
        ];
        for (id, text) in ids {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn text_of_another_shape_is_refused() {
        for text in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"] {
            assert_eq!(text.parse::<Uuid>(), Err(ParseUuidError), "{text}");
        }
    }
}
