//! The gRPC-Web door as a browser would use it: calls made by `@connectrpc/connect-web` in one Node
//! process, which `tests/web/driver.mjs` is. It starts with the first call and ends when its input
//! closes with the test process.

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

/// One line of the driver.
#[derive(Debug, Deserialize)]
struct Line {
    id: Option<u64>,
    headers: Option<BTreeMap<String, String>>,
    message_b64: Option<String>,
    error: Option<WebError>,
}

/// A failure as the browser's client tells it.
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
    /// Headers and trailers of the answer.
    pub headers: BTreeMap<String, String>,
}

/// What to call.
pub struct WebCall<'a> {
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
    /// The answer began.
    Headers(BTreeMap<String, String>),
    /// A message, encoded.
    Message(Vec<u8>),
}

/// A call that is under way; dropping it drops the call.
pub struct WebAnswer {
    id: u64,
    lines: UnboundedReceiver<Line>,
}

type Calls = Arc<Mutex<HashMap<u64, UnboundedSender<Line>>>>;

struct Driver {
    input: Mutex<ChildStdin>,
    calls: Calls,
    next: AtomicU64,
}

/// Makes a call.
pub fn call(call: &WebCall) -> WebAnswer {
    let driver = driver();
    let id = driver.next.fetch_add(1, Ordering::Relaxed);
    let (sender, lines) = unbounded_channel();
    driver.calls.lock().expect("calls").insert(id, sender);
    driver.say(&json!({
        "id": id,
        "url": call.url,
        "method": call.method,
        "request_b64": STANDARD.encode(call.request),
        "headers": call.headers.iter().cloned().collect::<BTreeMap<_, _>>(),
    }));
    WebAnswer { id, lines }
}

impl WebAnswer {
    /// The next part; `None` when the call has succeeded.
    pub async fn next(&mut self) -> Option<Result<WebPart, WebError>> {
        let line = self.lines.recv().await.expect("the driver of tests/web has died");
        if let Some(error) = line.error {
            return Some(Err(error));
        }
        if let Some(headers) = line.headers {
            return Some(Ok(WebPart::Headers(headers)));
        }
        let message = line.message_b64?;
        Some(Ok(WebPart::Message(STANDARD.decode(message).expect("base64 of the driver"))))
    }
}

impl Drop for WebAnswer {
    fn drop(&mut self) {
        let driver = driver();
        if driver.calls.lock().expect("calls").remove(&self.id).is_some() {
            driver.say(&json!({"id": self.id, "drop": true}));
        }
    }
}

impl Driver {
    fn start() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web");
        let descriptors = std::env::temp_dir().join(format!("runplane-{}", std::process::id()));
        std::fs::write(&descriptors, runplane::proto::DESCRIPTOR_SET).expect("a temporary file");
        let mut child = Command::new("node")
            .args(["driver.mjs".as_ref(), descriptors.as_os_str()])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let input = Mutex::new(child.stdin.take().expect("its input"));
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut ready = String::new();
        output.read_line(&mut ready).expect("its first line");
        assert!(ready.contains("ready"), "tests/web did not start; `./test --setup` installs it");
        let _ = std::fs::remove_file(descriptors);
        let calls = Calls::default();
        let shared = Arc::clone(&calls);
        std::thread::spawn(move || {
            dispatch(output, &shared);
            // It has ended: take its exit in.
            let _ = child.wait();
        });
        Self { input, calls, next: AtomicU64::new(1) }
    }

    fn say(&self, line: &Value) {
        let mut input = self.input.lock().expect("input");
        // When it has died, the reader of its answers tells.
        let _ = writeln!(input, "{line}");
    }
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(Driver::start)
}

/// Hands each line to the call that it belongs to. Ends with the driver, and then every call learns
/// it.
fn dispatch(output: BufReader<ChildStdout>, calls: &Calls) {
    for line in output.lines().map_while(Result::ok) {
        let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
        let calls = calls.lock().expect("calls");
        if let Some(call) = line.id.and_then(|id| calls.get(&id)) {
            let _ = call.send(line);
        }
    }
    calls.lock().expect("calls").clear();
}
