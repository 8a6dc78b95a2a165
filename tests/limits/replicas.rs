//! Many processes on one Redis admit together what the plan says, and so do those without Redis.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use runplane::cache::limits::{Bucket, Limiter, Replicas};
use runplane::cache::link::Link;
use runplane::kernel::Clock;
use runplane::kernel::config::Config;
use runplane::kernel::plan::Rate;
use serde_json::Value;

use crate::harness::databases;
use crate::harness::process::{Api, Program};
use crate::harness::redis::Redis;

/// So many processes.
pub const REPLICAS: u32 = 3;

/// Tells how many there are.
pub fn three() -> Option<Replicas> {
    Some(Arc::new(|| Box::pin(async { Some(REPLICAS) })))
}

/// As many ways to this Redis as there are processes.
pub fn links(redis: &Redis) -> Vec<Link> {
    let config = Config::with(&redis.config()).expect("a right configuration").redis;
    let link = || Link::new(&config).expect("a URL").expect("a Redis");
    (0..REPLICAS).map(|_| link()).collect()
}

/// A limiter for each.
pub async fn limiters(links: &[Link]) -> Vec<Limiter> {
    let limiter = |link: &Link| Limiter::new(Some(link.clone()), Clock::system(), three());
    let limiters: Vec<_> = links.iter().map(limiter).collect();
    for limiter in &limiters {
        limiter.start().await;
        assert!(limiter.is_whole());
    }
    limiters
}

/// What a limiter has answered to callers who asked all the time.
#[derive(Debug, Default)]
pub struct Counted {
    pub admitted: i64,
    pub refused: i64,
    /// By the clock of who counted, the first and the last moment.
    pub from_us: i64,
    pub to_us: i64,
}

async fn hammer(limiter: &Limiter, bucket: Bucket, refusals: i64) -> Counted {
    let clock = Clock::system();
    let mut counted = Counted { from_us: clock.now().0, ..Counted::default() };
    while counted.refused < refusals {
        let verdict = limiter.admit(1, &[bucket]).await;
        assert!(!verdict.degraded, "Redis is there");
        counted.admitted += i64::from(verdict.allowed);
        counted.refused += i64::from(!verdict.allowed);
    }
    counted.to_us = clock.now().0;
    counted
}

/// Asks from all processes at once, with some callers in each; what comes of it in all.
async fn hammer_all(limiters: &[Limiter], bucket: Bucket, refusals: i64) -> Counted {
    let callers = limiters.iter().flat_map(|limiter| [limiter; 4]);
    let all = join_all(callers.map(|limiter| hammer(limiter, bucket, refusals))).await;
    let sum = |of: fn(&Counted) -> i64| all.iter().map(of).sum();
    Counted {
        admitted: sum(|one| one.admitted),
        refused: sum(|one| one.refused),
        from_us: all.iter().map(|one| one.from_us).min().unwrap_or_default(),
        to_us: all.iter().map(|one| one.to_us).max().unwrap_or_default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_admit_what_the_plan_says() {
    let redis = Redis::start();
    let limiters = limiters(&links(&redis)).await;
    // Of an hour, so that nothing comes back during the test.
    let rate = Rate::new(100, Duration::from_secs(3600), 150);
    let counted = hammer_all(&limiters, Bucket { policy: "test", id: 1, rate }, 200).await;
    assert!((150..=151).contains(&counted.admitted), "{counted:?}");
    // And one that fills as they call.
    let rate = Rate::new(100, Duration::from_secs(1), 50);
    let counted = hammer_all(&limiters, Bucket { policy: "test", id: 2, rate }, 5000).await;
    let most = 50 + (counted.to_us - counted.from_us) / 10_000;
    assert!(counted.admitted <= most + 1, "{counted:?}, not {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_admit_no_more_and_ask_less() {
    let redis = Redis::start();
    let limiters = limiters(&links(&redis)).await;
    let rate = Rate::new(3000, Duration::from_secs(3600), 3000);
    let counted = hammer_all(&limiters, Bucket { policy: "test", id: 1, rate }, 200).await;
    let waits: u32 = limiters.iter().map(Limiter::waits).sum();
    // What was taken ahead and not used in a second is lost: at most a lease for each process.
    let lost = i64::from(REPLICAS) * 10;
    assert!((3000 - lost..=3001 + lost).contains(&counted.admitted), "{counted:?}");
    // 3,000 and 2,400 refusals, most of which nobody asked Redis for.
    assert!(i64::from(waits) < counted.admitted / 2, "{waits} questions for {counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_process_has_its_share() {
    let clock = Clock::manual(databases::START);
    let limiters = [(); REPLICAS as usize].map(|()| Limiter::local(clock.clone(), three()));
    let rate = Rate::new(100, Duration::from_secs(60), 150);
    let mut admitted = 0;
    for limiter in &limiters {
        limiter.start().await;
        for _ in 0..150 {
            let verdict = limiter.admit(1, &[Bucket { policy: "test", id: 1, rate }]).await;
            assert_eq!((verdict.degraded, verdict.states()[0].limit), (false, 50));
            admitted += i64::from(verdict.allowed);
        }
    }
    assert_eq!(admitted, 150);
}

const SERVED: &str = "
[auth]
pepper = 'a pepper for tests, of no worth'
[plans.enterprise]
requests = { limit = 40, per = '1d', burst = 40 }
";

/// Status, `X-RateLimit-Remaining` and whether it is degraded.
async fn get(api: &Api) -> (u16, i64, bool) {
    let response = api.request(reqwest::Method::GET, "/v1/agents").send().await;
    let response = response.expect("an answer");
    let left = response.headers().get("x-ratelimit-remaining").expect("it is told");
    let left = left.to_str().expect("a text").parse().expect("a number");
    let degraded = response.headers().contains_key("x-ratelimit-degraded");
    let status = response.status().as_u16();
    let _body: Value = response.json().await.expect("JSON");
    (status, left, degraded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_on_one_redis_admit_what_the_plan_says() {
    let (redis, (store, _place)) = (Redis::start(), databases::postgres_place(None).await);
    let config = format!("{SERVED}{}", redis.config());
    let mut programs = [(); 3].map(|()| Program::on(&store.url, &config));
    let first = programs[0].start().await;
    let mut apis = vec![first.clone()];
    for program in &mut programs[1..] {
        apis.push(program.start_with(&first.key).await);
    }
    let calls = apis.iter().flat_map(|api| (0..30).map(move |_| get(api)));
    let answers = join_all(calls).await;
    let admitted: Vec<_> = answers.iter().filter(|(status, ..)| *status == 200).collect();
    assert_eq!(admitted.len(), 40, "{answers:?}");
    assert!(answers.iter().all(|(status, _, degraded)| matches!(status, 200 | 429) && !degraded));
    let mut left: Vec<_> = admitted.iter().map(|(_, left, _)| *left).collect();
    left.sort_unstable();
    assert_eq!(left, (0..40).collect::<Vec<_>>(), "each is told how many were left after it");
}
