//! What `apply` has to do: documents against what a server has, matched by kind and name. Knows
//! what may be changed; changes nothing and calls nobody.

use std::collections::BTreeMap;

use serde_json::json;

use super::differ::{Difference, differences};
use super::documents::{Document, Kind, agent_fields, key_fields, of_key};
use super::exit::{Exit, Failure, Outcome};
use super::ordered::Ordered;
use crate::proto::runplane::v1 as pb;

/// Fields of a key that can be changed.
const CHANGEABLE: [&str; 2] = ["metadata", "limits"];

/// What a server has of one kind and name.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// An agent.
    Agent(Box<pb::Agent>),
    /// A key.
    Key(Box<pb::Key>),
}

/// What is to be done for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The server has no such thing.
    Create,
    /// Something is different.
    Update,
    /// Something is different that cannot be changed.
    Stuck,
    /// It is as it should be.
    Unchanged,
}

/// A document, and what is to be done for it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) document: Document,
    pub(super) found: Option<Found>,
    pub(super) differences: Vec<Difference>,
}

/// The steps, in the order of the documents but for those of one name, which stand together.
pub(super) fn plan(documents: Vec<Document>, found: Vec<Found>) -> Outcome<Vec<Step>> {
    let mut by_name: BTreeMap<(Kind, String), Vec<Found>> = BTreeMap::new();
    for found in found {
        by_name.entry((found.kind(), found.name().to_owned())).or_default().push(found);
    }
    let mut groups: Vec<((Kind, String), Vec<Document>)> = Vec::new();
    for document in documents {
        let key = (document.kind(), document.name().to_owned());
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(document),
            None => groups.push((key, vec![document])),
        }
    }
    let mut steps = Vec::new();
    for (key, group) in groups {
        steps.extend(of_name(&key.1, group, by_name.remove(&key).unwrap_or_default())?);
    }
    Ok(steps)
}

/// The steps for the documents of one name. Names need not be unique: what is as a document says
/// is taken for that; of what is left there may be one.
fn of_name(name: &str, documents: Vec<Document>, mut found: Vec<Found>) -> Outcome<Vec<Step>> {
    let (mut steps, mut left) = (Vec::new(), Vec::new());
    for document in documents {
        let mut same = None;
        for (at, found) in found.iter().enumerate() {
            if same.is_none() && document.against(found)?.is_empty() {
                same = Some(at);
            }
        }
        match same.map(|at| found.remove(at)) {
            Some(found) => steps.push(Step::new(document, Some(found))?),
            None => left.push(document),
        }
    }
    let (wanted, there) = (left.len(), found.len());
    if wanted > 1 || (wanted == 1 && there > 1) {
        let ids: Vec<_> = found.iter().map(Found::id).collect();
        let message = format!(
            "{name} is not one: {wanted} documents and {there} on the server ({}) have this name \
             and differ; give each a name of its own",
            ids.join(", ")
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    for document in left {
        steps.push(Step::new(document, found.pop())?);
    }
    Ok(steps)
}

impl Document {
    /// What is different between what a server has and this.
    fn against(&self, found: &Found) -> Outcome<Vec<Difference>> {
        match (self, found) {
            (Self::Agent(new, published), Found::Agent(old)) => {
                let mut found = differences(&agent_fields(old)?, &agent_fields(new)?);
                if let Some(published) = published.filter(|published| *published != old.published) {
                    let plain = |it: bool| Some(Ordered::Plain(it.into()));
                    let (from, to) = (plain(old.published), plain(published));
                    found.push(Difference { field: "published".to_owned(), from, to });
                }
                Ok(found)
            }
            (Self::Key(new), Found::Key(old)) => {
                let (old, new) = (key_fields(&of_key(old))?, key_fields(new)?);
                Ok(differences(&old.full(), &new.full()))
            }
            _ => Err("an agent is no key".into()),
        }
    }
}

impl Step {
    fn new(document: Document, found: Option<Found>) -> Outcome<Self> {
        let Some(found) = found else {
            let (action, differences) = (Action::Create, Vec::new());
            return Ok(Self { action, document, found: None, differences });
        };
        let differences = document.against(&found)?;
        let stuck = document.kind() == Kind::Keys
            && differences.iter().any(|it| !CHANGEABLE.contains(&top(&it.field)));
        let action = match (differences.is_empty(), stuck) {
            (true, _) => Action::Unchanged,
            (_, true) => Action::Stuck,
            _ => Action::Update,
        };
        Ok(Self { action, document, found: Some(found), differences })
    }

    /// The fields at the top that differ, each once, without `published`, which has calls of its
    /// own.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.differences.iter().map(|it| top(&it.field)).collect();
        paths.retain(|path| *path != "published");
        paths.dedup();
        paths.into_iter().map(str::to_owned).collect()
    }

    /// It for people.
    pub(super) fn text(&self) -> String {
        let kind = if self.document.kind() == Kind::Agents { "agent" } else { "key" };
        let id = self.found.as_ref().map(|found| format!(" {}", found.id())).unwrap_or_default();
        let (sign, what) = match self.action {
            Action::Create => ('+', "is missing"),
            Action::Update => ('~', "differs"),
            Action::Stuck => ('!', "differs in what no key can change: make another"),
            Action::Unchanged => ('=', "is unchanged"),
        };
        let line = format!("  {sign} {kind} {}{id} {what}\n", self.document.name());
        self.differences.iter().fold(line, |text, difference| text + &difference.text())
    }

    /// It for programs.
    pub(super) fn json(&self) -> serde_json::Value {
        let (kind, action) = (self.document.kind(), self.action);
        json!({
            "kind": if kind == Kind::Agents { "agent" } else { "key" },
            "name": self.document.name(),
            "id": self.found.as_ref().map(Found::id),
            "action": match action {
                Action::Create => "create",
                Action::Update => "update",
                Action::Stuck => "stuck",
                Action::Unchanged => "unchanged",
            },
            "differences": self.differences,
        })
    }
}

impl Found {
    fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::Agents,
            Self::Key(_) => Kind::Keys,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Key(key) => &key.name,
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.id,
            Self::Key(key) => &key.id,
        }
    }
}

/// The field at the top of a path.
fn top(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}
