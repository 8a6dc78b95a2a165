//! The tree as the rules read it: files, with comments, texts and unit tests blanked out where a
//! rule looks at code only. Knows no rule.

use std::fs;
use std::path::Path;

/// One file. Every text keeps the lines of the original, so that a fault can name one.
pub(super) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Without comments; for Rust also without unit tests.
    pub(super) code: String,
    /// `code` without what stands in quotes.
    pub(super) bare: String,
}

/// A broken rule, as `path:line: what`.
pub(super) type Fault = String;

impl Source {
    /// A file with this text.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let blanked = Blanked::of(text);
        let tests = if path.ends_with(".rs") { unit_tests(&blanked.bare) } else { Vec::new() };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: without(&blanked.code, &tests),
            bare: without(&blanked.bare, &tests),
        }
    }

    /// A fault in the line of this byte.
    pub(super) fn fault(&self, byte: usize, what: &str) -> Fault {
        let line = 1 + self.text.as_bytes()[..byte].iter().filter(|b| **b == b'\n').count();
        format!("{}:{line}: {what}", self.path)
    }

    /// Where `needle` stands in `bare` and no letter, digit or `_` comes before it.
    pub(super) fn mentions(&self, needle: &str) -> Vec<usize> {
        let before = |at: usize| self.bare[..at].chars().next_back();
        let starts = |at: &usize| !before(*at).is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.bare.match_indices(needle).map(|(at, _)| at).filter(starts).collect()
    }

    /// Lines of code and comments, without unit tests.
    pub(super) fn lines(&self) -> usize {
        let blank = |range: &std::ops::Range<usize>| self.text[range.clone()].lines().count();
        let tests = unit_tests(&Blanked::of(&self.text).bare);
        self.text.lines().count() - tests.iter().map(blank).sum::<usize>()
    }
}

/// All files below `folder` with this ending, in order. Nothing below `target` and `node_modules`.
pub(super) fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(folder), &mut |path| {
        if path.to_string_lossy().ends_with(ending)
            && let Ok(text) = fs::read_to_string(path)
        {
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy();
            found.push(Source::new(&path.replace('\\', "/"), &text));
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The files of the product.
pub(super) fn services() -> Vec<Source> {
    let found = files("services", ".rs");
    assert!(found.len() > 5, "the tree was not found: {} files", found.len());
    found
}

/// All Rust of ours.
pub(super) fn rust() -> Vec<Source> {
    let folders = ["services", "proto/codegen", "tests", "benches"];
    let mut found: Vec<_> = folders.iter().flat_map(|folder| files(folder, ".rs")).collect();
    found.push(Source::new("build.rs", &read("build.rs").expect("build.rs")));
    found
}

/// A file of the repository, if it is there.
pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "node_modules" && name != ".git" {
            walk(&path, visit);
        } else if path.is_file() {
            visit(&path);
        }
    }
}

/// A text of the same length with some parts replaced by spaces.
struct Blanked {
    code: String,
    bare: String,
}

impl Blanked {
    fn of(text: &str) -> Self {
        let (mut code, mut bare) = (text.as_bytes().to_vec(), text.as_bytes().to_vec());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(end) = comment(rest) {
                blank(&mut code[at..at + end]);
                blank(&mut bare[at..at + end]);
                at += end;
            } else if let Some(end) = quoted(text, at) {
                blank(&mut bare[at..at + end]);
                at += end;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        let text = |bytes| String::from_utf8(bytes).expect("blanked whole characters");
        Self { code: text(code), bare: text(bare) }
    }
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

/// Length of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?;
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(rest.len())
}

/// Length of the text or character in quotes that begins at `at`.
fn quoted(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let begins_word = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if begins_word && let Some(raw) = rest.trim_start_matches('b').strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.len() - raw.len() + hashes + 1;
            return Some(open + rest[open..].find(&close)? + close.len());
        }
    }
    match rest.as_bytes()[0] {
        b'"' => Some(closing(rest, b'"')),
        b'\'' => character(rest),
        _ => None,
    }
}

fn closing(rest: &str, quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest.as_bytes()[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character in quotes; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest[1..].chars();
    let first = chars.next()?;
    if first == '\\' {
        return Some(closing(rest, b'\''));
    }
    (chars.next() == Some('\'')).then(|| 2 + first.len_utf8())
}

/// The ranges of `#[cfg(test)] mod … { … }`.
fn unit_tests(bare: &str) -> Vec<std::ops::Range<usize>> {
    let mark = "#[cfg(test)]";
    let starts = bare.match_indices(mark).map(|(at, _)| at);
    starts
        .filter_map(|at| {
            let item = bare[at + mark.len()..].trim_start();
            let open = bare.len() - item.len() + item.find(['{', ';'])?;
            if !item.starts_with("mod ") || bare.as_bytes()[open] == b';' {
                return None;
            }
            let mut depth = 0;
            let end = bare[open..].char_indices().find_map(|(i, c)| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                (depth == 0).then_some(open + i + 1)
            });
            Some(at..end.unwrap_or(bare.len()))
        })
        .collect()
}

fn without(text: &str, ranges: &[std::ops::Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        blank(&mut bytes[range.clone()]);
    }
    String::from_utf8(bytes).expect("ranges of whole characters")
}

#[test]
fn comments_texts_and_unit_tests_are_blanked() {
    let text = "a // \"x\nb \"c // d\" /* e /* f */ g */ 'h' '\\'' 'i: r#\"j\"k\"# \
                l\n#[cfg(test)]\nmod tests { fn m() {} }\nn";
    let source = Source::new("x.rs", text);
    let words = |s: &str| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(&source.bare), "a b 'i: l n");
    assert_eq!(words(&source.code), "a b \"c // d\" 'h' '\\'' 'i: r#\"j\"k\"# l n");
    assert_eq!(source.fault(text.len() - 1, "odd"), "x.rs:5: odd");
    assert_eq!(source.lines(), 3);
}
