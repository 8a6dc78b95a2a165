//! The real program as a child process: `runplane serve` on a free port with a database of its own,
//! killed, stopped and started again as a test wants; and a REST caller of it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The program that `cargo test` has built.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_runplane");
/// Longest wait for the program to do what it should.
const WAIT: Duration = Duration::from_secs(60);

/// What every test changes of the defaults: a free port, tools on this machine, logs to read.
const CHANGES: &str = r#"
[server]
listen = "127.0.0.1:0"
drain_seconds = 5
[egress]
allow_subnets = ["127.0.0.0/8"]
[log]
format = "json"
"#;

/// A program with a place for its data; it may run or not.
pub struct Program {
    /// Its configuration file.
    pub config: PathBuf,
    /// What it printed since its last start.
    pub printed: Lines,
    /// What it logged since its last start.
    pub logged: Lines,
    /// What is done to it from its next start on, as `RUNPLANE_FAULTS` has it; without the feature
    /// `faults` nothing is.
    pub faults: String,
    /// Where it serves; `None` while it does not.
    pub url: watch::Sender<Option<String>>,
    /// Where the next start is to log.
    watched: Option<Lines>,
    child: Option<Child>,
    key: String,
    folder: TempDir,
}

/// Lines as they come.
#[derive(Clone)]
pub struct Lines(Arc<watch::Sender<Vec<String>>>);

/// A REST caller.
#[derive(Clone)]
pub struct Api {
    /// Root of the server's URLs.
    pub url: String,
    /// Its key.
    pub key: String,
    pub http: reqwest::Client,
}

impl Program {
    /// With an SQLite file; `changes` is TOML after the tests' own.
    pub fn new(changes: &str) -> Self {
        Self::on("", changes)
    }

    /// With the database of a URL; none: an SQLite file.
    pub fn on(url: &str, changes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = format!("sqlite:{}", folder.path().join("runplane.db").display());
        let url = if url.is_empty() { &file } else { url };
        let config = folder.path().join("runplane.toml");
        let mut text: toml::Table = CHANGES.parse().expect("TOML");
        merge(&mut text, changes.parse().expect("TOML"));
        merge(&mut text, format!("[store]\nurl = {url:?}").parse().expect("TOML"));
        std::fs::write(&config, text.to_string()).expect("the configuration is written");
        let (url, child, key) = (watch::Sender::new(None), None, String::new());
        let (printed, logged) = (Lines::default(), Lines::default());
        let (faults, watched) = (String::new(), None);
        Self { config, printed, logged, faults, url, watched, child, key, folder }
    }

    /// Where its data is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program with this configuration to its end.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let config = self.config.to_str().expect("UTF-8");
        run(&[arguments, &["--config", config]].concat()).await
    }

    /// Starts it on data that have this key already.
    pub async fn start_with(&mut self, key: &str) -> Api {
        key.clone_into(&mut self.key);
        self.start().await
    }

    /// Starts it and waits until it serves. The first start tells the first key.
    pub async fn start(&mut self) -> Api {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(&self.config).kill_on_drop(true);
        command.env("RUNPLANE_FAULTS", &self.faults);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(self.folder());
        let mut child = command.spawn().expect("the program starts");
        self.printed = Lines::default();
        self.logged = self.watched.take().unwrap_or_default();
        let _printing = self.printed.read(child.stdout.take().expect("an output"));
        let (tell, told) = watch::channel(None);
        let _logging = self.logged.read_and_tell(child.stderr.take().expect("logs"), tell);
        self.child = Some(child);
        let address = address(told).await;
        let address = address.unwrap_or_else(|| panic!("it does not serve: {}", self.logged));
        let url = format!("http://{address}");
        self.url.send_replace(Some(url.clone()));
        if self.key.is_empty() {
            self.key = self.printed.last_word_of("First admin key").await;
        }
        Api::new(&url, &self.key)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("a running program")
    }

    /// True while there is a process, stopped or not.
    pub fn is_running(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.id().is_some())
    }

    /// Ends it as a crash would: nothing of it runs on.
    pub async fn kill(&mut self) {
        self.url.send_replace(None);
        let mut child = self.child.take().expect("a running program");
        child.kill().await.expect("it is killed");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// What it will log from its next start on, to be read while it starts.
    #[cfg(feature = "faults")]
    pub fn logged_from_the_start(&mut self) -> Lines {
        let lines = Lines::default();
        self.watched = Some(lines.clone());
        lines
    }

    /// Asks it to read its configuration again.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Stops it where it is, as a machine that hangs would.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Program::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let (name, pid) = (format!("-{name}"), self.pid().to_string());
        let killed = std::process::Command::new("kill").args([name, pid]).status();
        assert!(killed.expect("kill runs").success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running program");
        let ended = timeout(WAIT, child.wait()).await.expect("it ends in time");
        self.url.send_replace(None);
        ended.expect("a status")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program had printed:\n{}and logged:\n{}", self.printed, self.logged);
        }
    }
}

/// Runs a command of the program to its end.
pub async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).kill_on_drop(true).current_dir(std::env::temp_dir());
    let output = timeout(WAIT, command.output()).await.expect("it ends in time");
    output.expect("it runs")
}

async fn address(mut told: watch::Receiver<Option<String>>) -> Option<String> {
    let told = timeout(WAIT, told.wait_for(Option::is_some)).await.ok()?.ok()?;
    told.clone()
}

impl Default for Lines {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl Lines {
    /// All of them.
    pub fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until so many lines have this in them.
    pub async fn with(&self, part: &str, count: usize) {
        let mut lines = self.0.subscribe();
        let enough = lines
            .wait_for(|lines| lines.iter().filter(|line| line.contains(part)).count() >= count);
        let found = timeout(WAIT, enough).await.is_ok();
        assert!(found, "{part} does not come {count} times: {self}");
    }

    async fn last_word_of(&self, start: &str) -> String {
        let (mut lines, mut word) = (self.0.subscribe(), None);
        let find = lines.wait_for(|lines| {
            let line = lines.iter().find(|line| line.starts_with(start));
            word = line.and_then(|line| line.split(' ').next_back()).map(str::to_owned);
            word.is_some()
        });
        let found = timeout(WAIT, find).await.is_ok();
        assert!(found, "it does not print {start}");
        word.expect("a word")
    }

    fn read(&self, from: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        self.read_and_tell(from, watch::Sender::new(None))
    }

    /// Also tells the address that it serves at.
    fn read_and_tell(
        &self,
        from: impl AsyncRead + Send + Unpin + 'static,
        tell: watch::Sender<Option<String>>,
    ) -> JoinHandle<()> {
        let (lines, mut from) = (self.clone(), BufReader::new(from).lines());
        tokio::spawn(async move {
            while let Ok(Some(line)) = from.next_line().await {
                let log: Value = serde_json::from_str(&line).unwrap_or_default();
                lines.0.send_modify(|lines| lines.push(line));
                if let Some(address) = log["address"].as_str() {
                    tell.send_replace(Some(address.to_owned()));
                }
            }
        })
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.all().iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Api {
    /// A caller with this key.
    pub fn new(url: &str, key: &str) -> Self {
        // Fails when one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { url: url.to_owned(), key: key.to_owned(), http }
    }

    /// The same caller at another address.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// A request to be sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// GET: status and body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.request(Method::GET, path).timeout(WAIT);
        answer(request.send().await.expect("an answer")).await
    }

    /// POST: status and body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.request(Method::POST, path).timeout(WAIT).json(body);
        answer(request.send().await.expect("an answer")).await
    }

    /// An agent of this definition; its id.
    pub async fn agent(&self, definition: &Value) -> String {
        let (status, agent) = self.post("/v1/agents", definition).await;
        assert_eq!(status, 201, "{agent}");
        agent["id"].as_str().expect("an id").to_owned()
    }

    /// A run that is started in the background; its id.
    pub async fn start(&self, agent_id: &str, input: &Value) -> String {
        let body = serde_json::json!({"agent_id": agent_id, "input": input});
        let (status, run) = self.post("/v1/runs", &body).await;
        assert_eq!(status, 202, "{run}");
        run["id"].as_str().expect("an id").to_owned()
    }

    /// The run when it has settled.
    pub async fn settled(&self, run_id: &str) -> Value {
        let (status, run) = self.get(&format!("/v1/runs/{run_id}?wait=60")).await;
        assert_eq!(status, 200, "{run}");
        run
    }

    /// The run's event log; all of it, for it is short.
    pub async fn log(&self, run_id: &str) -> Vec<Value> {
        let (status, page) = self.get(&format!("/v1/runs/{run_id}/events?limit=100")).await;
        assert_eq!((status, &page["has_more"]), (200, &Value::Bool(false)), "{page}");
        page["data"].as_array().expect("events").clone()
    }
}

async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Lays changes over a table, section by section.
pub fn merge(into: &mut toml::Table, changes: toml::Table) {
    for (name, value) in changes {
        match (into.get_mut(&name), value) {
            (Some(toml::Value::Table(table)), toml::Value::Table(changes)) => merge(table, changes),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}
