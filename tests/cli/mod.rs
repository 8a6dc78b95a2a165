//! The commands as people and scripts use them: the real program against a real server, by its
//! output, its exit codes and nothing else.

mod agents;
mod apply;
mod backup;
mod failures;
mod follow;
mod help;
mod keys;
mod migrate;
mod pipes;
mod runs;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::app::App;
use crate::harness::process::{Api, PROGRAM};

/// Longest wait for a command.
const WAIT: Duration = Duration::from_secs(60);

/// Somebody at a prompt, with a folder of their own, who calls one server with one key.
struct Shell {
    url: String,
    key: String,
    folder: TempDir,
}

/// What a command has done.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn new(url: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { url: url.to_owned(), key: key.to_owned(), folder }
    }

    fn of(app: &App) -> Self {
        Self::new(&app.url, &app.admin)
    }

    /// The same server over REST.
    fn api(&self) -> Api {
        Api::new(&self.url, &self.key)
    }

    /// The command, ready to be run. Its key is in the environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).kill_on_drop(true).current_dir(self.folder.path());
        command.env("RUNPLANE_URL", &self.url).env("RUNPLANE_KEY", &self.key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &[&str]) -> Done {
        self.fed(arguments, "").await
    }

    /// The same, with a standard input.
    async fn fed(&self, arguments: &[&str], input: &str) -> Done {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("an input");
        // Whoever reads none has closed it.
        let _unread = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(WAIT, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} hangs")).expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("an exit code");
        Done { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command that must do what it should; what it printed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments).await;
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.out
    }

    /// The same with `--json`: the documents, a line each.
    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        lines(&self.ok(&[arguments, &["--json"]].concat()).await)
    }

    /// A file of this text.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    /// An agent of this definition; its id.
    async fn agent(&self, definition: &Value) -> String {
        self.api().agent(definition).await
    }
}

impl Done {
    /// The failure, as `--json` tells it.
    fn failure(&self) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        let body: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}"));
        body["error"].clone()
    }
}

/// A document a line.
fn lines(text: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(read).collect()
}

/// An agent that answers with this text, so many tokens a second.
fn speaker(name: &str, text: &str, speed: u32) -> Value {
    let sim = json!({"turns": [{"text": text}], "tokens_per_second": speed});
    json!({"name": name, "model": "sim", "sim": sim})
}

/// An agent that asks its caller for the weather.
fn asker() -> Value {
    let call = json!({"name": "weather", "arguments": {"city": "Oslo"}});
    let turns = json!([{"tool_calls": [call]}, {"text": "It is {{ result.sky }}."}]);
    let tools = json!([{"name": "weather", "client": {}}]);
    json!({"name": "Asker", "model": "sim", "tools": tools, "sim": {"turns": turns}})
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
