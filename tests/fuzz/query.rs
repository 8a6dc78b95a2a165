//! The query binder, through the transcoder and the probe: no answer but 200 and 400; texts are
//! what the `url` crate reads; what was bound, written as a query, is bound as the same message.

use std::sync::LazyLock;

use axum::body::Body;
use futures::FutureExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use runplane::gateway::rest::{Transcoder, TranscoderOptions};
use serde_json::Value;
use tower::ServiceExt;

use crate::probe::house::{Prober, rest::Services};

static TRANSCODER: LazyLock<Transcoder> = LazyLock::new(|| {
    let services = Services { probe: std::sync::Arc::new(Prober::default()) };
    Transcoder::new(services, TranscoderOptions::default())
});

/// Input: the query.
pub(super) fn check(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let Some((status, bound)) = ask(query) else { return };
    if status != StatusCode::OK {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {bound}");
        assert!(bound["error"]["message"].is_string(), "{query}: {bound}");
        return;
    }
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        if let Some(Value::String(value)) = bound["probe"].pointer(&pointer(&name)) {
            assert_eq!(*value, text, "{query}: {name}");
        }
    }
    let mut pairs = Vec::new();
    pairs_of("", &bound["probe"], &mut pairs);
    let again = pairs.join("&");
    // What was said in few words may need many.
    if pairs.len() <= 128 && again.len() <= 16 * 1024 {
        let (status, rebound) = ask(&again).unwrap();
        assert_eq!(status, StatusCode::OK, "{query}\n{again}\n{rebound}");
        assert_eq!(rebound["probe"], bound["probe"], "{query}\n{again}");
    }
}

/// Where a parameter that is a text ends up; nowhere for others.
fn pointer(name: &str) -> String {
    let texts = ["parent", "path", "word", "type", "display_name"];
    let field = name.rsplit('.').next().unwrap_or_default();
    if texts.contains(&field) { format!("/{}", name.replace('.', "/")) } else { "/-".to_owned() }
}

/// Status and JSON of the answer; none: it is no query of a URI.
fn ask(query: &str) -> Option<(StatusCode, Value)> {
    let request = Request::get(format!("/v1/things/a?{query}")).body(Body::empty()).ok()?;
    let response = TRANSCODER.clone().oneshot(request).now_or_never().unwrap().unwrap();
    let status = response.status();
    let body = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap()))
}

/// The pairs that say a message.
fn pairs_of(name: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in
                members.iter().filter(|(member, _)| name != "" || *member != "name")
            {
                let dot = if name.is_empty() { "" } else { "." };
                pairs_of(&format!("{name}{dot}{member}"), value, pairs);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| pairs_of(name, item, pairs)),
        Value::String(text) => pairs.push(format!("{name}={}", escaped(text))),
        other => pairs.push(format!("{name}={}", escaped(&other.to_string()))),
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
