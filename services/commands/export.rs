//! `runplane export`: the agents and keys of a server as documents, a file each, for review in git.
//! Never writes a secret; never takes a file away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::documents::{Document, Kind, of_key};
use super::exit::{Failure, Outcome};
use super::pages::Pages;
use super::remote::{Remote, RemoteArgs};
use super::{agents, keys, output};
use crate::kernel::{Clock, Timestamp};
use crate::proto::runplane::v1 as pb;

/// Most characters of a file's name.
const NAME: usize = 60;

/// How `export` works.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
    /// Folder to write to, made when it is not there; `-`: all to the standard output.
    folder: String,
    /// Only this kind.
    #[arg(long, value_enum)]
    only: Option<Kind>,
}

pub(super) async fn run(args: ExportArgs) -> Outcome<()> {
    let remote = args.remote.connect()?;
    let mut documents = Vec::new();
    if args.only != Some(Kind::Keys) {
        let all = agents(&remote).await?.into_iter();
        let document = |agent: pb::Agent| {
            let published = Some(agent.published);
            Document::Agent(Box::new(agent), published)
        };
        documents.extend(all.map(document));
    }
    if args.only != Some(Kind::Agents) {
        let all = keys(&remote).await?;
        documents.extend(all.iter().map(|key| Document::Key(Box::new(of_key(key)))));
    }
    if args.folder == "-" {
        for document in &documents {
            output::print(&format!("---\n{}", document.yaml()?))?;
        }
        return Ok(());
    }
    write(Path::new(&args.folder), &documents)
}

/// All agents, oldest first.
pub(super) async fn agents(remote: &Remote) -> Outcome<Vec<pb::Agent>> {
    let request = pb::ListAgentsRequest { order: pb::Order::Asc.into(), ..Default::default() };
    let fetch = |limit, cursor| agents::page(remote, request.clone(), limit, cursor);
    Pages::everything().collect(fetch).await
}

/// All keys that open and will go on doing so, oldest first.
pub(super) async fn keys(remote: &Remote) -> Outcome<Vec<pb::Key>> {
    let fetch = |limit, cursor| keys::page(remote, pb::Order::Asc, limit, cursor);
    let mut keys = Pages::everything().collect(fetch).await?;
    let now = Clock::system().now();
    let is_over = |key: &pb::Key| key.expires_at.is_some_and(|at| Timestamp::from(at) <= now);
    keys.retain(|key| key.revoked_at.is_none() && key.replaced_by.is_none() && !is_over(key));
    Ok(keys)
}

fn write(folder: &Path, documents: &[Document]) -> Outcome<()> {
    let mut written = BTreeSet::new();
    for document in documents {
        let kind = if document.kind() == Kind::Agents { "agents" } else { "keys" };
        let folder = folder.join(kind);
        let wrong = |path: &Path, error: std::io::Error| {
            Failure::usage(format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(&folder).map_err(|error| wrong(&folder, error))?;
        let file = free(&folder, document.name(), &written);
        std::fs::write(&file, document.yaml()?).map_err(|error| wrong(&file, error))?;
        output::line(&file.display().to_string())?;
        written.insert(file);
    }
    for kind in ["agents", "keys"] {
        let Ok(entries) = std::fs::read_dir(folder.join(kind)) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if !written.contains(&path) {
                output::notice(&format!("{} is of nothing on the server", path.display()));
            }
        }
    }
    Ok(())
}

/// A file for a name that no other of this export has.
fn free(folder: &Path, name: &str, written: &BTreeSet<PathBuf>) -> PathBuf {
    let stem = stem(name);
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    let files = std::iter::once(stem.clone()).chain(numbered);
    let mut paths = files.map(|name| folder.join(format!("{name}.yaml")));
    paths.find(|path| !written.contains(path)).unwrap_or_else(|| folder.join(stem))
}

/// A name as a file's: lower case, without what file systems or shells take for their own.
fn stem(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let plain: String = name.chars().map(plain).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let stem: String = words.join("-").chars().take(NAME).collect();
    if stem.is_empty() { "unnamed".to_owned() } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_harmless_name_that_no_other_has() {
        assert_eq!(stem("../Etc/Pass wd; rm"), "etc-pass-wd-rm");
        assert_eq!(stem("…"), "unnamed");
        let folder = Path::new("f");
        let mut written = BTreeSet::new();
        for expected in ["f/a.yaml", "f/a-2.yaml", "f/a-3.yaml"] {
            let file = free(folder, "A", &written);
            assert_eq!(file, Path::new(expected));
            written.insert(file);
        }
    }
}
