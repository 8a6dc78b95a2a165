//! Bad input at the public doors: each bad request is refused with the right code and the field
//! that is wrong, never with a 5xx, and nothing is written. The tables below say what is refused;
//! this file has what they are run against.

/// Makes two tests, `NAME::on_sqlite` and `NAME::on_postgres`, of each `async fn NAME(site:
/// &Site)`.
macro_rules! on_both_sites {
    ($($name:ident)*) => {
        $(mod $name {
            use crate::bad_input::Site;
            use crate::harness::app::On;

            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn on_sqlite() {
                super::$name(&Site::on(On::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn on_postgres() {
                super::$name(&Site::on(On::Postgres).await).await;
            }
        })*
    };
}

mod access;
mod agents;
mod bodies;
mod grpc;
mod http;
mod meaning;
mod nul;
mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use runplane::kernel::error::Reason;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::harness::app::{App, On, Options};
use crate::harness::doors::Door;

/// An app with one of each: a published agent, a run that waits for an output, a key.
struct Site {
    app: App,
    http: reqwest::Client,
    names: Vec<(&'static str, String)>,
}

/// One request over REST. The words AGENT, RUN, CALL and KEY stand for the ids of the site.
#[derive(Debug, Clone, Default)]
struct Ask {
    /// Verb and target, `GET /v1/runs/RUN`.
    line: String,
    /// Headers; without a content type a body is JSON.
    headers: Vec<(&'static str, Vec<u8>)>,
    /// Body.
    body: Vec<u8>,
}

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A row of a table: request line, body, code, and the field that is told, empty for none.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Site {
    async fn new() -> Self {
        Self::on(On::Sqlite).await
    }

    async fn on(on: On) -> Self {
        let app = App::with(Options { on, ..Options::default() }).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let mut site = Self { app, http, names: Vec::new() };
        site.furnish().await;
        site
    }

    async fn furnish(&mut self) {
        let door = self.app.door(Door::Rest);
        let agent = door.call("AgentsService/CreateAgent", json!({"agent": an_agent()})).await;
        let agent = id(&agent.expect("an agent"));
        door.call("AgentsService/PublishAgent", json!({"id": agent})).await.expect("published");
        let run = json!({"agent_id": agent, "input": "x", "wait": 30});
        let run = door.call("RunsService/CreateRun", run).await.expect("a run");
        assert_eq!(run["status"], "requires_action", "{run}");
        let call = id(&run["required_action"]["tool_calls"][0]);
        let key = door.call("KeysService/CreateKey", json!({"name": "spare"})).await;
        let key = id(&key.expect("a key"));
        self.names = vec![("AGENT", agent), ("RUN", id(&run)), ("CALL", call), ("KEY", key)];
    }

    fn named(&self, text: &str) -> String {
        let replace = |text: String, (name, id): &(&str, String)| text.replace(name, id);
        self.names.iter().fold(text.to_owned(), replace)
    }

    /// Asks with the admin key.
    async fn ask(&self, ask: &Ask) -> Answer {
        let line = self.named(&ask.line);
        let (verb, target) = line.split_once(' ').expect("a verb and a target");
        let mut request =
            self.http.request(verb.parse().expect("a verb"), format!("{}{target}", self.app.url));
        let has = |name: &str| ask.headers.iter().any(|(n, _)| *n == name);
        if !has("authorization") {
            request = request.bearer_auth(&self.app.admin);
        }
        if !ask.body.is_empty() && !has("content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, &value[..]);
        }
        if !ask.body.is_empty() {
            request = request.body(ask.body.clone());
        }
        let response = request.send().await.unwrap_or_else(|e| panic!("{line}: {e}"));
        let status = response.status().as_u16();
        let text = |value: &::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let headers = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
        let body = response.bytes().await.expect("a whole body").to_vec();
        Answer { status, headers, body }
    }

    /// Asks for every row of a table, looks at what is answered, and that nothing was written.
    async fn refuses(&self, rows: &[Row<'_>]) {
        let asks = rows.iter().map(|(line, body, code, field)| {
            let body = self.named(body).into_bytes();
            (Ask { line: (*line).to_owned(), body, ..Ask::default() }, *code, *field)
        });
        self.refuses_all(&asks.collect::<Vec<_>>()).await;
    }

    async fn refuses_all(&self, asks: &[(Ask, &str, &str)]) {
        let mut wrong = String::new();
        let mut before = self.written().await;
        for (ask, code, field) in asks {
            let answer = self.ask(ask).await;
            if let Err(why) = answer.is(code, field) {
                let body = String::from_utf8_lossy(&ask.body[..ask.body.len().min(200)]);
                let _ = writeln!(wrong, "{} {body}\n    {why}", ask.line);
            }
            let after = self.written().await;
            if after != before {
                let _ = writeln!(wrong, "{} wrote: {before:?} is now {after:?}", ask.line);
                before = after;
            }
        }
        assert!(wrong.is_empty(), "of {} requests:\n{wrong}", asks.len());
    }

    /// What is kept, in figures that change with every write but that of a key's last use.
    async fn written(&self) -> Vec<i64> {
        let figures = FIGURES.map(|(figure, table)| {
            format!("(SELECT CAST(COALESCE({figure}, 0) AS BIGINT) FROM {table})")
        });
        let columns = figures.iter().enumerate().map(|(i, f)| format!("{f} AS f{i}"));
        let sql = format!("SELECT {}", columns.collect::<Vec<_>>().join(", "));
        let read = self.app.store.read();
        let row = read.query_one_raw(Statement::from_string(read.get_database_backend(), sql));
        let row = row.await.expect("an answer").expect("a row");
        (0..FIGURES.len()).map(|i| row.try_get("", &format!("f{i}")).expect("a figure")).collect()
    }
}

const FIGURES: [(&str, &str); 18] = [
    ("COUNT(*)", "agents"),
    ("SUM(version + LENGTH(spec) + LENGTH(name))", "agents"),
    ("COUNT(deleted_at)", "agents"),
    ("SUM(CASE WHEN published THEN 1 ELSE 0 END)", "agents"),
    ("COUNT(*)", "agent_versions"),
    ("COUNT(*)", "agent_labels"),
    ("COUNT(*)", "runs"),
    ("SUM(last_seq)", "runs"),
    ("COUNT(completed_at)", "runs"),
    ("COUNT(*)", "run_labels"),
    ("COUNT(*)", "run_queue"),
    ("COUNT(cancel_requested_at)", "run_queue"),
    ("COUNT(*)", "run_steps"),
    ("COUNT(*)", "run_events"),
    ("COUNT(*)", "run_inbox"),
    ("COUNT(*)", "api_keys"),
    ("COUNT(revoked_at) + COUNT(replaced_by) + COUNT(expires_at)", "api_keys"),
    ("SUM(LENGTH(name) + LENGTH(metadata))", "api_keys"),
];

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// True to the table of reasons, the envelope, the code and the field.
    fn is(&self, code: &str, field: &str) -> Result<(), String> {
        let text = String::from_utf8_lossy(&self.body);
        let fail = |what: &str| Err(format!("{what}: {} {text}", self.status));
        let Ok(json) = serde_json::from_slice::<Value>(&self.body) else {
            return fail("no JSON");
        };
        let error = &json["error"];
        let reason = Reason::parse(code).unwrap_or_else(|| panic!("no reason {code}"));
        if error["code"] != code || reason.row().http != self.status {
            return fail(&format!("not {code}"));
        }
        let told = error["details"]["field"].as_str().unwrap_or_default();
        if told != field {
            return fail(&format!("not the field {field}"));
        }
        let id = error["request_id"].as_str().unwrap_or_default();
        if !id.starts_with("req_") || self.headers.get("x-request-id").map(|v| &**v) != Some(id) {
            return fail("not the same request id in header and envelope");
        }
        if error["message"].as_str().is_none_or(str::is_empty) || text.len() > 2000 {
            return fail("no message, or too long a one");
        }
        Ok(())
    }
}

/// An agent with something of everything; its runs wait for an output.
fn an_agent() -> Value {
    json!({
        "name": "Clerk", "description": "Looks things up.", "model": "sim",
        "instructions": "Be {{ tone }}.",
        "model_settings": {"temperature": 0.5, "stop_sequences": ["END"]},
        "sim": {"turns": [
            {"when": "turn == 0", "text": "Looking.",
                "tool_calls": [{"name": "look", "arguments": {"for": "{{ input }}"}}]},
            {"when": "turn == 1", "text": "{{ result }}"},
        ]},
        "parameters": [
            {"name": "tone", "type": "enum", "options": ["formal", "friendly"],
                "default": "formal", "description": "How to speak."},
            {"name": "count", "type": "integer"},
            {"name": "few", "type": "array", "schema": {"maxItems": 1}},
        ],
        "tools": [
            {"name": "look", "description": "Looks.", "input_schema": {"type": "object"},
                "client": {"deadline_seconds": 600}},
            {"name": "send", "http": {"url": "http://127.0.0.1:9/", "delivery": "at_most_once"}},
        ],
        "metadata": {"team": "blue"},
    })
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}
