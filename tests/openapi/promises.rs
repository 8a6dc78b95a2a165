//! What the document promises beyond answers: examples that the server takes, parameters that it
//! knows, and streams of lines.

use serde_json::{Value, json};

use super::described::{self, Answer, DOCUMENT};
use super::operations;
use crate::harness::app::App;
use crate::harness::process::Api;

/// What there is to ask about.
struct Planted {
    api: Api,
    /// The server's operator.
    operator: Api,
    organisation: String,
    project: String,
    agent: String,
    key: String,
    /// A run that waits for a call's output.
    run: String,
    call: String,
}

impl Planted {
    async fn of(app: &App) -> Self {
        let api = Api::new(&app.url, &app.admin);
        let of_agent = &DOCUMENT["paths"]["/v1/agents"]["post"]["requestBody"]["content"];
        let agent = api.agent(&of_agent["application/json"]["example"]).await;
        let (status, key) = api.post("/v1/keys", &json!({"name": "a", "scopes": ["read"]})).await;
        assert_eq!(status, 201, "{key}");
        let calls = json!([{"name": "approve", "arguments": {}}]);
        let asker = json!({
            "name": "Asker", "model": "sim", "tools": [{"name": "approve", "client": {}}],
            "sim": {"turns": [{"tool_calls": calls}, {"text": "x"}]},
        });
        let run = api.start(&api.agent(&asker).await, &json!("x")).await;
        let waiting = api.settled(&run).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let call = text(&waiting["required_action"]["tool_calls"][0]["id"]);
        let operator = Api::new(&app.url, &app.operator);
        let (_, organisation) = operator.post("/v1/organisations", &json!({"name": "o"})).await;
        let organisation = text(&organisation["id"]);
        let new = json!({"organisation_id": organisation, "name": "p"});
        let (_, project) = operator.post("/v1/projects", &new).await;
        let (project, key) = (text(&project["id"]), text(&key["id"]));
        Self { agent, key, run, call, api, operator, organisation, project }
    }

    /// A path with what there is for each parameter.
    fn path(&self, template: &str) -> String {
        let mut kind = "";
        let fill = |part| match part {
            "{version}" => "1",
            id if id.starts_with('{') => match kind {
                "agents" => &self.agent,
                "keys" => &self.key,
                "runs" => &self.run,
                "organisations" => &self.organisation,
                "projects" => &self.project,
                other => panic!("no {other} are planted"),
            },
            literal => {
                kind = literal;
                literal
            }
        };
        template.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    /// An example that names what there is.
    fn body(&self, example: &Value) -> Value {
        let mut body = example.clone();
        for (place, id) in [
            ("/agent_id", &self.agent),
            ("/organisation_id", &self.organisation),
            ("/tool_outputs/0/tool_call_id", &self.call),
        ] {
            if let Some(named) = body.pointer_mut(place) {
                *named = json!(id);
            }
        }
        body
    }

    /// Status and body of an answer.
    async fn ask(&self, verb: &str, target: &str, body: Option<&Value>) -> (u16, String) {
        let operators = ["/v1/organisations", "/v1/projects"];
        let api = match operators.iter().any(|path| target.starts_with(path)) {
            true => &self.operator,
            false => &self.api,
        };
        let mut request = api.request(verb.to_uppercase().parse().unwrap(), target);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

#[tokio::test]
async fn examples_of_requests_are_taken() {
    let app = App::start().await;
    let planted = Planted::of(&app).await;
    let mut tried = 0;
    for (verb, path, operation) in operations() {
        let media = &operation["requestBody"]["content"]["application/json"];
        let Some(example) = media.get("example") else { continue };
        described::fits(&media["schema"], example, path);
        let body = planted.body(example);
        let (status, text) = planted.ask(verb, &planted.path(path), Some(&body)).await;
        assert!((200..300).contains(&status), "{verb} {path}: {status} {text}");
        tried += 1;
    }
    assert!(tried >= 9, "only {tried} examples");
}

#[tokio::test]
async fn every_parameter_of_a_query_is_known_and_no_other() {
    let app = App::start().await;
    let planted = Planted::of(&app).await;
    for (verb, path, operation) in operations() {
        let ask = async |query: &str| {
            let target = format!("{}?{query}", planted.path(path));
            let (status, text) = planted.ask(verb, &target, None).await;
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let told = |place: &str| body["error"].pointer(place).cloned().unwrap_or_default();
            (status, told("/code"), told("/details/field"), text)
        };
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                // Right only as a free text: whatever else refuses it by its name.
                let expected = match name {
                    "cursor" => (400, Some("invalid_cursor"), Some(name)),
                    // Every text may be an id: nothing has it.
                    "agent_id" => (404, Some("agent_not_found"), None),
                    "key_id" => (404, Some("key_not_found"), None),
                    "organisation_id" => (404, Some("organisation_not_found"), None),
                    _ => (400, Some("invalid_field"), Some(name)),
                };
                let (status, code, field, text) = ask(&format!("{name}=%00")).await;
                let named = field.as_str().and_then(|field| field.split('[').next());
                let refused = (status, code.as_str(), named) == expected;
                let known = refused || (200..300).contains(&status);
                assert!(known, "{verb} {path} {name}: {status} {text}");
            }
        }
        let (status, code, field, text) = ask("nope=1").await;
        let told = (status, code.as_str(), field.as_str());
        assert_eq!(told, (400, Some("unknown_field"), Some("nope")), "{verb} {path}: {text}");
    }
}

#[tokio::test]
async fn lines_of_a_stream_are_described() {
    let app = App::start().await;
    let api = Api::new(&app.url, &app.admin);
    let agent = api.agent(&crate::agents::echo()).await;
    let path = format!("/v1/agents/{agent}/stream");
    let request = api.request(reqwest::Method::POST, &path).json(&json!({"query": "x"}));
    let response = request.header("accept", "application/x-ndjson").send().await.unwrap();
    let status = response.status().as_u16();
    let (kind, body) = ("application/x-ndjson", response.text().await.unwrap());
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 4, "{body}");
    for line in &lines {
        described::check(&Answer { verb: "POST", target: &path, status, kind, body: line });
    }
    let schema = json!({"$ref": "#/components/schemas/RunEventLine"});
    let failure = &DOCUMENT["components"]["examples"]["request_timeout"]["value"];
    described::fits(&schema, failure, "a stream that failed");
}
