//! The name of a partition.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// One partition of one topic, by the topic's name.
///
/// The name is shared, so that ten thousand partitions of a topic do not hold it ten thousand times.
///
/// ```
/// use kohort_protocol::TopicPartition;
///
/// let partition = TopicPartition::new("flight-delays", 3);
/// assert_eq!(partition, TopicPartition::from(("flight-delays", 3)));
/// assert_eq!(partition.to_string().parse(), Ok(partition));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index in the topic.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl<T: Into<Arc<str>>> From<(T, i32)> for TopicPartition {
    fn from((topic, partition): (T, i32)) -> Self {
        Self::new(topic, partition)
    }
}

/// Reads what [`Display`](fmt::Display) writes: the partition is what follows the last hyphen, as a topic's name
/// may have some of its own.
impl FromStr for TopicPartition {
    type Err = ParseTopicPartitionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTopicPartitionError(text.to_owned());
        let (topic, digits) = text.rsplit_once('-').ok_or_else(refused)?;
        // `parse` takes a sign, which no partition has.
        if topic.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
            return Err(refused());
        }
        Ok(Self::new(topic, digits.parse().map_err(|_| refused())?))
    }
}

/// A text that does not name a partition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no partition: it shall be a topic's name, a hyphen and a number, as in `orders-3`"
)]
pub struct ParseTopicPartitionError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_as_it_is_written_whatever_hyphens_its_topic_has() {
        for (text, topic, partition) in [("t-0", "t", 0), ("a-b-12", "a-b", 12), ("a--1", "a-", 1)]
        {
            assert_eq!(text.parse(), Ok(TopicPartition::new(topic, partition)));
            assert_eq!(TopicPartition::from((topic, partition)).to_string(), text);
        }
    }

    #[test]
    fn what_names_no_partition_is_refused_in_words() {
        for text in ["", "t", "t-", "-1", "t-x", "t-+1", "t-2147483648"] {
            let error = text.parse::<TopicPartition>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no partition")), "{error}");
        }
    }
}
