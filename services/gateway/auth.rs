//! Who calls: a key in one of three headers, checked against the store through a short cache, and
//! its scope against the one that the contract asks for. One layer for all dialects. Puts a
//! [`Caller`] into the extensions.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, HeaderMap, header};
use moka::future::Cache;
use tokio::sync::mpsc;
use tower::{Layer, Service};
use uuid::Uuid;

use super::rate::{self, Gate, Told};
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::caller::{Grant, Level};
use crate::kernel::config::Plans;
use crate::kernel::{Caller, Clock, Error, Reason, Result, Scope, Timestamp};
use crate::keys::secret::{self, Pepper};
use crate::store::tenants::{self, Tenant};
use crate::store::{Store, keys};

/// How long a replica may go on with what it knows of a key: the bound on revocation.
const KNOWN_S: u64 = 5;

/// Keys known at once.
const KNOWN_KEYS: u64 = 100_000;

/// How long a key that was right is looked up again, whoever else guesses keys at its address.
const PROVEN: Duration = Duration::from_secs(3600);

/// Least time between two notes of a key's use.
const TOUCH: Duration = Duration::from_secs(60);

/// Uses waiting to be noted; more are left out.
const TOUCHES: usize = 1024;

/// Finds the scope that a request needs by its contract; `None` for paths that need no key.
pub type Required = Arc<dyn Fn(Dialect, &mut Request) -> Option<&'static str> + Send + Sync>;

/// A key as the cache knows it.
#[derive(Debug)]
struct Known {
    mac: Vec<u8>,
    caller: Caller,
    /// Of a session: the public part of the key that it was made from.
    parent: Option<String>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// When its use was last noted, in microseconds; 0: never.
    noted_at: AtomicI64,
}

/// Checks keys.
#[derive(Clone)]
pub struct Authenticator {
    store: Store,
    pepper: Pepper,
    plans: Plans,
    clock: Clock,
    known: Cache<String, Option<Arc<Known>>>,
    /// What is kept of keys that were right, by their public part.
    proven: Cache<String, Vec<u8>>,
    touches: mpsc::Sender<(Scope, Uuid)>,
}

/// Notes when keys were used, off the path of the calls.
pub struct Toucher {
    store: Store,
    clock: Clock,
    touches: mpsc::Receiver<(Scope, Uuid)>,
}

/// Makes [`Authenticated`] services.
#[derive(Clone)]
pub struct AuthLayer {
    /// Checks keys.
    pub authenticator: Authenticator,
    /// Finds the scope that a request needs.
    pub required: Required,
    /// Counts calls.
    pub gate: Gate,
}

/// Lets calls pass whose key may make them.
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    /// Shared, for the stack is cloned for every request.
    auth: Arc<AuthLayer>,
}

impl Known {
    /// Refuses a key that has ended.
    fn alive(&self, now: Timestamp) -> Result<()> {
        let over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if over(self.revoked_at) {
            return Err(invalid());
        }
        match (over(self.expires_at), &self.parent) {
            (false, _) => Ok(()),
            (true, None) => Err(invalid()),
            (true, Some(_)) => {
                Err(Error::new(Reason::ExpiredToken, Reason::ExpiredToken.row().example))
            }
        }
    }

    /// True for one caller a minute: its use is to be noted.
    fn is_note_due(&self, now: Timestamp) -> bool {
        let noted = self.noted_at.load(Ordering::Relaxed);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        Timestamp(noted).plus(TOUCH) <= now
            && self.noted_at.compare_exchange(noted, now.0, set, get).is_ok()
    }
}

impl Authenticator {
    /// Checks keys of this store; run the [`Toucher`] beside it.
    #[must_use]
    pub fn new(store: Store, pepper: Pepper, plans: Plans, clock: Clock) -> (Self, Toucher) {
        let (sender, receiver) = mpsc::channel(TOUCHES);
        let known = Cache::builder()
            .max_capacity(KNOWN_KEYS)
            .time_to_live(Duration::from_secs(KNOWN_S))
            .build();
        let proven = Cache::builder().max_capacity(KNOWN_KEYS).time_to_live(PROVEN).build();
        let toucher = Toucher { store: store.clone(), clock: clock.clone(), touches: receiver };
        (Self { store, pepper, plans, clock, known, proven, touches: sender }, toucher)
    }

    /// Whose the key is. Keys that are not known already are not looked up while the door is shut.
    async fn caller(&self, headers: &HeaderMap, is_shut: impl Fn() -> bool) -> Result<Caller> {
        let secret = presented(headers)?;
        let (_, public) = secret::parse(secret).ok_or_else(invalid)?;
        let kept = self.known.get(public).await;
        let is_kept = kept.is_some();
        let known = match kept {
            Some(known) => known,
            None if is_shut() && !self.was_right(public, secret).await => return Err(invalid()),
            None => self.known(public).await?,
        };
        // With no such key the comparison still happens, so that time tells nothing.
        let mac = known.as_ref().map_or(&[0; 32][..], |key| &key.mac);
        let matches = self.pepper.matches(secret, mac);
        let known = known.filter(|_| matches).ok_or_else(invalid)?;
        if !is_kept {
            self.proven.insert(public.to_owned(), known.mac.clone()).await;
        }
        let now = self.clock.now();
        known.alive(now)?;
        let Some(parent) = &known.parent else {
            self.note(&known, now);
            return Ok(known.caller.clone());
        };
        let parent = self.known(parent).await?.ok_or_else(invalid)?;
        // A session lives as long as the key that it was made from, and counts as that.
        parent.alive(now).map_err(|_| invalid())?;
        self.note(&parent, now);
        Ok(known.caller.session_of(&parent.caller))
    }

    /// True for a key that was right within the last hour; whoever knows only its public part does
    /// not pass.
    async fn was_right(&self, public: &str, secret: &str) -> bool {
        let mac = self.proven.get(public).await;
        mac.is_some_and(|mac| self.pepper.matches(secret, &mac))
    }

    fn note(&self, known: &Known, now: Timestamp) {
        if known.is_note_due(now) {
            // A full queue only makes `last_used_at` a little older.
            let _full = self.touches.try_send((known.caller.scope, known.caller.key_id));
        }
    }

    async fn known(&self, public: &str) -> Result<Option<Arc<Known>>> {
        if let Some(known) = self.known.get(public).await {
            return Ok(known);
        }
        let load = async {
            let Some((scope, key)) = keys::by_public_id(self.store.read(), public).await? else {
                return Ok(None);
            };
            let tenant = tenants::of(self.store.read(), &key).await?;
            tenant.map(|tenant| self.known_from(scope, key, tenant).map(Arc::new)).transpose()
        };
        let loaded = self.known.try_get_with_by_ref(public, load).await;
        loaded.map_err(|e: Arc<Error>| Error::new(e.reason, e.message.clone()))
    }

    fn known_from(&self, scope: Scope, key: keys::Key, tenant: Tenant) -> Result<Known> {
        let words: Vec<String> = serde_json::from_str(&key.scopes).map_err(Error::internal)?;
        let own = serde_json::from_str(&key.limits).map_err(Error::internal)?;
        let level = Level::parse(&key.level);
        let caller = Caller {
            key_id: key.id,
            session_id: None,
            organisation: key.organisation_id.unwrap_or_default(),
            scope,
            level: level.ok_or_else(|| Error::internal("a key of an unknown level"))?,
            grants: words.iter().filter_map(|word| Grant::parse(word)).collect(),
            limits: Arc::new(self.plans.limits(&tenant.plan, &tenant.overrides, &own)),
        };
        Ok(Known {
            mac: key.mac,
            caller,
            parent: tenant.parent,
            expires_at: key.expires_at.map(Timestamp),
            revoked_at: key.revoked_at.map(Timestamp),
            noted_at: AtomicI64::new(key.last_used_at.unwrap_or_default()),
        })
    }

    /// Forgets a key, so that its change holds at once in this process.
    pub async fn forget(&self, public: &str) {
        self.known.invalidate(public).await;
    }
}

impl Toucher {
    /// Notes uses until the authenticator is gone.
    pub async fn run(mut self) {
        while let Some((scope, key)) = self.touches.recv().await {
            let now = self.clock.now();
            let noted = self
                .store
                .tx("touch_key", move |tx| {
                    Box::pin(async move { keys::touch(tx, scope, key, now).await })
                })
                .await;
            if let Err(error) = noted {
                tracing::warn!(%error, "the use of a key was not noted");
            }
        }
    }
}

impl AuthLayer {
    /// Who calls; a call counts before its scope is looked at.
    async fn admit(
        &self,
        (headers, extensions): (&HeaderMap, &Extensions),
        needed: &'static str,
    ) -> Result<Caller> {
        let (address, told) = (rate::address(extensions), Told::of(extensions));
        let caller = self.authenticator.caller(headers, || self.gate.is_shut(address)).await;
        match caller {
            Ok(caller) => {
                self.gate.admit(&caller, needed, &told).await?;
                permit(caller, needed)
            }
            Err(error) => Err(self.gate.refuse(error, address, &told).await),
        }
    }

    /// Counts a call that needs no key.
    async fn admit_stranger(&self, extensions: &Extensions) -> Result<()> {
        let (address, told) = (rate::address(extensions), Told::of(extensions));
        self.gate.admit_stranger(address, &told).await
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { inner, auth: Arc::new(self.clone()) }
    }
}

impl<S> Service<Request> for Authenticated<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Answer {
        let dialect = Dialect::of(request.headers());
        let needed = (self.auth.required)(dialect, &mut request);
        if needed.is_none() && rate::is_free(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let auth = Arc::clone(&self.auth);
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let extensions = request.extensions();
            let allowed = match needed {
                Some(needed) => auth.admit((request.headers(), extensions), needed).await.map(Some),
                None => auth.admit_stranger(extensions).await.map(|()| None),
            };
            let caller = match allowed {
                Ok(caller) => caller,
                Err(e) => return Ok(dialect.refuse(e.into(), request_id(request.extensions()))),
            };
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            inner.call(request).await
        })
    }
}

/// The key in `Authorization: Bearer`, `Authorization: Token` or `x-api-key`.
fn presented(headers: &HeaderMap) -> Result<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| invalid())?;
        let (scheme, key) = text.trim().split_once(' ').ok_or_else(invalid)?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        if known {
            return Ok(key.trim());
        }
        // Another scheme is a proxy's: it does not hide a key of ours.
        return key_header(headers).unwrap_or_else(|| Err(invalid()));
    }
    key_header(headers).unwrap_or_else(|| Err(missing()))
}

fn key_header(headers: &HeaderMap) -> Option<Result<&str>> {
    let value = headers.get("x-api-key")?;
    Some(value.to_str().map(str::trim).map_err(|_| invalid()))
}

fn permit(caller: Caller, needed: &'static str) -> Result<Caller> {
    if caller.may(needed) {
        return Ok(caller);
    }
    let message = format!("this method needs the scope {needed}");
    Err(Error::new(Reason::InsufficientScope, message).with("scope", needed))
}

fn missing() -> Error {
    Error::new(Reason::MissingApiKey, Reason::MissingApiKey.row().example)
}

fn invalid() -> Error {
    Error::new(Reason::InvalidApiKey, Reason::InvalidApiKey.row().example)
}
