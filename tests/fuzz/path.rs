//! The router and the variables of a path, against a second reading of the same templates: parts
//! between slashes, compared one by one.

use std::sync::LazyLock;

use runplane::gateway::rest::path::{capture, decode, decode_multi};
use runplane::gateway::rest::route::{Found, Router};
use runplane::gateway::rest::table::{Rule, Segment};

use crate::probe::house::rest::RULES;

static PROBE: LazyLock<Router> = LazyLock::new(|| Router::new(RULES));
static CONTRACT: LazyLock<Router> = LazyLock::new(|| Router::new(runplane::proto::rest::RULES));

/// Input: method, space, path.
pub(super) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((method, path)) = text.split_once(' ') else { return };
    decoded(path);
    for router in [&*PROBE, &*CONTRACT] {
        routed(router, method, path);
    }
}

fn routed(router: &Router, method: &str, path: &str) {
    let fitting = fitting(router.rules(), path);
    let serves = |rule: &Rule| {
        rule.http == method
            || rule.http == "*"
            || (method == "HEAD" && rule.http == "GET" && rule.has_head())
    };
    match router.find(method, path) {
        Found::Nothing => assert!(fitting.is_empty(), "{path}: {fitting:?}"),
        Found::Methods(methods) => {
            assert!(!methods.is_empty() && fitting.iter().all(|(rule, _)| !serves(rule)), "{path}");
            for (rule, _) in &fitting {
                assert!(methods.contains(&rule.http), "{path}: no {}", rule.http);
            }
        }
        Found::Rule(rule, verb) => {
            assert!(serves(rule), "{method} {path}: {rule:?}");
            let (_, head) = fitting.iter().find(|(other, _)| other.id == rule.id).unwrap();
            assert_eq!(verb, head.len() < path.len(), "{path}");
            let better = |(other, _): &&(&Rule, &str)| serves(other) && beats(other, rule);
            assert!(!fitting.iter().any(|other| better(&other)), "{method} {path}: {rule:?}");
            captured(rule, head);
        }
    }
}

/// The rules that fit a path, whatever their method, each with the path without its verb.
fn fitting<'a>(rules: &'static [Rule], path: &'a str) -> Vec<(&'static Rule, &'a str)> {
    if !path.starts_with('/') || (path.len() > 1 && path.ends_with('/')) {
        return Vec::new();
    }
    let spoken = path.rsplit_once(':').filter(|(_, verb)| !verb.contains('/'));
    let with = |verb: &str, head: &'a str| -> Vec<_> {
        let fits = |rule: &&Rule| rule.verb == verb && fits(rule.segments, &parts(head));
        rules.iter().filter(fits).map(|rule| (rule, head)).collect()
    };
    let verbs = spoken.filter(|(_, verb)| !verb.is_empty());
    let found = verbs.map(|(head, verb)| with(verb, head)).unwrap_or_default();
    if found.is_empty() { with("", path) } else { found }
}

fn parts(path: &str) -> Vec<&str> {
    let inside = path.strip_prefix('/').unwrap_or_default();
    if path == "/" { Vec::new() } else { inside.split('/').collect() }
}

fn fits(segments: &[Segment], parts: &[&str]) -> bool {
    let Some((segment, after)) = segments.split_first() else { return parts.is_empty() };
    if *segment == Segment::Many {
        return (0..=parts.len()).any(|taken| fits(after, &parts[taken..]));
    }
    let Some((part, rest)) = parts.split_first() else { return false };
    let this = match segment {
        Segment::Literal(text) => text == part,
        _ => !part.is_empty(),
    };
    this && fits(after, rest)
}

/// True when the first difference, with no `**` before it, speaks for the first rule.
fn beats(first: &Rule, second: &Rule) -> bool {
    let rank = |segment: &Segment| match segment {
        Segment::Literal(_) => 0,
        Segment::One => 1,
        Segment::Many => 2,
    };
    let mut pairs = first.segments.iter().zip(second.segments);
    let differ = pairs.find(|(a, b)| a != b || **a == Segment::Many);
    differ.is_some_and(|(a, b)| rank(a) < rank(b))
}

/// The variables are the parts that the template gives them, and with its literals they are the
/// path again.
fn captured(rule: &Rule, path: &str) {
    let parts = parts(path);
    let many = rule.segments.iter().position(|segment| *segment == Segment::Many);
    let place = |at: u8| {
        let at = usize::from(at);
        let moved = many.is_some_and(|many| at > many);
        if moved { at + parts.len() - rule.segments.len() } else { at }
    };
    let mut rebuilt = vec![None; parts.len()];
    for (index, &(from, to)) in rule.vars.iter().enumerate() {
        let (from, to) = (place(from), place(to));
        let (text, _) = capture(rule, path, index);
        assert_eq!(text, parts[from..to].join("/"), "{path}: {rule:?}");
        text.split('/').take(to - from).zip(from..to).for_each(|(part, at)| {
            rebuilt[at] = Some(part);
        });
    }
    for (at, segment) in (0_u8..).zip(rule.segments) {
        if let Segment::Literal(text) = segment {
            rebuilt[place(at)] = Some(text);
        }
    }
    let rebuilt: Vec<_> = rebuilt.into_iter().map(Option::unwrap).collect();
    assert_eq!(rebuilt, parts, "{path}: {rule:?}");
}

/// What is decoded comes from that very text.
fn decoded(text: &str) {
    if let Ok(decoded) = decode(text) {
        let encoded: String = decoded.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(decode(&encoded).unwrap(), decoded, "{text}");
        let multi = decode_multi(text).unwrap();
        let kept = multi.replace("%2F", "/").replace("%2f", "/");
        // A percent sign that was encoded itself may now stand before `2F`.
        assert!(kept == decoded || text.contains("%25"), "{text}: {multi}, {decoded}");
    } else {
        assert!(text.contains('%') && decode_multi(text).is_err(), "{text}");
    }
}
