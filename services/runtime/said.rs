//! What people, models and tools say, as the GenAI conventions write it into spans: JSON texts, for
//! operators that want it there. Used by `traced.rs` alone, and only when that is configured. Long
//! texts lose their oldest messages.

use serde_json::{Map, Value, json};

use super::model::{Answer, Said, finish_reason};
use super::record::Asked;

/// Most bytes of one attribute.
const BYTES_MAX: usize = 64 * 1024;

/// The instructions.
pub(super) fn system(said: &[Said<'_>]) -> String {
    let texts = said.iter().rev().filter_map(|said| match said {
        Said::System(text) => Some(text_part(text)),
        _ => None,
    });
    bounded(texts)
}

/// The conversation.
pub(super) fn input(said: &[Said<'_>]) -> String {
    bounded(said.iter().rev().filter_map(message))
}

/// The answer.
pub(super) fn output(answer: &Answer) -> String {
    let calls = answer.calls.iter().map(|call| {
        let id = call.provider_id.as_deref();
        json!({"type": "tool_call", "id": id, "name": call.name, "arguments": call.arguments})
    });
    let message = json!({
        "role": "assistant",
        "parts": parts(&answer.text, calls),
        "finish_reason": finish_reason(answer),
    });
    bounded(std::iter::once(message))
}

/// The arguments of a tool call.
pub(super) fn arguments(arguments: &Map<String, Value>) -> String {
    short(serde_json::to_string(arguments).unwrap_or_default())
}

/// What a tool has answered.
pub(super) fn value(value: &Value) -> String {
    short(value.to_string())
}

fn message(said: &Said<'_>) -> Option<Value> {
    Some(match *said {
        Said::System(_) => return None,
        Said::User(text) => json!({"role": "user", "parts": [text_part(text)]}),
        Said::Assistant(text, calls) => {
            json!({"role": "assistant", "parts": parts(text, calls.iter().map(call))})
        }
        Said::Tool(asked, result) => {
            let part =
                json!({"type": "tool_call_response", "id": asked.id, "response": result.told()});
            json!({"role": "tool", "parts": [part]})
        }
    })
}

fn parts(text: &str, calls: impl Iterator<Item = Value>) -> Vec<Value> {
    let text = (!text.is_empty()).then(|| text_part(text));
    text.into_iter().chain(calls).collect()
}

fn text_part(text: &str) -> Value {
    json!({"type": "text", "content": text})
}

fn call(asked: &Asked) -> Value {
    let Asked { id, name, arguments, .. } = asked;
    json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments})
}

/// The newest of these that fit; the newest come first. No more are made than that and one.
fn bounded(messages: impl Iterator<Item = Value>) -> String {
    let mut left = BYTES_MAX;
    let texts = messages.map(|message| message.to_string()).take_while(|text| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len() + 1);
        fits
    });
    let mut texts: Vec<String> = texts.collect();
    texts.reverse();
    format!("[{}]", texts.join(","))
}

fn short(text: String) -> String {
    if text.len() <= BYTES_MAX { text } else { format!("\"{} bytes\"", text.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_conversation_the_newest_messages_are_kept() {
        let long = "x".repeat(BYTES_MAX / 2);
        let said = [Said::User(&long), Said::Assistant(&long, &[]), Said::User("and now?")];
        let kept: Vec<Value> = serde_json::from_str(&input(&said)).unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[1]["parts"][0], json!({"type": "text", "content": "and now?"}));
        assert_eq!(value(&json!("y".repeat(BYTES_MAX))), format!("\"{} bytes\"", BYTES_MAX + 2));
    }

    #[test]
    fn of_a_long_conversation_no_more_is_copied_than_is_kept_and_one() {
        let mut made = 0;
        let long = Value::from("x".repeat(BYTES_MAX / 2 - 2));
        let messages = (0..1000).map(|_| {
            made += 1;
            long.clone()
        });
        assert!(bounded(messages).len() > BYTES_MAX / 2);
        assert_eq!(made, 2);
    }
}
