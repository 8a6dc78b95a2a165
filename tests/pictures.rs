//! Who asks how a run is while nothing changes asks no database; and nobody is shown an older state
//! after a newer one, whichever process is asked.

use std::time::Duration;

use futures::future::join_all;
use runplane::store::Store;
use sea_orm::{ConnectionTrait, Database as Connector};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::app::{App, On, Options};
use crate::harness::databases::postgres_copy;
use crate::harness::process::{Api, Program};
use crate::harness::redis::Redis;

/// What nobody but a reader of the database would see.
const MARK: &str = r#"UPDATE runs SET metadata = '{"seen":"in the database"}'"#;

fn agent() -> Value {
    json!({"name": "echo", "model": "sim", "sim": {"turns": [{"text": "{{ input }}!"}]}})
}

async fn mark(store: &Store) {
    let job = store.tx("test.mark", |tx| {
        Box::pin(async move { Ok(tx.execute_unprepared(MARK).await.map(drop)?) })
    });
    job.await.expect("marked");
}

async fn is_read(api: &Api, run_id: &str) -> bool {
    let (status, run) = api.get(&format!("/v1/runs/{run_id}")).await;
    assert_eq!((status, &run["id"]), (200, &json!(run_id)), "{run}");
    assert_eq!(run["output"]["result"], "hello!");
    run["metadata"] == json!({"seen": "in the database"})
}

async fn ended(api: &Api) -> String {
    let run_id = api.start(&api.agent(&agent()).await, &json!("hello")).await;
    assert_eq!(api.settled(&run_id).await["status"], "completed");
    run_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_reads_an_ended_run_once() {
    let app = App::start().await;
    let api = Api::new(&app.url, &app.admin);
    let run_id = ended(&api).await;
    assert!(!is_read(&api, &run_id).await);
    mark(&app.store).await;
    for seen in join_all((0..50).map(|_| is_read(&api, &run_id))).await {
        assert!(!seen, "the database was asked again");
    }
    // Another owner is shown nothing, though the id is the same.
    let (status, _) = Api::new(&app.url, &app.test_admin).get(&format!("/v1/runs/{run_id}")).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_without_a_redis_read_it_each_time() {
    let app = App::with(Options { on: On::Postgres, ..Options::default() }).await;
    let api = Api::new(&app.url, &app.admin);
    let run_id = ended(&api).await;
    assert!(!is_read(&api, &run_id).await);
    mark(&app.store).await;
    assert!(is_read(&api, &run_id).await, "another process may have changed it");
}

/// Two processes on one Postgres and one Redis.
async fn two(redis: &Redis, url: &str) -> (Vec<Program>, Vec<Api>) {
    let changes = format!("{}[auth]\npepper = 'shared'\n", redis.config());
    let mut programs: Vec<_> = (0..2).map(|_| Program::on(url, &changes)).collect();
    let first = programs[0].start().await;
    let second = programs[1].start_with(&first.key).await;
    (programs, vec![first, second])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_has_read_another_need_not() {
    let (redis, (config, _place)) = (Redis::start(), postgres_copy().await);
    let (_programs, apis) = two(&redis, &config.url).await;
    let run_id = ended(&apis[0]).await;
    assert!(!is_read(&apis[0], &run_id).await);
    let direct = Connector::connect(&config.url).await.expect("a connection");
    direct.execute_unprepared(MARK).await.expect("marked");
    for api in &apis {
        assert!(!is_read(api, &run_id).await, "the database was asked again");
    }
    redis.kill();
    for api in &apis {
        assert!(is_read(api, &run_id).await, "without Redis there are no pictures");
    }
}

/// An agent whose runs change often.
fn busy() -> Value {
    let turn = |n: usize| json!({"text": format!("turn {n}"), "tool_calls": [{"name": "nothing"}]});
    let mut turns: Vec<Value> = (0..20).map(turn).collect();
    turns.push(json!({"text": "done"}));
    // Nobody listens there: each call fails at once, and the run goes on.
    let tool = json!({"name": "nothing", "http": {"url": "http://127.0.0.1:9/", "max_retries": 0}});
    json!({"name": "busy", "model": "sim", "tools": [tool], "max_steps": 30,
        "sim": {"turns": turns}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_shown_an_older_state_after_a_newer_one() {
    let (redis, (config, _place)) = (Redis::start(), postgres_copy().await);
    let (_programs, apis) = two(&redis, &config.url).await;
    let agent_id = apis[0].agent(&busy()).await;
    let (mut asked, mut states) = (0, 0);
    for turn in 0..6 {
        let run_id = apis[turn % 2].start(&agent_id, &json!("x")).await;
        let path = format!("/v1/runs/{run_id}");
        let (mut last, mut run) = (0, Value::Null);
        // The processes take turns: what one has shown the other has to know.
        let mut processes = apis.iter().cycle();
        let polling = async {
            while run["completed_at"].is_null() {
                run = processes.next().expect("a process").get(&path).await.1;
                let seq = run["last_seq"].as_i64().expect("a number");
                assert!(seq >= last, "{seq} after {last}");
                (asked, states) = (asked + 1, states + usize::from(seq > last));
                last = seq;
            }
        };
        timeout(Duration::from_secs(60), polling).await.expect("it ends");
        assert_eq!(run["status"], "completed", "{run}");
    }
    println!("asked {asked} times, {states} states seen");
    assert!(states > 12, "hardly a change was seen: {states}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_waits_is_told_by_both_processes() {
    let (redis, (config, _place)) = (Redis::start(), postgres_copy().await);
    let (_programs, apis) = two(&redis, &config.url).await;
    let agent_id = apis[0].agent(&busy()).await;
    let run_id = apis[0].start(&agent_id, &json!("x")).await;
    let waiting = (0..100).map(|n| {
        let (api, run_id) = (apis[n % 2].clone(), run_id.clone());
        async move { api.settled(&run_id).await }
    });
    for run in join_all(waiting).await {
        assert_eq!(run["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_of_the_end_is_not_shown_what_was_before() {
    let (redis, (config, _place)) = (Redis::start(), postgres_copy().await);
    let (_programs, apis) = two(&redis, &config.url).await;
    let turn = json!({"text": "at last", "delay_ms": 15000});
    let agent = json!({"name": "slow", "model": "sim", "sim": {"turns": [turn]}});
    let run_id = apis[0].start(&apis[0].agent(&agent).await, &json!("x")).await;
    // A picture that nothing voids, as if the word that does were lost.
    let stale = async {
        let client = redis::Client::open(redis.url()).expect("a URL");
        let mut way = client.get_multiplexed_async_connection().await.expect("a connection");
        loop {
            let (_, run) = apis[0].get(&format!("/v1/runs/{run_id}")).await;
            assert!(run["completed_at"].is_null(), "too late: {run}");
            let keys: Vec<String> =
                redis::cmd("KEYS").arg("*:pic:*").query_async(&mut way).await.expect("keys");
            let known: Vec<String> =
                redis::cmd("KEYS").arg("*:st:*").query_async(&mut way).await.expect("keys");
            let (Some(picture), Some(known)) = (keys.first(), known.first()) else { continue };
            let mut fix = redis::pipe();
            fix.cmd("PERSIST").arg(picture).ignore();
            fix.cmd("HSET").arg(known).arg("s").arg(1_000_000).ignore();
            fix.cmd("PERSIST").arg(known).cmd("EXISTS").arg(picture);
            let (_, is_there): (i64, i64) = fix.query_async(&mut way).await.expect("fixed");
            if is_there == 1 {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), stale).await.expect("a picture");
    let waiting = async {
        for run in join_all(apis.iter().map(|api| api.settled(&run_id))).await {
            assert_eq!(run["status"], "completed", "{run}");
        }
    };
    timeout(Duration::from_secs(40), waiting).await.expect("they are told");
}
