//! The states of a run and the lawful moves between them: a pure table. Every statement that moves
//! a run asks here first; no other file knows which move is lawful.

use crate::kernel::{Error, Result};

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for a worker.
    Queued,
    /// A worker drives it, or will go on with it.
    InProgress,
    /// Waits for the outputs of client tools.
    RequiresAction,
    /// A cancel was asked for and its worker has not confirmed it yet.
    Cancelling,
    /// Ended with a result.
    Completed,
    /// Ended by an error.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Ended by a limit.
    Incomplete,
    /// Ended because outputs came too late.
    Expired,
}

/// Every state.
pub const ALL: [Status; 9] = [
    Status::Queued,
    Status::InProgress,
    Status::RequiresAction,
    Status::Cancelling,
    Status::Completed,
    Status::Failed,
    Status::Cancelled,
    Status::Incomplete,
    Status::Expired,
];

impl Status {
    /// The word for it in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::RequiresAction => "requires_action",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Incomplete => "incomplete",
            Self::Expired => "expired",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// The type of the event that tells of the move to this state.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Self::Queued => "run.created",
            Self::InProgress => "run.in_progress",
            Self::RequiresAction => "run.requires_action",
            Self::Cancelling => "run.cancelling",
            Self::Completed => "run.completed",
            Self::Failed => "run.failed",
            Self::Cancelled => "run.cancelled",
            Self::Incomplete => "run.incomplete",
            Self::Expired => "run.expired",
        }
    }

    /// True when the run has ended: nothing moves it again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.next().is_empty()
    }

    /// The states that may follow this one.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            // Behind another run of its session its time may be over before a worker takes it.
            Self::Queued => &[Self::InProgress, Self::Incomplete, Self::Cancelling],
            Self::InProgress => &[
                Self::RequiresAction,
                Self::Completed,
                Self::Failed,
                Self::Incomplete,
                Self::Cancelling,
            ],
            Self::RequiresAction => {
                &[Self::InProgress, Self::Incomplete, Self::Expired, Self::Cancelling]
            }
            Self::Cancelling => &[Self::Cancelled],
            Self::Completed | Self::Failed | Self::Cancelled | Self::Incomplete | Self::Expired => {
                &[]
            }
        }
    }

    /// The state after the move; an internal error when the move is not lawful.
    pub fn to(self, next: Self) -> Result<Self> {
        if self.next().contains(&next) {
            return Ok(next);
        }
        let (from, to) = (self.as_str(), next.as_str());
        Err(Error::internal(format!("a run may not move from {from} to {to}")))
    }
}

/// The states that a claim may find a run in: it waits for its first worker, or for another one.
pub const CLAIMABLE: [Status; 2] = [Status::Queued, Status::InProgress];

/// Words of the states from which this one may follow.
#[must_use]
pub fn sources(next: Status) -> Vec<&'static str> {
    let sources = ALL.into_iter().filter(|status| status.next().contains(&next));
    sources.map(Status::as_str).collect()
}

/// True when the event with this type ends a run's log.
#[must_use]
pub fn ends_log(event: &str) -> bool {
    ALL.into_iter().any(|status| status.is_terminal() && status.event() == event)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Status::{
        Cancelled, Cancelling, Completed, Expired, Failed, InProgress, Incomplete, Queued,
        RequiresAction,
    };
    use super::*;

    #[test]
    fn exactly_these_moves_are_lawful() {
        let lawful: HashSet<(Status, Status)> = HashSet::from([
            (Queued, InProgress),
            (Queued, Incomplete),
            (Queued, Cancelling),
            (InProgress, RequiresAction),
            (InProgress, Completed),
            (InProgress, Failed),
            (InProgress, Incomplete),
            (InProgress, Cancelling),
            (RequiresAction, InProgress),
            (RequiresAction, Incomplete),
            (RequiresAction, Expired),
            (RequiresAction, Cancelling),
            (Cancelling, Cancelled),
        ]);
        for from in ALL {
            for to in ALL {
                assert_eq!(from.to(to).is_ok(), lawful.contains(&(from, to)), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn the_last_five_are_terminal_and_never_change() {
        for status in ALL {
            let terminal = [Completed, Failed, Cancelled, Incomplete, Expired].contains(&status);
            assert_eq!(status.is_terminal(), terminal, "{status:?}");
            assert_eq!(ends_log(status.event()), terminal, "{status:?}");
        }
        for event in ["step", "tool.requested", "token", "run.resumed", ""] {
            assert!(!ends_log(event), "{event}");
        }
    }

    #[test]
    fn every_live_state_can_be_cancelled_and_every_state_be_reached() {
        for status in ALL {
            let cancellable = status == Cancelling || status.next().contains(&Cancelling);
            assert_eq!(cancellable, !status.is_terminal(), "{status:?}");
        }
        let (mut seen, mut todo) = (HashSet::new(), vec![Queued]);
        while let Some(status) = todo.pop() {
            if seen.insert(status) {
                todo.extend(status.next());
            }
        }
        assert_eq!(seen.len(), ALL.len());
    }

    #[test]
    fn a_claim_finds_a_run_that_may_be_in_progress_or_is() {
        for status in CLAIMABLE {
            assert!(status == InProgress || status.to(InProgress).is_ok(), "{status:?}");
        }
        assert_eq!(sources(InProgress), ["queued", "requires_action"]);
        assert_eq!(sources(Cancelled), ["cancelling"]);
    }

    #[test]
    fn a_state_reads_back_from_its_word() {
        for status in ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("QUEUED"), None);
    }
}
