//! Bodies that are no JSON of a message: malformed, deep, huge, badly encoded, with fields twice or
//! with fields that nobody knows.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Ask, Site};

/// The methods that take a body, each with a right one.
const WRITES: [(&str, &str); 6] = [
    ("POST /v1/agents", r#"{"name":"x","model":"sim","sim":{}}"#),
    ("PATCH /v1/agents/AGENT", r#"{"name":"x"}"#),
    ("POST /v1/agents/AGENT/invoke", r#"{"input":"x","background":true}"#),
    ("POST /v1/runs", r#"{"agent_id":"AGENT","input":"x"}"#),
    ("POST /v1/runs/RUN/submit_tool_outputs", r#"{"tool_outputs":[]}"#),
    ("POST /v1/keys", r#"{"name":"x"}"#),
];

/// A body with a text in one of the method's fields; TEXT stands for all of the JSON of the text.
fn with_text(line: &str) -> &'static str {
    match line.rsplit('/').next() {
        Some("invoke") => r#"{"query":TEXT}"#,
        Some("runs") => r#"{"agent_id":TEXT}"#,
        Some("submit_tool_outputs") => r#"{"tool_outputs":[{"tool_call_id":TEXT}]}"#,
        _ => r#"{"name":TEXT}"#,
    }
}

fn post(line: &str, body: impl Into<Vec<u8>>) -> Ask {
    Ask { line: line.to_owned(), body: body.into(), ..Ask::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_json_is_malformed() {
    let site = Site::new().await;
    let bodies = [
        " ",
        "{",
        "}",
        "nonsense",
        "{'name':'x'}",
        "{name:\"x\"}",
        "{}{}",
        "{} x",
        "{},",
        "\u{feff}{}",
    ];
    let texts = [
        "",
        "\"x\",",
        "'x'",
        "x",
        "01",
        "NaN",
        "\"a\nb\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud800x\"",
        "\"\\u12\"",
        "\"",
        "+1",
        ".5",
        "tru",
    ];
    let mut asks = Vec::new();
    for (line, _) in WRITES {
        let bodies = bodies.map(str::to_owned).into_iter();
        let texts = texts.iter().map(|text| with_text(line).replace("TEXT", text));
        asks.extend(bodies.chain(texts).map(|body| (post(line, body), "malformed_json", "")));
    }
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_object_is_refused() {
    let site = Site::new().await;
    let mut asks = Vec::new();
    for (line, _) in WRITES {
        for body in ["[]", "5", "\"x\"", "true", "[{}]"] {
            asks.push((post(line, body), "invalid_field", ""));
        }
    }
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_field_is_named_wherever_it_is() {
    let site = Site::new().await;
    let mut asks = Vec::new();
    for (line, body) in WRITES {
        let body = site.named(body).replacen('{', "{\"nmae\":1,", 1);
        asks.push((post(line, body), "unknown_field", "nmae"));
    }
    let nested = [
        (r#"{"sim":{"turns":[{},{"txt":"x"}]}}"#, "sim.turns[1].txt"),
        (r#"{"tools":[{"http":{"uri":"x"}}]}"#, "tools[0].http.uri"),
        (r#"{"model_settings":{"Temperature":1}}"#, "model_settings.Temperature"),
    ];
    asks.extend(nested.map(|(body, field)| (post(WRITES[0].0, body), "unknown_field", field)));
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_field_that_is_there_twice_is_refused() {
    let site = Site::new().await;
    let asks = [
        ("POST /v1/agents", r#"{"name":"x","name":"y"}"#, "invalid_field", "name"),
        ("POST /v1/agents", r#"{"max_steps":1,"maxSteps":2}"#, "invalid_field", "max_steps"),
        ("POST /v1/agents", r#"{"metadata":{"a":"1","a":"2"}}"#, "invalid_field", "metadata.a"),
        (
            "POST /v1/agents",
            r#"{"tools":[{"http":{},"client":{}}]}"#,
            "invalid_field",
            "tools[0].client",
        ),
        (
            "POST /v1/runs",
            r#"{"agent_id":"AGENT","input":{"a":{"b":1,"b":2}}}"#,
            "invalid_field",
            "input.a.b",
        ),
        (
            "POST /v1/runs",
            r#"{"agent_id":"AGENT","parameters":{"count":1,"count":2}}"#,
            "invalid_field",
            "parameters.count",
        ),
    ];
    site.refuses(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_that_are_no_utf8_are_malformed() {
    let site = Site::new().await;
    let bad: [&[u8]; 5] = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"];
    let mut asks = Vec::new();
    for (line, _) in WRITES {
        for bytes in bad {
            let (before, after) = with_text(line).split_once("TEXT").expect("a text");
            let body = [before.as_bytes(), b"\"", bytes, b"\"", after.as_bytes()].concat();
            asks.push((post(line, body), "malformed_json", ""));
        }
    }
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_nested_too_deep_is_malformed() {
    let site = Site::new().await;
    let deep = |open: &str, close: &str, levels: usize| {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    };
    let agent = &site.names[0].1;
    let run = |input: String| format!(r#"{{"agent_id":"{agent}","input":{input}}}"#);
    let inputs = [deep("[", "]", 200), deep("{\"a\":", "}", 200), "[".repeat(100_000)];
    let inputs = inputs.map(|input| (post("POST /v1/runs", run(input)), "malformed_json", ""));
    for (ask, code, _) in &inputs {
        let answer = site.ask(ask).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(code)));
    }
    // Which of two mistakes is told first does not matter here.
    let mut asks = Vec::new();
    for (line, _) in WRITES {
        asks.push(post(line, "[".repeat(100_000)));
        asks.push(post(line, "{\"a\":".repeat(100_000)));
        asks.push(post(line, format!("{{\"x\":{}}}", deep("[", "]", 50_000))));
    }
    let before = site.written().await;
    for ask in &asks {
        let answer = site.ask(ask).await;
        assert_eq!(answer.status, 400, "{} {answer:?}", ask.line);
    }
    assert_eq!(site.written().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_input_below_the_limit_of_nesting_is_given_back_as_it_was() {
    let site = Site::new().await;
    let input = format!("{}1{}", "[".repeat(20), "]".repeat(20));
    let body = site.named(&format!(r#"{{"agent_id":"AGENT","input":{input}}}"#));
    let answer = site.ask(&post("POST /v1/runs", body)).await;
    assert!([201, 202].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.json()["input"].to_string(), input);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_huge_body_is_refused() {
    let site = Site::new().await;
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    let asks = WRITES.map(|(line, _)| (post(line, huge.clone()), "payload_too_large", ""));
    site.refuses_all(&asks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_huge_body_is_refused_by_its_length_before_it_is_sent() {
    let site = Site::new().await;
    let head = format!("content-length: {}\r\n", 1 << 30);
    let answer = raw(&site, &head, b"").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("payload_too_large"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_huge_body_in_chunks_is_refused_when_it_passes_the_limit() {
    let site = Site::new().await;
    let before = site.written().await;
    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], &b"\r\n"[..]].concat();
    // The last chunk and the end are never sent.
    let body = chunk.repeat(17);
    let answer = raw(&site, "transfer-encoding: chunked\r\n", &body).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("payload_too_large"), "{answer}");
    assert_eq!(site.written().await, before);
}

/// Creates an agent with these headers and bytes on a socket, and reads what comes first.
async fn raw(site: &Site, headers: &str, body: &[u8]) -> String {
    let address = site.app.url.strip_prefix("http://").expect("a URL");
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n{headers}\r\n",
        site.app.admin
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    // The server may hang up while it is sent.
    let _ = socket.write_all(body).await;
    let mut answer = String::new();
    while !answer.contains("}}") {
        let mut bytes = [0; 4096];
        let count = socket.read(&mut bytes).await.expect("an answer");
        assert_ne!(count, 0, "no whole answer: {answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    answer
}
