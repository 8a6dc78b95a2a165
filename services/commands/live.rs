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
    is_away: bool,
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
    since: Instant,
    status: &'static str,
    steps: u32,
    tokens: u32,
}

impl Live {
    /// Nothing is shown yet.
    pub(super) fn new(form: Form) -> Self {
        let (on, shared) = (form == Form::Text && stderr().is_terminal(), stdout().is_terminal());
        let (drawn, since, status) = (false, Instant::now(), "connecting");
        let progress = Progress { on, shared, drawn, since, status, steps: 0, tokens: 0 };
        Self { form, progress, text: Text::default(), is_away: false }
    }

    /// Shows an event; the end of the run when it was that.
    pub(super) fn event(&mut self, event: pb::RunEvent) -> Outcome<Option<Ended>> {
        self.is_away = false;
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
        self.progress.status = "waiting for the server";
        if !self.is_away {
            self.note("the stream has broken off; taking it up again");
        }
        self.is_away = true;
        self.draw();
    }

    /// Leaves nothing on the screen that is not to stay.
    pub(super) fn over(&mut self) {
        self.progress.clear();
        self.progress.on = false;
    }

    fn show(&mut self, data: &Data) -> Outcome<()> {
        match data {
            Data::Token(token) => self.token(token),
            Data::Step(message) if message.role == "assistant" => self.step(message),
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

    /// Shows what of a piece of text was not shown yet.
    fn token(&mut self, token: &pb::Token) -> Outcome<()> {
        if token.step_id != self.text.step_id {
            self.break_line()?;
            self.text = Text { step_id: token.step_id.clone(), ..Text::default() };
        }
        let (have, from) = (self.text.shown.len(), usize::try_from(token.offset).unwrap_or(0));
        // What is missing before it comes with the whole message.
        let new = have.checked_sub(from).and_then(|known| token.delta.get(known..));
        self.text.add(new.unwrap_or_default())
    }

    /// Shows the rest of a message, or all of it where something else was shown.
    fn step(&mut self, message: &pb::Message) -> Outcome<()> {
        if message.id != self.text.step_id {
            self.break_line()?;
            self.text = Text { step_id: message.id.clone(), ..Text::default() };
        }
        if let Some(rest) = message.content.strip_prefix(self.text.shown.as_str()) {
            self.text.add(rest)?;
        } else {
            self.break_line()?;
            self.text.shown.clear();
            self.text.add(&message.content)?;
        }
        self.break_line()
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
        if std::mem::take(&mut self.text.open) { output::print("\n") } else { Ok(()) }
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
    fn add(&mut self, text: &str) -> Outcome<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.shown.push_str(text);
        self.open = !text.ends_with('\n');
        match stdout().is_terminal() {
            true => output::print(&output::clean(text)),
            false => output::print(text),
        }
    }
}

impl Progress {
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
        let (status, step, tokens) = (self.status, self.steps + 1, self.tokens);
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
