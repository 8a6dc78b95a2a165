//! A server, as the online commands call it: over gRPC by the generated clients, with the caller's
//! key, a deadline, and tries again after what may pass. A change has one idempotency key over all
//! its tries, so it has one effect. Never knows a method of ours.

use std::error::Error as _;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::exit::{Exit, Failure, Outcome};
use super::output::Form;
use crate::kernel::error::Reason;
use crate::kernel::reply;

/// Most tries of one call.
const TRIES: u32 = 4;
/// Milliseconds before the second try at most; each further one may wait twice as long.
const BACKOFF_MS: u64 = 200;
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// Most bytes of an answer: a page of large runs.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Where the server is, and who calls.
#[derive(Debug, Clone, Args)]
pub(super) struct RemoteArgs {
    /// Server's URL, http or https.
    #[arg(
        long,
        global = true,
        env = "RUNPLANE_URL",
        default_value = "http://127.0.0.1:8080",
        help_heading = "Server"
    )]
    url: String,
    /// API key. Others on this machine see arguments: --key-file and RUNPLANE_KEY hide it.
    #[arg(
        long,
        global = true,
        env = "RUNPLANE_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Server"
    )]
    key: Option<SecretString>,
    /// File that holds the API key, over --key.
    #[arg(
        long,
        global = true,
        env = "RUNPLANE_KEY_FILE",
        value_name = "FILE",
        help_heading = "Server"
    )]
    key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's.
    #[arg(long, global = true, env = "RUNPLANE_CA", value_name = "FILE", help_heading = "Server")]
    ca: Option<PathBuf>,
    /// Longest wait for an answer, tries again included; of a follower: for a server that is away.
    #[arg(long, global = true, env = "RUNPLANE_TIMEOUT", value_name = "SECONDS",
        default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Server")]
    timeout: u64,
    /// One JSON document a line, as the REST API has it; failures too, on the standard error.
    #[arg(long, global = true, help_heading = "Server")]
    pub(super) json: bool,
}

/// A server to be called.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// The form of what is said of its answers.
    pub(super) form: Form,
    /// Longest wait for an answer.
    pub(super) patience: Duration,
    url: String,
    channel: Channel,
    bearer: Option<MetadataValue<Ascii>>,
}

impl RemoteArgs {
    /// The server. Nothing is sent before the first call.
    pub(super) fn connect(&self) -> Outcome<Remote> {
        let wrong = |error: tonic::transport::Error| {
            Failure::usage(format!("--url {}: {}", self.url, deepest(&error)))
        };
        let mut endpoint = Endpoint::from_shared(self.url.clone()).map_err(wrong)?;
        if !["http", "https"].contains(&endpoint.uri().scheme_str().unwrap_or_default()) {
            return Err(Failure::usage(format!(
                "--url {} must begin with http:// or https://",
                self.url
            )));
        }
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(self.tls()?).map_err(wrong)?;
        }
        let (every, within) = KEEPALIVE;
        let patience = Duration::from_secs(self.timeout);
        let endpoint = endpoint
            .connect_timeout(patience)
            .http2_keep_alive_interval(every)
            .keep_alive_timeout(within);
        let form = if self.json { Form::Json } else { Form::Text };
        let channel = endpoint.connect_lazy();
        Ok(Remote { form, patience, url: self.url.clone(), channel, bearer: self.bearer()? })
    }

    fn tls(&self) -> Outcome<ClientTlsConfig> {
        let Some(file) = &self.ca else { return Ok(ClientTlsConfig::new().with_native_roots()) };
        let pem = std::fs::read(file)
            .map_err(|error| Failure::usage(format!("--ca {}: {error}", file.display())))?;
        Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
    }

    fn bearer(&self) -> Outcome<Option<MetadataValue<Ascii>>> {
        let key = match &self.key_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Failure::usage(format!("--key-file {}: {error}", file.display()))
                })?;
                Some(SecretString::from(text.trim()))
            }
            None => self.key.clone().filter(|key| !key.expose_secret().is_empty()),
        };
        let Some(key) = key else { return Ok(None) };
        let value = MetadataValue::try_from(format!("Bearer {}", key.expose_secret()));
        let mut value = value.map_err(|_| Failure::usage("the key is no line of plain text"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Remote {
    /// Calls a method until it answers, fails for good, or the time is over.
    pub(super) async fn call<Q, A, F, Fut>(&self, message: Q, call: F) -> Outcome<A>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_as(&fresh(), message, call).await
    }

    /// The same, under an idempotency key of the caller's own.
    pub(super) async fn call_as<Q, A, F, Fut>(&self, key: &str, message: Q, call: F) -> Outcome<A>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_within(self.patience, key, message, call).await
    }

    /// The same, with another patience: for calls that wait for something.
    pub(super) async fn call_within<Q, A, F, Fut>(
        &self,
        patience: Duration,
        key: &str,
        message: Q,
        call: F,
    ) -> Outcome<A>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + patience;
        for attempt in 1.. {
            let mut request = self.request(message.clone(), key)?;
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            let answer = timeout(until.saturating_duration_since(Instant::now()), async {
                call(self.channel.clone(), request).await
            });
            let Ok(answer) = answer.await else { break };
            let status = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let wait = again(&status, attempt);
            match wait.filter(|wait| attempt < TRIES && Instant::now() + *wait < until) {
                Some(wait) => sleep(wait).await,
                None => return Err(self.failure(status)),
            }
        }
        Err(self.late(patience))
    }

    /// Opens a stream. Whoever reads it resumes it.
    pub(super) async fn open<Q, A, F, Fut>(&self, message: Q, call: F) -> Result<A, Status>
    where
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, Status>>,
    {
        let request = self.request(message, "")?;
        Ok(call(self.channel.clone(), request).await?.into_inner())
    }

    /// What a status means for the command.
    pub(super) fn failure(&self, status: Status) -> Failure {
        let Some(error) = status.source() else { return Failure::from(status) };
        if status.code() == Code::Cancelled {
            return self.late(self.patience);
        }
        let why = deepest(error);
        Failure::new(Exit::Unavailable, format!("{} cannot be reached: {why}", self.url))
    }

    fn late(&self, patience: Duration) -> Failure {
        let seconds = patience.as_secs();
        let message = format!("{} has not answered in {seconds} seconds (--timeout)", self.url);
        Failure::new(Exit::Unavailable, message)
    }

    fn request<Q>(&self, message: Q, key: &str) -> Result<Request<Q>, Status> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if let Some(bearer) = &self.bearer {
            metadata.insert("authorization", bearer.clone());
        }
        if !key.is_empty() {
            let wrong = |_| {
                let message = "the idempotency key must be visible ASCII characters";
                Status::from(crate::kernel::Error::field("idempotency-key", message))
            };
            metadata.insert("idempotency-key", MetadataValue::try_from(key).map_err(wrong)?);
        }
        Ok(request)
    }
}

/// A new idempotency key.
pub(super) fn fresh() -> String {
    format!("cli-{}", Uuid::new_v4())
}

/// How long to wait before the next try; `None` when none would help.
pub(super) fn again(status: &Status, attempt: u32) -> Option<Duration> {
    let (reason, facts) = reply::parts(status);
    let asked = facts.get("retry_after_s").and_then(|s| s.as_str()?.parse().ok());
    match reason {
        Reason::Unavailable | Reason::IdempotencyKeyInUse | Reason::RateLimited => {
            Some(asked.map_or_else(|| backoff(attempt), Duration::from_secs))
        }
        // What broke under the call: no answer of a server has a cause.
        _ if status.source().is_some() && status.code() != Code::Cancelled => {
            Some(backoff(attempt))
        }
        _ => None,
    }
}

/// A random wait, longer from try to try.
pub(super) fn backoff(attempt: u32) -> Duration {
    let most = BACKOFF_MS << attempt.saturating_sub(1).min(4);
    Duration::from_millis(rand::random_range(most / 2..=most))
}

/// What is at the bottom of an error.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
