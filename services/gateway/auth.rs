//! Who calls: a key in one of three headers, checked against the store through a short cache, and
//! its scope against the one that the contract asks for. One layer for all dialects. Puts a
//! [`Caller`] into the extensions.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, HeaderMap};
use moka::future::Cache;
use tower::{Layer, Service};

use super::credentials::{invalid, presented};
use super::rate::{self, Gate, Told};
use super::record::{self, Notes, Recorder};
use super::rest::routed;
use super::rest::table::Method;
use super::{Answer, Dialect, Request, Response, request_id};
use crate::kernel::call::Call;
use crate::kernel::caller::{Alive, Grant, Level};
use crate::kernel::config::Plans;
use crate::kernel::{Caller, Clock, Error, Pepper, Reason, Result, Scope, Timestamp};
use crate::keys::secret;
use crate::store::audit::Actor;
use crate::store::tenants::{self, Tenant};
use crate::store::{Store, keys};

/// How long a replica may go on with what it knows of a key: the bound on revocation.
const KNOWN_S: u64 = 5;

/// Keys known at once.
const KNOWN_KEYS: u64 = 100_000;

/// How long a key that was right is looked up although its address has used up its failed logins.
const PROVEN: Duration = Duration::from_secs(3600);

/// Least time between two notes of a key's use.
const TOUCH: Duration = Duration::from_secs(60);

/// Finds the method that a request calls by its contract; `None` for paths that need no key.
pub type Required = Arc<dyn Fn(Dialect, &mut Request) -> Option<&'static Method> + Send + Sync>;

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
    /// The call of who has made none that changes anything.
    silent: Arc<Call>,
    known: Cache<String, Option<Arc<Known>>>,
    /// How often something was forgotten.
    forgotten: Arc<AtomicU64>,
    /// What is kept of keys that were right, by their public part.
    proven: Cache<String, Vec<u8>>,
    notes: Notes,
}

/// Makes [`Authenticated`] services.
#[derive(Clone)]
pub struct AuthLayer {
    /// Checks keys.
    pub authenticator: Authenticator,
    /// Finds the method that a request calls.
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
    /// Checks keys of this store; run the [`Recorder`] beside it.
    #[must_use]
    pub fn new(store: Store, pepper: Pepper, plans: Plans, clock: Clock) -> (Self, Recorder) {
        let (notes, recorder) = record::recorder(store.clone(), pepper.clone(), clock.clone());
        let known = Cache::builder()
            .max_capacity(KNOWN_KEYS)
            .time_to_live(Duration::from_secs(KNOWN_S))
            .build();
        let proven = Cache::builder().max_capacity(KNOWN_KEYS).time_to_live(PROVEN).build();
        let silent = Arc::new(Call::silent(&pepper));
        let forgotten = Arc::default();
        let keys = Self { store, pepper, plans, clock, silent, known, forgotten, proven, notes };
        (keys, recorder)
    }

    /// Whose the key is. Keys that are not known already are not looked up while the door is shut.
    async fn caller(
        &self,
        secret: &str,
        method: &Method,
        is_shut: impl Fn() -> bool,
    ) -> Result<Caller> {
        let public = secret::parse(secret).ok_or_else(invalid)?;
        let kept = self.known.get(public).await;
        let is_kept = kept.is_some();
        self.store.meters().looked_up("keys", is_kept);
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
        let mut caller = self.opens(&known).await?;
        if method.goes_on {
            caller.alive = Some(self.clone().alive(public.to_owned()));
        }
        Ok(caller)
    }

    /// What a key opens now. A session lives as long as the key that it was made from, and counts
    /// as that.
    async fn opens(&self, known: &Known) -> Result<Caller> {
        let now = self.clock.now();
        known.alive(now)?;
        let Some(parent) = &known.parent else {
            self.note(known, now);
            return Ok(known.caller.clone());
        };
        let parent = self.known(parent).await?.ok_or_else(invalid)?;
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

    /// Asks later whether a key still opens.
    fn alive(self, public: String) -> Alive {
        Alive(Arc::new(move || {
            let (authenticator, public) = (self.clone(), public.clone());
            Box::pin(async move {
                let known = authenticator.known(&public).await?.ok_or_else(invalid)?;
                authenticator.opens(&known).await.map(|_| ())
            })
        }))
    }

    fn note(&self, known: &Known, now: Timestamp) {
        if known.is_note_due(now) {
            self.notes.used(known.caller.scope, known.caller.key_id);
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
        let before = self.forgotten.load(Ordering::Acquire);
        let loaded = self.known.try_get_with_by_ref(public, load).await;
        if self.forgotten.load(Ordering::Acquire) != before {
            // It may have been read before the change that was to be forgotten.
            self.known.invalidate(public).await;
        }
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
            expires_at: key.expires_at.map(Timestamp),
            level: level.ok_or_else(|| Error::internal("a key of an unknown level"))?,
            grants: words.iter().filter_map(|word| Grant::parse(word)).collect(),
            limits: Arc::new(self.plans.limits(&tenant.plan, &tenant.overrides, &own)),
            call: Arc::clone(&self.silent),
            alive: None,
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

    /// Forgets a key, or all, so that their change holds at once in this process.
    pub async fn forget(&self, public: Option<&str>) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        match public {
            Some(public) => self.known.invalidate(public).await,
            None => self.known.invalidate_all(),
        }
    }
}

impl AuthLayer {
    /// Who calls, and may call the method. A call counts before its scope is looked at; who is
    /// refused is written down, unless not even the key was looked at.
    async fn admit(
        &self,
        (headers, extensions): (&HeaderMap, &Extensions),
        method: &'static Method,
    ) -> Result<Caller> {
        let (address, told) = (rate::address(extensions), Told::of(extensions));
        told.calls(method, routed(extensions));
        // Before the key is looked at: that may cost a question.
        self.authenticator.store.load().admit(method.scope == rate::CREATES_RUNS)?;
        let secret = match presented(headers, extensions, method) {
            Ok(secret) => secret,
            Err(error) => return Err(self.gate.refuse(error, address, &told).await),
        };
        let (keys, is_shut) = (&self.authenticator, || self.gate.is_shut(address));
        let caller = match keys.caller(secret, method, is_shut).await {
            Ok(caller) => caller,
            Err(error) => {
                let error = self.gate.refuse(error, address, &told).await;
                if error.reason != Reason::RateLimited {
                    let public = secret::parse(secret).map(str::to_owned);
                    let actor = Actor { public, ..Actor::default() };
                    keys.notes.refused((None, actor), extensions, method, error.reason);
                }
                return Err(error);
            }
        };
        told.called_by(caller.key_id);
        self.gate.admit(&caller, method.scope, &told).await?;
        if caller.may(method.scope) {
            return Ok(caller);
        }
        let who = (Some(caller.scope), Actor::from(&caller));
        keys.notes.refused(who, extensions, method, Reason::InsufficientScope);
        Err(lacks(method.scope))
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
            let parts = (request.headers(), request.extensions());
            let allowed = match needed {
                Some(needed) => auth.admit(parts, needed).await.map(|who| Some((who, needed))),
                None => auth.admit_stranger(parts.1).await.map(|()| None),
            };
            let caller = match allowed {
                Ok(caller) => caller,
                Err(e) => return Ok(dialect.refuse(e.into(), request_id(request.extensions()))),
            };
            if let Some((caller, method)) = caller {
                request.extensions_mut().insert(method);
                request.extensions_mut().insert(caller);
            }
            inner.call(request).await
        })
    }
}

fn lacks(needed: &'static str) -> Error {
    let message = format!("this method needs the scope {needed}");
    Error::new(Reason::InsufficientScope, message).with("scope", needed)
}
