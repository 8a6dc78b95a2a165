//! How figures are shown: Markdown tables, on standard output and in the file of `--write`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::Outcome;

/// Where figures begin in a file, and where they end.
pub(super) struct Place(&'static str, &'static str);

/// Place of the figures of `just bench`.
pub(super) const FIGURES: Place =
    Place("<!-- figures: `just bench --write docs/benchmarks.md` -->", "<!-- end of figures -->");

/// Place of those of `just bench-peers`.
pub(super) const PEERS: Place =
    Place("<!-- peers: `just bench-peers --write docs/benchmarks.md` -->", "<!-- end of peers -->");

/// Times of several rounds of the same thing.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounds(pub(super) Vec<Duration>);

impl Rounds {
    /// The least of them: what it takes when nothing else disturbs.
    pub(super) fn least(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The least and, in brackets, the median, in microseconds.
    pub(super) fn us(&self) -> String {
        format!("{} [{}]", us(self.least()), us(self.median()))
    }

    /// How many times the least of another this one's least is.
    pub(super) fn against(&self, other: &Self) -> String {
        ratio(self.least(), other.least())
    }
}

/// How many times `other` this is.
pub(super) fn ratio(this: Duration, other: Duration) -> String {
    format!("{:.2}", this.as_secs_f64() / other.as_secs_f64())
}

/// A table with a title.
pub(super) fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let rule: Vec<_> = head.iter().map(|_| "---").collect();
    let mut text = format!("\n{title}\n\n| {} |\n| {} |\n", head.join(" | "), rule.join(" | "));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

/// Puts the figures into a file, between its markers.
pub(super) fn write(file: &Path, Place(from, to): &Place, figures: &str) -> Outcome<()> {
    let text = fs::read_to_string(file)?;
    let (before, rest) = text.split_once(from).ok_or("the file has no place for figures")?;
    let (_, after) = rest.split_once(to).ok_or("the file's place for figures has no end")?;
    fs::write(file, format!("{before}{from}\n\n{figures}\n{to}{after}"))?;
    Ok(())
}

fn us(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    if us < 10.0 { format!("{us:.2}") } else { format!("{us:.1}") }
}
