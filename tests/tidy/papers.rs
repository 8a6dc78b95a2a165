//! Rules about what is not Rust: the contract's comments, the documents and the record of changes.

use sha2::{Digest, Sha256};

use super::source::{Fault, Source, files, read};

#[test]
fn every_item_of_the_contract_has_a_comment() {
    let protos = contract();
    assert!(protos.len() >= 5, "the contract was not found");
    let faults: Vec<_> = protos.iter().flat_map(silent).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    let odd = |text: &str| silent(&Source::new("x.proto", text)).len();
    assert_eq!(odd("// A.\nmessage A {\n  // B.\n  string b = 1;\n}\n"), 0);
    assert_eq!(odd("// A.\nmessage A {\n  string b = 1;\n\n  int32 c = 2 [x = 1];\n}\n"), 2);
    assert_eq!(odd("enum A {\n  A_UNSPECIFIED = 0;\n}\nservice B {}\n"), 3);
    assert_eq!(odd("// A.\nservice A {\n  rpc B(C) returns (D) {\n"), 1);
}

#[test]
fn a_changed_contract_has_a_line_in_the_changelog() {
    let print = fingerprint(&contract());
    let changelog = read("CHANGELOG.md").expect("CHANGELOG.md");
    let line = format!("Contract: `{print}`.");
    assert!(
        changelog.contains(&line),
        "proto/ has changed: say how under `## Unreleased` in CHANGELOG.md, and let that section \
         end with\n{line}"
    );
}

#[test]
fn the_fingerprint_sees_words_and_not_their_layout() {
    let of = |text: &str| fingerprint(&[Source::new("a.proto", text)]);
    assert_eq!(of("message A { int32 b = 1; }"), of("// A.\nmessage A {\n  int32 b = 1;\n}\n"));
    assert_ne!(of("message A { int32 b = 1; }"), of("message A { int32 c = 1; }"));
}

#[test]
fn documents_are_short_enough_to_be_read() {
    let limits = [("README.md", 150), ("ARCHITECTURE.md", 200), ("CONTRIBUTING.md", 150)];
    let mut faults: Vec<_> = limits
        .iter()
        .filter_map(|(path, most)| {
            let lines = read(path).map(|text| text.lines().count());
            let ok = lines.is_some_and(|lines| lines <= *most);
            (!ok).then(|| format!("{path}: {lines:?} lines, at most {most}"))
        })
        .collect();
    let adrs = files("docs/adr", ".md");
    faults.extend(
        adrs.iter()
            .filter(|adr| adr.text.lines().count() > 60)
            .map(|adr| format!("{}: {} lines, at most 60", adr.path, adr.text.lines().count())),
    );
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn decisions_are_numbered_without_a_gap_and_name_their_cost() {
    let adrs = files("docs/adr", ".md");
    assert!(!adrs.is_empty(), "no decision is recorded");
    let faults: Vec<_> =
        adrs.iter().enumerate().flat_map(|(i, adr)| undecided(i + 1, adr)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    let whole = "# 0001: X\n\n## Context\n\n## Decision\n\n## Cost\n";
    assert_eq!(undecided(1, &Source::new("docs/adr/0001-x.md", whole)).len(), 0);
    assert_eq!(undecided(2, &Source::new("docs/adr/0003-x.md", "# X")).len(), 5);
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    let folders = ["services", "proto", "tests", "docs", "examples", ".ci", "benches"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| files(folder, "")).collect();
    all.extend(files("", ".md").into_iter().filter(|f| !f.path.contains('/')));
    let faults: Vec<_> = all.iter().flat_map(places).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert_eq!(places(&Source::new("x.md", &format!("in {}x/y", PLACES[0].concat()))).len(), 1);
}

/// Roots of such places, in pieces so that they are not found here.
const PLACES: &[[&str; 3]] =
    &[["/wor", "k", "/"], ["/roo", "t", "/"], ["/ho", "me", "/"], ["/Us", "ers", "/"]];

fn contract() -> Vec<Source> {
    let mut found = files("proto/runplane", ".proto");
    found.extend(files("proto/transcode", ".proto"));
    found
}

/// Items without a comment in the line above.
fn silent(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (mut at, mut commented) = (0, false);
    for line in source.text.split_inclusive('\n') {
        let words = line.trim();
        if is_item(words) && !commented {
            faults.push(source.fault(at, &format!("`{words}` has no comment")));
        }
        commented = words.starts_with("//");
        at += line.len();
    }
    faults
}

fn is_item(line: &str) -> bool {
    let starts = ["message ", "enum ", "service ", "rpc ", "oneof "];
    if starts.iter().any(|start| line.starts_with(start)) {
        return true;
    }
    // A field or a value: `… name = 1`, not an option.
    let Some((left, right)) = line.split_once('=') else { return false };
    let number = right.trim_start().starts_with(|c: char| c.is_ascii_digit());
    let other = ["option ", "syntax", "//", "reserved "].iter().any(|s| line.starts_with(s));
    number && !other && !left.contains(['(', ':', '"'])
}

/// Twelve digits that change with every word of the contract, and with no comment or space.
fn fingerprint(protos: &[Source]) -> String {
    let mut hash = Sha256::new();
    for proto in protos {
        hash.update(proto.path.as_bytes());
        hash.update(proto.code.split_whitespace().collect::<String>().as_bytes());
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn undecided(number: usize, adr: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !adr.path.starts_with(&format!("docs/adr/{number:04}-")) {
        faults.push(adr.fault(0, &format!("the decision {number:04} is missing or doubled")));
    }
    if !adr.text.starts_with(&format!("# {number:04}: ")) {
        faults.push(adr.fault(0, &format!("its title does not begin with `# {number:04}: `")));
    }
    let parts = ["## Context", "## Decision", "## Cost"];
    let missing = parts.iter().filter(|part| !adr.text.lines().any(|line| line == **part));
    faults.extend(missing.map(|part| adr.fault(0, &format!("has no `{part}`"))));
    faults
}

fn places(source: &Source) -> Vec<Fault> {
    let roots = PLACES.iter().map(|pieces| pieces.concat());
    let found = roots.flat_map(|root| {
        let named = |at: &usize| {
            let before = source.text[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
        };
        source.text.match_indices(&root).map(|(at, _)| at).filter(named).collect::<Vec<_>>()
    });
    found.map(|at| source.fault(at, "names a place on somebody's machine")).collect()
}
