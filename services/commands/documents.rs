//! Agents and keys as documents for review in git: what `export` writes and `apply` reads. A
//! document is the whole of an agent's definition, or all of a key but its secret. Never calls a
//! server.

use std::path::Path;

use super::exit::{Failure, Outcome};
use super::input;
use super::ordered::Ordered;
use crate::agents;
use crate::proto::codec::Message;
use crate::proto::runplane::v1 as pb;

/// What is set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// Definitions of agents.
    Agents,
    /// Keys, without secrets.
    Keys,
}

/// One document.
#[derive(Debug, Clone)]
pub(super) enum Document {
    /// An agent, and whether it is to be published; unset: as it is.
    Agent(Box<pb::Agent>, Option<bool>),
    /// A key.
    Key(Box<pb::CreateKeyRequest>),
}

impl Document {
    /// What it is of.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Agent(..) => Kind::Agents,
            Self::Key(_) => Kind::Keys,
        }
    }

    /// The name that it is known by.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Agent(agent, _) => &agent.name,
            Self::Key(key) => &key.name,
        }
    }

    /// It as YAML.
    pub(super) fn yaml(&self) -> Outcome<String> {
        let plain = |published: bool| Ordered::Plain(published.into());
        let mut members = Vec::new();
        match self {
            Self::Agent(agent, published) => {
                members.push(("agent".to_owned(), agent_fields(agent)?.full()));
                members.extend(published.map(|it| ("published".to_owned(), plain(it))));
            }
            Self::Key(key) => members.push(("key".to_owned(), key_fields(key)?.full())),
        }
        Ordered::Map(members).yaml()
    }

    /// Reads one, and refuses what could never be applied.
    fn read(document: &Ordered, of: &str) -> Outcome<Self> {
        let wrong = |what: &str| Failure::usage(format!("{of}: {what}"));
        let Ordered::Map(members) = document else {
            return Err(wrong("a document must have agent: or key:"));
        };
        let known = ["agent", "published", "key"];
        if let Some((odd, _)) = members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(wrong(&format!("{odd} is unknown beside agent, published and key")));
        }
        let published = match document.get("published") {
            None => None,
            Some(Ordered::Plain(serde_json::Value::Bool(published))) => Some(*published),
            Some(_) => return Err(wrong("published must be true or false")),
        };
        match (document.get("agent"), document.get("key"), published) {
            (Some(agent), None, published) => {
                let agent = input::message(agent, &format!("{of}: agent"))?;
                let normal = agents::normal(agent).map_err(|error| wrong(&error.message))?;
                Ok(Self::Agent(Box::new(normal), published))
            }
            (None, Some(key), None) => {
                let key: pb::CreateKeyRequest = input::message(key, &format!("{of}: key"))?;
                if key.name.is_empty() {
                    return Err(wrong("key.name is required"));
                }
                Ok(Self::Key(Box::new(key)))
            }
            _ => Err(wrong("a document must have either agent: or key:")),
        }
    }
}

/// The fields of an agent that a document has.
pub(super) fn agent_fields(agent: &pb::Agent) -> Outcome<Ordered> {
    let table = pb::Agent::table().fields.iter();
    let set_by_server: Vec<_> = table.filter(|f| f.output_only).map(|f| f.written).collect();
    let Ordered::Map(mut members) = Ordered::of(agent)?.without(&set_by_server) else {
        return Err("an agent is no object".into());
    };
    let tools = members.iter_mut().filter(|(name, _)| name == "tools");
    for (_, tools) in tools {
        if let Ordered::List(tools) = tools {
            let plain = std::mem::take(tools).into_iter().map(|tool| tool.without(&["kind"]));
            *tools = plain.collect();
        }
    }
    Ok(Ordered::Map(members))
}

/// The fields of a key that a document has.
pub(super) fn key_fields(key: &pb::CreateKeyRequest) -> Outcome<Ordered> {
    let mut key = key.clone();
    key.scopes.sort();
    Ok(Ordered::of(&key)?.without(&["environment", "project_id", "organisation_id"]))
}

/// A key as a document has it.
pub(super) fn of_key(key: &pb::Key) -> pb::CreateKeyRequest {
    pb::CreateKeyRequest {
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        expires_at: key.expires_at,
        metadata: key.metadata.clone(),
        limits: key.limits.clone(),
        ..Default::default()
    }
}

/// The documents of a file, of all files in a folder and those below, or of the standard input.
pub(super) fn read(from: &str) -> Outcome<Vec<Document>> {
    let mut files = Vec::new();
    if from != "-" && Path::new(from).is_dir() {
        below(Path::new(from), &mut files)?;
        files.sort();
    } else {
        files.push(from.to_owned());
    }
    let mut read = Vec::new();
    for file in &files {
        let documents = Ordered::documents(&input::text(file)?).map_err(|f| f.of(file))?;
        for document in &documents {
            read.push(Document::read(document, file)?);
        }
    }
    if read.is_empty() {
        return Err(Failure::usage(format!("{from} holds no documents")));
    }
    Ok(read)
}

fn below(folder: &Path, files: &mut Vec<String>) -> Outcome<()> {
    let wrong = |error: std::io::Error| Failure::usage(format!("{}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let is_read = path.extension().and_then(|end| end.to_str());
        if path.is_dir() {
            below(&path, files)?;
        } else if is_read.is_some_and(|end| ["yaml", "yml", "json"].contains(&end)) {
            files.push(path.display().to_string());
        }
    }
    Ok(())
}
