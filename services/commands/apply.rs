//! `runplane apply` and `import`: makes a server as documents say. Says first what is to be done;
//! an agent that somebody changes meanwhile is not overwritten. Nothing is ever deleted.

use clap::Args;
use prost_types::FieldMask;

use super::documents::{self, Document, Kind};
use super::exit::{Exit, Failure, Outcome};
use super::output::{self, Form};
use super::plan::{Action, Found, Step, plan};
use super::remote::{Remote, RemoteArgs};
use super::{agents, export, keys};
use crate::proto::runplane::v1 as pb;

/// How `apply` and `import` work.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    /// Tells what would be done and does nothing; the exit code is 7 when that is something.
    #[arg(long)]
    dry_run: bool,
    /// Makes keys that are missing, and prints their secrets once, as NAME=SECRET.
    #[arg(long)]
    create_keys: bool,
    /// Only documents of this kind.
    #[arg(long, value_enum)]
    only: Option<Kind>,
}

/// Applies the documents of a file, of a folder or of the standard input.
pub(super) async fn run(from: &str, options: Options) -> Outcome<()> {
    let mut documents = documents::read(from)?;
    documents.retain(|document| options.only.is_none_or(|kind| kind == document.kind()));
    let remote = options.remote.connect()?;
    let steps = plan(documents.clone(), found(&remote, &documents).await?)?;
    let form = remote.form;
    if form == Form::Text {
        steps.iter().try_for_each(|step| output::print(&step.text()))?;
        output::line(&summary(&steps))?;
    }
    for step in &steps {
        let does = !options.dry_run && options.does(step);
        if does {
            done(&remote, step).await.map_err(|failure| failure.of(step.document.name()))?;
        }
        if form == Form::Json {
            let mut told = step.json();
            told["done"] = does.into();
            output::line(&told.to_string())?;
        }
    }
    let left = steps.iter().filter(|step| {
        let is_done = !options.dry_run && options.does(step);
        step.action != Action::Unchanged && !is_done
    });
    match left.count() {
        0 => Ok(()),
        left => {
            let message = format!("{left} of {} documents are not as the server is", steps.len());
            Err(Failure::new(Exit::Differs, message))
        }
    }
}

impl Options {
    /// True for a step that is done.
    fn does(&self, step: &Step) -> bool {
        match step.action {
            Action::Create => step.document.kind() == Kind::Agents || self.create_keys,
            Action::Update => true,
            Action::Stuck | Action::Unchanged => false,
        }
    }
}

/// What the server has of the kinds that the documents are of.
async fn found(remote: &Remote, documents: &[Document]) -> Outcome<Vec<Found>> {
    let (mut found, any) = (Vec::new(), |kind| documents.iter().any(|it| it.kind() == kind));
    if any(Kind::Agents) {
        let agents = export::agents(remote).await?.into_iter();
        found.extend(agents.map(|agent| Found::Agent(Box::new(agent))));
    }
    if any(Kind::Keys) {
        let keys = export::keys(remote).await?.into_iter();
        found.extend(keys.map(|key| Found::Key(Box::new(key))));
    }
    Ok(found)
}

fn summary(steps: &[Step]) -> String {
    let count = |action| steps.iter().filter(|step| step.action == action).count();
    let (missing, differ) = (count(Action::Create), count(Action::Update) + count(Action::Stuck));
    format!("{missing} missing, {differ} different, {} unchanged", count(Action::Unchanged))
}

/// Does a step.
async fn done(remote: &Remote, step: &Step) -> Outcome<()> {
    match (&step.document, &step.found) {
        (Document::Agent(new, published), None) => {
            let agent = agents::made(remote, (**new).clone()).await?;
            if *published == Some(true) {
                agents::set(remote, &agent.id, true).await?;
            }
        }
        (Document::Agent(new, published), Some(Found::Agent(old))) => {
            let (paths, new) = (step.paths(), (old.id.clone(), (**new).clone()));
            if !paths.is_empty() {
                agents::changed(remote, new, paths, old.etag.clone()).await?;
            }
            if let Some(published) = published.filter(|it| *it != old.published) {
                agents::set(remote, &old.id, published).await?;
            }
        }
        (Document::Key(new), None) => {
            let call = |c, r| async { keys::client(c).create_key(r).await };
            let key = remote.call((**new).clone(), call).await?;
            output::line(&format!("{}={}", key.name, key.secret()))?;
        }
        (Document::Key(new), Some(Found::Key(old))) => {
            let key = pb::Key {
                metadata: new.metadata.clone(),
                limits: new.limits.clone(),
                ..Default::default()
            };
            let update_mask = Some(FieldMask { paths: step.paths() });
            let request = pb::UpdateKeyRequest { id: old.id.clone(), key: Some(key), update_mask };
            let call = |c, r| async { keys::client(c).update_key(r).await };
            remote.call(request, call).await?;
        }
        _ => return Err("an agent is no key".into()),
    }
    Ok(())
}
