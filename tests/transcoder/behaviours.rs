//! The table of behaviours, `behaviours.txt`, against the probe as the specification of ProtoJSON
//! has it, through the whole stack but for its guard.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::body::Body;
use http::Response;
use runplane::{
    gateway::{
        dispatch::Dispatch,
        health::Health,
        rest::{Transcoder, TranscoderOptions, refuse::ErrorForm},
        stack,
    },
    kernel::{
        Clock,
        config::{Config, ServerConfig},
        telemetry::Meters,
    },
};
use tower::{ServiceExt, layer::util::Identity};

use super::*;
use crate::probe::standard::{
    Prober,
    probe::v1::probe_service_server::ProbeServiceServer,
    rest::{Services, deprecation},
};

/// Behaviours and pitfalls that the study of other transcoders names.
const BEHAVIOURS: usize = 74;
const PITFALLS: usize = 28;

/// Pitfalls that no request shows, and where it is shown that we are in none: a file and a test.
const ELSEWHERE: [(&str, &str, &str); 5] = [
    ("P21", "tests/bad_input/access.rs", "every_method_asks_for_a_key"),
    ("P22", "tests/generator.rs", "what_is_right_is_generated"),
    ("P24", "tests/openapi/mod.rs", "every_reference_leads_somewhere"),
    // Nothing of the rules or of the configuration is loaded anew while it is in use.
    ("P26", "tests/transcoder/mod.rs", "a_rule_is_known_by_its_place"),
    ("P28", "tests/generator.rs", "a_rule_that_cannot_be_is_refused_by_name"),
];

/// One case of the table.
#[derive(Debug, Default)]
pub struct Case<'a> {
    /// The behaviours that it shows: numbers, and `P` with a number for pitfalls.
    pub rows: Vec<&'a str>,
    pub method: &'a str,
    pub target: String,
    pub headers: Vec<(&'a str, &'a str)>,
    pub body: String,
    /// True for a server that passes over what it does not know.
    pub lenient: bool,
    pub status: u16,
    /// Headers of the answer; `*` is any value, `-` none.
    pub expected: Vec<(&'a str, &'a str)>,
    /// JSON that the answer holds.
    pub json: Option<Value>,
    /// Texts that the answer has, and has not.
    pub texts: Vec<(bool, &'a str)>,
}

/// The cases of the table.
pub fn table() -> Vec<Case<'static>> {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| std::fs::read_to_string("tests/transcoder/behaviours.txt").unwrap());
    let blocks = TEXT.split("\n\n").map(|block| block.trim_matches('\n'));
    blocks.filter(|block| block.starts_with('[')).map(case).collect()
}

fn case(block: &'static str) -> Case<'static> {
    let mut lines = block.lines();
    let title = lines.next().unwrap();
    let rows = title[1..].split_once(']').unwrap().0.split(' ').collect();
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut case = Case { rows, method, target: repeated(target), ..Case::default() };
    for line in lines {
        let (sign, rest) = line.split_once(' ').unwrap_or((line, ""));
        match sign {
            "@lenient" => case.lenient = true,
            "<" => case.body += &(bytes(&repeated(rest)) + "\n"),
            ">" => match rest.split_once(": ") {
                Some(header) => case.expected.push(header),
                None => case.status = rest.parse().unwrap(),
            },
            "=" => case.json = Some(serde_json::from_str(rest).expect(block)),
            "~" => case.texts.push((true, rest)),
            "!" => case.texts.push((false, rest)),
            _ => case.headers.push(line.split_once(": ").expect(block)),
        }
    }
    case.body.pop();
    case
}

/// `<<3|ab>>` is `ababab`.
fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("<<") else { return text.to_owned() };
    let (inner, after) = rest.split_once(">>").unwrap();
    let (times, what) = inner.split_once('|').unwrap();
    before.to_owned() + &what.repeat(times.parse().unwrap()) + &repeated(after)
}

/// `\x0a` is that byte.
fn bytes(text: &str) -> String {
    let mut parts = text.split("\\x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (hex, rest) = part.split_at(2);
        text + &char::from(u8::from_str_radix(hex, 16).unwrap()).to_string() + rest
    })
}

/// The whole stack over the probe.
pub fn server(prober: Prober, lenient: bool) -> impl stack::Stack {
    let prober = Arc::new(prober);
    let grpc = tonic::service::Routes::new(ProbeServiceServer::from_arc(Arc::clone(&prober)));
    let query_ignored = if lenient { vec!["$alt".to_owned()] } else { Vec::new() };
    let errors = ErrorForm::Status;
    let options =
        TranscoderOptions { errors, query_ignored, ignore_unknown: lenient, ..Default::default() };
    let rest = Transcoder::new(Services { probe: prober }, options);
    let health = Health::new(Arc::new(|| Box::pin(async { true })));
    let dispatch = Dispatch::new(grpc.prepare().into_axum_router(), rest, health);
    let dispatch = dispatch.deprecating(deprecation);
    let cors_origins = vec!["https://app.example".to_owned()];
    let config = ServerConfig { cors_origins, ..Config::with("").unwrap().server };
    stack::stack(&config, (Clock::system(), Meters::default()), Identity::new(), dispatch)
}

/// Reads the answer, and of one that does not end what comes in the first minute.
async fn heard(response: Response<Body>) -> (http::response::Parts, String) {
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    };
    let _endless = tokio::time::timeout(Duration::from_mins(1), all).await;
    (parts, String::from_utf8_lossy(&bytes).into_owned())
}

/// What is wrong with the answer to a case.
async fn faults(case: &Case<'_>) -> Result<String, Infallible> {
    let mut request = request(case.method, &case.target, &case.headers, &case.body);
    request.headers_mut().entry("host").or_insert(HeaderValue::from_static("api.example"));
    let (parts, text) =
        heard(server(Prober::default(), case.lenient).oneshot(request).await?).await;
    let mut faults = String::new();
    if parts.status != case.status {
        write!(faults, "status {}, ", parts.status.as_u16()).unwrap();
    }
    for (name, value) in &case.expected {
        let sent = parts.headers.get(*name).map(|sent| sent.to_str().unwrap());
        let right = match *value {
            "-" => sent.is_none(),
            "*" => sent.is_some(),
            value => sent == Some(value),
        };
        if !right {
            write!(faults, "{name}: {sent:?}, ").unwrap();
        }
    }
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    if case.json.as_ref().is_some_and(|part| !holds(&json, part)) {
        faults.push_str("other JSON, ");
    }
    for (there, part) in &case.texts {
        if text.contains(&part.replace("\\n", "\n")) != *there {
            write!(faults, "{part:?} {there}, ").unwrap();
        }
    }
    Ok(if faults.is_empty() {
        faults
    } else {
        faults + &text.chars().take(600).collect::<String>()
    })
}

#[tokio::test(start_paused = true)]
async fn every_behaviour_of_the_table_is_kept() {
    let mut wrong = String::new();
    for case in table() {
        let faults = faults(&case).await.unwrap();
        if !faults.is_empty() {
            let (rows, target) = (case.rows.join(" "), &case.target[..case.target.len().min(100)]);
            writeln!(wrong, "[{rows}] {} {target}: {faults}\n", case.method).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_behaviour_and_pitfall_has_a_case() {
    let table = table();
    let behaviours = (1..=BEHAVIOURS).map(|row| row.to_string());
    let pitfalls = (1..=PITFALLS).map(|row| format!("P{row}"));
    let missing: Vec<_> = behaviours
        .chain(pitfalls)
        .filter(|row| !table.iter().any(|case| case.rows.contains(&row.as_str())))
        .filter(|row| !ELSEWHERE.iter().any(|(other, file, test)| other == row && has(file, test)))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

fn has(file: &str, test: &str) -> bool {
    std::fs::read_to_string(file).unwrap().contains(&format!("fn {test}("))
}

#[test]
fn every_case_of_a_success_says_what_comes_of_it() {
    let table = table();
    let silent = |case: &&Case<'_>| {
        (200..300).contains(&case.status)
            && case.expected.is_empty()
            && case.json.is_none()
            && case.texts.is_empty()
    };
    let silent: Vec<_> = table.iter().filter(silent).map(|case| &case.target).collect();
    assert!(silent.is_empty(), "only a status: {silent:?}");
}
