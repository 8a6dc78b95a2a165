//! What a follower shows of a run: the text as it comes on the standard output; tools, states and a
//! line of progress on the standard error. Knows what it has shown, so text that comes again after
//! a broken stream is shown once. Never calls a server.

use std::io::{IsTerminal, stderr, stdout};

use serde_json::Value;
use tokio::time::Instant;

use super::exit::Outcome;
use super::output::{self, Form};
use super::table::shortened;
use crate::kernel::json;
use crate::proto::codec::JsonEnum;
use crate::proto::runplane::v1 as pb;
use pb::run_event::Data;

/// Most characters of a tool's arguments or result.
const SHOWN: usize = 200;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    /// Its last state.
    pub(super) status: pb::RunStatus,
    /// Why, where it was not completed.
    pub(super) why: Option<String>,
}

/// What is shown of one run.
#[derive(Debug)]
pub(super) struct Live {
    form: Form,
    progress: Progress,
    text: Text,
}

/// The message that is being written.
#[derive(Debug, Default)]
struct Text {
    step_id: String,
    /// What of it was shown.
    shown: String,
    /// True while its line may go on.
    open: bool,
}

/// The line of progress.
#[derive(Debug)]
struct Progress {
    /// False where nobody watches.
    on: bool,
    /// True where text and progress go to one screen.
    shared: bool,
    drawn: bool,
    /// True while there is no server.
    is_away: bool,
    since: Instant,
    status: &'static str,
    steps: u32,
    tokens: u32,
}

impl Live {
    /// Nothing is shown yet.
    pub(super) fn new(form: Form) -> Self {
        let (on, shared) = (form == Form::Text && stderr().is_terminal(), stdout().is_terminal());
        let progress = Progress { on, shared, ..Progress::new() };
        Self { form, progress, text: Text::default() }
    }

    /// Shows an event; the end of the run when it was that.
    pub(super) fn event(&mut self, event: pb::RunEvent) -> Outcome<Option<Ended>> {
        self.progress.is_away = false;
        let Some(data) = &event.data else { return Ok(None) };
        let ended = ended(data);
        if self.form == Form::Json {
            output::json(&event)?;
            return Ok(ended);
        }
        self.progress.clear();
        self.progress.count(data);
        self.show(data)?;
        if ended.is_some() {
            self.over();
        } else {
            self.draw();
        }
        Ok(ended)
    }

    /// Draws the progress, where that disturbs no line of text.
    pub(super) fn draw(&mut self) {
        if !(self.text.open && self.progress.shared) {
            self.progress.draw();
        }
    }

    /// Tells once that the server is away.
    pub(super) fn away(&mut self) {
        if !std::mem::replace(&mut self.progress.is_away, true) {
            self.note("the stream has broken off; taking it up again");
        }
        self.draw();
    }

    /// Leaves nothing on the screen that is not to stay.
    pub(super) fn over(&mut self) {
        self.progress.clear();
        self.progress.on = false;
    }

    fn show(&mut self, data: &Data) -> Outcome<()> {
        match data {
            Data::Token(token) => written(&self.text.token(token)),
            Data::Step(message) if message.role == "assistant" => written(&self.text.step(message)),
            Data::ToolRequested(call) => {
                let args = call.args.clone().map(json::from_struct).unwrap_or_default();
                self.tell(&format!("-> {} {}", call.tool, short(&Value::Object(args))))
            }
            Data::ToolCompleted(call) => {
                let result = call.result.clone().map(json::from_value).unwrap_or_default();
                self.tell(&format!("<- {} {} ({} ms)", call.tool, short(&result), call.latency_ms))
            }
            Data::ToolFailed(call) => {
                let error = call.error.clone().unwrap_or_default();
                self.tell(&format!("<- {} failed: {}: {}", call.tool, error.code, error.message))
            }
            Data::RunResumed(_) => {
                let was_open = self.text.open;
                self.break_line()?;
                self.text = Text::default();
                let void = if was_open { "; the text above is void" } else { "" };
                self.tell(&format!("another worker goes on{void}"))
            }
            Data::RunRequiresAction(change) => self.required(change),
            _ => match ended(data) {
                Some(ended) => self.tell(&format!("the run is {}", ended.status.name())),
                None => Ok(()),
            },
        }
    }

    fn required(&mut self, change: &pb::RunChange) -> Outcome<()> {
        let calls = change.required_action.iter().flat_map(|action| &action.tool_calls);
        for call in calls {
            let args = call.arguments.clone().map(json::from_struct).unwrap_or_default();
            let asked = format!("{} {}", call.name, short(&Value::Object(args)));
            let how = format!("runplane runs submit {} --output {}=JSON", change.id, call.id);
            self.tell(&format!("waits for {asked}\n   hand it over: {how}"))?;
        }
        Ok(())
    }

    fn break_line(&mut self) -> Outcome<()> {
        written(self.text.end_line())
    }

    fn tell(&mut self, text: &str) -> Outcome<()> {
        self.break_line()?;
        output::notice(&output::clean(text));
        Ok(())
    }

    /// The same of this command itself, which cannot fail for it.
    fn note(&mut self, text: &str) {
        self.progress.clear();
        let line = if self.text.open && self.progress.shared { "\n" } else { "" };
        output::notice(&format!("{line}{text}"));
    }
}

impl Text {
    /// What of a piece of text was not shown yet.
    fn token(&mut self, token: &pb::Token) -> String {
        let mut new = self.turn_to(&token.step_id);
        let (have, from) = (self.shown.len(), usize::try_from(token.offset).unwrap_or(0));
        // What is missing before it comes with the whole message.
        let rest = have.checked_sub(from).and_then(|known| token.delta.get(known..));
        self.add(rest.unwrap_or_default(), &mut new);
        new
    }

    /// The rest of a message, or all of it where something else was shown.
    fn step(&mut self, message: &pb::Message) -> String {
        let mut new = self.turn_to(&message.id);
        let rest = message.content.strip_prefix(self.shown.as_str());
        if rest.is_none() {
            new += self.end_line();
        }
        self.add(rest.unwrap_or(&message.content), &mut new);
        new + self.end_line()
    }

    /// Turns to the message of this id: what ends the line of another.
    fn turn_to(&mut self, step_id: &str) -> String {
        let end = if step_id == self.step_id { "" } else { self.end_line() };
        if step_id != self.step_id {
            *self = Self { step_id: step_id.to_owned(), ..Self::default() };
        }
        end.to_owned()
    }

    fn add(&mut self, text: &str, to: &mut String) {
        if !text.is_empty() {
            self.shown.push_str(text);
            self.open = !text.ends_with('\n');
            to.push_str(text);
        }
    }

    fn end_line(&mut self) -> &'static str {
        if std::mem::take(&mut self.open) { "\n" } else { "" }
    }
}

/// Writes text of the model.
fn written(text: &str) -> Outcome<()> {
    match text {
        "" => Ok(()),
        text if stdout().is_terminal() => output::print(&output::clean(text)),
        text => output::print(text),
    }
}

impl Progress {
    fn new() -> Self {
        Self {
            on: false,
            shared: false,
            drawn: false,
            is_away: false,
            since: Instant::now(),
            status: "connecting",
            steps: 0,
            tokens: 0,
        }
    }

    fn count(&mut self, data: &Data) {
        match data {
            Data::Token(_) => self.tokens += 1,
            Data::Step(message) if message.role == "assistant" => self.steps += 1,
            Data::RunCreated(change)
            | Data::RunInProgress(change)
            | Data::RunResumed(change)
            | Data::RunCancelling(change)
            | Data::RunRequiresAction(change) => self.status = change.status().name(),
            _ => {}
        }
    }

    fn draw(&mut self) {
        if self.on {
            self.drawn = true;
            output::whisper(&format!("\r\x1b[K{}", self.line()));
        }
    }

    fn line(&self) -> String {
        let (step, tokens) = (self.steps + 1, self.tokens);
        let status = if self.is_away { "waiting for the server" } else { self.status };
        let seconds = self.since.elapsed().as_secs();
        format!("{status} | step {step} | {seconds} s | {tokens} tokens")
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            output::whisper("\r\x1b[K");
        }
    }
}

fn ended(data: &Data) -> Option<Ended> {
    let change = match data {
        Data::RunCompleted(change)
        | Data::RunFailed(change)
        | Data::RunCancelled(change)
        | Data::RunIncomplete(change)
        | Data::RunExpired(change) => change,
        _ => return None,
    };
    let error = change.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    let why = error.or_else(|| change.incomplete_reason.clone());
    Some(Ended { status: change.status(), why })
}

fn short(value: &Value) -> String {
    shortened(&value.to_string(), SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(step_id: &str, offset: i32, delta: &str) -> pb::Token {
        pb::Token { step_id: step_id.to_owned(), offset, delta: delta.to_owned() }
    }

    fn step(id: &str, content: &str) -> pb::Message {
        pb::Message { id: id.to_owned(), content: content.to_owned(), ..pb::Message::default() }
    }

    #[test]
    fn text_that_comes_again_is_shown_once() {
        let mut text = Text::default();
        let tokens = [(0, "On"), (2, "e tw"), (0, "On"), (2, "e two"), (7, " three")];
        let shown: String =
            tokens.iter().map(|(at, new)| text.token(&token("a", *at, new))).collect();
        assert_eq!(shown, "One two three");
        assert_eq!(text.step(&step("a", "One two three.")), ".\n");
        assert_eq!(text.step(&step("b", "Next")), "Next\n");
    }

    #[test]
    fn text_that_was_missed_comes_with_its_message() {
        let mut text = Text::default();
        assert_eq!(text.token(&token("a", 0, "One ")), "One ");
        assert_eq!(text.token(&token("a", 8, "three")), "", "it would stand in a wrong place");
        assert_eq!(text.step(&step("a", "One two three")), "two three\n");
        assert_eq!(text.token(&token("b", 3, "é")), "");
        assert_eq!(text.step(&step("b", "two é")), "two é\n");
    }

    #[test]
    fn text_that_turned_out_otherwise_is_shown_whole() {
        let mut text = Text::default();
        text.token(&token("a", 0, "Wrong"));
        assert_eq!(text.step(&step("a", "Right")), "\nRight\n");
        text.token(&token("b", 0, "half"));
        assert_eq!(text.token(&token("c", 0, "whole")), "\nwhole", "another message, another line");
    }

    #[test]
    fn the_progress_says_how_far_it_is() {
        let mut progress = Progress::new();
        progress.count(&Data::RunInProgress(pb::RunChange {
            status: pb::RunStatus::InProgress.into(),
            ..pb::RunChange::default()
        }));
        progress.count(&Data::Token(token("a", 0, "x")));
        progress.count(&Data::Step(pb::Message { role: "assistant".into(), ..step("a", "x") }));
        assert_eq!(progress.line(), "in_progress | step 2 | 0 s | 1 tokens");
        progress.is_away = true;
        assert!(progress.line().starts_with("waiting for the server | step 2"));
    }
}
