//! Times as `kafka-consumer-groups --to-datetime` takes them.

/// Reads `2026-11-21T10:00:00.000`, in UTC or with `Z`, `+05:00` or `-0500` behind it; milliseconds and
/// seconds may be left out. Returns Unix milliseconds.
pub(super) fn unix_ms(text: &str) -> Result<i64, String> {
    parse(text).ok_or_else(|| "it is written like 2026-11-21T10:00:00.000+01:00".to_owned())
}

fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let (time, offset_minutes) = match rest.find(['Z', '+', '-']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], zone(&rest[at..])?),
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let (time, millis) = match time.split_once('.') {
        None => (time, 0),
        Some((time, digits)) if (1..=3).contains(&digits.len()) => {
            (time, number(digits)? * 10_i64.pow(3 - u32::try_from(digits.len()).ok()?))
        }
        Some(_) => return None,
    };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let sensible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    sensible.then_some((minutes * 60 + second) * 1000 + millis)
}

/// Reads `Z`, `+05:00` or `-0500`, as minutes east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text[1..].replace(':', "");
    let number = number(&digits).filter(|_| digits.len() == 4)?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    text.split(separator).map(number).collect()
}

/// Reads digits, and nothing else.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = |years: i64| years / 4 - years / 100 + years / 400;
    let years = (year - 1970) * 365 + leap_days(before) - leap_days(1969);
    years + (1..month).map(|month| days_of_month(year, month)).sum::<i64>() + day - 1
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
            "2026-11-21",
            "2026-13-01T00:00:00",
            "2026-02-29T00:00:00",
            "2026-11-21T24:00:00",
            "2026-11-21T10:00:00.1234",
            "2026-11-21T10:00:00+1",
            "2026-11-21T+0:00:00",
            "+026-11-21T10:00:00",
            "2026-11-21T10:00:00Zulu",
        ] {
            assert!(unix_ms(text).is_err(), "{text}");
        }
    }
}
