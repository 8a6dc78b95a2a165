//! How a command ends: the exit codes, and a failure with what a person and a program are told of
//! it. Made by every command; shown once, by `commands::run`. Never prints by itself.

use std::io;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use tonic::Status;

use crate::kernel::reply;

/// What every command returns.
pub(super) type Outcome<T> = Result<T, Failure>;

/// The exit codes, as `runplane --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Whoever read the output has closed it: nobody is left to be told of anything.
    Closed = 0,
    /// It failed.
    Failed = 1,
    /// The arguments are wrong, or a file that they name.
    Usage = 2,
    /// The server refused the call.
    Refused = 3,
    /// The server has no such thing.
    NotFound = 4,
    /// The server does not answer, or not in time.
    Unavailable = 5,
    /// The run ended otherwise than completed.
    Run = 6,
    /// What is differs from what should be.
    Differs = 7,
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    pub(super) exit: Exit,
    /// One word: the server's reason, or a word of ours.
    code: String,
    message: String,
    request_id: String,
    details: Map<String, Value>,
}

impl Failure {
    /// A failure with this exit code.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let code = match exit {
            Exit::Closed => "closed",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::NotFound => "not_found",
            Exit::Unavailable => "unavailable",
            Exit::Run => "run_not_completed",
            Exit::Differs => "differs",
        };
        let (message, details) = (message.into(), Map::new());
        Self { exit, code: code.to_owned(), message, request_id: String::new(), details }
    }

    /// Arguments that are wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same, told of something that the message does not name.
    pub(super) fn of(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What a program is told: the error body of the REST API.
    pub(super) fn json(&self) -> String {
        let (code, message, details) = (&self.code, &self.message, &self.details);
        let request_id = &self.request_id;
        let error = json!({
            "code": code, "message": message, "request_id": request_id, "details": details
        });
        json!({ "error": error }).to_string()
    }

    /// What a person is told.
    pub(super) fn text(&self) -> String {
        let mut text = match self.exit {
            Exit::Refused | Exit::NotFound => format!("error: {}: {}", self.code, self.message),
            _ => format!("error: {}", self.message),
        };
        let facts = self.details.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        for (name, value) in facts {
            text += &format!("\n  {name}: {value}");
        }
        if !self.request_id.is_empty() {
            text += &format!("\n  request: {}", self.request_id);
        }
        text
    }

    /// True when there is nobody left to be told.
    pub(super) fn is_closed(&self) -> bool {
        self.exit == Exit::Closed
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let (reason, details) = reply::parts(&status);
        let exit = match reason.row().http {
            404 => Exit::NotFound,
            499 | 503 | 504 => Exit::Unavailable,
            400..=498 => Exit::Refused,
            _ => Exit::Failed,
        };
        let id = status.metadata().get(reply::REQUEST_ID.as_str());
        let request_id = id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let (code, message) = (reason.row().code.to_owned(), status.message().to_owned());
        Self { exit, code, message, request_id, details }
    }
}

impl From<crate::kernel::Error> for Failure {
    fn from(error: crate::kernel::Error) -> Self {
        let mut failure = Self::new(Exit::Failed, error.to_string());
        error.reason.row().code.clone_into(&mut failure.code);
        if let (crate::kernel::Reason::InternalError, Some(source)) = (error.reason, &error.source)
        {
            failure.message = source.to_string();
        }
        failure
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Failure {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}
