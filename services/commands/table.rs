//! Tables for people: columns as wide as what is in them, two spaces apart. Used by the commands
//! that list.

use prost_types::Timestamp;

use super::exit::Outcome;
use super::output;

/// Rows under a heading.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(super) fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row. Nothing in it breaks the line.
    pub(super) fn row(&mut self, row: [String; N]) {
        let one_line = |text: String| output::clean(&text).replace(['\n', '\t'], " ");
        self.rows.push(row.map(|cell| shortened(&one_line(cell), 60)));
    }

    /// Writes it.
    pub(super) fn print(&self) -> Outcome<()> {
        output::print(&self.text())
    }

    fn text(&self) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |row: &[String; N]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
            cells.collect::<String>().trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// A moment as RFC 3339 in whole seconds; `-` when there is none.
pub(super) fn at(moment: Option<Timestamp>) -> String {
    let Some(moment) = moment else { return "-".to_owned() };
    let text = crate::kernel::Timestamp::from(moment).to_string();
    text.split('.').next().unwrap_or(&text).to_owned() + "Z"
}

/// A text of at most so many characters, of which the last is `…` when some were left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell_and_a_cell_is_one_line() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["agt_1".to_owned(), "é\x1b[31m\nb".to_owned()]);
        assert_eq!(table.text(), "ID     NAME\nagt_1  é[31m b\n");
        assert_eq!(at(Some(Timestamp { seconds: 0, nanos: 5 })), "1970-01-01T00:00:00Z");
    }
}
