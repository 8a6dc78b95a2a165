//! A real browser: Debian's Chromium, started once by `tests/web/browser.mjs`, and the pages in it
//! that make calls. Every page is of another origin than the servers that it calls.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::web::{Driver, WebAnswer, WebError, WebPart};

/// Longest wait for a part of an answer; a test that reaches it has failed.
const WAIT: Duration = Duration::from_secs(60);

/// A page: what it calls with, and where it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// What it calls with.
    pub client: Client,
    /// Where it is from.
    pub origin: Origin,
}

/// What a page calls with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `@connectrpc/connect-web`.
    Connect,
    /// Google's `grpc-web`, with text on the wire: how it streams.
    GoogleText,
    /// Google's `grpc-web`, with bytes on the wire.
    GoogleBinary,
    /// `fetch` alone.
    Plain,
}

/// Where a page is from: one server under two names, which are two origins to a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The one that [`friends`] lists.
    Friend,
    /// One that nobody knows.
    Stranger,
}

/// Shows what pages and browser have written, if the test that holds it fails.
pub struct Console {
    _private: (),
}

/// What a page sees of a plain call.
#[derive(Debug)]
pub struct Seen {
    /// Status of HTTP.
    pub status: u16,
    /// Headers that it may read.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: String,
}

/// A plain call under way; dropping it drops the call.
pub struct Fetch(WebAnswer);

/// The browser, which starts with the first call.
pub fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| Driver::start("browser.mjs"))
}

/// The configuration, in TOML, that lets friends call.
pub fn friends() -> String {
    format!("[server]\ncors_origins = [{:?}]\n", Origin::Friend.text())
}

impl Client {
    /// All that speak gRPC-Web.
    pub const ALL: [Self; 3] = [Self::Connect, Self::GoogleText, Self::GoogleBinary];

    /// Those that hand over a stream as it comes; Google's client does so in text alone.
    pub const LIVE: [Self; 2] = [Self::Connect, Self::GoogleText];

    /// A page of a friend with it.
    pub fn of_a_friend(self) -> Page {
        Page { client: self, origin: Origin::Friend }
    }

    /// A page of a stranger with it.
    pub fn of_a_stranger(self) -> Page {
        Page { client: self, origin: Origin::Stranger }
    }
}

impl Origin {
    /// As the browser sends it.
    pub fn text(self) -> String {
        format!("http://{}:{}", self.host(), driver().ready["port"])
    }

    fn host(self) -> &'static str {
        match self {
            Self::Friend => "localhost",
            Self::Stranger => "127.0.0.1",
        }
    }
}

impl Page {
    /// As the driver has it.
    pub fn json(self) -> Value {
        let client = match self.client {
            Client::Connect => "connect",
            Client::GoogleText => "google-text",
            Client::GoogleBinary => "google-binary",
            Client::Plain => "plain",
        };
        json!({ "client": client, "host": self.origin.host() })
    }

    /// Begins a `fetch`; `init` is its second argument.
    pub fn fetch(self, url: &str, init: &Value) -> Fetch {
        Fetch(driver().begin(json!({ "page": self.json(), "url": url, "fetch": init })))
    }
}

impl Fetch {
    /// Status and headers; what it fails with is all that a page learns.
    pub async fn head(&mut self) -> Result<Seen, WebError> {
        match self.part().await.expect("an answer")? {
            WebPart::Headers(status, headers) => {
                let status = status.expect("a status");
                Ok(Seen { status, headers, body: String::new() })
            }
            other => panic!("{other:?} before the headers"),
        }
    }

    /// Some more of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<String> {
        match self.part().await?.expect("a whole body") {
            WebPart::Chunk(chunk) => Some(chunk),
            other => panic!("{other:?} within the body"),
        }
    }

    /// All of it.
    pub async fn all(mut self) -> Result<Seen, WebError> {
        let mut seen = self.head().await?;
        while let Some(chunk) = self.chunk().await {
            seen.body += &chunk;
        }
        Ok(seen)
    }

    async fn part(&mut self) -> Option<Result<WebPart, WebError>> {
        timeout(WAIT, self.0.next()).await.expect("the call hangs")
    }
}

impl Seen {
    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Console {
    /// Watches from now on.
    pub fn watch() -> Self {
        Self { _private: () }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the browser's console:\n{}", driver().console().join("\n"));
        }
    }
}
