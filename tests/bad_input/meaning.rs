//! Requests that can be read and are wrong in what they say: limits, ids, cursors,
//! parameters, states. On SQLite and on Postgres.

use super::agents::create;
use super::{Ask, Row, Site, an_agent};

async fn changes_are_checked(site: &Site) {
    const AGENT: &str = "PATCH /v1/agents/AGENT";
    const KEY: &str = "PATCH /v1/keys/KEY";
    let rows: &[Row<'_>] = &[
        (AGENT, r#"{"name":""}"#, "missing_field", "name"),
        (AGENT, r#"{"max_steps":0}"#, "invalid_field", "max_steps"),
        (AGENT, r#"{"model":"openai/gpt-4o"}"#, "invalid_field", "model"),
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
        (NEW, r#"{"name":"x","environment":99}"#, "invalid_field", "environment"),
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

const NEW: &str = "POST /v1/runs";

async fn parameters_are_checked(site: &Site) {
    let with = |rest: &str| format!(r#"{{"agent_id":"AGENT",{rest}}}"#);
    let rows: &[(&str, String, &str, &str)] = &[
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
    ];
    let rows: Vec<_> =
        rows.iter().map(|(line, body, c, f)| (*line, body.as_str(), *c, *f)).collect();
    site.refuses(&rows).await;
}

async fn runs_are_checked(site: &Site) {
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
            ("order=99", "invalid_field", "order"),
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
        assert_eq!(site.ask(&create(&an_agent())).await.status, 201);
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
    changes_are_checked keys_are_checked runs_are_checked parameters_are_checked
    outputs_are_checked
    ids_are_checked pages_are_checked cursors_stay_in_their_list
}
