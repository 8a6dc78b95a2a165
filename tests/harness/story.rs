//! One story, told at all three doors and on both databases, each with an app of its own: what the
//! callers hear must be the same, word for word, but for ids and times.

use serde_json::{Value, json};

use super::app::{App, On, Options};
use super::doors::{Client, Door, Event, Failure};
use super::redact::Redactor;

/// Where every story is told. What differs between databases differs below the doors, so one door
/// is enough for the second.
const TELLINGS: [(Door, On); 4] = [
    (Door::Grpc, On::Sqlite),
    (Door::GrpcWeb, On::Sqlite),
    (Door::Rest, On::Sqlite),
    (Door::Rest, On::Postgres),
];

/// A caller at one door, and what it has heard.
pub struct Story {
    /// The app.
    pub app: App,
    caller: Client,
    heard: Vec<Value>,
    redactor: Redactor,
}

/// Tells the story at each door, and compares what was heard.
pub async fn at_each_door(story: impl AsyncFn(&mut Story)) {
    at_each_door_with(Options::default, story).await;
}

/// The same with an app that is started otherwise.
pub async fn at_each_door_with(options: impl Fn() -> Options, story: impl AsyncFn(&mut Story)) {
    let mut first: Option<Vec<Value>> = None;
    for telling in TELLINGS {
        let (door, on) = telling;
        let app = App::with(Options { on, ..options() }).await;
        let mut at = Story::new(app, door);
        story(&mut at).await;
        let Story { app, caller, heard, .. } = at;
        assert!(!heard.is_empty(), "a story in which nothing is heard");
        match &first {
            None => first = Some(heard),
            Some(first) => compare(first, &heard, telling),
        }
        drop(caller);
        app.stop().await;
    }
}

fn compare(first: &[Value], heard: &[Value], telling: (Door, On)) {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    for (i, (one, other)) in first.iter().zip(heard).enumerate() {
        assert!(
            one == other,
            "answer {} differs. At {:?}:\n{}\nat {telling:?}:\n{}",
            i + 1,
            TELLINGS[0],
            pretty(one),
            pretty(other)
        );
    }
    assert_eq!(first.len(), heard.len(), "{telling:?} hears more or less");
}

impl Story {
    fn new(app: App, door: Door) -> Self {
        let caller = app.door(door);
        Self { app, caller, heard: Vec::new(), redactor: Redactor::default() }
    }

    /// The door.
    pub fn door(&self) -> Door {
        self.caller.door
    }

    /// Goes on with another key.
    pub fn with_key(&mut self, key: &str) {
        self.caller = self.app.client(self.caller.door, key);
    }

    /// Goes on without a key.
    pub fn without_key(&mut self) {
        self.caller = self.app.stranger(self.caller.door);
    }

    /// Goes on with one more header.
    pub fn with_header(&mut self, name: &str, value: &str) {
        self.caller = self.caller.clone().with_header(name, value);
    }

    /// The caller, for what is not to be compared.
    pub fn caller(&self) -> &Client {
        &self.caller
    }

    /// Calls a method, which succeeds.
    pub async fn ok(&mut self, method: &str, fields: Value) -> Value {
        let answer = self.caller.call(method, fields.clone()).await;
        let answer = answer.unwrap_or_else(|f| panic!("{method} {fields}: {f:?}"));
        self.hear(json!({ "method": method, "answer": answer }));
        answer
    }

    /// Calls a method that starts a run and answers at once, wherever the run is by then. The run.
    pub async fn begins(&mut self, method: &str, fields: Value) -> Value {
        let answer = self.caller.call(method, fields.clone()).await;
        let run = answer.unwrap_or_else(|f| panic!("{method} {fields}: {f:?}"));
        let (id, version) = (&run["id"], &run["agent_version"]);
        assert!(["queued", "in_progress", "requires_action"].iter().any(|s| run["status"] == *s));
        self.hear(json!({"method": method, "id": id, "agent_version": version}));
        run
    }

    /// Calls a method, which fails with this code.
    pub async fn fails(&mut self, code: &str, method: &str, fields: Value) -> Failure {
        let answer = self.caller.call(method, fields.clone()).await;
        let failure = answer.expect_err(&format!("{method} {fields} fails with {code}"));
        self.hear_failure(code, method, &failure);
        failure
    }

    /// Calls a streaming method and hears it to its end.
    pub async fn stream(&mut self, method: &str, fields: Value) -> Vec<Event> {
        let events = self.caller.stream(method, fields.clone()).await;
        let events = events.unwrap_or_else(|f| panic!("{method} {fields}: {f:?}"));
        self.hear_events(method, &events);
        events
    }

    /// Calls a streaming method, which fails with this code before its first event.
    pub async fn stream_fails(&mut self, code: &str, method: &str, fields: Value) -> Failure {
        let events = self.caller.stream(method, fields.clone()).await;
        let failure = events.expect_err(&format!("{method} {fields} fails with {code}"));
        self.hear_failure(code, method, &failure);
        failure
    }

    fn hear_failure(&mut self, code: &str, method: &str, failure: &Failure) {
        assert_eq!(failure.code, code, "{method} over {:?}: {failure:?}", self.caller.door);
        let (message, details) = (&failure.message, &failure.details);
        self.hear(json!({"method": method, "code": code, "message": message, "details": details}));
    }

    /// Durable events compare one by one. Live text does not: a caller may hear less of it.
    fn hear_events(&mut self, method: &str, events: &[Event]) {
        for event in events.iter().filter(|event| event.kind != "token") {
            self.hear(json!({
                "method": method, "id": event.id, "type": event.kind, "data": event.data,
            }));
        }
    }

    fn hear(&mut self, value: Value) {
        let value = self.redactor.redact(&value);
        self.heard.push(value);
    }
}

/// The live text of a stream, put together.
pub fn live_text(events: &[Event]) -> String {
    let tokens = events.iter().filter(|event| event.kind == "token");
    tokens.filter_map(|event| event.data["delta"].as_str()).collect()
}

/// The names of the durable events of a stream.
pub fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).filter(|kind| *kind != "token").collect()
}
