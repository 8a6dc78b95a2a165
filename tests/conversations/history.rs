//! What a run is told of those before it.

use serde_json::{Value, json};

use super::{BOTH, CREATE, agent, app, asker, begin, hold, ok, settled, tell, teller};
use crate::agents::id;
use crate::harness::app::{App, Options};
use crate::harness::doors::Door;
use crate::harness::fake_models::{Dialect, FakeModels, Said, Turn, say};

#[tokio::test]
async fn a_run_is_told_the_whole_exchanges_before_it_oldest_first() {
    for on in BOTH {
        let (_app, at) = app(on).await;
        let (asker, teller) = (agent(&at, asker()).await, agent(&at, teller()).await);
        let broken = json!({"name": "broken", "model": "sim", "sim": {"turns": [
            {"when": "true", "failure": {"status": 400}}]}});
        let broken = agent(&at, broken).await;
        let first = settled(&at, &begin(&at, &teller, "a").await).await;
        assert_eq!(first["output"]["result"], "a");
        let failed = settled(&at, &begin(&at, &broken, "lost").await).await;
        assert_eq!(failed["status"], "failed");
        let cut = hold(&at, &asker).await;
        ok(&at, "RunsService/CancelRun", json!({"id": cut["id"]})).await;
        let asked = hold(&at, &asker).await;
        tell(&at, &asked, "yes").await;
        assert_eq!(settled(&at, &id(&asked)).await["output"]["result"], "They said yes.");
        let last = settled(&at, &begin(&at, &teller, "z").await).await;
        let told = "user: a; assistant: a; user: tea?; assistant: Let me ask.; tool: yes; \
                    assistant: They said yes.; z";
        assert_eq!(last["output"]["result"], told);
        let roles: Vec<&Value> =
            last["messages"].as_array().expect("a thread").iter().map(|m| &m["role"]).collect();
        assert_eq!(roles, ["system", "user", "assistant"], "nothing is copied into the run");
    }
}

#[tokio::test]
async fn the_newest_runs_that_fit_are_told() {
    let told = async |config: &str| {
        let config = format!("[engine]\n{config}");
        let app = App::with(Options { config, ..Options::default() }).await;
        let at = app.door(Door::Rest);
        let echo = agent(&at, crate::agents::echo()).await;
        let teller = agent(&at, teller()).await;
        for input in ["a", "b", "c"] {
            settled(&at, &begin(&at, &echo, input).await).await;
        }
        settled(&at, &begin(&at, &teller, "z").await).await["output"]["result"].clone()
    };
    let newest = "user: c; assistant: You said: c; z";
    assert_eq!(told("history_runs_max = 1").await, newest);
    // Each run says 12 bytes: its letter, and that again after ten others.
    assert_eq!(told("history_bytes_max = 23").await, newest);
    let two = format!("user: b; assistant: You said: b; {newest}");
    assert_eq!(told("history_bytes_max = 24").await, two);
    assert_eq!(told("history_runs_max = 0").await, "z");
}

#[tokio::test]
async fn a_provider_is_asked_with_what_was_said_before() {
    let calls = vec![("id-1", "ask", json!({"n": 1}).to_string())];
    let asks = Turn::Say(Said { pieces: vec!["Wait."], calls, cut_off: false });
    let script = vec![say(&["One."]), asks, say(&["Two."]), say(&["Three."])];
    let models = FakeModels::start(Dialect::Openai, script).await;
    let provider = format!("[providers.fake]\nkind = \"openai\"\nbase_url = {:?}", models.base_url);
    let app = App::with(Options { config: provider, ..Options::default() }).await;
    let at = app.door(Door::Rest);
    let talker = agent(
        &at,
        json!({
            "name": "talker", "model": "fake/model-1", "instructions": "Be brief, {{ input }}.",
            "tools": [{"name": "ask", "client": {}}],
        }),
    );
    let talker = talker.await;
    settled(&at, &begin(&at, &talker, "a").await).await;
    let asked = hold(&at, &talker).await;
    let call = asked["required_action"]["tool_calls"][0]["id"].clone();
    tell(&at, &asked, "yes").await;
    settled(&at, &id(&asked)).await;
    let silent = json!({"agent_id": talker, "session_id": "s", "wait": 30});
    assert_eq!(ok(&at, CREATE, silent).await["output"]["result"], "Three.");

    let bodies: Vec<Value> = models.asked().into_iter().map(|asked| asked.body).collect();
    let short = |message: &Value| {
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls: Vec<_> = calls.map(|c| (c["id"].clone(), c["function"].clone())).collect();
        json!([message["role"], message["content"], message["tool_call_id"], calls])
    };
    let said = |body: &Value| -> Vec<Value> {
        body["messages"].as_array().expect("messages").iter().map(short).collect()
    };
    let plain = |role: &str, text: &str| json!([role, text, null, []]);
    let first = [plain("user", "a"), plain("assistant", "One.")];
    assert_eq!(said(&bodies[0]), [plain("system", "Be brief, a."), first[0].clone()]);
    let asked = [plain("system", "Be brief, tea?."), first[0].clone(), first[1].clone()];
    assert_eq!(said(&bodies[1]), [&asked[..], &[plain("user", "tea?")]].concat());
    let function = json!({"name": "ask", "arguments": "{\"n\":1}"});
    let exchange = [
        plain("user", "tea?"),
        json!(["assistant", "Wait.", null, [[call, function]]]),
        json!(["tool", "yes", call, []]),
        plain("assistant", "Two."),
    ];
    let begin = [plain("user", "Begin.")];
    let last =
        [&[plain("system", "Be brief, None.")], &first[..], &exchange[..], &begin[..]].concat();
    assert_eq!(said(&bodies[3]), last, "the input of a run without one is to begin");
}
