//! Conversations: the place of a new run among those of its session, and what an earlier run of it
//! has said to a later one. Called by `create.rs` and at a claim. Never copies what was said.

use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use super::Engine;
use super::attempt::{Earlier, EarlierCall};
use super::cancel::{AskedCancel, Requested, complete, request};
use crate::kernel::{Error, Reason, Result, Timestamp};
use crate::store::Tx;
use crate::store::moves::Started;
use crate::store::sessions::{self, Session};

/// Most runs that one creation interrupts: they are cancelled in its transaction.
const INTERRUPTED_MAX: usize = 100;
/// How much more is read than may be told, and how much at least: messages are kept with their ids,
/// and with instructions that are not told.
const KEPT_FACTOR: usize = 4;
const KEPT_BYTES: usize = 64 << 10;

/// What becomes of a new run while another one of its session lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSessionBusy {
    /// It waits behind it.
    #[default]
    Queue,
    /// It is not created.
    Reject,
    /// The others are cancelled, and it goes when they have ended.
    Interrupt,
}

/// A run that a new one has interrupted.
#[derive(Debug)]
pub struct Interrupted {
    pub(super) asked: AskedCancel,
}

impl Interrupted {
    /// The run.
    #[must_use]
    pub fn run_id(&self) -> Uuid {
        self.asked.run_id()
    }
}

/// Where a new run stands in its session.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// From 1; 0 without a session.
    pub(super) turn: i64,
    /// Another run of the session goes first.
    pub(super) behind: bool,
    /// Runs that are to make room for it.
    pub(super) interrupted: Vec<Interrupted>,
}

/// Takes the next place in a session, which nobody else takes before the transaction ends.
pub(super) async fn join(
    tx: &Tx,
    session: &Session,
    on_busy: OnSessionBusy,
    now: Timestamp,
) -> Result<Place> {
    sessions::take_turns_creating(tx, session).await?;
    let interrupts = on_busy == OnSessionBusy::Interrupt;
    let asked = if interrupts { ask_all(tx, session, now).await? } else { Vec::new() };
    sessions::take_turns_ending(tx, session).await?;
    let mut interrupted = Vec::with_capacity(asked.len());
    // The last first: so none of them gets the turn of one before it.
    for requested in asked.into_iter().rev() {
        interrupted.push(Interrupted { asked: complete(tx, requested, now).await? });
    }
    let behind = sessions::is_busy(tx, session).await?;
    if behind && on_busy == OnSessionBusy::Reject {
        return Err(busy("another run of the session has not ended".to_owned()));
    }
    let turn = sessions::next_turn(tx, session).await?;
    Ok(Place { turn, behind, interrupted })
}

/// Says of every live run of the session that it is to be cancelled, before the turns are taken
/// that whoever ends a run takes with its row in hand. Those that are being cancelled are held too:
/// whoever ends one may wait for the row of the next.
async fn ask_all(tx: &Tx, session: &Session, now: Timestamp) -> Result<Vec<Requested>> {
    let most = i64::try_from(INTERRUPTED_MAX + 1).unwrap_or(i64::MAX);
    let live = sessions::hold_live(tx, session, most).await?;
    if live.len() > INTERRUPTED_MAX {
        let text = format!("more than {INTERRUPTED_MAX} runs of the session have not ended");
        return Err(busy(text).with("limit", INTERRUPTED_MAX.to_string()));
    }
    let mut asked = Vec::with_capacity(live.len());
    for run in live.into_iter().filter(|run| run.goes_on) {
        if let Some(requested) = request(tx, session.scope, run.run_id, now).await? {
            asked.push(requested);
        }
    }
    Ok(asked)
}

fn busy(message: String) -> Error {
    Error::new(Reason::SessionBusy, message).with("retry_after_s", "1")
}

impl Engine {
    /// Makes runs ready that wait behind none, as a version leaves them that knows no sessions; how
    /// many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn free_stranded(&self) -> Result<usize> {
        let (stranded, now) = (sessions::stranded(self.store().read()).await?, self.now());
        let mut freed = 0;
        for session in stranded {
            let session = Arc::new(session);
            let gone_on = self.store().tx("engine.free_stranded", move |tx| {
                let session = Arc::clone(&session);
                Box::pin(async move { sessions::go_on(tx, &session, now).await })
            });
            freed += usize::from(gone_on.await?);
        }
        if freed > 0 {
            tracing::warn!(runs = freed, "runs waited behind others that were no more");
            self.ready();
        }
        Ok(freed)
    }

    /// Most runs of its session that a run has to do with when it is created, itself among them:
    /// those that it is told of, or as many that live.
    #[must_use]
    pub fn session_runs_max(&self) -> i64 {
        i64::try_from(self.config().history_runs_max + 1).unwrap_or(i64::MAX)
    }

    /// What was said in earlier runs of a run's session. They have all ended, so it is the same
    /// whenever it is asked.
    pub(super) async fn earlier(&self, run: &Started) -> Result<Arc<[Earlier]>> {
        let Some((session, turn)) = &run.session else { return Ok(Arc::default()) };
        let config = self.config();
        let (runs_max, bytes_max) = (config.history_runs_max, config.history_bytes_max);
        let most = i64::try_from(runs_max).unwrap_or(i64::MAX);
        let conn = self.store().read();
        let sized = sessions::before(conn, session, *turn, most).await?;
        let runs = newest(&sized, bytes_max.saturating_mul(KEPT_FACTOR).max(KEPT_BYTES));
        let mut messages = sessions::messages(conn, &runs).await?;
        let newest_first = runs.iter().map(|run| messages.remove(run).unwrap_or_default());
        told(newest_first, bytes_max).map(Into::into).map_err(Error::internal)
    }
}

/// The first runs that fit together.
fn newest(sized: &[(Uuid, i64)], bytes_max: usize) -> Vec<Uuid> {
    let mut left = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let fits = |(run_id, bytes): &(Uuid, i64)| {
        left -= bytes;
        (left >= 0).then_some(*run_id)
    };
    sized.iter().map_while(fits).collect()
}

/// What runs have said, the oldest first, of the newest that fit together.
fn told(
    newest_first: impl Iterator<Item = Vec<String>>,
    bytes_max: usize,
) -> Result<Vec<Earlier>, serde_json::Error> {
    let (mut runs, mut left) = (Vec::new(), bytes_max);
    for messages in newest_first {
        let messages = messages.iter().map(|text| serde_json::from_str(text));
        let run = whole(messages.collect::<Result<Vec<Message>, _>>()?);
        let Some(rest) = left.checked_sub(run.iter().map(Earlier::bytes).sum()) else { break };
        left = rest;
        runs.push(run);
    }
    Ok(runs.into_iter().rev().flatten().collect())
}

/// A message as the event `step` has it.
#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    tool_calls: Vec<EarlierCall>,
    #[serde(default)]
    tool_call_id: String,
}

/// An answer of the model, and what it was told of its calls.
#[derive(Debug)]
struct Round {
    text: String,
    calls: Vec<EarlierCall>,
    results: Vec<(String, String)>,
}

/// What a run has said as far as it is whole: every call has its result. Nothing when the model has
/// not answered.
fn whole(messages: Vec<Message>) -> Vec<Earlier> {
    let (mut input, mut rounds): (_, Vec<Round>) = (String::new(), Vec::new());
    for Message { role, content, tool_calls, tool_call_id } in messages {
        match role.as_str() {
            "user" => input = content,
            "assistant" => {
                rounds.push(Round { text: content, calls: tool_calls, results: Vec::new() });
            }
            "tool" => {
                if let Some(round) = rounds.last_mut() {
                    round.results.push((tool_call_id, content));
                }
            }
            _ => {}
        }
    }
    let mut said = vec![Earlier::User(input)];
    for round in rounds {
        let Some(mut results) = round.told() else { break };
        said.push(Earlier::Assistant(round.text, round.calls));
        said.append(&mut results);
    }
    if said.len() == 1 { Vec::new() } else { said }
}

impl Round {
    /// What the model was told of each call; `None` when one has no result.
    fn told(&self) -> Option<Vec<Earlier>> {
        let told = |call: &EarlierCall| {
            let (_, text) = self.results.iter().find(|(id, _)| *id == call.id)?;
            Some(Earlier::Tool(call.clone(), text.clone()))
        };
        self.calls.iter().map(told).collect()
    }
}

impl Earlier {
    /// Bytes of what it says.
    fn bytes(&self) -> usize {
        let asks = |call: &EarlierCall| {
            call.name.len() + serde_json::to_string(&call.arguments).map_or(0, |json| json.len())
        };
        match self {
            Self::User(text) | Self::Tool(_, text) => text.len(),
            Self::Assistant(text, calls) => text.len() + calls.iter().map(asks).sum::<usize>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn said(role: &str, content: &str) -> String {
        json!({"id": "stp_1", "role": role, "content": content, "iteration_id": "i"}).to_string()
    }

    fn asks(ids: &[&str]) -> String {
        let call = |id: &&str| json!({"id": id, "name": "add", "arguments": {}});
        let calls: Vec<_> = ids.iter().map(call).collect();
        json!({"role": "assistant", "content": "", "tool_calls": calls}).to_string()
    }

    fn result(id: &str, content: &str) -> String {
        json!({"role": "tool", "content": content, "tool_call_id": id, "name": "add"}).to_string()
    }

    fn call(id: &str) -> EarlierCall {
        EarlierCall { id: id.to_owned(), name: "add".to_owned(), arguments: Map::new() }
    }

    fn of(runs: &[Vec<String>], bytes_max: usize) -> Vec<Earlier> {
        told(runs.iter().rev().cloned(), bytes_max).unwrap()
    }

    fn words(earlier: &[Earlier]) -> Vec<String> {
        let words = |one: &Earlier| match one {
            Earlier::User(text) => format!("user {text}"),
            Earlier::Assistant(text, calls) => format!("assistant {text}{}", calls.len()),
            Earlier::Tool(call, text) => format!("{} {text}", call.id),
        };
        earlier.iter().map(words).collect()
    }

    #[test]
    fn instructions_are_not_told_and_the_oldest_comes_first() {
        let first = vec![said("system", "Be."), said("user", "a"), said("assistant", "A")];
        let second = vec![said("system", "Be."), said("user", "b"), said("assistant", "B")];
        let told = of(&[first, second], 1000);
        assert_eq!(words(&told), ["user a", "assistant A0", "user b", "assistant B0"]);
    }

    #[test]
    fn only_whole_exchanges_are_told() {
        let open = |more: Vec<String>| {
            let start = vec![said("user", "a"), asks(&["c1", "c2"]), result("c2", "2")];
            words(&of(&[[start, more].concat()], 1000))
        };
        assert!(open(Vec::new()).is_empty(), "nothing is left of an exchange that is not whole");
        let whole = ["user a", "assistant 2", "c1 1", "c2 2"];
        assert_eq!(open(vec![result("c1", "1")]), whole, "in the order of the calls");
        let more = open(vec![result("c1", "1"), said("assistant", "x"), asks(&["c3"])]);
        assert_eq!(more, [&whole[..], &["assistant x0"]].concat());
        assert!(of(&[vec![said("user", "a")]], 1000).is_empty(), "nobody has answered");
        let silent = of(&[vec![said("assistant", "x")]], 1000);
        assert_eq!(words(&silent), ["user ", "assistant x0"]);
    }

    #[test]
    fn the_newest_runs_that_fit_are_told_whole() {
        let run = |text: &str| vec![said("user", text), said("assistant", text)];
        let runs = [run("aaaa"), run("bb"), run("cc")];
        assert_eq!(words(&of(&runs, 8)), ["user bb", "assistant bb0", "user cc", "assistant cc0"]);
        assert_eq!(of(&runs, 16).len(), 6);
        assert!(of(&runs, 3).is_empty());
        let sized = [(Uuid::nil(), 5), (Uuid::max(), 5), (Uuid::nil(), 1)];
        assert_eq!(newest(&sized, 9), [Uuid::nil()], "none older than one that does not fit");
        let asked = Earlier::Assistant("ab".to_owned(), vec![call("c")]);
        assert_eq!(asked.bytes(), 2 + 3 + 2);
    }
}
