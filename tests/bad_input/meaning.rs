//! Requests that can be read and are wrong in what they say: limits, ids, cursors, templates,
//! schemas, addresses, parameters, states. On SQLite and on Postgres.

use serde_json::{Value, json};

use super::{Ask, Row, Site, an_agent};

/// A change of the right agent: pointer, value, code, field.
type Change = (&'static str, Value, &'static str, &'static str);

async fn agents_are_checked(site: &Site) {
    let x = |count: usize| Value::String("x".repeat(count));
    let many = |count: usize, of: &dyn Fn(usize) -> Value| (0..count).map(of).collect::<Value>();
    let label = |i: usize| (format!("k{i}"), json!("v"));
    let changes: Vec<Change> = vec![
        ("/name", x(121), "invalid_field", "name"),
        ("/name", json!(""), "missing_field", "name"),
        ("/description", x(2001), "invalid_field", "description"),
        ("/model", json!(""), "missing_field", "model"),
        ("/model", json!("nobody/knows"), "invalid_field", "model"),
        ("/model", json!("/"), "invalid_field", "model"),
        ("/model", json!("openai/"), "invalid_field", "model"),
        ("/instructions", x(65_537), "invalid_field", "instructions"),
        ("/instructions", json!("{{ unclosed"), "invalid_field", "instructions"),
        ("/instructions", json!("{{ nobody }}"), "invalid_field", "instructions"),
        ("/instructions", json!("{% include 'x' %}"), "invalid_field", "instructions"),
        ("/instructions", json!("{{ tone | nofilter }}"), "invalid_field", "instructions"),
        ("/max_steps", json!(0), "invalid_field", "max_steps"),
        ("/max_steps", json!(201), "invalid_field", "max_steps"),
        ("/timeout_seconds", json!(-1), "invalid_field", "timeout_seconds"),
        ("/timeout_seconds", json!(86_401), "invalid_field", "timeout_seconds"),
        ("/metadata", json!({"": "x"}), "invalid_field", "metadata"),
        ("/metadata", json!({"k": "x".repeat(513)}), "invalid_field", "metadata.k"),
        ("/metadata", json!({"x".repeat(65): "v"}), "invalid_field", "metadata"),
        ("/metadata", (0..17).map(label).collect(), "invalid_field", "metadata"),
        ("/model_settings/temperature", json!(2.1), "invalid_field", "model_settings.temperature"),
        (
            "/model_settings/temperature",
            json!("NaN"),
            "invalid_field",
            "model_settings.temperature",
        ),
        ("/model_settings/top_p", json!(0), "invalid_field", "model_settings.top_p"),
        ("/model_settings/max_tokens", json!(0), "invalid_field", "model_settings.max_tokens"),
        ("/model_settings/max_retries", json!(11), "invalid_field", "model_settings.max_retries"),
        (
            "/model_settings/stop_sequences",
            json!(["a", "b", "c", "d", "e"]),
            "invalid_field",
            "model_settings.stop_sequences",
        ),
        (
            "/model_settings/stop_sequences",
            json!([""]),
            "missing_field",
            "model_settings.stop_sequences[0]",
        ),
        ("/parameters/0/name", json!("1st"), "invalid_field", "parameters[0].name"),
        ("/parameters/0/name", json!("max_tokens"), "invalid_field", "parameters[0].name"),
        ("/parameters/1/name", json!("tone"), "invalid_field", "parameters[1].name"),
        ("/parameters/0/type", json!("unspecified"), "missing_field", "parameters[0].type"),
        ("/parameters/0/options", json!([]), "missing_field", "parameters[0].options"),
        ("/parameters/0/default", json!("rude"), "invalid_field", "parameters[0].default"),
        ("/parameters/1/options", json!(["x"]), "invalid_field", "parameters[1].options[0]"),
        (
            "/parameters/2/schema",
            json!({"type": "nonsense"}),
            "invalid_field",
            "parameters[2].schema",
        ),
        (
            "/parameters/2/schema",
            json!({"$ref": "https://example.com/x"}),
            "invalid_field",
            "parameters[2].schema",
        ),
        ("/parameters/2/schema", json!({"$ref": "#"}), "invalid_field", "parameters[2].schema"),
        ("/parameters/2/schema", json!({"pattern": "("}), "invalid_field", "parameters[2].schema"),
        (
            "/parameters",
            many(65, &|i| json!({"name": format!("p{i}"), "type": "string"})),
            "invalid_field",
            "parameters",
        ),
        ("/tools/0/name", json!("no spaces"), "invalid_field", "tools[0].name"),
        ("/tools/0/name", x(65), "invalid_field", "tools[0].name"),
        ("/tools/1/name", json!("look"), "invalid_field", "tools[1].name"),
        ("/tools/0/description", x(4001), "invalid_field", "tools[0].description"),
        ("/tools/0/input_schema", json!({"type": 5}), "invalid_field", "tools[0].input_schema"),
        (
            "/tools/0/client/deadline_seconds",
            json!(0),
            "invalid_field",
            "tools[0].client.deadline_seconds",
        ),
        (
            "/tools/1/http/timeout_seconds",
            json!(301),
            "invalid_field",
            "tools[1].http.timeout_seconds",
        ),
        ("/tools/1/http/max_retries", json!(-1), "invalid_field", "tools[1].http.max_retries"),
        ("/tools/1/http", json!({}), "missing_field", "tools[1].http.url"),
        ("/tools", json!([{"name": "t"}]), "missing_field", "tools[0]"),
        (
            "/tools",
            many(129, &|i| json!({"name": format!("t{i}"), "client": {}})),
            "invalid_field",
            "tools",
        ),
        ("/sim", json!(null), "missing_field", "sim"),
        ("/sim/tokens_per_second", json!(-1), "invalid_field", "sim.tokens_per_second"),
        ("/sim/tokens_per_second", json!("NaN"), "invalid_field", "sim.tokens_per_second"),
        ("/sim/turns/0/when", json!("turn =="), "invalid_field", "sim.turns[0].when"),
        ("/sim/turns/0/when", json!("nobody"), "invalid_field", "sim.turns[0].when"),
        ("/sim/turns/0/text", json!("{% for %}"), "invalid_field", "sim.turns[0].text"),
        (
            "/sim/turns/0/tool_calls/0/name",
            json!("nobody"),
            "invalid_field",
            "sim.turns[0].tool_calls[0].name",
        ),
        (
            "/sim/turns/0/tool_calls/0/arguments",
            json!({"a": "{{"}),
            "invalid_field",
            "sim.turns[0].tool_calls[0].arguments",
        ),
        ("/sim/turns/0/delay_ms", json!(60_001), "invalid_field", "sim.turns[0].delay_ms"),
        (
            "/sim/turns/0/failure",
            json!({"status": 200}),
            "invalid_field",
            "sim.turns[0].failure.status",
        ),
        ("/sim/turns", many(65, &|_| json!({})), "invalid_field", "sim.turns"),
    ];
    let mut asks = Vec::new();
    for (pointer, value, code, field) in &changes {
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

fn create(agent: &Value) -> Ask {
    Ask { line: "POST /v1/agents".to_owned(), body: agent.to_string().into(), ..Ask::default() }
}

fn set(agent: &mut Value, pointer: &str, value: &Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    agent.pointer_mut(parent).expect("its parent")[name] = value.clone();
}

async fn changes_are_checked(site: &Site) {
    const AGENT: &str = "PATCH /v1/agents/AGENT";
    const KEY: &str = "PATCH /v1/keys/KEY";
    let rows: &[Row<'_>] = &[
        (AGENT, r#"{"name":""}"#, "missing_field", "name"),
        (AGENT, r#"{"max_steps":0}"#, "invalid_field", "max_steps"),
        (AGENT, r#"{"model":"openai/gpt-4o"}"#, "invalid_field", "sim"),
        (AGENT, r#"{"tools":[]}"#, "invalid_field", "sim.turns[0].tool_calls[0].name"),
        ("PATCH /v1/agents/AGENT?update_mask=nosuch", "{}", "invalid_field", "update_mask"),
        (
            "PATCH /v1/agents/AGENT?update_mask=model_settings.nosuch",
            "{}",
            "invalid_field",
            "update_mask",
        ),
        ("PATCH /v1/agents/AGENT?update_mask=tools.name", "{}", "invalid_field", "update_mask"),
        ("PATCH /v1/agents/AGENT?update_mask=name..x", "{}", "invalid_field", "update_mask"),
        (
            "PATCH /v1/agents/AGENT?if_version=7",
            r#"{"name":"y"}"#,
            "version_conflict",
            "if_version",
        ),
        ("PATCH /v1/agents/AGENT?if_version=x", r#"{"name":"y"}"#, "invalid_field", "if_version"),
        (KEY, r#"{"metadata":{"":"x"}}"#, "invalid_field", "metadata"),
        ("PATCH /v1/keys/KEY?update_mask=scopes2", "{}", "invalid_field", "update_mask"),
        ("PATCH /v1/keys/KEY?update_mask=name", "{}", "missing_field", "name"),
    ];
    site.refuses(rows).await;
}

async fn keys_are_checked(site: &Site) {
    const NEW: &str = "POST /v1/keys";
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(121));
    let rows: &[Row<'_>] = &[
        (NEW, "{}", "missing_field", "name"),
        (NEW, &long, "invalid_field", "name"),
        (NEW, r#"{"name":"x","scopes":["unspecified"]}"#, "invalid_field", "scopes[0]"),
        (NEW, r#"{"name":"x","scopes":["read","root"]}"#, "invalid_field", "scopes[1]"),
        (NEW, r#"{"name":"x","scopes":[99]}"#, "invalid_field", "scopes[0]"),
        (NEW, r#"{"name":"x","environment":"test"}"#, "environment_mismatch", "environment"),
        (NEW, r#"{"name":"x","expires_at":"2001-01-01T00:00:00Z"}"#, "invalid_field", "expires_at"),
        (NEW, r#"{"name":"x","expires_at":"2026-02-30T00:00:00Z"}"#, "invalid_field", "expires_at"),
        (
            NEW,
            r#"{"name":"x","expires_at":"10000-01-01T00:00:00Z"}"#,
            "invalid_field",
            "expires_at",
        ),
        (
            "POST /v1/keys/KEY/rotate",
            r#"{"overlap_seconds":-1}"#,
            "invalid_field",
            "overlap_seconds",
        ),
        (
            "POST /v1/keys/KEY/rotate",
            r#"{"overlap_seconds":604801}"#,
            "invalid_field",
            "overlap_seconds",
        ),
    ];
    site.refuses(rows).await;
}

async fn runs_are_checked(site: &Site) {
    const NEW: &str = "POST /v1/runs";
    let big = format!(r#"{{"agent_id":"AGENT","input":"{}"}}"#, "x".repeat(262_144));
    let session = format!(r#"{{"agent_id":"AGENT","session_id":"{}"}}"#, "x".repeat(129));
    let labels: Vec<_> = (0..17).map(|i| format!(r#""k{i}":"v""#)).collect();
    let labels = format!(r#"{{"agent_id":"AGENT","metadata":{{{}}}}}"#, labels.join(","));
    let with = |rest: &str| format!(r#"{{"agent_id":"AGENT",{rest}}}"#);
    let rows: &[(&str, String, &str, &str)] = &[
        (NEW, "{}".to_owned(), "missing_field", "agent_id"),
        (NEW, String::new(), "missing_field", "agent_id"),
        (NEW, r#"{"agent_id":"nobody"}"#.to_owned(), "agent_not_found", ""),
        (NEW, r#"{"agent_id":"RUN"}"#.to_owned(), "agent_not_found", ""),
        (NEW, with(r#""version":2"#), "invalid_field", "version"),
        (NEW, with(r#""version":-1"#), "invalid_field", "version"),
        (NEW, with(r#""query":"x","input":"y""#), "invalid_field", "query"),
        (NEW, with(r#""wait":601"#), "invalid_field", "wait"),
        (NEW, with(r#""wait":-1"#), "invalid_field", "wait"),
        (NEW, with(r#""session_id":"""#), "invalid_field", "session_id"),
        (NEW, with(r#""parameters":{"colour":"red"}"#), "unknown_parameter", "parameters.colour"),
        (NEW, with(r#""parameters":{"":1}"#), "unknown_parameter", "parameters."),
        (
            NEW,
            with(r#""parameters":{"tone":"rude"}"#),
            "invalid_parameter_value",
            "parameters.tone",
        ),
        (NEW, with(r#""parameters":{"tone":5}"#), "invalid_parameter_value", "parameters.tone"),
        (NEW, with(r#""parameters":{"count":1.5}"#), "invalid_parameter_value", "parameters.count"),
        (NEW, with(r#""parameters":{"count":"5"}"#), "invalid_parameter_value", "parameters.count"),
        (NEW, with(r#""parameters":{"few":[1,2]}"#), "invalid_parameter_value", "parameters.few"),
        (NEW, with(r#""parameters":{"few":{}}"#), "invalid_parameter_value", "parameters.few"),
        (
            NEW,
            with(r#""parameters":{"temperature":3}"#),
            "invalid_parameter_value",
            "parameters.temperature",
        ),
        (
            NEW,
            with(r#""parameters":{"max_tokens":0}"#),
            "invalid_parameter_value",
            "parameters.max_tokens",
        ),
        (NEW, with(r#""parameters":{"top_p":"x"}"#), "invalid_parameter_value", "parameters.top_p"),
        (
            NEW,
            with(r#""parameters":{"colour":"red"},"stream":true"#),
            "unknown_parameter",
            "parameters.colour",
        ),
        (NEW, with(r#""input":1e999"#), "invalid_field", "input"),
        (NEW, big, "invalid_field", "input"),
        (NEW, session, "invalid_field", "session_id"),
        (NEW, labels, "invalid_field", "metadata"),
        (
            "POST /v1/agents/AGENT/invoke",
            r#"{"parameters":{"tone":"rude"}}"#.to_owned(),
            "invalid_parameter_value",
            "parameters.tone",
        ),
        ("POST /v1/agents/AGENT/run", r#"{"version":9}"#.to_owned(), "invalid_field", "version"),
        (
            "POST /v1/agents/AGENT/stream",
            r#"{"query":"x","input":1}"#.to_owned(),
            "invalid_field",
            "query",
        ),
        ("GET /v1/agents/AGENT/stream?version=9", String::new(), "invalid_field", "version"),
    ];
    let rows: Vec<_> =
        rows.iter().map(|(line, body, c, f)| (*line, body.as_str(), *c, *f)).collect();
    site.refuses(&rows).await;
}

async fn outputs_are_checked(site: &Site) {
    const SUBMIT: &str = "POST /v1/runs/RUN/submit_tool_outputs";
    let one = |id: &str| format!(r#"{{"tool_call_id":"{id}","output":1}}"#);
    let all = |outputs: &[String]| format!(r#"{{"tool_outputs":[{}]}}"#, outputs.join(","));
    let many: Vec<_> = (0..129).map(|i| one(&format!("call_{i}"))).collect();
    let big = format!(r#"{{"tool_call_id":"CALL","output":"{}"}}"#, "x".repeat(262_143));
    let rows = [
        (all(&[]), "missing_field", "tool_outputs"),
        (all(&["{}".to_owned()]), "missing_field", "tool_outputs[0].tool_call_id"),
        (all(&[one("CALL"), one("CALL")]), "invalid_field", "tool_outputs[1].tool_call_id"),
        (all(&[one("CALL"), one("call_0")]), "validation_failed", ""),
        (all(&many), "invalid_field", "tool_outputs"),
        (all(&[big]), "invalid_field", "tool_outputs[0].output"),
    ];
    for (body, code, field) in rows {
        // The field of `validation_failed` is the engine's to name.
        let ask = Ask { line: SUBMIT.to_owned(), body: site.named(&body).into(), ..Ask::default() };
        let before = site.written().await;
        let answer = site.ask(&ask).await;
        let error = answer.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        if !field.is_empty() {
            assert_eq!(error["details"]["field"], field, "{error}");
        }
        assert_eq!(site.written().await, before, "{error}");
    }
}

async fn ids_are_checked(site: &Site) {
    let long = "x".repeat(4000);
    let ids = [
        "x",
        "agt_",
        "run_1",
        "key_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "agt_00000000000000000000000000",
        "run_00000000000000000000000000",
        "key_00000000000000000000000000",
        "AGT_00",
        "%00",
        "%2F",
        "..%2f..",
        "%F0%9F%92%A9",
        "agt_0000000000000000000000000%C3%A9",
        "'%20OR%201=1--",
        "%25",
        &long,
    ];
    let mut rows = Vec::new();
    for id in ids {
        for (verb, path) in [
            ("GET", "agents/ID"),
            ("DELETE", "agents/ID"),
            ("POST", "agents/ID/publish"),
            ("POST", "agents/ID/unpublish"),
            ("POST", "agents/ID/invoke"),
            ("POST", "agents/ID/run"),
            ("POST", "agents/ID/stream"),
            ("GET", "agents/ID/stream"),
            ("GET", "agents/ID/versions"),
            ("GET", "agents/ID/versions/1"),
            ("GET", "runs/ID"),
            ("DELETE", "runs/ID"),
            ("POST", "runs/ID/cancel"),
            ("GET", "runs/ID/events"),
            ("GET", "keys/ID"),
            ("DELETE", "keys/ID"),
            ("POST", "keys/ID/rotate"),
            ("POST", "keys/ID/regenerate"),
            ("POST", "keys/ID/revoke"),
        ] {
            rows.push((format!("{verb} /v1/{}", path.replace("ID", id)), not_found(path)));
        }
    }
    for (line, of) in [
        ("GET /v1/agents/RUN", "agent_not_found"),
        ("GET /v1/agents/KEY", "agent_not_found"),
        ("GET /v1/runs/AGENT", "run_not_found"),
        ("DELETE /v1/runs/KEY", "run_not_found"),
        ("GET /v1/keys/RUN", "key_not_found"),
        ("DELETE /v1/keys/AGENT", "key_not_found"),
    ] {
        rows.push((line.to_owned(), of));
    }
    let rows: Vec<_> = rows.iter().map(|(line, code)| (line.as_str(), "", *code, "")).collect();
    site.refuses(&rows).await;
}

fn not_found(path: &str) -> &'static str {
    match &path[..3] {
        "age" => "agent_not_found",
        "run" => "run_not_found",
        _ => "key_not_found",
    }
}

async fn pages_are_checked(site: &Site) {
    let mut rows = Vec::new();
    for list in ["agents", "runs", "keys", "agents/AGENT/versions"] {
        for (query, code, field) in [
            ("limit=0", "invalid_field", "limit"),
            ("limit=101", "invalid_field", "limit"),
            ("limit=-1", "invalid_field", "limit"),
            ("page=0", "invalid_field", "page"),
            ("page=-1", "invalid_field", "page"),
            ("page=100001", "invalid_field", "page"),
            ("page=1&cursor=x", "invalid_field", "page"),
            ("cursor=x", "invalid_cursor", "cursor"),
            ("cursor=%00", "invalid_cursor", "cursor"),
            (
                "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "invalid_cursor",
                "cursor",
            ),
            ("order=sideways", "invalid_field", "order"),
            ("limit=1&limit=2", "invalid_field", "limit"),
        ] {
            rows.push((format!("GET /v1/{list}?{query}"), code, field));
        }
    }
    for (query, code, field) in [
        ("runs?status=nonsense", "invalid_field", "status"),
        ("runs?status=unspecified", "invalid_field", "status"),
        ("runs?metadata=nocolon", "invalid_field", "metadata"),
        ("runs?metadata=:v", "invalid_field", "metadata"),
        (
            "runs?metadata=a:1&metadata=b:1&metadata=c:1&metadata=d:1&metadata=e:1",
            "invalid_field",
            "metadata",
        ),
        ("runs?agent_id=x", "agent_not_found", ""),
        ("runs?agent_id=RUN", "agent_not_found", ""),
        ("runs?key_id=x", "key_not_found", ""),
        ("runs?created_after=yesterday", "invalid_field", "created_after"),
        ("agents?published=perhaps", "invalid_field", "published"),
        ("agents?metadata=x", "invalid_field", "metadata"),
        ("runs/RUN?wait=601", "invalid_field", "wait"),
        ("runs/RUN/events?limit=0", "invalid_field", "limit"),
        ("runs/RUN/events?limit=101", "invalid_field", "limit"),
        ("runs/RUN/events?after=x", "invalid_field", "after"),
        ("runs/RUN/events?after=-1", "invalid_field", "after"),
        ("runs/RUN/events?after=1.2.3", "invalid_field", "after"),
        ("runs/RUN/events?after=99999999999999999999", "invalid_field", "after"),
        ("agents/AGENT/versions/x", "invalid_field", "version"),
        ("agents/AGENT/versions/99999999999", "invalid_field", "version"),
    ] {
        rows.push((format!("GET /v1/{query}"), code, field));
    }
    let rows: Vec<_> = rows.iter().map(|(line, c, f)| (line.as_str(), "", *c, *f)).collect();
    site.refuses(&rows).await;
}

/// A cursor serves the list that made it, and no other.
async fn cursors_stay_in_their_list(site: &Site) {
    for _ in 0..2 {
        site.ask(&create(&an_agent())).await.is("x", "").expect_err("an agent");
    }
    let get = |target: &str| Ask { line: format!("GET /v1/{target}"), ..Ask::default() };
    let page = site.ask(&get("agents?limit=1")).await.json();
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    assert_eq!(site.ask(&get(&format!("agents?limit=1&cursor={cursor}"))).await.status, 200);
    let mut bent = cursor.as_bytes().to_vec();
    bent[3] = if bent[3] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).expect("ASCII");
    let asks = [
        format!("agents?order=asc&cursor={cursor}"),
        format!("agents?published=true&cursor={cursor}"),
        format!("runs?cursor={cursor}"),
        format!("keys?cursor={cursor}"),
        format!("agents/AGENT/versions?cursor={cursor}"),
        format!("agents?cursor={bent}"),
    ];
    let asks = asks.map(|target| (get(&target), "invalid_cursor", "cursor"));
    site.refuses_all(&asks).await;
}

on_both_sites! {
    agents_are_checked changes_are_checked keys_are_checked runs_are_checked outputs_are_checked
    ids_are_checked pages_are_checked cursors_stay_in_their_list
}
