//! Points in time, as people write and read them.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Returns the time in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Writes Unix milliseconds as RFC 3339 in UTC; as they are, if they are beyond the year 9999.
pub(crate) fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

/// Reads `2026-11-21T10:00:00.000` as Unix milliseconds: in UTC, or with `Z`, `+05:00` or `-0500` behind
/// it; milliseconds and seconds may be left out.
pub(crate) fn unix_ms(text: &str) -> Result<i64, String> {
    let in_utc = || {
        let time: civil::DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    text.parse()
        .ok()
        .or_else(in_utc)
        .map(Timestamp::as_millisecond)
        .filter(|ms| *ms >= 0)
        .ok_or_else(|| "it is written like 2026-11-21T10:00:00.000+01:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_utc_unless_they_name_a_zone() {
        // By `date -u -d TEXT +%s`.
        for (text, expected) in [
            ("1970-01-01T00:00:00.000", 0),
            ("2026-11-21T10:00:00.000", 1_795_255_200_000),
            ("2026-11-21T10:00:00.5Z", 1_795_255_200_500),
            ("2026-11-21T10:00", 1_795_255_200_000),
            ("2026-11-21T10:00:00+01:00", 1_795_251_600_000),
            ("2026-11-21T10:00:00-0530", 1_795_275_000_000),
            ("2000-02-29T23:59:59.999", 951_868_799_999),
            ("2100-03-01T00:00:00", 4_107_542_400_000),
        ] {
            assert_eq!(unix_ms(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "2026-13-01T00:00:00",
            "2026-02-29T00:00:00",
            "2026-11-21T24:00:00",
            "2026-11-21T10:00:00+1",
            "2026-11-21T+0:00:00",
            "+026-11-21T10:00:00",
            "2026-11-21T10:00:00Zulu",
            "1969-12-31T23:59:59.999",
        ] {
            assert!(unix_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in ["1970-01-01T00:00:00.000Z", "2000-02-29T00:00:00.123Z"] {
            assert_eq!(rfc3339(unix_ms(text).unwrap()), text);
        }
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
