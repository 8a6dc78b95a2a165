//! What a key may do: the scopes of the contract's methods, and the grants that give them. The
//! check is made from this table and the generated one that names each method's scope.

use std::fmt;

use uuid::Uuid;

use super::ids::{self, Kind};

/// A grant that covers many scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wide {
    /// Reads agents, runs and events.
    Read,
    /// Runs published agents, and reads those and runs.
    Run,
    /// Everything within the key's space.
    Admin,
    /// Everything about organisations and projects.
    Operator,
}

/// How far a key opens: a space of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// One environment of one project.
    Project,
    /// The published agents of all projects of an organisation, in one environment.
    Organisation,
    /// The server itself: organisations and projects, and no data in them.
    Operator,
}

/// A scope: what one method needs.
struct Row {
    scope: &'static str,
    wide: &'static [Wide],
    levels: &'static [Level],
    /// True when a grant may narrow it to one agent.
    narrows: bool,
}

use Level::{Operator as Server, Organisation, Project};
use Wide::{Admin, Operator, Read, Run};

const fn row(
    scope: &'static str,
    wide: &'static [Wide],
    levels: &'static [Level],
    narrows: bool,
) -> Row {
    Row { scope, wide, levels, narrows }
}

/// Every scope of the contract; a test compares it with the methods'.
const SCOPES: &[Row] = &[
    row("agents:read", &[Read, Run, Admin], &[Project, Organisation], true),
    row("agents:write", &[Admin], &[Project], true),
    row("runs:create", &[Run, Admin], &[Project, Organisation], true),
    row("runs:read", &[Read, Run, Admin], &[Project, Organisation], true),
    row("runs:write", &[Run, Admin], &[Project, Organisation], true),
    row("keys:read", &[Admin, Operator], &[Project, Organisation, Server], false),
    row("keys:write", &[Admin, Operator], &[Project, Organisation, Server], false),
    row("organisations:read", &[Operator], &[Server], false),
    row("organisations:write", &[Operator], &[Server], false),
    row("projects:read", &[Operator], &[Server], false),
    row("projects:write", &[Operator], &[Server], false),
    row(SELF, &[Read, Run, Admin, Operator], &[Project, Organisation, Server], false),
];

/// What every key may do: ask about itself, and make sessions of itself.
pub const SELF: &str = "self";

/// What a key was given: `run`, `agents:write`, `runs:create:agt_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant(Kept);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Wide(Wide),
    /// A scope, and the one agent that it is narrowed to.
    Scope(&'static str, Option<Uuid>),
}

/// On which agents a key may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// On all of its space.
    All,
    /// On these and what is theirs; on none when there are none.
    Only(Vec<Uuid>),
}

impl Wide {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }
}

impl Level {
    /// The word for it in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Organisation => "organisation",
            Self::Operator => "operator",
        }
    }

    /// The level with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Project, Self::Organisation, Self::Operator].into_iter().find(|l| l.as_str() == word)
    }
}

impl Grant {
    /// Reads agents, runs and events.
    pub const READ: Self = Self(Kept::Wide(Read));
    /// Runs published agents.
    pub const RUN: Self = Self(Kept::Wide(Run));
    /// Everything within the key's space.
    pub const ADMIN: Self = Self(Kept::Wide(Admin));
    /// Organisations and projects.
    pub const OPERATOR: Self = Self(Kept::Wide(Operator));

    /// The grant that is written like this; `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(wide) = [Read, Run, Admin, Operator].into_iter().find(|w| w.as_str() == text) {
            return Some(Self(Kept::Wide(wide)));
        }
        let mut parts = text.splitn(3, ':');
        let (resource, verb) = (parts.next()?, parts.next()?);
        let row = SCOPES.iter().find(|row| row.scope.split_once(':') == Some((resource, verb)))?;
        let only = match parts.next() {
            None => None,
            Some(id) if row.narrows => Some(ids::parse(Kind::Agent, id)?),
            Some(_) => return None,
        };
        Some(Self(Kept::Scope(row.scope, only)))
    }

    /// The one agent that it is narrowed to; `None`: it is not.
    #[must_use]
    pub fn only(self) -> Option<Uuid> {
        match self.0 {
            Kept::Scope(_, only) => only,
            Kept::Wide(_) => None,
        }
    }

    /// True for a grant that covers many scopes.
    #[must_use]
    pub fn is_wide(self) -> bool {
        matches!(self.0, Kept::Wide(_))
    }

    /// True when it gives the reading of agents.
    #[must_use]
    pub fn reads_agents(self) -> bool {
        row_of("agents:read").is_some_and(|row| self.gives(row))
    }

    /// True when a key of this level can do anything with it.
    #[must_use]
    pub fn fits(self, level: Level) -> bool {
        match self.0 {
            Kept::Wide(Operator) => level == Server,
            Kept::Wide(_) => level != Server,
            Kept::Scope(scope, _) => row_of(scope).is_some_and(|row| row.levels.contains(&level)),
        }
    }

    /// True when whoever has this may give `other`.
    #[must_use]
    pub fn covers(self, other: Self, level: Level) -> bool {
        let scopes = SCOPES.iter().filter(|row| row.levels.contains(&level) && other.gives(row));
        let mut only = scopes.map(|row| (self.gives(row), row)).peekable();
        let narrower = match (self.0, other.0) {
            (Kept::Scope(_, Some(mine)), Kept::Scope(_, theirs)) => theirs == Some(mine),
            (Kept::Scope(_, Some(_)), Kept::Wide(_)) => false,
            _ => true,
        };
        other.fits(level) && narrower && only.peek().is_some() && only.all(|(has, _)| has)
    }

    fn gives(self, row: &Row) -> bool {
        match self.0 {
            Kept::Wide(wide) => row.wide.contains(&wide),
            Kept::Scope(scope, _) => scope == row.scope || row.scope == SELF,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kept::Wide(wide) => f.write_str(wide.as_str()),
            Kept::Scope(scope, None) => f.write_str(scope),
            Kept::Scope(scope, Some(id)) => write!(f, "{scope}:{}", ids::format(Kind::Agent, id)),
        }
    }
}

/// How far grants go for a scope, in a space of this level; `None`: they do not give it.
#[must_use]
pub fn reach(grants: &[Grant], level: Level, scope: &str) -> Option<Reach> {
    let row = row_of(scope).filter(|row| row.levels.contains(&level))?;
    let mut only = Vec::new();
    for grant in grants.iter().filter(|grant| grant.gives(row)) {
        match grant.0 {
            Kept::Scope(scope, Some(id)) if scope == row.scope => only.push(id),
            _ => return Some(Reach::All),
        }
    }
    (!only.is_empty()).then_some(Reach::Only(only))
}

/// True for a scope of the table.
#[must_use]
pub fn is_scope(scope: &str) -> bool {
    row_of(scope).is_some()
}

/// What a key of this level can be given, for whoever asked for something else.
#[must_use]
pub fn choices(level: Level) -> String {
    let wide = [Read, Run, Admin, Operator].into_iter();
    let wide = wide.filter(|wide| Grant(Kept::Wide(*wide)).fits(level)).map(Wide::as_str);
    let rows = SCOPES.iter().filter(|row| row.levels.contains(&level) && row.scope != SELF);
    wide.chain(rows.map(|row| row.scope)).collect::<Vec<_>>().join(", ")
}

fn row_of(scope: &str) -> Option<&'static Row> {
    SCOPES.iter().find(|row| row.scope == scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Grant {
        Grant::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    const AGENT: &str = "agt_00000000000000000000000005";

    #[test]
    fn a_grant_reads_back_and_nothing_else_is_one() {
        for text in ["read", "operator", "agents:write", &format!("runs:create:{AGENT}")] {
            assert_eq!(grant(text).to_string(), text);
        }
        let odd = ["", "self", "runs", "runs:", "runs:delete", "runs:create:", "Read", "agents:*"];
        let narrow = [&*format!("keys:read:{AGENT}"), "runs:create:run_00000000000000000000000005"];
        for text in odd.into_iter().chain(narrow) {
            assert_eq!(Grant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_grant_goes_as_far_as_its_level_and_its_agent() {
        let may = |text: &str, level, scope| reach(&[grant(text)], level, scope);
        assert_eq!(may("run", Project, "runs:create"), Some(Reach::All));
        assert_eq!(may("run", Project, "agents:write"), None);
        assert_eq!(may("admin", Organisation, "agents:write"), None);
        assert_eq!(may("admin", Organisation, "keys:write"), Some(Reach::All));
        assert_eq!(may("operator", Server, "runs:read"), None);
        assert_eq!(may("admin", Project, "projects:write"), None);
        let narrow = format!("runs:create:{AGENT}");
        let only = Some(Reach::Only(vec![Uuid::from_u128(5)]));
        assert_eq!(may(&narrow, Project, "runs:create"), only);
        assert_eq!(may(&narrow, Project, "runs:read"), None);
        assert_eq!(may(&narrow, Project, SELF), Some(Reach::All));
        let both = [grant(&narrow), grant("run")];
        assert_eq!(reach(&both, Project, "runs:create"), Some(Reach::All));
    }

    #[test]
    fn nobody_gives_what_he_lacks() {
        let gives = |have: &str, asked: &str| grant(have).covers(grant(asked), Project);
        let narrow = format!("runs:create:{AGENT}");
        for (have, asked) in [
            ("admin", "admin"),
            ("admin", "run"),
            ("admin", &narrow),
            ("run", "read"),
            ("run", "runs:create"),
            ("runs:create", &narrow),
            (&narrow, &narrow),
        ] {
            assert!(gives(have, asked), "{have} gives {asked}");
        }
        for (have, asked) in [
            ("run", "admin"),
            ("read", "run"),
            ("runs:create", "run"),
            (&narrow, "runs:create"),
            (&narrow, "runs:create:agt_00000000000000000000000006"),
            ("admin", "operator"),
            ("admin", "projects:read"),
        ] {
            assert!(!gives(have, asked), "{have} does not give {asked}");
        }
    }
}
