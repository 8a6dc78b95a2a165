//! The character U+0000 in every text of every body: JSON and protobuf can say it and Postgres
//! cannot keep it as it is. It is kept or refused, the same on both databases, and breaks nothing.

use serde_json::{Value, json};

use super::{Ask, Site, an_agent};

const NUL: &str = "a\0b";

/// Copies of a body, each with one text or one name replaced.
fn spoilt(body: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    spoil(body, &mut |value| value, &mut all);
    all
}

fn spoil(value: &Value, wrap: &mut dyn FnMut(Value) -> Value, all: &mut Vec<Value>) {
    match value {
        Value::String(_) => all.push(wrap(json!(NUL))),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let mut put = |value| {
                    let mut items = items.clone();
                    items[i] = value;
                    wrap(Value::Array(items))
                };
                spoil(item, &mut put, all);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                let mut put = |value| {
                    let mut fields = fields.clone();
                    fields[name] = value;
                    wrap(Value::Object(fields))
                };
                spoil(item, &mut put, all);
                let mut fields = fields.clone();
                let item = fields.remove(name).expect("it");
                fields.insert(NUL.to_owned(), item);
                all.push(wrap(Value::Object(fields)));
            }
        }
        _ => {}
    }
}

fn ask(site: &Site, line: &str, body: &Value) -> Ask {
    let body = site.named(&body.to_string()).into_bytes();
    Ask { line: line.to_owned(), body, ..Ask::default() }
}

async fn nul_is_kept_or_refused(site: &Site) {
    let run = json!({
        "agent_id": "AGENT", "input": {"a": ["x"]}, "session_id": "s", "metadata": {"k": "v"},
        "parameters": {"tone": "formal", "few": ["x"]}, "background": true,
    });
    let writes = [
        ("POST /v1/agents", an_agent()),
        ("PATCH /v1/agents/AGENT", an_agent()),
        ("POST /v1/runs", run),
        ("POST /v1/keys", json!({"name": "x", "metadata": {"k": "v"}, "scopes": ["read"]})),
        ("PATCH /v1/keys/KEY", json!({"name": "x", "metadata": {"k": "v"}})),
        (
            "POST /v1/runs/RUN/submit_tool_outputs",
            json!({"tool_outputs": [{"tool_call_id": "CALL", "output": {"a": "x"}}]}),
        ),
    ];
    for (line, body) in writes {
        for body in spoilt(&body) {
            let answer = site.ask(&ask(site, line, &body)).await;
            let fine = answer.status < 300 || [400, 404, 409, 422].contains(&answer.status);
            assert!(fine, "{line} {body}: {answer:?}");
        }
    }
    for list in ["agents", "runs", "keys", "agents/AGENT/versions", "runs/RUN/events"] {
        let target = Ask { line: format!("GET /v1/{list}?limit=100"), ..Ask::default() };
        assert_eq!(site.ask(&target).await.status, 200, "{list}");
    }
}

async fn names_and_sessions_refuse_nul(site: &Site) {
    let nul = "a\\u0000b";
    let rows = [
        ("POST /v1/agents", format!(r#"{{"name":"{nul}","model":"sim","sim":{{}}}}"#), "name"),
        ("PATCH /v1/agents/AGENT", format!(r#"{{"name":"{nul}"}}"#), "name"),
        ("POST /v1/keys", format!(r#"{{"name":"{nul}"}}"#), "name"),
        ("PATCH /v1/keys/KEY", format!(r#"{{"name":"{nul}"}}"#), "name"),
        ("POST /v1/runs", format!(r#"{{"agent_id":"AGENT","session_id":"{nul}"}}"#), "session_id"),
        ("GET /v1/runs?session_id=a%00b", String::new(), "session_id"),
    ];
    let rows: Vec<_> = rows
        .iter()
        .map(|(line, body, field)| (*line, body.as_str(), "invalid_field", *field))
        .collect();
    site.refuses(&rows).await;
}

async fn filters_take_nul(site: &Site) {
    for target in ["runs?metadata=a%00:b%00", "agents?metadata=a%00:b", "agents?metadata=a:%00"] {
        let answer = site.ask(&Ask { line: format!("GET /v1/{target}"), ..Ask::default() }).await;
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])), "{target}");
    }
}

/// What a model or a tool says may hold it too: the run ends, and is read.
async fn a_run_of_nothing_but_nul_ends(site: &Site) {
    let turns = [
        (json!({"text": NUL}), "completed"),
        (json!({"failure": {"status": 400, "message": NUL}}), "failed"),
        (json!({"failure": {"status": 503, "message": NUL}}), "failed"),
        (json!({"text": "{{ input.a }}"}), "completed"),
    ];
    for (turn, ending) in turns {
        let agent = json!({"name": "x", "model": "sim", "sim": {"turns": [turn]},
            "model_settings": {"max_retries": 0}});
        let agent = site.ask(&ask(site, "POST /v1/agents", &agent)).await;
        assert_eq!(agent.status, 201, "{agent:?}");
        let body = json!({"input": {"a": NUL, NUL: NUL}, "metadata": {"a": NUL}});
        let id = super::id(&agent.json());
        let run = site.ask(&ask(site, &format!("POST /v1/agents/{id}/invoke"), &body)).await;
        assert_eq!(run.status, 200, "{run:?}");
        let run = run.json();
        assert_eq!(run["status"], ending, "{run}");
        if ending == "failed" {
            assert_eq!(run["error"]["code"], "model_error", "{run}");
        }
        assert_eq!(run["input"], json!({"a": NUL, NUL: NUL}));
        let events = format!("GET /v1/runs/{}/events", super::id(&run));
        let events = site.ask(&Ask { line: events, ..Ask::default() }).await;
        assert_eq!(events.status, 200, "{events:?}");
    }
}

on_both_sites! {
    nul_is_kept_or_refused names_and_sessions_refuse_nul filters_take_nul
    a_run_of_nothing_but_nul_ends
}
