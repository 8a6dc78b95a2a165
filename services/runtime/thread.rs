//! Where a run stands: a pure fold of its journal. Asked by the loop at the start of a claim, kept
//! up to date by it afterwards. Reads nothing, writes nothing, knows no time.

use serde::de::DeserializeOwned;

use super::record::{Asked, ModelRequest, ModelResult, ToolResult};
use crate::engine::attempt::{Recorded, StepKind, StepStatus};

/// The rounds of a run, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Thread {
    /// The rounds; a round's place is its `step` in the journal.
    pub(crate) rounds: Vec<Round>,
}

/// One model call and the tool calls that it asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Round {
    /// Shared by the messages of the round.
    pub(crate) iteration_id: String,
    /// The answer; `None` while the model has not given it.
    pub(crate) reply: Option<ModelResult>,
    /// The tool calls, in the order of the answer.
    pub(crate) calls: Vec<Call>,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// What the model asks for.
    pub(crate) asked: Asked,
    /// How many claims had begun it before this one; 0: none.
    pub(crate) begun: i32,
    /// What came of it.
    pub(crate) result: Option<ToolResult>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is written yet.
    Begin,
    /// The last round waits for its model.
    Model,
    /// The last round waits for tools.
    Tools,
    /// The last round is done: another one.
    Round,
    /// The last round asked for nothing: the run is over.
    Over,
}

impl Round {
    /// A round whose tool calls, if it has any, are not begun.
    pub(crate) fn new(iteration_id: String, reply: Option<ModelResult>) -> Self {
        let mut round = Self { iteration_id, reply: None, calls: Vec::new() };
        if let Some(reply) = reply {
            round.answered(reply);
        }
        round
    }

    /// Takes the answer.
    pub(crate) fn answered(&mut self, reply: ModelResult) {
        let call = |asked: &Asked| Call { asked: asked.clone(), begun: 0, result: None };
        self.calls = reply.calls.iter().map(call).collect();
        self.reply = Some(reply);
    }
}

impl Thread {
    /// Folds the journal, which comes in order of step and call.
    ///
    /// # Errors
    /// What in it cannot be read.
    pub(crate) fn fold(history: &[Recorded]) -> Result<Self, String> {
        let mut thread = Self::default();
        for row in history {
            match row.kind {
                StepKind::Llm => thread.take_model(row)?,
                StepKind::Tool => thread.take_tool(row)?,
            }
        }
        Ok(thread)
    }

    fn take_model(&mut self, row: &Recorded) -> Result<(), String> {
        let request: ModelRequest = read(row, &row.request)?;
        let reply: Option<ModelResult> = match row.status {
            StepStatus::Ok => Some(read(row, &row.result)?),
            StepStatus::Started | StepStatus::Error | StepStatus::Unknown => None,
        };
        if usize::try_from(row.step) != Ok(self.rounds.len()) {
            return Err(format!("step {} is out of order", row.step));
        }
        self.rounds.push(Round::new(request.iteration_id, reply));
        Ok(())
    }

    fn take_tool(&mut self, row: &Recorded) -> Result<(), String> {
        let is_last = usize::try_from(row.step).is_ok_and(|step| step + 1 == self.rounds.len());
        let place = usize::try_from(row.call).ok().and_then(|call| call.checked_sub(1));
        let round = self.rounds.last_mut().filter(|_| is_last);
        let call = round.zip(place).and_then(|(round, place)| round.calls.get_mut(place));
        let Some(call) = call else {
            return Err(format!("call {} of step {} was not asked for", row.call, row.step));
        };
        call.begun = row.attempt;
        if row.status != StepStatus::Started {
            call.result = Some(read(row, &row.result)?);
        }
        Ok(())
    }

    /// What is to be done next.
    pub(crate) fn next(&self) -> Next {
        let Some(round) = self.rounds.last() else { return Next::Begin };
        match &round.reply {
            None => Next::Model,
            Some(_) if round.calls.iter().any(|call| call.result.is_none()) => Next::Tools,
            Some(reply) if reply.calls.is_empty() => Next::Over,
            Some(_) => Next::Round,
        }
    }

    /// Model calls that were answered.
    pub(crate) fn replies(&self) -> usize {
        self.rounds.iter().filter(|round| round.reply.is_some()).count()
    }

    /// Bytes of what was said and of the results of tools.
    pub(crate) fn bytes(&self) -> usize {
        let results = |round: &Round| -> usize {
            round.calls.iter().filter_map(|call| call.result.as_ref()).map(ToolResult::bytes).sum()
        };
        let said = |round: &Round| round.reply.as_ref().map_or(0, ModelResult::bytes);
        self.rounds.iter().map(|round| said(round) + results(round)).sum()
    }

    /// The text of the last answer.
    pub(crate) fn last_reply(&self) -> Option<&str> {
        self.rounds.last()?.reply.as_ref().map(|reply| reply.text.as_str())
    }

    /// The last text that is not empty.
    pub(crate) fn last_text(&self) -> Option<&str> {
        let replies = self.rounds.iter().rev().filter_map(|round| round.reply.as_ref());
        replies.map(|reply| reply.text.as_str()).find(|text| !text.is_empty())
    }
}

fn read<T: DeserializeOwned>(row: &Recorded, value: &serde_json::Value) -> Result<T, String> {
    T::deserialize(value)
        .map_err(|error| format!("call {} of step {} cannot be read: {error}", row.call, row.step))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn model(step: i32, status: StepStatus, calls: usize) -> Recorded {
        let call = |n| json!({"id": format!("call_{n}"), "name": "t", "arguments": {}});
        let calls: Vec<Value> = (1..=calls).map(call).collect();
        Recorded {
            step,
            call: 0,
            kind: StepKind::Llm,
            status,
            attempt: 1,
            request: json!({"message_id": "m", "iteration_id": format!("i{step}")}),
            result: match status {
                StepStatus::Ok => json!({
                    "message_id": "m", "text": format!("text {step}"), "calls": calls,
                    "finish": "done", "usage": crate::engine::attempt::Usage::default()
                }),
                _ => Value::Null,
            },
        }
    }

    fn tool(step: i32, call: i32, status: StepStatus) -> Recorded {
        let at = crate::kernel::Timestamp(0);
        Recorded {
            step,
            call,
            kind: StepKind::Tool,
            status,
            attempt: 1,
            request: json!({"call_id": "c", "name": "t", "arguments": {}, "requested_at": at}),
            result: match status {
                StepStatus::Started => Value::Null,
                _ => json!({"message_id": "m", "result": call, "attempts": 1, "latency_ms": 0}),
            },
        }
    }

    fn next(history: &[Recorded]) -> Next {
        Thread::fold(history).unwrap().next()
    }

    #[test]
    fn the_journal_says_what_is_next() {
        use StepStatus::{Ok, Started, Unknown};
        assert_eq!(next(&[]), Next::Begin);
        assert_eq!(next(&[model(0, Started, 0)]), Next::Model);
        assert_eq!(next(&[model(0, Ok, 0)]), Next::Over);
        let asked = [model(0, Ok, 2), tool(0, 1, Started), tool(0, 2, Started)];
        assert_eq!(next(&asked), Next::Tools);
        assert_eq!(next(&[model(0, Ok, 2)]), Next::Tools, "an intent may be missing");
        let half = [model(0, Ok, 2), tool(0, 2, Ok)];
        assert_eq!(next(&half), Next::Tools);
        let done = [model(0, Ok, 2), tool(0, 1, Ok), tool(0, 2, Unknown)];
        assert_eq!(next(&done), Next::Round);
        let again = [model(0, Ok, 1), tool(0, 1, Ok), model(1, Started, 0)];
        assert_eq!(next(&again), Next::Model);
    }

    #[test]
    fn a_thread_counts_its_answers_and_keeps_the_last_text() {
        let history = [
            model(0, StepStatus::Ok, 1),
            tool(0, 1, StepStatus::Ok),
            model(1, StepStatus::Started, 0),
        ];
        let thread = Thread::fold(&history).unwrap();
        assert_eq!((thread.replies(), thread.last_text()), (1, Some("text 0")));
        assert_eq!(thread.rounds[1].iteration_id, "i1");
    }

    #[test]
    fn a_journal_that_makes_no_sense_is_refused() {
        assert!(Thread::fold(&[model(1, StepStatus::Ok, 0)]).is_err());
        assert!(Thread::fold(&[tool(0, 1, StepStatus::Ok)]).is_err());
        assert!(Thread::fold(&[model(0, StepStatus::Ok, 2), tool(0, 3, StepStatus::Ok)]).is_err());
        let mut odd = model(0, StepStatus::Ok, 0);
        odd.result = json!({});
        assert!(Thread::fold(&[odd]).is_err());
    }
}
