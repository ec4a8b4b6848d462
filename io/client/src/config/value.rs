//! The types a property can have, and how each is written.

use std::fmt::Display;
use std::time::Duration;

/// A type of property.
pub(super) trait Value: Sized {
    /// What a value looks like, for help.
    const KIND: &'static str;
    /// What the range counts.
    const UNIT: &'static str = "the range";
    /// Whether no error may show the value.
    const SECRET: bool = false;
    fn parse(text: &str) -> Result<Self, String>;
    /// Reads the default, where that differs from somebody saying the same.
    fn parse_default(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
    fn text(&self) -> String;
    /// The number that the range is about.
    fn number(&self) -> Option<i64> {
        None
    }
}

/// A number of bytes, written `65536`, `64KiB`, `64k` or `1MiB`. Every unit goes by 1024: `1MB` is `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Returns the bytes as a length; `usize::MAX` where that is too small for them.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Returns the bytes as Kafka's requests carry them.
    pub fn as_i32(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

/// Where a server listens: `host:port`, `[::1]:9092`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Declares an enum of words. The first word of a variant is how it is printed; the others are
/// read too.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal $(| $also:literal)*,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl Value for $name {
            const KIND: &'static str = concat!("one of", $(" `", $word, "`"),*);

            fn parse(text: &str) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($word $(| $also)* => Ok(Self::$variant),)*
                    _ => Err(format!("it is {}", Self::KIND)),
                }
            }

            fn text(&self) -> String {
                match self { $(Self::$variant => $word,)* }.to_owned()
            }
        }
    };
}
pub(super) use words;

words! {
    /// How many copies a record needs before the broker answers.
    pub enum Acks {
        /// The leader and every replica in sync.
        All = "all" | "-1",
        /// The leader.
        Leader = "1",
        /// Nobody: the broker does not answer at all.
        None = "0",
    }
}

words! {
    /// How record batches are compressed.
    pub enum Codec {
        /// Not at all.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4.
        Lz4 = "lz4",
        /// Zstandard.
        Zstd = "zstd",
    }
}

words! {
    /// What a reader sees of transactions.
    pub enum IsolationLevel {
        /// Every record, those of open and aborted transactions too.
        ReadUncommitted = "read_uncommitted",
        /// Records of committed transactions only.
        ReadCommitted = "read_committed",
    }
}

words! {
    /// Which protocol a group is run by.
    pub enum GroupProtocol {
        /// JoinGroup and SyncGroup, assignment by a member.
        Classic = "classic",
        /// ConsumerGroupHeartbeat, assignment by the coordinator (KIP-848).
        Consumer = "consumer",
        /// The consumer protocol, or the classic one where the coordinator cannot run that.
        Auto = "auto",
    }
}

words! {
    /// An assignor that is built in.
    pub enum AssignmentStrategy {
        /// Contiguous ranges, topic by topic.
        Range = "range" | "org.apache.kafka.clients.consumer.rangeassignor",
        /// One after the other over all topics.
        RoundRobin = "roundrobin" | "org.apache.kafka.clients.consumer.roundrobinassignor",
        /// Balanced, with as little movement as possible; all stop while partitions move.
        Sticky = "sticky" | "org.apache.kafka.clients.consumer.stickyassignor",
        /// As sticky, but only moved partitions stop.
        CooperativeSticky = "cooperative-sticky"
            | "org.apache.kafka.clients.consumer.cooperativestickyassignor",
    }
}

words! {
    /// What to do when no broker that is known can be reached.
    pub enum RecoveryStrategy {
        /// Start again from `bootstrap.servers` (KIP-899).
        Rebootstrap = "rebootstrap",
        /// Keep trying the brokers that are known.
        None = "none",
    }
}

/// Where to start reading a partition that has no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// Nowhere: the reader is told.
    None,
    /// At the first record not older than this (KIP-1106).
    ByDuration(Duration),
}

impl Value for OffsetReset {
    const KIND: &'static str = "one of `earliest` `latest` `none` `by_duration:<ISO 8601>`";

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "none" => Ok(Self::None),
            lower => lower
                .strip_prefix("by_duration:")
                .and_then(iso_duration)
                .map(Self::ByDuration)
                .ok_or_else(|| format!("it is {}", Self::KIND)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Earliest => "earliest".to_owned(),
            Self::Latest => "latest".to_owned(),
            Self::None => "none".to_owned(),
            Self::ByDuration(age) => format!("by_duration:PT{}S", age.as_secs_f64()),
        }
    }
}

/// Whether a batch that is sent again is written once (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Idempotence {
    /// Yes, unless another property rules it out: the default.
    IfPossible,
    /// Yes, and what rules it out is refused.
    On,
    /// No.
    Off,
}

impl Value for Idempotence {
    const KIND: &'static str = bool::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        bool::parse(text).map(|on| if on { Self::On } else { Self::Off })
    }
    fn parse_default(_: &str) -> Result<Self, String> {
        Ok(Self::IfPossible)
    }
    fn text(&self) -> String {
        (*self != Self::Off).text()
    }
}

/// How long a record may take from send to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryTimeout {
    /// Two minutes, or what `linger.ms` and `request.timeout.ms` take together if that is more: the default.
    AtLeastOneAttempt,
    /// So long, and a longer attempt is refused.
    Set(Duration),
}

impl DeliveryTimeout {
    const DEFAULT: Duration = Duration::from_secs(120);

    /// Returns the time where the first attempt may take `attempt`.
    pub(crate) fn with(self, attempt: Duration) -> Duration {
        match self {
            Self::AtLeastOneAttempt => Self::DEFAULT.max(attempt),
            Self::Set(timeout) => timeout,
        }
    }
}

impl From<Duration> for DeliveryTimeout {
    fn from(timeout: Duration) -> Self {
        Self::Set(timeout)
    }
}

impl Value for DeliveryTimeout {
    const KIND: &'static str = Duration::KIND;
    const UNIT: &'static str = Duration::UNIT;

    fn parse(text: &str) -> Result<Self, String> {
        Duration::parse(text).map(Self::Set)
    }
    fn parse_default(_: &str) -> Result<Self, String> {
        Ok(Self::AtLeastOneAttempt)
    }
    fn text(&self) -> String {
        self.with(Duration::ZERO).text()
    }
    fn number(&self) -> Option<i64> {
        self.with(Duration::ZERO).number()
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    const KIND: &'static str = "`true` or `false`";
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("it is {}", Self::KIND)),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// Numbers without units.
macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: &'static str = "number";
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| "it is a whole number".to_owned())
            }
            fn text(&self) -> String {
                self.to_string()
            }
            fn number(&self) -> Option<i64> {
                // What is too large for it is above every range.
                Some(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )*};
}
numbers!(i32, u32, usize);

impl Value for Duration {
    const KIND: &'static str = "duration";
    const UNIT: &'static str = "the range in milliseconds";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let ms: u64 = match unit {
            "" | "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("a duration is milliseconds, or ends in ms, s, m, h or d".to_owned()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a duration is a whole number, not negative".to_owned())?;
        Ok(Duration::from_millis(number.saturating_mul(ms)))
    }

    fn text(&self) -> String {
        self.as_millis().to_string()
    }

    /// `Duration::MAX`, which no text can say, is for ever and no number.
    fn number(&self) -> Option<i64> {
        let number = i64::try_from(self.as_millis()).unwrap_or(i64::MAX);
        (*self != Duration::MAX).then_some(number)
    }
}

impl Value for ByteSize {
    const KIND: &'static str = "bytes";
    const UNIT: &'static str = "the range in bytes";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let scale: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return Err("a size is bytes, or ends in KiB, MiB or GiB".to_owned()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a size is a whole number, not negative".to_owned())?;
        Ok(Self(number.saturating_mul(scale)))
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn number(&self) -> Option<i64> {
        Some(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

/// A value that may be left to a default: `-1` for sizes, nothing for words.
impl Value for Option<ByteSize> {
    const KIND: &'static str = "bytes, or -1 for the system's choice";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "-1" { Ok(None) } else { ByteSize::parse(text).map(Some) }
    }
    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "-1".to_owned(), Value::text)
    }
}

impl Value for Option<String> {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }
    fn text(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

impl Value for HostPort {
    const KIND: &'static str = "host:port";

    fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').ok_or("a server is host:port")?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || (bracketed.is_none() && host.contains(':')) {
            return Err("a server is host:port, an IPv6 address in brackets".to_owned());
        }
        let port = port.parse().map_err(|_| "a port is 0 to 65535".to_owned())?;
        Ok(Self { host: host.to_owned(), port })
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Lists are separated by commas.
impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "list, separated by commas";

    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::parse).collect()
    }
    fn text(&self) -> String {
        self.iter().map(Value::text).collect::<Vec<_>>().join(",")
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim())
}

/// Reads `P2DT3H4M5.5S`: days, hours, minutes and seconds (ISO 8601), as Java's `Duration`.
pub fn iso_duration(text: &str) -> Option<Duration> {
    let text = &*text.to_ascii_lowercase();
    let (days, time) = text.strip_prefix('p')?.split_once('t').map_or_else(
        || (text.strip_prefix('p').unwrap_or_default(), ""),
        |(days, time)| (days, time),
    );
    let mut seconds = 0.0;
    let mut rest = days;
    seconds += take_unit(&mut rest, 'd')? * 86_400.0;
    let mut clock = time;
    for (unit, scale) in [('h', 3600.0), ('m', 60.0), ('s', 1.0)] {
        seconds += take_unit(&mut clock, unit)? * scale;
    }
    let complete = rest.is_empty() && clock.is_empty() && text.len() > 1;
    complete.then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// Takes `number unit` off the front if it is there; 0 if it is not, `None` if it is no number.
fn take_unit(rest: &mut &str, unit: char) -> Option<f64> {
    let Some((number, after)) = rest.split_once(unit) else { return Some(0.0) };
    *rest = after;
    number.parse().ok().filter(|number: &f64| *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_take_units_and_refuse_the_wrong_ones() {
        assert_eq!(Duration::parse("1500"), Ok(Duration::from_millis(1500)));
        assert_eq!(Duration::parse("2 s"), Ok(Duration::from_secs(2)));
        assert_eq!(ByteSize::parse("64KiB"), Ok(ByteSize(65_536)));
        assert!(Duration::parse("5MiB").is_err());
        assert!(ByteSize::parse("5s").is_err());
        assert!(Duration::parse("-1").is_err());
    }

    #[test]
    fn offset_reset_reads_an_age_in_iso_8601() {
        let age = |seconds| Ok(OffsetReset::ByDuration(Duration::from_secs(seconds)));
        assert_eq!(OffsetReset::parse("by_duration:PT1H30M"), age(5400));
        assert_eq!(OffsetReset::parse("by_duration:P2DT3S"), age(172_803));
        assert_eq!(OffsetReset::parse("by_duration:P1D"), age(86_400));
        for bad in ["by_duration:", "by_duration:P", "by_duration:1h", "by_duration:-PT1H"] {
            assert!(OffsetReset::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_are_host_and_port() {
        let parse = |text| HostPort::parse(text).map(|it| it.to_string());
        assert_eq!(parse("kafka-1:9092").as_deref(), Ok("kafka-1:9092"));
        assert_eq!(parse("[::1]:9092").as_deref(), Ok("[::1]:9092"));
        for bad in ["kafka-1", ":9092", "::1:9092", "kafka-1:70000"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
