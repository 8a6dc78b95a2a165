//! Agents that can be read and are wrong in what they say, each mistake with its field. On SQLite
//! and on Postgres.

use serde_json::{Value, json};

use super::{Ask, Row, Site, an_agent};

/// A change of the right agent: pointer, value, code, field.
type Change = (&'static str, Value, &'static str, &'static str);

/// What is wrong in the agent of this site, one change each: pointer, JSON, code, field.
const CHANGES: &[Row<'static>] = &[
    ("/name", r#""""#, "missing_field", "name"),
    ("/model", r#""""#, "missing_field", "model"),
    ("/model", r#""nobody/knows""#, "invalid_field", "model"),
    ("/model", r#""/""#, "invalid_field", "model"),
    ("/model", r#""openai/""#, "invalid_field", "model"),
    ("/instructions", r#""{{ unclosed""#, "invalid_field", "instructions"),
    ("/instructions", r#""{{ nobody }}""#, "invalid_field", "instructions"),
    ("/instructions", r#""{% include 'x' %}""#, "invalid_field", "instructions"),
    ("/max_steps", "0", "invalid_field", "max_steps"),
    ("/max_steps", "201", "invalid_field", "max_steps"),
    ("/timeout_seconds", "-1", "invalid_field", "timeout_seconds"),
    ("/timeout_seconds", "86401", "invalid_field", "timeout_seconds"),
    ("/metadata", r#"{"": "x"}"#, "invalid_field", "metadata"),
    ("/model_settings/temperature", "2.1", "invalid_field", "model_settings.temperature"),
    ("/model_settings/temperature", r#""NaN""#, "invalid_field", "model_settings.temperature"),
    ("/model_settings/top_p", "0", "invalid_field", "model_settings.top_p"),
    ("/model_settings/max_tokens", "0", "invalid_field", "model_settings.max_tokens"),
    ("/model_settings/max_retries", "11", "invalid_field", "model_settings.max_retries"),
    (
        "/model_settings/stop_sequences",
        r#"["a", "b", "c", "d", "e"]"#,
        "invalid_field",
        "model_settings.stop_sequences",
    ),
    (
        "/model_settings/stop_sequences",
        r#"[""]"#,
        "missing_field",
        "model_settings.stop_sequences[0]",
    ),
    ("/parameters/0/name", r#""1st""#, "invalid_field", "parameters[0].name"),
    ("/parameters/0/name", r#""max_tokens""#, "invalid_field", "parameters[0].name"),
    ("/parameters/1/name", r#""tone""#, "invalid_field", "parameters[1].name"),
    ("/parameters/0/type", r#""unspecified""#, "missing_field", "parameters[0].type"),
    ("/parameters/0/type", "99", "invalid_field", "parameters[0].type"),
    ("/parameters/0/options", "[]", "missing_field", "parameters[0].options"),
    ("/parameters/0/default", r#""rude""#, "invalid_field", "parameters[0].default"),
    ("/parameters/1/options", r#"["x"]"#, "invalid_field", "parameters[1].options[0]"),
    ("/parameters/2/schema", r#"{"type": "nonsense"}"#, "invalid_field", "parameters[2].schema"),
    (
        "/parameters/2/schema",
        r#"{"$ref": "https://example.com/x"}"#,
        "invalid_field",
        "parameters[2].schema",
    ),
    ("/parameters/2/schema", r##"{"$ref": "#"}"##, "invalid_field", "parameters[2].schema"),
    ("/parameters/2/schema", r#"{"pattern": "("}"#, "invalid_field", "parameters[2].schema"),
    ("/tools/0/name", r#""no spaces""#, "invalid_field", "tools[0].name"),
    ("/tools/1/name", r#""look""#, "invalid_field", "tools[1].name"),
    ("/tools/0/input_schema", r#"{"type": 5}"#, "invalid_field", "tools[0].input_schema"),
    ("/tools/0/client/deadline_seconds", "0", "invalid_field", "tools[0].client.deadline_seconds"),
    ("/tools/1/http/timeout_seconds", "301", "invalid_field", "tools[1].http.timeout_seconds"),
    ("/tools/1/http/max_retries", "-1", "invalid_field", "tools[1].http.max_retries"),
    ("/tools/1/http", "{}", "missing_field", "tools[1].http.url"),
    ("/tools/1/http/delivery", "99", "invalid_field", "tools[1].http.delivery"),
    ("/tools", r#"[{"name": "t"}]"#, "missing_field", "tools[0]"),
    ("/sim", "null", "missing_field", "sim"),
    ("/sim/tokens_per_second", "-1", "invalid_field", "sim.tokens_per_second"),
    ("/sim/tokens_per_second", r#""NaN""#, "invalid_field", "sim.tokens_per_second"),
    ("/sim/turns/0/when", r#""turn ==""#, "invalid_field", "sim.turns[0].when"),
    ("/sim/turns/0/when", r#""nobody""#, "invalid_field", "sim.turns[0].when"),
    ("/sim/turns/0/text", r#""{% for %}""#, "invalid_field", "sim.turns[0].text"),
    (
        "/sim/turns/0/tool_calls/0/name",
        r#""nobody""#,
        "invalid_field",
        "sim.turns[0].tool_calls[0].name",
    ),
    (
        "/sim/turns/0/tool_calls/0/arguments",
        r#"{"a": "{{"}"#,
        "invalid_field",
        "sim.turns[0].tool_calls[0].arguments",
    ),
    ("/sim/turns/0/delay_ms", "60001", "invalid_field", "sim.turns[0].delay_ms"),
    ("/sim/turns/0/failure", r#"{"status": 200}"#, "invalid_field", "sim.turns[0].failure.status"),
];

/// The same for what is too much.
fn large() -> Vec<Change> {
    let x = |count: usize| Value::String("x".repeat(count));
    let many = |count: usize, of: &dyn Fn(usize) -> Value| (0..count).map(of).collect::<Value>();
    let label = |i: usize| (format!("k{i}"), json!("v"));
    vec![
        ("/name", x(121), "invalid_field", "name"),
        ("/description", x(2001), "invalid_field", "description"),
        ("/instructions", x(65_537), "invalid_field", "instructions"),
        ("/metadata", json!({"k": "x".repeat(513)}), "invalid_field", "metadata.k"),
        ("/metadata", json!({"x".repeat(65): "v"}), "invalid_field", "metadata"),
        ("/metadata", (0..17).map(label).collect(), "invalid_field", "metadata"),
        (
            "/parameters",
            many(65, &|i| json!({"name": format!("p{i}"), "type": "string"})),
            "invalid_field",
            "parameters",
        ),
        ("/tools/0/name", x(65), "invalid_field", "tools[0].name"),
        ("/tools/0/description", x(4001), "invalid_field", "tools[0].description"),
        (
            "/tools",
            many(129, &|i| json!({"name": format!("t{i}"), "client": {}})),
            "invalid_field",
            "tools",
        ),
        ("/sim/turns", many(65, &|_| json!({})), "invalid_field", "sim.turns"),
    ]
}

async fn agents_are_checked(site: &Site) {
    let mut asks = Vec::new();
    let small = CHANGES.iter().map(|(pointer, json, code, field)| {
        (*pointer, serde_json::from_str(json).expect("JSON"), *code, *field)
    });
    for (pointer, value, code, field) in &small.chain(large()).collect::<Vec<Change>>() {
        let mut agent = an_agent();
        set(&mut agent, pointer, value);
        asks.push((create(&agent), *code, *field));
    }
    for url in [
        "ftp://example.com/x",
        "file:///etc/passwd",
        "example.com",
        "http://",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "http://[::1",
        "javascript:alert(1)",
        "http://exa mple.com/",
    ] {
        let mut agent = an_agent();
        set(&mut agent, "/tools/1/http/url", &json!(url));
        asks.push((create(&agent), "invalid_field", "tools[1].http.url"));
    }
    let mut agent = an_agent();
    set(&mut agent, "/tools/1/http/url", &json!(format!("https://x.com/{}", "x".repeat(2048))));
    asks.push((create(&agent), "invalid_field", "tools[1].http.url"));
    site.refuses_all(&asks).await;
}

pub(super) fn create(agent: &Value) -> Ask {
    Ask { line: "POST /v1/agents".to_owned(), body: agent.to_string().into(), ..Ask::default() }
}

fn set(agent: &mut Value, pointer: &str, value: &Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    agent.pointer_mut(parent).expect("its parent")[name] = value.clone();
}

on_both_sites! { agents_are_checked }
