//! A revoked key is refused by every process: at once where Redis tells, and when what was known of
//! it is over where nobody does.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::databases::{Place, postgres_copy};
use crate::harness::process::{Api, Program};
use crate::harness::redis::Redis;

const KEYS: usize = 12;
/// A revoked key that is tried again and again would shut its address out.
const CHANGES: &str = r#"
[auth]
pepper = "shared"
[limits]
failed_logins = { limit = 1000000, per = "1s", burst = 1000000 }
"#;
/// How long a process goes on with what it knows of a key, and as long again for a busy machine.
const KNOWN: Duration = Duration::from_secs(10);

/// Three processes on one database.
async fn three(changes: &str) -> (Vec<Program>, Vec<Api>, Place) {
    let (config, place) = postgres_copy().await;
    let changes = format!("{CHANGES}{changes}");
    let mut programs: Vec<_> = (0..3).map(|_| Program::on(&config.url, &changes)).collect();
    let first = programs[0].start().await;
    let mut apis = vec![first.clone()];
    for program in &mut programs[1..] {
        apis.push(program.start_with(&first.key).await);
    }
    (programs, apis, place)
}

async fn opens(api: &Api) -> bool {
    api.get("/v1/me").await.0 == 200
}

/// A new key, known to every process, is revoked at the first; how long each of the others still
/// took it.
async fn revoked(apis: &[Api]) -> Vec<Duration> {
    let (status, key) = apis[0].post("/v1/keys", &json!({"name": "k", "scopes": ["read"]})).await;
    assert_eq!(status, 201, "{key}");
    let secret = key["secret"].as_str().expect("a secret");
    let callers: Vec<_> = apis.iter().map(|api| Api::new(&api.url, secret)).collect();
    for caller in &callers {
        assert!(opens(caller).await, "a new key opens");
    }
    let path = format!("/v1/keys/{}/revoke", key["id"].as_str().expect("an id"));
    let (status, answer): (u16, Value) = apis[0].post(&path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let begun = Instant::now();
    assert!(!opens(&callers[0]).await, "it is refused at once where it was revoked");
    let others = callers[1..].iter().map(|caller| async {
        while opens(caller).await {
            assert!(begun.elapsed() < KNOWN, "it is still taken");
        }
        begun.elapsed()
    });
    join_all(others).await
}

async fn all_revoked(apis: &[Api]) -> Vec<Duration> {
    let mut took = join_all((0..KEYS).map(|_| revoked(apis))).await.concat();
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_everywhere_as_soon_as_redis_tells() {
    let redis = Redis::start();
    let (_programs, apis, _place) = three(&redis.config()).await;
    let took = all_revoked(&apis).await;
    println!("revoked, with Redis: median {:?}, longest {:?}", took[KEYS], took[took.len() - 1]);
    // Half of them would still be known without the news.
    assert!(took[KEYS] < Duration::from_millis(2500), "{took:?}");
    redis.kill();
    let took = all_revoked(&apis).await;
    println!("Redis gone: median {:?}, longest {:?}", took[KEYS], took[took.len() - 1]);
    redis.restart();
    // What was missed meanwhile is forgotten when the news come again.
    let took = all_revoked(&apis).await;
    println!("Redis back: median {:?}, longest {:?}", took[KEYS], took[took.len() - 1]);
}
