//! The scripted model: the turns of `SimModel` in the contract. No network, no cost, the same
//! answer every time; without a token rate it answers at once.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Answer, Failure, Question, RawCall, Said, Sink, Text};
use crate::kernel::spec::{SimFailure, SimModel, SimTurn};
use crate::kernel::template::{Names, Templates};
use crate::runtime::record::{Finish, content};
use crate::runtime::retry;

/// Longest wait for a token: as long as a run may take.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// The names that conditions and templates may use.
#[derive(Serialize)]
struct Facts<'a> {
    turn: usize,
    input: &'a Value,
    parameters: &'a Map<String, Value>,
    tools: Map<String, Value>,
    last_tool: Option<&'a str>,
    result: Value,
    history: Vec<Spoken<'a>>,
}

/// A message of an earlier run of the conversation.
#[derive(Serialize)]
struct Spoken<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

/// Answers by the script of the run's agent.
pub(super) async fn answer(
    templates: &Templates,
    question: &Question<'_>,
    sink: Sink<'_>,
) -> Result<Answer, Failure> {
    let Some(script) = &question.run.spec.sim else {
        return Err(Failure::lasting("the agent has no script for the model sim"));
    };
    let names = Names::of(&facts(question));
    let (position, turn) = choose(templates, script, question.turn, &names)?;
    if turn.delay_ms > 0 {
        sleep(Duration::from_millis(turn.delay_ms.into())).await;
    }
    if let Some(failure) = &turn.failure
        && (failure.times == 0 || question.tries < failure.times)
    {
        return Err(as_failure(failure));
    }
    let wrong = |why: String| Failure::lasting(format!("sim.turns[{position}]: {why}"));
    let text = templates.render(&turn.text, &names).map_err(wrong)?;
    let calls = calls(templates, turn, &names).map_err(wrong)?;
    let output_tokens = stream(&text, script.tokens_per_second, sink).await?;
    Ok(Answer { text, calls, finish: Finish::Done, input_tokens: read(question), output_tokens })
}

fn facts<'a>(question: &'a Question<'_>) -> Facts<'a> {
    let mut tools = Map::new();
    let mut last = None;
    let own = question.said.iter().filter(|said| !matches!(said, Said::System(_)));
    for said in own.skip(question.earlier) {
        if let Said::Tool(asked, result) = said {
            tools.insert(asked.name.clone(), result.told());
            last = Some((asked.name.as_str(), result));
        }
    }
    Facts {
        turn: question.turn,
        input: &question.run.input,
        parameters: &question.run.parameters,
        tools,
        last_tool: last.map(|(name, _)| name),
        result: last.map_or(Value::Null, |(_, result)| result.told()),
        history: history(question),
    }
}

fn history<'a>(question: &Question<'a>) -> Vec<Spoken<'a>> {
    let spoken = |said: &Said<'a>| {
        let (role, content) = match *said {
            Said::System(_) => return None,
            Said::User(text) => ("user", text.into()),
            Said::Assistant(text, _) => ("assistant", text.into()),
            Said::Tool(_, result) => ("tool", content(&result.told()).into()),
        };
        Some(Spoken { role, content })
    };
    question.said.iter().filter_map(spoken).take(question.earlier).collect()
}

fn choose<'a>(
    templates: &Templates,
    script: &'a SimModel,
    turn: usize,
    names: &Names,
) -> Result<(usize, &'a SimTurn), Failure> {
    for (i, candidate) in script.turns.iter().enumerate() {
        let holds = match candidate.when.as_str() {
            "" => i == turn,
            when => templates
                .holds(when, names)
                .map_err(|why| Failure::lasting(format!("sim.turns[{i}].when: {why}")))?,
        };
        if holds {
            return Ok((i, candidate));
        }
    }
    Err(Failure::lasting(format!("no turn of the script holds for model call {turn}")))
}

fn as_failure(failure: &SimFailure) -> Failure {
    let message = if failure.message.is_empty() { "as the script says" } else { &failure.message };
    Failure {
        message: format!("the provider sim answered {}: {message}", failure.status),
        transient: retry::is_transient(failure.status),
        retry_after: None,
    }
}

fn calls(templates: &Templates, turn: &SimTurn, names: &Names) -> Result<Vec<RawCall>, String> {
    let call = |call: &crate::kernel::spec::SimToolCall| {
        let arguments = Value::Object(call.arguments.clone());
        Ok(RawCall {
            provider_id: None,
            name: call.name.clone(),
            arguments: templates.render_json(&arguments, names)?,
            signatures: Vec::new(),
        })
    };
    turn.tool_calls.iter().map(call).collect()
}

async fn stream(text: &str, tokens_per_second: f64, sink: Sink<'_>) -> Result<i32, Failure> {
    let mut shown = Text::default();
    let mut tokens = 0;
    if tokens_per_second <= 0.0 {
        for piece in pieces(text) {
            shown.push(piece, sink)?;
            tokens += 1;
        }
        return Ok(tokens);
    }
    let start = Instant::now();
    for piece in pieces(text) {
        // A rate may be so low that its wait is no length of time: the run ends before that.
        let wait = Duration::try_from_secs_f64(f64::from(tokens) / tokens_per_second);
        sleep_until(start + wait.map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX))).await;
        shown.push(piece, sink)?;
        tokens += 1;
    }
    Ok(tokens)
}

/// A text in pieces the size of tokens: a word with the space before it, or so many letters of a
/// long one.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const CHARS_MAX: usize = 12;
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut in_word = false;
        let mut end = rest.len();
        for (count, (i, c)) in rest.char_indices().enumerate() {
            if (in_word && c.is_whitespace()) || count == CHARS_MAX {
                end = i;
                break;
            }
            in_word |= !c.is_whitespace();
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn read(question: &Question<'_>) -> i32 {
    let count = |said: &Said<'_>| match said {
        Said::System(text) | Said::User(text) | Said::Assistant(text, _) => pieces(text).count(),
        Said::Tool(_, result) => pieces(&content(&result.told())).count(),
    };
    i32::try_from(question.said.iter().map(count).sum::<usize>()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_cut_at_words() {
        let text = "Hello, big  world\nagain supercalifragilistic é";
        assert_eq!(pieces(text).collect::<String>(), text);
        let cut: Vec<&str> = pieces("Hello, big  world\n").collect();
        assert_eq!(cut, ["Hello,", " big", "  world", "\n"]);
        assert_eq!(pieces("").count(), 0);
        assert!(pieces("   ").eq(["   "]));
    }
}
