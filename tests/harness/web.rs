//! gRPC-Web as browsers speak it: calls made by `@connectrpc/connect-web` in one Node process, or
//! by a page in a real browser (`browser.rs`). Either is a driver of `tests/web`: it starts with
//! the first call, takes calls line by line, and ends when its input closes with the test process.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::browser::{self, Page};

const DEAD: &str = "the driver of tests/web has died; see above";

/// One line of a driver.
#[derive(Debug, Deserialize)]
struct Line {
    id: Option<u64>,
    status: Option<u16>,
    headers: Option<BTreeMap<String, String>>,
    message_b64: Option<String>,
    chunk: Option<String>,
    error: Option<WebError>,
    console: Option<String>,
}

/// A failure as the client tells it.
#[derive(Debug, Deserialize)]
pub struct WebError {
    /// gRPC code, `NOT_FOUND`.
    pub code: String,
    /// Message.
    pub message: String,
    /// Reason of the `ErrorInfo`, if there was one.
    pub reason: Option<String>,
    /// Metadata of the `ErrorInfo`.
    pub metadata: BTreeMap<String, String>,
    /// What the `BadRequest` names, if there was one.
    pub violations: Vec<Violation>,
    /// Headers and trailers of the answer.
    pub headers: BTreeMap<String, String>,
}

/// A field that is wrong.
#[derive(Debug, Deserialize)]
pub struct Violation {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// What to call.
pub struct WebCall<'a> {
    /// The page that calls; none: the process without a browser.
    pub page: Option<Page>,
    /// Root of the server.
    pub url: &'a str,
    /// Full name of the method, without a leading slash.
    pub method: &'a str,
    /// The request, encoded.
    pub request: &'a [u8],
    /// Headers.
    pub headers: &'a [(String, String)],
}

/// What came back so far.
#[derive(Debug)]
pub enum WebPart {
    /// The answer began: status of HTTP, where it is known, and headers.
    Headers(Option<u16>, BTreeMap<String, String>),
    /// A message, encoded.
    Message(Vec<u8>),
    /// Some text of a body that is no message.
    Chunk(String),
}

/// A call that is under way; dropping it drops the call.
pub struct WebAnswer {
    driver: &'static Driver,
    id: u64,
    lines: UnboundedReceiver<Line>,
}

/// Calls under way; `None` when the driver has died.
type Calls = Arc<Mutex<Option<HashMap<u64, UnboundedSender<Line>>>>>;

/// A process that makes calls.
pub struct Driver {
    /// What it said when it was ready.
    pub ready: Value,
    input: Mutex<ChildStdin>,
    calls: Calls,
    console: Arc<Mutex<Vec<String>>>,
    next: AtomicU64,
}

/// Makes a call.
pub fn call(call: &WebCall) -> WebAnswer {
    let driver = call.page.map_or_else(driver, |_| browser::driver());
    driver.begin(json!({
        "page": call.page.map(Page::json),
        "url": call.url,
        "method": call.method,
        "request_b64": STANDARD.encode(call.request),
        "headers": call.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
    }))
}

impl WebAnswer {
    /// The next part; `None` when the call has succeeded.
    pub async fn next(&mut self) -> Option<Result<WebPart, WebError>> {
        let line = self.lines.recv().await.expect(DEAD);
        if let Some(error) = line.error {
            return Some(Err(error));
        }
        if let Some(headers) = line.headers {
            return Some(Ok(WebPart::Headers(line.status, headers)));
        }
        if let Some(chunk) = line.chunk {
            return Some(Ok(WebPart::Chunk(chunk)));
        }
        let message = line.message_b64?;
        Some(Ok(WebPart::Message(STANDARD.decode(message).expect("base64 of the driver"))))
    }
}

impl Drop for WebAnswer {
    fn drop(&mut self) {
        let mut calls = self.driver.calls.lock().expect("calls");
        if calls.as_mut().is_some_and(|calls| calls.remove(&self.id).is_some()) {
            self.driver.say(&json!({"id": self.id, "drop": true}));
        }
    }
}

impl Driver {
    /// Starts a script of `tests/web`.
    pub fn start(script: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web");
        let name = format!("runplane-{script}-{}", std::process::id());
        let descriptors = std::env::temp_dir().join(name);
        std::fs::write(&descriptors, runplane::proto::DESCRIPTOR_SET).expect("a temporary file");
        let mut child = Command::new("node")
            .args([script.as_ref(), descriptors.as_os_str()])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let input = Mutex::new(child.stdin.take().expect("its input"));
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut ready = String::new();
        output.read_line(&mut ready).expect("its first line");
        let _ = std::fs::remove_file(descriptors);
        let ready = serde_json::from_str(&ready).unwrap_or_else(|_| {
            panic!("tests/web/{script} did not start; `./test --setup` installs it")
        });
        let calls = Arc::new(Mutex::new(Some(HashMap::new())));
        let console = Arc::<Mutex<Vec<String>>>::default();
        let shared = (Arc::clone(&calls), Arc::clone(&console));
        std::thread::spawn(move || {
            dispatch(output, &shared.0, &shared.1);
            // It has ended: take its exit in.
            let _ = child.wait();
        });
        Self { ready, input, calls, console, next: AtomicU64::new(1) }
    }

    /// Begins a call, which gets an id.
    pub fn begin(&'static self, mut call: Value) -> WebAnswer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, lines) = unbounded_channel();
        let mut calls = self.calls.lock().expect("calls");
        calls.as_mut().expect(DEAD).insert(id, sender);
        drop(calls);
        call["id"] = json!(id);
        self.say(&call);
        WebAnswer { driver: self, id, lines }
    }

    /// What pages and browser have written so far.
    pub fn console(&self) -> Vec<String> {
        self.console.lock().expect("console").clone()
    }

    fn say(&self, line: &Value) {
        let mut input = self.input.lock().expect("input");
        // When it has died, the reader of its answers tells.
        let _ = writeln!(input, "{line}");
    }
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| Driver::start("driver.mjs"))
}

/// Hands each line to the call that it belongs to. Ends with the driver, and then every call learns
/// it.
fn dispatch(output: BufReader<ChildStdout>, calls: &Calls, console: &Mutex<Vec<String>>) {
    for line in output.lines().map_while(Result::ok) {
        let Ok(mut line) = serde_json::from_str::<Line>(&line) else { continue };
        console.lock().expect("console").extend(line.console.take());
        let calls = calls.lock().expect("calls");
        let call = line.id.and_then(|id| calls.as_ref()?.get(&id));
        if let Some(call) = call {
            let _ = call.send(line);
        }
    }
    *calls.lock().expect("calls") = None;
}
