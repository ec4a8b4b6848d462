//! The text of a scrape, in Prometheus' exposition format, handed on in pieces as it is written.

use super::table::{MetricFamily, MetricKind};
use bytes::Bytes;
use kohort_storage::{DURATION_BOUNDS_US, DurationCounts};
use std::fmt::{Display, Write as _};
use tokio::sync::mpsc;

/// How much is written before it is handed on.
const PIECE: usize = 32 * 1024;

/// A scrape being written. It belongs on a thread that may wait: for whoever reads the page.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    pieces: mpsc::Sender<Bytes>,
    /// Nobody reads any more.
    abandoned: bool,
}

impl Page {
    pub(crate) fn new(pieces: mpsc::Sender<Bytes>) -> Self {
        Self { text: String::with_capacity(PIECE + 4096), pieces, abandoned: false }
    }

    /// Tells whether nobody reads any more, so that the rest need not be written.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Begins a metric: its meaning and type, and then its series.
    pub(crate) fn family<'a>(&'a mut self, family: &'a MetricFamily) -> Series<'a> {
        let MetricFamily { name, kind, doc, .. } = family;
        let _ = writeln!(self.text, "# HELP {name} {doc}\n# TYPE {name} {}", kind.name());
        Series { page: self, family }
    }

    /// Writes a metric that has one series without labels.
    pub(crate) fn single(&mut self, family: &MetricFamily, value: impl Display) {
        self.family(family).total(value);
    }

    /// Hands on what is written.
    pub(crate) fn finish(mut self) {
        self.hand_on();
    }

    fn hand_on_if_full(&mut self) {
        if self.text.len() >= PIECE {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        let piece = Bytes::copy_from_slice(self.text.as_bytes());
        self.text.clear();
        if !self.abandoned && !piece.is_empty() {
            self.abandoned = self.pieces.blocking_send(piece).is_err();
        }
    }
}

/// The series of one metric.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    page: &'a mut Page,
    family: &'a MetricFamily,
}

impl Series<'_> {
    /// Writes the series with these label values.
    pub(crate) fn value(&mut self, labels: &[&dyn Display], value: impl Display) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        debug_assert_ne!(self.family.kind, MetricKind::Histogram);
        self.page.text.push_str(self.family.name);
        self.put_labels(labels);
        self.put_value(value);
    }

    /// Writes the series without labels.
    pub(crate) fn total(&mut self, value: impl Display) {
        self.page.text.push_str(self.family.name);
        self.put_value(value);
    }

    /// Writes a histogram, its bounds in milliseconds or seconds as the metric's unit says.
    pub(crate) fn histogram(&mut self, labels: &[&dyn Display], counted: &DurationCounts) {
        debug_assert_eq!(self.family.kind, MetricKind::Histogram);
        let per_second = if self.family.unit == "ms" { 1e3 } else { 1.0 };
        let mut below = 0;
        let bounds =
            DURATION_BOUNDS_US.iter().map(|us| (*us as f64 / 1e6 * per_second).to_string());
        for (count, bound) in counted.buckets.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            below += count;
            let _ = write!(self.page.text, "{}_bucket", self.family.name);
            self.put_labels_and_bound(labels, Some(&bound));
            self.put_value(below);
        }
        let _ = write!(self.page.text, "{}_sum", self.family.name);
        self.put_labels(labels);
        self.put_value(counted.nanoseconds as f64 / 1e9 * per_second);
        let _ = write!(self.page.text, "{}_count", self.family.name);
        self.put_labels(labels);
        self.put_value(below);
    }

    fn put_labels(&mut self, labels: &[&dyn Display]) {
        self.put_labels_and_bound(labels, None);
    }

    fn put_labels_and_bound(&mut self, labels: &[&dyn Display], bound: Option<&str>) {
        if labels.is_empty() && bound.is_none() {
            return;
        }
        let text = &mut self.page.text;
        let mut opening = '{';
        for (name, value) in self.family.labels.iter().zip(labels) {
            let _ = write!(text, "{opening}{name}=\"");
            let _ = write!(Escaped(text), "{value}");
            text.push('"');
            opening = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(text, "{opening}le=\"{bound}\"");
        }
        text.push('}');
    }

    fn put_value(&mut self, value: impl Display) {
        let _ = writeln!(self.page.text, " {value}");
        self.page.hand_on_if_full();
    }
}

/// Writes label values, of which clients choose some: a quote in one must not end it.
struct Escaped<'a>(&'a mut String);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;
    use kohort_storage::Durations;
    use std::time::Duration;

    fn written(write: impl FnOnce(&mut Page)) -> String {
        let (pieces, mut read) = mpsc::channel(8);
        let mut page = Page::new(pieces);
        write(&mut page);
        page.finish();
        let mut text = Vec::new();
        while let Ok(piece) = read.try_recv() {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_label_value_cannot_end_itself() {
        let text = written(|page| {
            page.family(&table::BUILD_INFO).value(&[&"a\"} 7\n\\"], 1);
        });
        let last = text.lines().last().unwrap();
        assert_eq!(last, "kohort_build_info{version=\"a\\\"} 7\\n\\\\\"} 1");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_sum_and_count() {
        let durations = Durations::default();
        for micros in [10, 60, 70, 40_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let mut counted = DurationCounts::default();
        counted.add(&durations);
        let text = written(|page| {
            page.family(&table::TOTAL_TIME).histogram(&[&"Fetch"], &counted);
        });
        let name = table::TOTAL_TIME.name;
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{request=\"Fetch\",le=\"0.05\"}} 1"),
            format!("{name}_bucket{{request=\"Fetch\",le=\"0.1\"}} 3"),
            format!("{name}_bucket{{request=\"Fetch\",le=\"30000\"}} 3"),
            format!("{name}_bucket{{request=\"Fetch\",le=\"+Inf\"}} 4"),
            format!("{name}_sum{{request=\"Fetch\"}} 40000.14"),
            format!("{name}_count{{request=\"Fetch\"}} 4"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn writing_stops_to_matter_when_nobody_reads() {
        let (pieces, read) = mpsc::channel(1);
        drop(read);
        let mut page = Page::new(pieces);
        while !page.is_abandoned() {
            page.single(&table::BROKERS, 1);
        }
    }
}
