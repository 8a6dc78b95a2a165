//! Who calls, and what is theirs. Made by `gateway/auth.rs` from a key, read by every service.

use uuid::Uuid;

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

/// The owner of data. Every question to the store begins with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Project.
    pub project: Uuid,
    /// Environment of the project.
    pub environment: Environment,
}

/// What a key may do. `Admin` includes `Run`, which includes `Read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Reads.
    Read,
    /// Runs published agents.
    Run,
    /// Everything.
    Admin,
}

impl Grant {
    /// The word for it in SQL, proto options and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
        }
    }

    /// The grant with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "run" => Some(Self::Run),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// An authenticated caller: in the extensions of every request that reaches a service.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Key that authenticated the call.
    pub key_id: Uuid,
    /// What the caller owns.
    pub scope: Scope,
    /// What the key may do.
    pub grants: Vec<Grant>,
}

impl Caller {
    /// True when the key may do this: it has the grant, or a greater one.
    #[must_use]
    pub fn may(&self, grant: Grant) -> bool {
        self.grants.iter().any(|have| *have >= grant)
    }

    /// True when the key sees agents that are not published: it has `read` or `admin` itself.
    #[must_use]
    pub fn sees_unpublished(&self) -> bool {
        self.grants.iter().any(|have| *have != Grant::Run)
    }
}
