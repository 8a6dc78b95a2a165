//! What each key may do, written down from `api.md` and the keys' documentation, and not from the
//! product's own table: the two check each other.

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// A project's environment.
    Project,
    /// An organisation.
    Organisation,
    /// The server.
    Operator,
}

/// Scope; wide scopes that hold it at a project's, an organisation's and the server's level, `-`
/// where no key can have it; whether it may be narrowed to one agent.
type Row = (&'static str, &'static str, &'static str, &'static str, bool);

const TABLE: [Row; 12] = [
    ("agents:read", "read run admin", "read run admin", "-", true),
    ("agents:write", "admin", "-", "-", true),
    ("runs:create", "run admin", "run admin", "-", true),
    ("runs:read", "read run admin", "read run admin", "-", true),
    ("runs:write", "run admin", "run admin", "-", true),
    ("keys:read", "admin", "admin", "operator", false),
    ("keys:write", "admin", "admin", "operator", false),
    ("organisations:read", "-", "-", "operator", false),
    ("organisations:write", "-", "-", "operator", false),
    ("projects:read", "-", "-", "operator", false),
    ("projects:write", "-", "-", "operator", false),
    ("self", "read run admin", "read run admin", "operator", false),
];

/// Two agents, for scopes that are narrowed.
pub(super) const AGENTS: [&str; 2] =
    ["agt_00000000000000000000000005", "agt_00000000000000000000000006"];

impl Level {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Project, Self::Organisation, Self::Operator];

    fn wide(self) -> &'static [&'static str] {
        match self {
            Self::Project | Self::Organisation => &["read", "run", "admin"],
            Self::Operator => &["operator"],
        }
    }

    /// Everything that a key of this level can be given, narrowed to either agent too.
    pub(super) fn grants(self) -> Vec<String> {
        let mut grants: Vec<_> = self.wide().iter().map(|word| (*word).to_owned()).collect();
        for (scope, narrows) in self.scopes().into_iter().filter(|(scope, _)| *scope != "self") {
            grants.push(scope.to_owned());
            if narrows {
                grants.extend(AGENTS.map(|agent| format!("{scope}:{agent}")));
            }
        }
        grants
    }

    fn scopes(self) -> Vec<(&'static str, bool)> {
        let rows = TABLE.iter().filter(|row| self.column(row) != "-");
        rows.map(|row| (row.0, row.4)).collect()
    }

    fn column(self, row: &Row) -> &'static str {
        match self {
            Self::Project => row.1,
            Self::Organisation => row.2,
            Self::Operator => row.3,
        }
    }

    /// What is meant by a grant: scopes, each for all agents or for one.
    fn meant(self, grant: &str) -> Vec<(&'static str, Option<String>)> {
        let rows = TABLE.iter().filter(|row| row.0 != "self" && self.column(row) != "-");
        rows.filter_map(|row| {
            let wide = self.column(row).split(' ').any(|word| word == grant);
            let rest = grant.strip_prefix(row.0);
            match rest {
                _ if wide => Some((row.0, None)),
                Some("") => Some((row.0, None)),
                Some(rest) => Some((row.0, Some(rest.trim_start_matches(':').to_owned()))),
                None => None,
            }
        })
        .collect()
    }

    /// True when a key with this grant may call what needs this scope, on some agent at least.
    pub(super) fn may(self, grant: &str, scope: &str) -> bool {
        let row = TABLE.iter().find(|row| row.0 == scope);
        let row = row.unwrap_or_else(|| {
            panic!("{scope} is no scope: add a row to TABLE in tests/isolation/table.rs")
        });
        if scope == "self" {
            return self.column(row) != "-";
        }
        self.meant(grant).iter().any(|(meant, _)| *meant == scope)
    }

    /// True when a key with this grant may give the other.
    pub(super) fn may_give(self, grant: &str, other: &str) -> bool {
        let have = self.meant(grant);
        self.meant(other).iter().all(|asked| {
            have.iter()
                .any(|(scope, agent)| *scope == asked.0 && (agent.is_none() || *agent == asked.1))
        })
    }
}

#[test]
fn the_table_says_what_is_meant() {
    let narrow = format!("runs:create:{}", AGENTS[0]);
    assert!(Level::Project.may("run", "runs:create") && Level::Project.may(&narrow, "runs:create"));
    assert!(!Level::Project.may("read", "runs:create") && Level::Project.may(&narrow, "self"));
    assert!(Level::Project.may_give("admin", &narrow) && !Level::Project.may_give(&narrow, "run"));
    assert!(!Level::Organisation.may("admin", "agents:write"));
    let grants = Level::Project.grants();
    assert!(grants.len() == 20 && grants.contains(&narrow), "{grants:?}");
}
