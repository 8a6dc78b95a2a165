//! What a peer is: `peer.json` in its folder says how it is started and asked. Read by `mod.rs`;
//! starts nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::Outcome;

/// What stands in a peer's texts in braces, and what is put there.
pub(super) type Values = BTreeMap<&'static str, String>;

/// A server that is compared. In its texts `{port}`, `{model}` (the base URL of the model),
/// `{folder}` (that of its `peer.json`), `{venv}`, `{runplane}`, `{key}`, `{setup}`, `{client}`
/// (a number of the connection's own) and `{input}` are put in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// Its name in the tables.
    pub(super) title: String,
    /// What it is compared as.
    pub(super) kind: Kind,
    /// What it keeps of a run.
    pub(super) keeps: String,
    /// What is measured of it, in a sentence.
    pub(super) about: String,
    /// Packages whose versions are told.
    #[serde(default)]
    pub(super) packages: Vec<String>,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Its environment, beside ours.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Path that answers once it serves.
    pub(super) ready: String,
    /// What stands before its key, where it prints one.
    pub(super) key_after: Option<String>,
    /// A request that is made once; what is at `pointer` in its answer becomes `{setup}`.
    pub(super) setup: Option<Setup>,
    /// The description of its agent.
    pub(super) get: Option<Ask>,
    /// A run, waited for.
    pub(super) run: Ask,
    /// A run, streamed.
    pub(super) stream: Ask,
    /// The folder it was read from.
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

/// What a server is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The product.
    Ours,
    /// The product, with its scripted model instead of the one that all ask.
    Reference,
    /// What a user would pick instead.
    Platform,
    /// What one would write by hand with nothing kept.
    Baseline,
    /// A gateway to models, which has no runs.
    Proxy,
}

/// A request that is made once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    /// The request.
    pub(super) ask: Ask,
    /// Where the value is in its answer.
    pub(super) pointer: String,
}

/// A request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// Method and path.
    pub(super) line: String,
    /// Body: JSON, or a text as it is.
    pub(super) body: Option<Value>,
    /// Type of the body.
    #[serde(default = "json")]
    pub(super) content: String,
    /// Further headers.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
}

fn json() -> String {
    "application/json".to_owned()
}

impl Peer {
    /// All that have a folder in this one, in the order of their names.
    pub(super) fn all(folder: &Path) -> Outcome<Vec<Self>> {
        let mut files: Vec<_> = fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path().join("peer.json")))
            .filter(|file| file.is_file())
            .collect();
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Outcome<Self> {
        let wrong = |error: serde_json::Error| format!("{}: {error}", file.display());
        let mut peer: Self = serde_json::from_slice(&fs::read(file)?).map_err(wrong)?;
        peer.folder = file.parent().ok_or("no folder")?.canonicalize()?;
        Ok(peer)
    }

    /// The name of its folder.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// True for the product.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours | Kind::Reference)
    }

    /// False for what brings a model of its own.
    pub(super) fn asks_the_model(&self) -> bool {
        self.kind != Kind::Reference
    }

    /// Versions of its packages and of its Python, and when they were the newest.
    pub(super) fn versions(&self, venv: &Path) -> Outcome<String> {
        if self.packages.is_empty() {
            return Ok(String::new());
        }
        let pinned = fs::read_to_string(self.folder.join("requirements.txt"))?;
        let asked_for = pinned.lines().next().unwrap_or_default();
        let (_, when) = asked_for.split_once("newest on ").unwrap_or_default();
        let when = when.split([',', ' ']).next().unwrap_or_default();
        let script = "import sys, platform\nfrom importlib.metadata import version\n\
            print(', '.join(f'{p} {version(p)}' for p in sys.argv[1:]) \
            + ', Python ' + platform.python_version())";
        let mut python = Command::new(venv.join("bin/python"));
        let told = python.args(["-c", script]).args(&self.packages).output()?;
        let told = String::from_utf8(told.stdout)?;
        Ok(format!("{}; pinned on {when}", told.trim()))
    }
}

impl Ask {
    /// The request as it goes over the wire, for this text of the user.
    pub(super) fn request(&self, values: &Values, input: &str) -> Vec<u8> {
        let mut values = values.clone();
        values.insert("input", input.to_owned());
        let body = match &self.body {
            None => String::new(),
            Some(Value::String(text)) => filled(text, &values),
            Some(json) => filled(&json.to_string(), &values),
        };
        let port = values.get("port").map_or("", String::as_str);
        let mut text = format!("{} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n", self.line);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.body.is_some() {
            text +=
                &format!("content-type: {}\r\ncontent-length: {}\r\n", self.content, body.len());
        }
        text = filled(&text, &values);
        text += "\r\n";
        text += &body;
        text.into_bytes()
    }
}

/// A text with the values put in.
pub(super) fn filled(text: &str, values: &Values) -> String {
    values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
