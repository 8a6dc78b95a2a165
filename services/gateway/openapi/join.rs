//! Joins what the generator wrote of the contract with what only this server knows: its title, how
//! callers show who they are, and what goes wrong: the table of failures. Reads nothing but the
//! document.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::kernel::Reason;
use crate::kernel::error::{Row, TABLE};
use crate::kernel::reply::DOMAIN;

/// Ways to show a key, each enough alone.
const SCHEMES: [&str; 3] = ["bearer", "token", "api_key"];

const ABOUT: &str = include_str!("about.md");

/// Failures of every method.
const ALWAYS: [Reason; 10] = [
    Reason::UnknownField,
    Reason::InvalidField,
    Reason::NotAcceptable,
    Reason::OriginNotAllowed,
    Reason::HttpsRequired,
    Reason::UriTooLong,
    Reason::RequestHeaderFieldsTooLarge,
    Reason::InternalError,
    Reason::Unavailable,
    Reason::RequestTimeout,
];

/// Failures of a method that takes a body.
const WITH_BODY: [Reason; 5] = [
    Reason::MalformedJson,
    Reason::MissingField,
    Reason::PayloadTooLarge,
    Reason::UnsupportedMediaType,
    Reason::RequestCancelled,
];

/// Failures of a method that needs a key.
const WITH_KEY: [Reason; 5] = [
    Reason::MissingApiKey,
    Reason::InvalidApiKey,
    Reason::ExpiredToken,
    Reason::InsufficientScope,
    Reason::RateLimited,
];

/// Headers of every answer to a call whose limits are known.
const LIMITS: [&str; 6] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-RateLimit-Degraded",
    "RateLimit",
    "RateLimit-Policy",
];

/// Failures of a method that changes something, with a key to know the call again.
const REPEATED: [Reason; 2] = [Reason::IdempotencyKeyInUse, Reason::IdempotencyKeyReused];

/// The whole document, with sorted names and a line break at its end.
pub(super) fn complete(generated: &str) -> Result<String, String> {
    let mut document: Value = serde_json::from_str(generated).map_err(|e| e.to_string())?;
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).ok_or("no paths")?;
    let mut failures = Map::new();
    let operations = paths.values_mut().filter_map(Value::as_object_mut);
    for operation in operations.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        describe(operation);
        secure(operation);
        let answers = operation.get_mut("responses").and_then(Value::as_object_mut);
        answers.into_iter().flatten().for_each(|(status, answer)| head(status, answer));
        fail(operation, &mut failures)?;
        repeat(operation);
    }
    let components = document.get_mut("components").and_then(Value::as_object_mut);
    let components = components.ok_or("no components")?;
    components.insert("responses".to_owned(), failures.into());
    complete_components(components);
    let root = document.as_object_mut().ok_or("no object")?;
    root.insert("info".to_owned(), info());
    root.insert("servers".to_owned(), json!([{"url": "/", "description": "This server."}]));
    document.sort_all_objects();
    Ok(format!("{document:#}\n"))
}

fn info() -> Value {
    json!({
        "title": "Runplane",
        "summary": "The open, self-hosted platform API for AI agents.",
        "description": ABOUT,
        "version": env!("CARGO_PKG_VERSION"),
        "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
    })
}

fn complete_components(components: &mut Map<String, Value>) {
    let codes: Vec<_> = TABLE.iter().map(|row| row.code).collect();
    let schemas = components.entry("schemas").or_insert_with(|| json!({}));
    schemas["Error"] = error_schema(&codes);
    components.insert("headers".to_owned(), headers());
    let examples = TABLE.iter().map(|row| (row.code.to_owned(), json!({"value": envelope(row)})));
    components.insert("examples".to_owned(), examples.collect::<Map<_, _>>().into());
    components.insert(
        "securitySchemes".to_owned(),
        json!({
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "`Authorization: Bearer KEY`",
            },
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "`Authorization: Token KEY`: the word `Token`, a space, the key.",
            },
            "api_key": {
                "type": "apiKey",
                "in": "header",
                "name": "x-api-key",
                "description": "`x-api-key: KEY`",
            },
        }),
    );
}

/// The envelope of a failure with one of these codes.
fn error_schema(codes: &[&str]) -> Value {
    json!({
        "type": "object",
        "description": "A failure. Programs look at `code` and `details`; `message` is for people.",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "request_id", "details"],
            "properties": {
                "code": {"type": "string", "enum": codes, "description": "Why."},
                "message": {"type": "string", "description": "What happened, for people."},
                "request_id": {
                    "type": "string",
                    "description": "Id of the request, as in the header `X-Request-Id`.",
                },
                "details": {
                    "type": "object",
                    "description": "Facts for programs, such as the `field` that is wrong.",
                    "additionalProperties": {"type": "string"},
                },
            },
        }},
    })
}

fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "Id of the request. Name it when you ask for help.",
            "required": true,
            "schema": {"type": "string", "pattern": "^req_[0-9a-z]{26}$"},
        },
        "Retry-After": {
            "description": "Seconds after which the same call may succeed, where that is known.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "Idempotent-Replayed": {
            "description": "Says that the same call was made before, and that this is its answer.",
            "schema": {"type": "string", "const": "true"},
        },
        "Idempotency-Expires": {
            "description": "Until when a call with this `Idempotency-Key` is known again.",
            "schema": {"type": "string", "format": "date-time"},
        },
        "WWW-Authenticate": {
            "description": "How to show a key.",
            "required": true,
            "schema": {"type": "string", "const": format!("Bearer realm=\"{DOMAIN}\"")},
        },
        "X-RateLimit-Limit": {
            "description": "Most calls at once, by the limit that is nearest to be met.",
            "schema": {"type": "integer", "minimum": 1},
        },
        "X-RateLimit-Remaining": {
            "description": "Calls that are left by that limit.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "X-RateLimit-Reset": {
            "description": "When all of them are there again: seconds since 1970, rounded up.",
            "schema": {"type": "integer", "minimum": 0},
        },
        "X-RateLimit-Degraded": {
            "description": "Says that limits are counted by each server alone for now.",
            "schema": {"type": "string", "const": "1"},
        },
        "RateLimit": {
            "description": "All limits of the call: the calls `r` that are left, and the seconds \
                `t` after which one more is. As in draft-ietf-httpapi-ratelimit-headers.",
            "schema": {"type": "string"},
        },
        "RateLimit-Policy": {
            "description": "All limits of the call: at most `q` calls in any `w` seconds at once.",
            "schema": {"type": "string"},
        },
    })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Makes the call safe to make again: the same call with the same key has one \
            effect and is answered the same. Known for 24 hours, unless the server's operator says \
            otherwise, within the project, its environment and this method.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    })
}

/// Says which scope a caller needs, in the text too.
fn describe(operation: &mut Map<String, Value>) {
    let Some(scope) = operation.get("x-required-scope").and_then(Value::as_str) else { return };
    let said = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{said}\n\nNeeds a key with the scope `{scope}`.");
    operation.insert("description".to_owned(), text.into());
}

fn secure(operation: &mut Map<String, Value>) {
    let Some(scope) = operation.get("x-required-scope").cloned() else { return };
    let ways = SCHEMES.map(|scheme| json!({ scheme: [scope] }));
    operation.insert("security".to_owned(), json!(ways));
}

/// Adds an answer for each status that a failure of the method may have; those that methods share
/// stand once, in `shared`.
fn fail(operation: &mut Map<String, Value>, shared: &mut Map<String, Value>) -> Result<(), String> {
    let own = operation.get("x-errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = own.iter().filter_map(Value::as_str).map(|code| {
        Reason::parse(code).ok_or_else(|| format!("no failure is {code}")).map(Reason::row)
    });
    let own: Vec<&Row> = own.collect::<Result<_, _>>()?;
    let mut common: Vec<&Row> = ALWAYS.iter().map(|reason| reason.row()).collect();
    let takes_body = operation.contains_key("requestBody");
    if takes_body {
        common.extend(WITH_BODY.iter().map(|reason| reason.row()));
    }
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if parameters.into_iter().flatten().any(|parameter| parameter["name"] == "If-Match") {
        common.push(Reason::PreconditionFailed.row());
    }
    // Of bytes neither type nor form is looked at.
    let is_raw = |content: &Value| content.get("*/*").is_some();
    if operation.get("requestBody").is_some_and(|body| is_raw(&body["content"])) {
        let json = [Reason::MalformedJson, Reason::UnsupportedMediaType];
        common.retain(|row| !json.contains(&row.reason));
    }
    if operation.get("responses").is_some_and(|all| is_raw(&all["200"]["content"])) {
        common.retain(|row| row.reason != Reason::NotAcceptable);
    }
    if operation.contains_key("x-changes") {
        common.extend(REPEATED.iter().map(|reason| reason.row()));
    }
    if operation.contains_key("x-required-scope") {
        common.extend(WITH_KEY.iter().map(|reason| reason.row()));
    }
    let is = |rows: &[&Row], row: &Row| rows.iter().any(|other| other.reason == row.reason);
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let mut statuses: Vec<u16> = common.iter().chain(&own).map(|row| row.http).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let of_status = TABLE.iter().filter(|row| row.http == status);
        let rows: Vec<_> = of_status.filter(|row| is(&common, row) || is(&own, row)).collect();
        let mut name = phrase(status);
        if takes_body && status == 400 {
            name += "OfBody";
        }
        for row in rows.iter().filter(|row| !is(&common, row)) {
            name += &format!(".{}", row.code);
        }
        let place = format!("#/components/responses/{name}");
        shared.entry(name).or_insert_with(|| failure(status, &rows));
        responses[status.to_string()] = json!({ "$ref": place });
    }
    Ok(())
}

/// Says of a call that changes something how it is known again.
fn repeat(operation: &mut Map<String, Value>) {
    if operation.remove("x-changes").is_none() {
        return;
    }
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(idempotency_key());
    }
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut);
    let good = answers.into_iter().flatten().filter(|(status, _)| status.starts_with('2'));
    for (_, answer) in good {
        for name in ["Idempotent-Replayed", "Idempotency-Expires"] {
            answer["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
    }
}

/// `NotFound` for 404.
fn phrase(status: u16) -> String {
    let known = StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    let words = known.unwrap_or("Client Closed Request");
    words.chars().filter(char::is_ascii_alphabetic).collect()
}

/// The answer with one of these failures, which have the same status.
fn failure(status: u16, rows: &[&Row]) -> Value {
    let codes: Vec<_> = rows.iter().map(|row| row.code).collect();
    let lines = rows.iter().map(|row| format!("* `{}`, as in: {}", row.code, row.example));
    let place = |row: &Row| json!({"$ref": format!("#/components/examples/{}", row.code)});
    let examples = rows.iter().map(|row| (row.code.to_owned(), place(row)));
    let narrowed = json!({"properties": {"error": {"properties": {"code": {"enum": codes}}}}});
    let mut response = json!({
        "description": lines.collect::<Vec<_>>().join("\n"),
        "content": {"application/json": {
            "schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, narrowed]},
            "examples": examples.collect::<Map<_, _>>(),
        }},
    });
    head(&status.to_string(), &mut response);
    response
}

fn envelope(row: &Row) -> Value {
    json!({"error": {
        "code": row.code,
        "message": row.example,
        "request_id": "req_01jd8w5zq3v9t2m7k4c6b8n0ap",
        "details": {},
    }})
}

/// Says which headers an answer has.
fn head(status: &str, response: &mut Value) {
    let names: &[&str] = match status {
        "401" => &["X-Request-Id", "WWW-Authenticate"],
        "429" | "503" => &["X-Request-Id", "Retry-After"],
        _ => &["X-Request-Id"],
    };
    let name = |name: &&str| {
        let place = format!("#/components/headers/{name}");
        ((*name).to_owned(), json!({ "$ref": place }))
    };
    let mut headers: Map<_, _> = names.iter().chain(&LIMITS).map(name).collect();
    headers.extend(response["headers"].as_object().cloned().unwrap_or_default());
    response["headers"] = headers.into();
}
