//! The table in `docs/transcoding.md`: read here, compared with what was found. A row is about one
//! rule; its second cell holds the requests, its third and fourth begin with the statuses.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::Answer;

const FROM: &str = "<!-- differences: `just oracle` compares -->";
const TO: &str = "<!-- end of differences -->";

/// A row.
pub(super) struct Row {
    requests: Vec<String>,
    ours: u16,
    envoy: u16,
}

/// The rows of the page.
pub(super) fn read() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/transcoding.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once(FROM).expect("a table of differences");
    let (table, _) = rest.split_once(TO).expect("the end of the table of differences");
    table.lines().filter(|line| line.contains('`')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.split(" | ").collect();
    let [_, requests, ours, envoy, ..] = cells.as_slice() else { panic!("no row: {line}") };
    let status = |cell: &str| {
        let word = cell.split_whitespace().next().unwrap_or_default().trim_end_matches(',');
        word.parse().unwrap_or_else(|_| panic!("no status: {cell}"))
    };
    let requests = requests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Row { requests, ours: status(ours), envoy: status(envoy) }
}

/// What the page says and was not found, and the other way round.
pub(super) fn faults(rows: &[Row], found: &BTreeMap<String, (Answer, Answer)>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told = BTreeSet::new();
    for row in rows {
        for request in &row.requests {
            told.insert(request.as_str());
            match found.get(request) {
                None => faults.push(format!("no longer a difference: {request}")),
                Some((ours, envoy)) if (ours.status, envoy.status) != (row.ours, row.envoy) => {
                    let statuses = (ours.status, envoy.status);
                    faults.push(format!("{request}: the statuses are {statuses:?}"));
                }
                Some(_) => {}
            }
        }
    }
    for (request, (ours, envoy)) in found {
        if !told.contains(request.as_str()) {
            let line = |answer: &Answer| format!("{} {:.150}", answer.status, answer.says.trim());
            let (ours, envoy) = (line(ours), line(envoy));
            faults.push(format!("not told: `{request}`\n  ours:  {ours}\n  Envoy: {envoy}"));
        }
    }
    faults
}
