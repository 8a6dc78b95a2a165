//! The one client for calls on behalf of others: every address is checked, in the URL and in the
//! resolver's answer; no redirect is followed, no proxy used, no answer taken beyond its bounds.
//! Used by HTTP tools. The client for providers is made here too, without the address rules,
//! because their addresses come from the operator.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use tokio::sync::OnceCell;

use crate::kernel::address::{AddressPolicy, Blocked};
use crate::kernel::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_BYTES_MAX: usize = 32 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;
const IDLE_PER_HOST: usize = 8;

/// Calls the outside world on behalf of others.
#[derive(Debug, Clone)]
pub(crate) struct Egress {
    client: Client,
    policy: Arc<AddressPolicy>,
}

/// A POST to make.
#[derive(Debug)]
pub(crate) struct Post<'a> {
    /// Where to.
    pub(crate) url: &'a str,
    /// Headers, the content type included.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// What came back, within its bounds.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status.
    pub(crate) status: StatusCode,
    /// Headers.
    pub(crate) headers: HeaderMap,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The address may not be called; nothing was sent.
    Blocked(Blocked),
    /// No connection was made; nothing was sent.
    Unreachable(String),
    /// The connection broke; it may have been sent.
    Broken(String),
    /// The answer is beyond a bound.
    TooMuch(String),
}

impl Egress {
    /// A client with this policy.
    ///
    /// # Errors
    /// `internal_error` when no client can be built.
    pub(crate) fn new(policy: AddressPolicy) -> Result<Self> {
        let policy = Arc::new(policy);
        let resolver = Filter { policy: Arc::clone(&policy), inner: Arc::default() };
        let header_bytes_max = u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX);
        let client = built(|| {
            basic()
                .dns_resolver(Arc::new(resolver.clone()))
                .http2_max_header_list_size(header_bytes_max)
        })?;
        Ok(Self { client, policy })
    }

    /// Sends a POST and reads the whole answer. Without a timeout of its own.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<Reply, Unanswered> {
        let url = self.policy.check_url(post.url).map_err(Unanswered::Blocked)?;
        let request = self.client.post(url).headers(post.headers).body(post.body);
        let mut response = request.send().await.map_err(unsent)?;
        let header_bytes: usize =
            response.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        if header_bytes > HEADER_BYTES_MAX {
            let message = format!("the headers are larger than {HEADER_BYTES_MAX} bytes");
            return Err(Unanswered::TooMuch(message));
        }
        let body = read(&mut response).await?;
        Ok(Reply { status: response.status(), headers: response.headers().clone(), body })
    }
}

async fn read(response: &mut Response) -> Result<Vec<u8>, Unanswered> {
    let mut body = Vec::new();
    let broken = |_| Unanswered::Broken("the connection broke within the answer".to_owned());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            let message = format!("the answer is larger than {BODY_BYTES_MAX} bytes");
            return Err(Unanswered::TooMuch(message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unsent(error: reqwest::Error) -> Unanswered {
    if let Some(blocked) = blocked(&error) {
        return Unanswered::Blocked(blocked);
    }
    if error.is_connect() {
        return Unanswered::Unreachable("no connection could be made".to_owned());
    }
    Unanswered::Broken("the connection broke before an answer".to_owned())
}

fn blocked(error: &reqwest::Error) -> Option<Blocked> {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(blocked) = error.downcast_ref::<Blocked>() {
            return Some(blocked.clone());
        }
        cause = error.source();
    }
    None
}

/// The client for providers of models.
///
/// # Errors
/// `internal_error` when no client can be built.
pub(crate) fn provider_client() -> Result<Client> {
    built(basic)
}

fn basic() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
}

/// Builds a client. On a machine without any CA certificate it speaks plain HTTP and refuses every
/// HTTPS peer.
fn built(builder: impl Fn() -> ClientBuilder) -> Result<Client> {
    // Fails when one is installed already, by `main` or by an embedding program: that one is as
    // good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder()
        .build()
        .or_else(|error| {
            tracing::warn!(%error, "no CA certificates: calls over https will fail");
            builder().tls_certs_only([]).build()
        })
        .map_err(Error::internal)
}

/// Resolves names and passes on only the addresses that may be called. The connection uses exactly
/// these, so a name that changes its answer gains nothing.
#[derive(Clone)]
struct Filter {
    policy: Arc<AddressPolicy>,
    inner: Arc<OnceCell<TokioResolver>>,
}

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let resolver = this.inner.get_or_try_init(|| async { resolver() }).await?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            let open: Vec<SocketAddr> = found
                .iter()
                .filter(|address| this.policy.permits(*address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if open.is_empty() {
                let why = format!("{} has no public address", name.as_str());
                return Err(Box::new(Blocked(why)) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

fn resolver() -> Result<TokioResolver, Box<dyn StdError + Send + Sync>> {
    Ok(TokioResolver::builder_tokio()?.build()?)
}
