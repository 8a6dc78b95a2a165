//! Rules about what we stand on: licences and bans of `deny.toml`, and that every dependency is
//! used.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::source::{Source, files, read, root, rust};

#[test]
fn every_dependency_has_a_licence_that_we_accept() {
    let deny = toml_file("deny.toml");
    let allowed = words(&deny["licenses"]["allow"]);
    let faults: Vec<_> = packages()
        .iter()
        .filter(|package| !accepted(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(faults.is_empty(), "licences beside deny.toml:\n{}\n", faults.join("\n"));
}

#[test]
fn no_banned_dependency_creeps_in() {
    let deny = toml_file("deny.toml");
    let bans = deny["bans"]["deny"].as_array().expect("bans.deny");
    assert!(!bans.is_empty());
    let names: BTreeSet<String> =
        packages().iter().filter_map(|p| p["name"].as_str().map(str::to_owned)).collect();
    assert!(names.len() > 100, "the dependencies were not found: {}", names.len());
    let faults: Vec<_> = bans
        .iter()
        .filter(|ban| names.contains(ban["crate"].as_str().expect("crate")))
        .map(ToString::to_string)
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let cargo = toml_file("Cargo.toml");
    let excused = words(&cargo["package"]["metadata"]["cargo-machete"]["ignored"]);
    let all = rust();
    let mut build = files("proto/codegen", ".rs");
    build.push(Source::new("build.rs", &read("build.rs").expect("build.rs")));
    let tables =
        [("dependencies", &all), ("dev-dependencies", &all), ("build-dependencies", &build)];
    let mut faults = Vec::new();
    for (table, sources) in tables {
        let names = cargo[table].as_table().expect("a table").keys();
        let idle = names.filter(|n| !excused.contains(*n) && !used(n, sources));
        faults.extend(idle.map(|name| format!("Cargo.toml: [{table}] {name} is not used")));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_licence_is_read_as_it_is_written() {
    let allowed = words(&toml::Value::from(vec!["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]));
    let ok = |text: &str| accepted(text, &allowed);
    assert!(ok("MIT") && ok("GPL-3.0 OR MIT") && ok("MIT/Apache-2.0") && ok("MIT AND ISC"));
    assert!(ok("(MIT OR GPL-3.0) AND ISC") && ok("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    assert!(!ok("GPL-3.0") && !ok("MIT AND GPL-3.0") && !ok("(MIT OR ISC) AND GPL-3.0"));
    assert!(!ok("none"));
}

#[test]
fn an_idle_dependency_is_seen() {
    let uses = |text: &str| used("tower-http", &[Source::new("services/x.rs", text)]);
    assert!(
        uses("use tower_http::cors;") && uses("tower_http::trace()") && uses("use tower_http;")
    );
    assert!(!uses("// tower_http::cors") && !uses("use my_tower_http::cors;"));
}

fn toml_file(path: &str) -> toml::Value {
    read(path).expect(path).parse::<toml::Table>().expect(path).into()
}

fn words(list: &toml::Value) -> BTreeSet<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

/// Every package that a build for this platform resolves to, ours left out.
fn packages() -> Vec<Value> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &host])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo metadata: {error}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON of cargo metadata");
    let packages = metadata["packages"].as_array().expect("packages").clone();
    packages.into_iter().filter(|package| !package["source"].is_null()).collect()
}

/// True when the SPDX expression leaves a choice that is allowed.
fn accepted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut tokens: Vec<String> = Vec::new();
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        // `X WITH Y` is one name.
        match tokens.last_mut() {
            Some(last) if word == "WITH" || last.ends_with(" WITH") => {
                last.push(' ');
                last.push_str(word);
            }
            _ => tokens.push(word.to_owned()),
        }
    }
    let mut rest = tokens.as_slice();
    any(&mut rest, allowed)
}

fn any(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut ok = all(rest, allowed);
    while rest.first().is_some_and(|token| token == "OR") {
        *rest = &rest[1..];
        ok |= all(rest, allowed);
    }
    ok
}

fn all(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let mut ok = one(rest, allowed);
    while rest.first().is_some_and(|token| token == "AND") {
        *rest = &rest[1..];
        ok &= one(rest, allowed);
    }
    ok
}

fn one(rest: &mut &[String], allowed: &BTreeSet<String>) -> bool {
    let Some((token, after)) = rest.split_first() else { return false };
    *rest = after;
    if token != "(" {
        return allowed.contains(token);
    }
    let ok = any(rest, allowed);
    *rest = rest.get(1..).unwrap_or_default();
    ok
}

/// True when the code names the crate.
fn used(dependency: &str, sources: &[Source]) -> bool {
    let name = dependency.replace('-', "_");
    let uses = [format!("{name}::"), format!("use {name};"), format!("use {name} as")];
    sources.iter().any(|source| uses.iter().any(|word| named(source, word)))
}

/// Like [`Source::mentions`], in unit tests too.
fn named(source: &Source, word: &str) -> bool {
    let whole = Source::new("all", &source.text);
    !whole.mentions(word).is_empty()
}
