//! Each call is one line of the log, which names it as its answer does.

use serde_json::{Value, json};

use super::{SAMPLED, TRACE};
use crate::harness::collector::Collector;
use crate::harness::process::Program;

/// The lines of calls.
fn lines(program: &Program) -> Vec<Value> {
    let parse = |line: &String| -> Value { serde_json::from_str(line).expect("JSON") };
    let all = program.logged.all();
    all.iter().map(parse).filter(|line| line["target"] == "runplane::call").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_one_line_with_the_id_of_its_answer() {
    let collector = Collector::start().await;
    let mut program = Program::new(&collector.config("grpc"));
    let api = program.start().await;
    let request = api.request(reqwest::Method::GET, "/v1/agents/agt_nobody?secret=tarantella");
    let answer = request.header("traceparent", SAMPLED).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(api.get("/readyz").await.0, 200);
    let no_key = api.http.get(format!("{}/v1/agents", api.url)).send().await;
    assert_eq!(no_key.expect("an answer").status(), 401);
    program.logged.with("runplane::call", 2).await;
    let [first, second] = &lines(&program)[..] else { panic!("two lines: {}", program.logged) };
    let (_, me) = api.get("/v1/me").await;
    assert_eq!(first["request_id"], json!(id));
    assert_eq!(first["level"], "INFO", "a mistake of a caller is nothing to look at");
    assert_eq!(
        (&first["method"], &first["dialect"], &first["status"]),
        (&json!("runplane.v1.AgentsService/GetAgent"), &json!("rest"), &json!("400"),)
    );
    assert_eq!(first["key"], me["key_id"], "{first} {me}");
    assert_eq!(first["trace_id"], TRACE);
    assert!(first["elapsed_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{first}");
    assert_eq!((&second["status"], &second["key"]), (&json!("401"), &Value::Null), "{second}");
    let web = api.request(reqwest::Method::POST, "/runplane.v1.RunsService/GetRun");
    let web = web.header("content-type", "application/grpc-web+proto").body(vec![0; 5]);
    assert_eq!(web.send().await.expect("an answer").status(), 200);
    program.logged.with("runplane::call", 4).await;
    let web = &lines(&program)[3];
    let (dialect, status) = (&web["dialect"], &web["status"]);
    assert_eq!((dialect, status), (&json!("grpc_web"), &json!("NOT_FOUND")), "{web}");
    let all = program.logged.all().concat();
    assert!(!all.contains("tarantella") && !all.contains(&api.key), "{all}");
}
