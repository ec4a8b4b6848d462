//! Tables and words: stdout is data, stderr is words.

use std::io::{self, Write};

/// A table whose columns are as wide as their widest cell, without lines, so that `awk` can read it.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table with its header row.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Adds a row; an unknown value is written `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes the table to stdout. A reader that went away (`| head`) is not an error.
    pub(crate) fn print(&self) -> io::Result<()> {
        print(&self.render())
    }

    fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Writes text to stdout. A reader that went away is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    ignore_closed_pipe(write(text.as_bytes()))
}

/// Writes to stdout, at once; an error names it.
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let wrote = stdout.write_all(bytes).and_then(|()| stdout.flush());
    wrote.map_err(|it| io::Error::new(it.kind(), format!("cannot write to stdout: {it}")))
}

/// The text of a value that may be unknown.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// A count with thousands set apart, for people: `1 234 567`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Treats a reader that closed its end of the pipe as the end of the wish for output.
pub(crate) fn ignore_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

/// Tells whether whoever read has gone (`| head`): there is nobody to write more to.
pub(crate) fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Tells an error with its causes, each once: some errors tell theirs themselves.
pub(crate) fn words_of(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["TOPIC", "PARTITION"]);
        table.row(["flights".to_owned(), "0".to_owned()]);
        table.row(["f".to_owned(), or_dash(None::<i64>)]);
        assert_eq!(table.render(), "TOPIC    PARTITION\nflights  0\nf        -\n");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(thousands),
            ["0", "999", "1 000", "1 234 567"].map(str::to_owned)
        );
    }
}
