//! How often a call may be made: which buckets it takes from, and what its caller is told of them.
//! Asked by `auth.rs` between the key and its scope, so that a call counts whatever comes of it;
//! `request.rs` writes the headers, so that every answer has them. Counts nothing itself: that is
//! `cache/limits`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::peer::Peer;
use super::rest::table::{Method, Rule};
use crate::cache::limits::{BUCKETS_MAX, Bucket, Limiter, Local, State, Verdict};
use crate::kernel::config::LimitsConfig;
use crate::kernel::plan::Rate;
use crate::kernel::telemetry::Meters;
use crate::kernel::{Caller, Clock, Environment, Error, Reason, Result};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const DEGRADED: HeaderName = HeaderName::from_static("x-ratelimit-degraded");
const POLICIES: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATES: HeaderName = HeaderName::from_static("ratelimit");

/// How many of them an answer has, at most.
const HEADERS: usize = 6;

/// Scope of the methods that create runs, which a plan may limit apart.
pub(super) const CREATES_RUNS: &str = "runs:create";

/// Paths below these need no key and cost next to nothing: probes must not fail, and a page is
/// loaded in many pieces.
const FREE: [&str; 6] =
    ["/healthz", "/livez", "/readyz", "/openapi.json", "/docs", "/grpc.health.v1.Health"];

/// Name of the limit of all calls of a key.
const SUSTAINED: &str = "sustained";
/// Name of the limit of all keys of a project's environment.
const PROJECT: &str = "project";
/// Name of the limit of calls that create runs.
const RUN_CREATIONS: &str = "run_creations";
/// Name of the limit of calls without a key.
const UNAUTHENTICATED: &str = "unauthenticated";
/// Name of the limit of calls with a wrong key.
const FAILED_LOGINS: &str = "failed_logins";

/// The limits that calls are held to.
#[derive(Clone)]
pub struct Gate {
    limiter: Option<Limiter>,
    /// Always counted here: who guesses keys shall not gain by Redis being away.
    failed: Arc<Local>,
    config: Arc<LimitsConfig>,
    meters: Meters,
}

/// What the caller of a request is told of its limits, and what else is found out about it on its
/// way down; in the extensions of every request, empty at first.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    verdict: OnceLock<Verdict>,
    method: OnceLock<&'static Method>,
    rule: OnceLock<&'static Rule>,
    key: OnceLock<Uuid>,
}

impl Gate {
    /// Holds calls to these limits.
    #[must_use]
    pub fn new(limiter: Limiter, config: LimitsConfig, clock: Clock) -> Self {
        Self { limiter: Some(limiter), ..Self::open(config, clock) }
    }

    /// Counts wrong keys alone: for a server whose calls are counted before it.
    #[must_use]
    pub fn open(config: LimitsConfig, clock: Clock) -> Self {
        let (failed, config) = (Arc::new(Local::new(clock)), Arc::new(config));
        Self { limiter: None, failed, config, meters: Meters::default() }
    }

    /// The same, measured.
    #[must_use]
    pub fn metered(self, meters: Meters) -> Self {
        Self { meters, ..self }
    }

    /// Tells what the limits have decided.
    fn check(&self, verdict: Verdict, told: &Told) -> Result<()> {
        for state in verdict.states() {
            // Of several, those that had room have not refused it.
            let is_allowed = verdict.allowed || state.retry_after_us == 0;
            self.meters.decided(state.policy, is_allowed);
        }
        told.check(verdict)
    }

    /// Counts a call of a caller whose key is right.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn admit(&self, caller: &Caller, needed: &str, told: &Told) -> Result<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let (buckets, len) = buckets(caller, needed);
        let space = caller.scope.project.as_u128();
        self.check(limiter.admit(space, &buckets[..len]).await, told)
    }

    /// Counts a call that belongs to no key.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn admit_stranger(&self, address: IpAddr, told: &Told) -> Result<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let bucket = bucket(UNAUTHENTICATED, 0, self.config.unauthenticated);
        self.check(limiter.admit(network(address), &[bucket]).await, told)
    }

    /// True when keys of this address that are not known already are not to be looked up.
    #[must_use]
    pub fn is_shut(&self, address: IpAddr) -> bool {
        let bucket = bucket(FAILED_LOGINS, 0, self.config.failed_logins);
        !self.failed.look(network(address), &[bucket]).allowed
    }

    /// Counts a call whose key was refused, and tells what to answer.
    pub async fn refuse(&self, error: Error, address: IpAddr, told: &Told) -> Error {
        let counted = match error.reason {
            Reason::MissingApiKey => self.admit_stranger(address, told).await,
            Reason::InvalidApiKey | Reason::ExpiredToken => {
                let bucket = bucket(FAILED_LOGINS, 0, self.config.failed_logins);
                self.check(self.failed.admit(network(address), &[bucket]), told)
            }
            _ => Ok(()),
        };
        counted.err().unwrap_or(error)
    }
}

impl Told {
    /// What is told of the request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Writes it, if there is anything to tell.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(verdict) = self.0.verdict.get() {
            write(verdict, headers);
        }
    }

    /// The method that is called.
    #[must_use]
    pub fn method(&self) -> Option<&'static Method> {
        self.0.method.get().copied()
    }

    /// The rule by which it is called, over REST.
    #[must_use]
    pub fn rule(&self) -> Option<&'static Rule> {
        self.0.rule.get().copied()
    }

    /// Id of the caller's key.
    #[must_use]
    pub fn key(&self) -> Option<Uuid> {
        self.0.key.get().copied()
    }

    /// This method is called. The first holds, here and below.
    pub(super) fn calls(&self, method: &'static Method, rule: Option<&'static Rule>) {
        let _ = self.0.method.set(method);
        if let Some(rule) = rule {
            let _ = self.0.rule.set(rule);
        }
    }

    /// It is called by this key.
    pub(super) fn called_by(&self, key_id: Uuid) {
        let _ = self.0.key.set(key_id);
    }

    fn check(&self, verdict: Verdict) -> Result<()> {
        // The first holds: a call is counted once.
        let _ = self.0.verdict.set(verdict);
        if verdict.allowed { Ok(()) } else { Err(limited(&verdict)) }
    }
}

/// True for paths whose calls are not counted.
#[must_use]
pub fn is_free(path: &str) -> bool {
    FREE.iter().any(|root| path.strip_prefix(root).is_some_and(is_end))
}

fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Who calls.
#[must_use]
pub fn address(extensions: &Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address)
}

/// The buckets of a call, and how many there are.
fn buckets(caller: &Caller, needed: &str) -> ([Bucket; BUCKETS_MAX], usize) {
    let (limits, key) = (&caller.limits, caller.key_id.as_u128());
    let environment = u128::from(caller.scope.environment == Environment::Live);
    let mut buckets = [bucket(SUSTAINED, key, limits.requests); BUCKETS_MAX];
    let mut len = 1;
    if let Some(rate) = limits.project_requests {
        buckets[len] = bucket(PROJECT, environment, rate);
        len += 1;
    }
    if let Some(rate) = limits.run_creations.filter(|_| needed == CREATES_RUNS) {
        buckets[len] = bucket(RUN_CREATIONS, key, rate);
        len += 1;
    }
    (buckets, len)
}

fn bucket(policy: &'static str, id: u128, rate: Rate) -> Bucket {
    Bucket { policy, id, rate }
}

/// What one caller without a key has: an address, and in IPv6 the network of 64 bits that it is in,
/// which providers give to each of their customers at least.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

/// The failure of a call that came too often.
fn limited(verdict: &Verdict) -> Error {
    let violated = || verdict.states().iter().filter(|state| state.retry_after_us > 0);
    let longest = violated().max_by_key(|state| state.retry_after_us);
    let Some(State { limit, window_us, policy, .. }) = longest else {
        return Error::new(Reason::RateLimited, Reason::RateLimited.row().example);
    };
    let retry_s = seconds(verdict.retry_after_us()).max(1);
    let names: Vec<_> = violated().map(|state| state.policy).collect();
    let message = format!(
        "more than {limit} requests in {} seconds by the limit {policy}; try again in {retry_s} s",
        seconds(*window_us)
    );
    Error::new(Reason::RateLimited, message)
        .with("retry_after_s", retry_s.to_string())
        .with("limit", limit.to_string())
        .with("violated_policies", names.join(","))
}

/// Whole seconds, rounded up.
fn seconds(us: i64) -> i64 {
    us.div_euclid(1_000_000) + i64::from(us.rem_euclid(1_000_000) > 0)
}

/// Writes the headers: those that the platforms have, of the tightest bucket, and those of
/// draft-ietf-httpapi-ratelimit-headers, of all buckets.
fn write(verdict: &Verdict, headers: &mut HeaderMap) {
    let Some(tightest) = verdict.tightest() else { return };
    // All values in one piece of memory, and the map grows once.
    let mut text = BytesMut::with_capacity(48 + 96 * verdict.states().len());
    headers.reserve(HEADERS);
    let mut put = |name, text: BytesMut| {
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(name, value);
        }
    };
    let State { limit, remaining, reset_at_us, .. } = *tightest;
    for (name, value) in [(LIMIT, limit), (REMAINING, remaining), (RESET, seconds(reset_at_us))] {
        number(&mut text, value);
        put(name, text.split());
    }
    list(&mut text, verdict, |state| {
        [(";q=", state.limit), (";w=", seconds(state.window_us).max(1))]
    });
    put(POLICIES, text.split());
    list(&mut text, verdict, |state| [(";r=", state.remaining), (";t=", seconds(state.next_us))]);
    put(STATES, text);
    if verdict.degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("1"));
    }
}

/// A list of all buckets, each with some parameters, as structured fields have it.
fn list(
    text: &mut BytesMut,
    verdict: &Verdict,
    parameters: impl Fn(&State) -> [(&'static str, i64); 2],
) {
    for (i, state) in verdict.states().iter().enumerate() {
        text.extend_from_slice(if i == 0 { b"\"" } else { b", \"" });
        text.extend_from_slice(state.policy.as_bytes());
        text.extend_from_slice(b"\"");
        for (name, value) in parameters(state) {
            text.extend_from_slice(name.as_bytes());
            number(text, value);
        }
    }
}

fn number(text: &mut BytesMut, value: i64) {
    text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn space(address: &str) -> u128 {
        network(address.parse().unwrap())
    }

    #[test]
    fn a_network_of_64_bits_is_one_caller() {
        assert_eq!(space("2001:db8:1:2::1"), space("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(space("2001:db8:1:2::1"), space("2001:db8:1:3::1"));
        assert_ne!(space("192.0.2.1"), space("192.0.2.2"));
        assert_eq!(space("192.0.2.1"), space("::ffff:192.0.2.1"), "as a dual socket sees it");
        assert_ne!(space("192.0.2.1"), space("::1"));
    }

    #[test]
    fn seconds_are_rounded_up() {
        let cases = [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)];
        for (us, expected) in cases {
            assert_eq!(seconds(us), expected, "{us}");
        }
    }

    #[test]
    fn only_what_costs_nothing_is_free() {
        for path in ["/healthz", "/readyz", "/docs", "/docs/x.js", "/openapi.json"] {
            assert!(is_free(path), "{path}");
        }
        assert!(is_free("/grpc.health.v1.Health/Check"));
        for path in ["/", "/v1/agents", "/healthz2", "/docsx", "/grpc.health.v1.Healthy/Check"] {
            assert!(!is_free(path), "{path}");
        }
    }

    #[test]
    fn a_refusal_names_the_longest_wait_and_every_limit_that_was_met() {
        let local = Local::new(Clock::manual(crate::kernel::Timestamp(0)));
        let rate = |per| Rate::new(1, Duration::from_secs(per), 1);
        let buckets = [bucket("a", 0, rate(10)), bucket("b", 0, rate(7)), bucket("c", 0, rate(1))];
        assert!(local.admit(0, &buckets[..2]).allowed);
        let verdict = local.admit(0, &buckets);
        let mut headers = HeaderMap::new();
        write(&verdict, &mut headers);
        assert_eq!(headers[STATES], r#""a";r=0;t=10, "b";r=0;t=7, "c";r=1;t=0"#);
        assert_eq!(headers[POLICIES], r#""a";q=1;w=10, "b";q=1;w=7, "c";q=1;w=1"#);
        assert_eq!((headers[LIMIT].as_bytes(), headers[RESET].as_bytes()), (&b"1"[..], &b"10"[..]));
        let error = limited(&verdict);
        assert_eq!(error.fact("violated_policies"), Some("a,b"));
        assert_eq!(error.fact("retry_after_s"), Some("10"));
        let status = tonic::Status::from(error);
        let retry = tonic_types::StatusExt::get_details_retry_info(&status).unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(10)));
    }
}
