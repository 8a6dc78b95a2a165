//! Who may import whom: the walls between the parts of the product, which is one crate. A new edge
//! needs an ADR.

use super::source::{Fault, Source, read, services};

/// One part and what it may name.
struct Part {
    /// Module, with all that is below it and is no part of its own.
    name: &'static str,
    /// Modules that it may name, with all that is below them. A part may always name itself.
    may: &'static [&'static str],
    /// Modules below `may` that it may not name.
    never: &'static [&'static str],
}

/// An edge beside the table, for one file.
struct Exception {
    file: &'static str,
    may: &'static str,
    /// Number of the ADR that allows it.
    adr: &'static str,
}

/// Everything that is built from parts: it may name them all.
const ABOVE: &[&str] = &["", "serve", "main", "demo", "upkeep", "commands"];

const RESOURCE: &[&str] = &["proto", "kernel", "messages", "store", "cache", "engine"];

const PARTS: &[Part] = &[
    Part { name: "kernel", may: &[], never: &[] },
    Part { name: "store", may: &["kernel"], never: &[] },
    Part { name: "cache", may: &["kernel"], never: &[] },
    Part { name: "engine", may: &["kernel", "store", "cache"], never: &[] },
    Part { name: "runtime", may: &["kernel", "store", "cache", "engine"], never: &[] },
    Part { name: "agents", may: RESOURCE, never: &[] },
    Part { name: "runs", may: RESOURCE, never: &[] },
    Part { name: "keys", may: RESOURCE, never: &[] },
    Part { name: "messages", may: &["proto", "kernel"], never: &[] },
    Part { name: "organisations", may: RESOURCE, never: &[] },
    Part { name: "projects", may: RESOURCE, never: &[] },
    Part {
        name: "gateway",
        may: &[
            "proto",
            "kernel",
            "cache",
            "agents",
            "runs",
            "keys",
            "store::Store",
            "store::keys",
            "store::tenants",
            "store::audit",
            "store::idempotency",
            "gateway",
        ],
        never: &["store::tables"],
    },
    Part {
        name: "gateway::rest",
        may: &["proto", "kernel::reply", "kernel::error", "kernel::Error", "kernel::Reason"],
        never: &[],
    },
    // The generated code writes and reads JSON through the transcoder's codec.
    Part { name: "proto", may: &["gateway::rest::json"], never: &[] },
];

const EXCEPTIONS: &[Exception] = &[];

#[test]
fn a_part_names_only_what_the_table_allows() {
    let faults: Vec<_> = services().iter().flat_map(strangers).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_exception_of_the_table_has_its_decision() {
    let faults: Vec<_> = EXCEPTIONS.iter().filter(|e| !has_adr(e)).map(|e| e.adr).collect();
    assert!(faults.is_empty(), "no docs/adr/NUMBER-….md names its file: {faults:?}");
}

#[test]
fn a_stranger_is_seen() {
    let faults = |path: &str, text: &str| strangers(&Source::new(path, text)).len();
    assert_eq!(faults("services/store/mod.rs", "use crate::kernel::{Error, Scope};"), 0);
    assert_eq!(faults("services/store/mod.rs", "use crate::{kernel, engine::Engine};"), 1);
    assert_eq!(faults("services/store/mod.rs", "fn f() -> crate::proto::Agent { g() }"), 1);
    assert_eq!(faults("services/store/runs.rs", "use super::tables; use super::super::runs;"), 1);
    assert_eq!(faults("services/gateway/rest/sse.rs", "use super::super::auth::Auth;"), 1);
    assert_eq!(faults("services/gateway/rest/sse.rs", "use super::route; use crate::proto;"), 0);
    assert_eq!(faults("services/gateway/auth.rs", "use crate::store::{keys, tables};"), 1);
    assert_eq!(faults("services/agents/mod.rs", "// crate::runs\nuse crate::runs::Runs;"), 1);
    assert_eq!(faults("services/serve.rs", "use crate::{runtime, gateway};"), 0);
    assert_eq!(faults("services/novel/mod.rs", "use crate::kernel;"), 1);
}

/// Everything that the file names and its part may not.
fn strangers(source: &Source) -> Vec<Fault> {
    let module = module(&source.path);
    if ABOVE.contains(&module.first().map_or("", String::as_str)) {
        return Vec::new();
    }
    let Some(part) = part_of(&module.join("::")) else {
        return vec![source.fault(0, "no part of the import table; add it with an ADR")];
    };
    paths(&source.bare, &module)
        .into_iter()
        .filter(|(_, path)| !may(part, &source.path, path))
        .map(|(at, path)| {
            source.fault(at, &format!("{} may not name {path}: see house rules", part.name))
        })
        .collect()
}

fn may(part: &Part, file: &str, path: &str) -> bool {
    let excepted = EXCEPTIONS.iter().any(|e| e.file == file && below(path, e.may));
    let own = part_of(path).is_some_and(|other| other.name == part.name);
    let allowed = part.may.iter().any(|root| below(path, root));
    let refused = part.never.iter().any(|root| below(path, root));
    own || excepted || (allowed && !refused)
}

fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn part_of(path: &str) -> Option<&'static Part> {
    PARTS.iter().filter(|part| below(path, part.name)).max_by_key(|part| part.name.len())
}

fn has_adr(exception: &Exception) -> bool {
    let name = exception.file.trim_start_matches("services/");
    let adrs = super::source::files("docs/adr", ".md");
    let mut mine =
        adrs.iter().filter(|a| a.path.starts_with(&format!("docs/adr/{}-", exception.adr)));
    read(exception.file).is_some() && mine.any(|adr| adr.text.contains(name))
}

/// The module of a file: `services/gateway/rest/mod.rs` is `gateway::rest`.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("services/").trim_end_matches(".rs");
    let names = path.split('/').filter(|name| !["mod", "lib"].contains(name));
    names.map(str::to_owned).collect()
}

/// Every path of ours that the code names, from the root of the crate, with its place.
fn paths(bare: &str, module: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    for start in ["crate::", "super::"] {
        for (at, _) in bare.match_indices(start) {
            if bare[..at].ends_with(|c: char| word(c) || c == ':') {
                continue;
            }
            let mut base = if start == "crate::" { Vec::new() } else { module.to_vec() };
            let mut rest = bare[at..].trim_start_matches("crate::");
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            let mut leaves = Vec::new();
            tree(rest, &base, &mut leaves);
            found.extend(leaves.into_iter().map(|leaf| (at, leaf)));
        }
    }
    found
}

/// The leaves of a use tree, or the one of a plain path. Returns what follows it.
fn tree<'a>(text: &'a str, base: &[String], leaves: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if rest.is_empty() {
                return rest;
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            rest = tree(rest, base, leaves);
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name.to_owned());
    }
    if let Some(after) = rest.strip_prefix("::") {
        return tree(after, &path, leaves);
    }
    leaves.push(path.join("::"));
    // Past `as other`, a `*`, or anything else that ends here.
    &rest[rest.find([',', '}', ';', '\n']).unwrap_or(rest.len())..]
}
