//! Who calls, and what is theirs. Made by `gateway/auth.rs` from a key, read by every service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::Code;
use uuid::Uuid;

use super::call::Call;
use super::clock::Timestamp;
use super::error::{Error, Result};
use super::grants;
pub use super::grants::{Grant, Level, Reach};
use super::plan::Limits;

/// The data space that a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Environment {
    /// For trying things out.
    Test,
    /// For real work.
    Live,
}

impl Environment {
    /// The word for it in SQL, keys and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Live => "live",
        }
    }

    /// The environment with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "test" => Some(Self::Test),
            "live" => Some(Self::Live),
            _ => None,
        }
    }
}

/// The owner of data. Every question to the store begins with one. Agents and runs belong to a
/// project; keys also to an organisation, whose id stands here then, or to the server, with the nil
/// id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Project.
    pub project: Uuid,
    /// Environment of the project.
    pub environment: Environment,
}

/// An authenticated caller: in the extensions of every request that reaches a service.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Key that authenticated the call; of a session, the key that it was made from.
    pub key_id: Uuid,
    /// Session that authenticated the call.
    pub session_id: Option<Uuid>,
    /// Organisation of the key; nil for an operator's.
    pub organisation: Uuid,
    /// What the caller owns.
    pub scope: Scope,
    /// How far the key opens.
    pub level: Level,
    /// When the key or the session ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What the key may do.
    pub grants: Arc<[Grant]>,
    /// How much the key may use.
    pub limits: Arc<Limits>,
    /// The call itself.
    pub call: Arc<Call>,
    /// Whether the key still opens; for answers that go on. None: nobody asks.
    pub alive: Option<Alive>,
}

/// Makes whoever knows keys forget one or all, so that a change of them holds at once.
#[derive(Clone)]
pub struct Forget(pub Arc<dyn Fn(Option<String>) -> BoxFuture<'static, ()> + Send + Sync>);

impl Forget {
    /// Forgets the key with this public part.
    pub async fn key(&self, public: String) {
        (self.0)(Some(public)).await;
    }

    /// Forgets all keys.
    pub async fn all(&self) {
        (self.0)(None).await;
    }
}

/// Asks whether a key still opens what it opened when the call began.
#[derive(Clone)]
pub struct Alive(pub Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>);

impl fmt::Debug for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alive")
    }
}

impl Alive {
    /// Ends when the key has: why. A question that nobody could answer is asked again.
    pub async fn ended(self, every: Duration) -> Error {
        loop {
            tokio::time::sleep(every).await;
            match (self.0)().await {
                Err(error) if error.reason.row().grpc == Code::Unauthenticated => return error,
                _ => {}
            }
        }
    }
}

impl Caller {
    /// The same as a session of a key, whose limits hold.
    #[must_use]
    pub fn session_of(&self, parent: &Self) -> Self {
        let limits = Arc::clone(&parent.limits);
        let expires_at = self.expires_at.into_iter().chain(parent.expires_at).min();
        let (key_id, session_id) = (parent.key_id, Some(self.key_id));
        Self { key_id, session_id, expires_at, limits, ..self.clone() }
    }

    /// True when the key may do what needs this scope, at least on some agent.
    #[must_use]
    pub fn may(&self, scope: &str) -> bool {
        self.reach(scope).is_some()
    }

    /// How far the key goes for a scope; `None`: nowhere.
    #[must_use]
    pub fn reach(&self, scope: &str) -> Option<Reach> {
        grants::reach(&self.grants, self.level, scope)
    }

    /// True when the key may do what needs this scope on this agent.
    #[must_use]
    pub fn may_on(&self, scope: &str, agent: Uuid) -> bool {
        match self.reach(scope) {
            Some(Reach::All) => true,
            Some(Reach::Only(agents)) => agents.contains(&agent),
            None => false,
        }
    }

    /// True when the key may give this to another.
    #[must_use]
    pub fn may_give(&self, grant: Grant) -> bool {
        self.grants.iter().any(|have| have.covers(grant, self.level))
    }

    /// True when the key sees this agent, or with none every agent that it reaches, although it is
    /// not published: it is a project's, and reads it by itself and not only to run.
    #[must_use]
    pub fn sees_draft(&self, agent: Option<Uuid>) -> bool {
        let reads = || self.grants.iter().filter(|grant| grant.reads_agents());
        let by_itself = || reads().filter(|grant| **grant != Grant::RUN);
        let sees = match agent {
            Some(agent) => by_itself().any(|grant| grant.only().is_none_or(|only| only == agent)),
            // What a key reaches is all that it lists: narrow grants list their own agents alone.
            None => by_itself().any(|grant| grant.only().is_none()) || by_itself().eq(reads()),
        };
        self.level == Level::Project && sees
    }
}
