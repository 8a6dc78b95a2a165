//! What the document promises beyond answers: examples that the server takes, parameters that it
//! knows, and streams of lines.

use serde_json::{Value, json};

use super::described::{self, Answer, DOCUMENT};
use super::operations;
use crate::harness::app::App;
use crate::harness::process::Api;

/// A path with an id for each parameter.
fn filled(path: &str) -> String {
    let fill = |part: &str| if part.starts_with('{') { "1".to_owned() } else { part.to_owned() };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn examples_of_requests_are_taken() {
    let app = App::start().await;
    let api = Api::new(&app.url, &app.admin);
    let mut tried = 0;
    for (verb, path, operation) in operations() {
        let media = &operation["requestBody"]["content"]["application/json"];
        let Some(example) = media.get("example") else { continue };
        described::fits(&media["schema"], example, path);
        let request = api.request(verb.to_uppercase().parse().unwrap(), &filled(path));
        let response = request.json(example).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success() || status == 404, "{verb} {path}: {status} {text}");
        tried += 1;
    }
    assert!(tried >= 9, "only {tried} examples");
}

#[tokio::test]
async fn every_parameter_of_a_query_is_known_and_no_other() {
    let app = App::start().await;
    let api = Api::new(&app.url, &app.admin);
    let ask = async |verb: &str, path: &str, query: &str| {
        let target = format!("{}?{query}", filled(path));
        let response = api.request(verb.to_uppercase().parse().unwrap(), &target).send().await;
        let response = response.unwrap();
        response.json::<Value>().await.unwrap_or_default()["error"]["code"].clone()
    };
    for (verb, path, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                let code = ask(verb, path, &format!("{name}=%00")).await;
                assert_ne!(code, "unknown_field", "{verb} {path}: {name}");
            }
        }
        assert_eq!(ask(verb, path, "nope=1").await, "unknown_field", "{verb} {path}");
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
