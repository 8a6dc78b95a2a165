//! SIGHUP: the configuration is read again while the server runs, all of it or nothing.

use std::fs;

use reqwest::Method;
use serde_json::json;

use crate::harness::fake_models::{Dialect, FakeModels, say};
use crate::harness::process::{Api, Program, merge};

/// A plan that the callers see in their answers.
const PLAN: &str = "
[limits]
plan = 'x'
[plans.x]
requests = { limit = 500, per = '1m' }
concurrent_runs = 9
";

/// Writes changes into the configuration file.
fn change(program: &Program, changes: &str) {
    let text = fs::read_to_string(&program.config).expect("the configuration");
    let mut text: toml::Table = text.parse().expect("TOML");
    merge(&mut text, changes.parse().expect("TOML"));
    fs::write(&program.config, text.to_string()).expect("it is written");
}

/// The limit of requests that the caller is told.
async fn limit(api: &Api) -> String {
    let answer = api.request(Method::GET, "/v1/me").send().await.expect("an answer");
    answer.headers()["x-ratelimit-limit"].to_str().expect("a number").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_and_the_log_s_filter_that_are_read_again_hold_at_once() {
    let mut program = Program::new(PLAN);
    let api = program.start().await;
    assert_eq!(limit(&api).await, "500");
    change(
        &program,
        "[plans.x.requests]\nlimit = 700\n[log]\nfilter = 'debug'\n[engine]\npoll_ms = 9",
    );
    program.hang_up();
    program.logged.with("the configuration was read again", 1).await;
    assert_eq!(limit(&api).await, "700");
    program.logged.with("\"DEBUG\"", 1).await;
    let told = program.logged.all().join("\n");
    assert!(told.contains("log.filter, plans.x.requests.limit"), "{told}");
    // The engine goes on as it began, and that is said.
    let restart = told.lines().find(|line| line.contains("needs a restart")).expect("it is told");
    assert!(restart.contains("engine.poll_ms") && !restart.contains("plans."), "{restart}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_s_key_is_read_again_from_its_file() {
    let models = FakeModels::start(Dialect::Openai, vec![say(&["one"]), say(&["two"])]).await;
    let mut program = Program::new("");
    let key = program.folder().join("key");
    fs::write(&key, "sk-old\n").expect("it is written");
    let provider = json!({"kind": "openai", "base_url": models.base_url, "api_key_file": key});
    let provider: toml::Value = serde_json::from_value(provider).expect("TOML");
    let fake = toml::Table::from_iter([("fake".to_owned(), provider)]);
    change(&program, &toml::Table::from_iter([("providers".to_owned(), fake.into())]).to_string());
    let api = program.start().await;
    let agent_id = api.agent(&json!({"name": "asks", "model": "fake/any"})).await;
    for (key_now, said) in [("sk-old", "one"), ("sk-new", "two")] {
        fs::write(&key, key_now).expect("it is written");
        program.hang_up();
        let times = if key_now == "sk-old" { 1 } else { 2 };
        program.logged.with("the configuration was read again", times).await;
        let run_id = api.start(&agent_id, &json!("hello")).await;
        let run = api.settled(&run_id).await;
        assert_eq!(run["output"]["result"], said, "{run}");
        let asked = models.asked();
        let bearer = &asked.last().expect("it was asked").headers["authorization"];
        assert_eq!(bearer, &format!("Bearer {key_now}"));
    }
    assert!(!program.logged.all().join("").contains("sk-"), "{}", program.logged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_a_mistake_changes_nothing() {
    let mut program = Program::new(PLAN);
    let api = program.start().await;
    change(
        &program,
        "[plans.x.requests]\nlimit = 700\n[log]\nfilter = 'x=y=z'\n[engine]\npoll_ms = 0",
    );
    program.hang_up();
    program.logged.with("the configuration was not read again", 1).await;
    let told = program.logged.all().join("\n");
    assert!(told.contains("engine.poll_ms") && told.contains("log.filter"), "{told}");
    assert_eq!(limit(&api).await, "500");
    fs::write(&program.config, "no toml").expect("it is written");
    program.hang_up();
    program.logged.with("the configuration was not read again", 2).await;
    assert_eq!(limit(&api).await, "500");
}
