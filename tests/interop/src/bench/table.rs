//! What is measured, what was found, and the table that says whether it is enough.

use serde_json::{Value, json};

use super::target::Column;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

/// What is wanted of our value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Nothing: it is told for its own sake, and less is better.
    Less,
    /// The same, and more is better.
    More,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// So many times less than Kafka's of the same run; without one, at most the second number.
    Times(f64, f64),
}

/// What was found of a measure in one column, round by round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found(pub(crate) Vec<f64>);

/// A line with its values.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) measure: &'static Measure,
    pub(crate) found: Vec<(Column, Found)>,
}

impl Measure {
    pub(crate) const fn new(name: &'static str, unit: &'static str, goal: Goal) -> Self {
        Self { name, unit, goal }
    }
}

impl Found {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Returns half the way from the least to the greatest, as a share of the median.
    fn spread(&self) -> f64 {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (greatest - least) / 2.0 / self.median()
    }
}

impl Line {
    /// Returns the line as it is printed below [`head`].
    pub(crate) fn print(&self) -> String {
        let label = format!("{}, {}", self.measure.name, self.measure.unit);
        let mut text = format!("{label:<48}");
        for (_, found) in &self.found {
            let spread = found.spread();
            let spread = if found.0.len() > 1 && spread.is_finite() {
                format!("±{:.0}%", spread * 100.0)
            } else {
                String::new()
            };
            text += &format!("{:>10}{spread:>6}", number(found.median()));
        }
        let times = self.times().map(|times| format!("{times:.1}")).unwrap_or_default();
        let (goal, verdict) = self.verdict();
        text += &format!("{times:>8}  {goal:<16}{verdict}");
        text.trim_end().to_owned()
    }

    /// Tells whether a goal is missed.
    pub(crate) fn is_missed(&self) -> bool {
        self.verdict().1 == MISSED
    }

    /// Returns the line for other programs.
    pub(crate) fn to_json(&self) -> Value {
        let columns = self.found.iter();
        let found: serde_json::Map<String, Value> =
            columns.map(|(column, found)| (column.name().to_owned(), json!(found.0))).collect();
        let (goal, verdict) = self.verdict();
        json!({
            "measure": self.measure.name,
            "unit": self.measure.unit,
            "values": found,
            "times": self.times(),
            "goal": goal,
            "verdict": verdict,
        })
    }

    fn column(&self, wanted: Column) -> Option<f64> {
        let (_, found) = self.found.iter().find(|(column, _)| *column == wanted)?;
        Some(found.median()).filter(|median| median.is_finite())
    }

    /// Returns how many times better than Kafka we are.
    fn times(&self) -> Option<f64> {
        let (ours, kafka) = (self.column(Column::Kohort)?, self.column(Column::Kafka)?);
        let times = match self.measure.goal {
            Goal::More | Goal::AtLeast(_) => ours / kafka,
            Goal::Less | Goal::AtMost(_) | Goal::Times(..) => kafka / ours,
        };
        Some(times).filter(|times| times.is_finite())
    }

    fn verdict(&self) -> (String, &'static str) {
        let ours = self.column(Column::Kohort);
        let told = |goal: String, met: bool| {
            let verdict = if met { MET } else { MISSED };
            (goal, if ours.is_some() { verdict } else { "" })
        };
        let ours = ours.unwrap_or(f64::NAN);
        match (self.measure.goal, self.times()) {
            (Goal::Less | Goal::More, _) => (String::new(), ""),
            (Goal::AtMost(most), _) | (Goal::Times(_, most), None) => {
                told(format!("<= {}", number(most)), ours <= most)
            }
            (Goal::AtLeast(least), _) => told(format!(">= {}", number(least)), ours >= least),
            (Goal::Times(wanted, most), Some(times)) => {
                told(format!("{wanted} x ({})", number(most)), times >= wanted)
            }
        }
    }
}

/// Returns the head of the table.
pub(crate) fn head(columns: &[Column]) -> String {
    let mut text = " ".repeat(48);
    for column in columns {
        text += &format!("{:>10}{:>6}", column.name(), "");
    }
    text += &format!("{:>8}  goal", "times");
    text
}

/// Writes a number with three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "-".to_owned(),
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

const MET: &str = "ok";
const MISSED: &str = "MISSED";
