//! How a consumed record is written: kcat's `-f` tokens, JSON lines, or the bare value.
//!
//! The tokens are those of kcat's manual:
//!
//! | token | is | token | is |
//! |---|---|---|---|
//! | `%t` | topic | `%k` | key |
//! | `%p` | partition | `%K` | key length in bytes, -1 for null |
//! | `%o` | offset | `%s` | value |
//! | `%T` | timestamp, Unix ms | `%S` | value length in bytes, -1 for null |
//! | `%h` | headers, `name=value` with commas | `%R` | value length, 4 bytes big-endian |
//! | `%%` | a percent sign | `\n \r \t \\ \xNN` | the usual escapes |
//!
//! A null key or value prints nothing. JSON lines carry headers as pairs, because a header name may
//! repeat, and bytes that are not UTF-8 as `{"base64": "…"}`, so nothing is lost on the way back.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A record as the command line writes it, borrowed from wherever it was received.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// A way to write records, parsed once before the first of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    /// The value and a newline.
    Value,
    /// One JSON object a line.
    Json,
    /// kcat's tokens.
    Tokens(Vec<Token>),
}

/// One piece of a token format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    ValueLengthBinary,
    Headers,
}

impl Format {
    /// Parses kcat's `-f` argument; an unknown token or escape is named in the error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '%' => match chars.next() {
                    Some('%') => {
                        literal.push(b'%');
                        continue;
                    }
                    Some(t) => token(t).ok_or_else(|| {
                        format!("unknown token `%{t}` in the format; known are %t %p %o %T %k %K %s %S %R %h %%")
                    })?,
                    None => return Err("the format ends in a single `%`; write `%%`".to_owned()),
                },
                '\\' => {
                    literal.push(escape(&mut chars)?);
                    continue;
                }
                other => {
                    literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut literal)));
            }
            tokens.push(token);
        }
        if !literal.is_empty() {
            tokens.push(Token::Text(literal));
        }
        Ok(Self::Tokens(tokens))
    }

    /// Writes one record.
    pub(crate) fn write(&self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        match self {
            Self::Value => {
                out.write_all(line.value.unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Self::Json => {
                serde_json::to_writer(&mut *out, &to_json(line))?;
                out.write_all(b"\n")
            }
            Self::Tokens(tokens) => tokens.iter().try_for_each(|t| write_token(out, t, line)),
        }
    }
}

fn token(name: char) -> Option<Token> {
    Some(match name {
        't' => Token::Topic,
        'p' => Token::Partition,
        'o' => Token::Offset,
        'T' => Token::Timestamp,
        'k' => Token::Key,
        'K' => Token::KeyLength,
        's' => Token::Value,
        'S' => Token::ValueLength,
        'R' => Token::ValueLengthBinary,
        'h' => Token::Headers,
        _ => return None,
    })
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16)
                .map_err(|_| format!("`\\x{digits}` in the format is not two hexadecimal digits"))
        }
        Some(other) => Err(format!("unknown escape `\\{other}` in the format")),
        None => Err("the format ends in a single backslash; write `\\\\`".to_owned()),
    }
}

fn write_token(out: &mut impl Write, token: &Token, line: &Line<'_>) -> io::Result<()> {
    match token {
        Token::Text(text) => out.write_all(text),
        Token::Topic => out.write_all(line.topic.as_bytes()),
        Token::Partition => write!(out, "{}", line.partition),
        Token::Offset => write!(out, "{}", line.offset),
        Token::Timestamp => write!(out, "{}", line.timestamp),
        Token::Key => out.write_all(line.key.unwrap_or_default()),
        Token::KeyLength => write!(out, "{}", length(line.key)),
        Token::Value => out.write_all(line.value.unwrap_or_default()),
        Token::ValueLength => write!(out, "{}", length(line.value)),
        Token::ValueLengthBinary => {
            out.write_all(&i32::try_from(length(line.value)).unwrap_or(i32::MAX).to_be_bytes())
        }
        Token::Headers => {
            for (at, (name, value)) in line.headers.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                write!(out, "{comma}")?;
                out.write_all(name)?;
                out.write_all(b"=")?;
                out.write_all(value.unwrap_or(b"NULL"))?;
            }
            Ok(())
        }
    }
}

fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |b| b.len() as i64)
}

/// The JSON shape of one record; `kohort produce --json` reads the same.
pub(crate) fn to_json(line: &Line<'_>) -> Value {
    let headers: Vec<Value> = line
        .headers
        .iter()
        .map(|(name, value)| json!([String::from_utf8_lossy(name), bytes_to_json(*value)]))
        .collect();
    json!({
        "topic": line.topic,
        "partition": line.partition,
        "offset": line.offset,
        "ts": line.timestamp,
        "headers": headers,
        "key": bytes_to_json(line.key),
        "payload": bytes_to_json(line.value),
    })
}

fn bytes_to_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::String(text.to_owned()),
        Some((raw, Err(_))) => json!({ "base64": STANDARD.encode(raw) }),
    }
}

/// Reads back what [`bytes_to_json`] wrote: null, text, or `{"base64": …}`; other JSON is kept as
/// its own text, so that plain objects can be produced as they stand.
pub(crate) fn json_to_bytes(value: &Value) -> Result<Option<Vec<u8>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone().into_bytes())),
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("base64") => {
            let text = fields["base64"].as_str().ok_or("`base64` is not a string")?;
            STANDARD.decode(text).map(Some).map_err(|e| format!("`{text}` is not base64: {e}"))
        }
        other => Ok(Some(other.to_string().into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            topic: "flights",
            partition: 3,
            offset: 42,
            timestamp: 1_700_000_000_123,
            key: Some(b"DFW"),
            value: Some(b"late"),
            headers: vec![(b"a", Some(b"1")), (b"a", None)],
        }
    }

    fn written(format: &Format, line: &Line<'_>) -> String {
        let mut out = Vec::new();
        format.write(&mut out, line).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_token_of_kcat_is_written() {
        let format = Format::parse(r"%t/%p@%o %T %K:%k %S:%s [%h] 100%%\t\x41\n").unwrap();
        assert_eq!(
            written(&format, &line()),
            "flights/3@42 1700000000123 3:DFW 4:late [a=1,a=NULL] 100%\tA\n"
        );
    }

    #[test]
    fn a_null_prints_nothing_and_has_length_minus_one() {
        let format = Format::parse("%K:%k %S:%s").unwrap();
        assert_eq!(written(&format, &Line { key: None, value: None, ..line() }), "-1: -1:");
    }

    #[test]
    fn the_binary_length_is_four_bytes_big_endian() {
        let mut out = Vec::new();
        Format::parse("%R").unwrap().write(&mut out, &line()).unwrap();
        assert_eq!(out, [0, 0, 0, 4]);
    }

    #[test]
    fn an_unknown_token_is_named() {
        for (text, named) in [("%q", "%q"), ("%", "ends"), (r"\q", r"\q"), (r"\xg1", r"\xg1")] {
            assert!(Format::parse(text).unwrap_err().contains(named), "{text}");
        }
    }

    #[test]
    fn json_keeps_what_is_not_text() {
        let format = Format::Json;
        assert_eq!(
            written(&format, &Line { value: Some(&[0xff, 0x00]), ..line() }),
            concat!(
                r#"{"headers":[["a","1"],["a",null]],"key":"DFW","offset":42,"partition":3,"#,
                r#""payload":{"base64":"/wA="},"topic":"flights","ts":1700000000123}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_json_wrote_is_read_back() {
        for bytes in [None, Some(&b"text"[..]), Some(&b""[..]), Some(&[0xff, 0x00, 0x7f][..])] {
            assert_eq!(json_to_bytes(&bytes_to_json(bytes)).unwrap().as_deref(), bytes);
        }
        assert_eq!(json_to_bytes(&json!({"a": 1})).unwrap().unwrap(), br#"{"a":1}"#);
        assert!(json_to_bytes(&json!({"base64": "?"})).unwrap_err().contains("not base64"));
    }
}
