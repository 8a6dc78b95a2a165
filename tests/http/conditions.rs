//! Entity tags: what a caller has already is not sent again, and what it did not see is not
//! overwritten.

use serde_json::json;

use super::{Caller, everywhere};
use crate::harness::doors::Door;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_caller_has_is_not_sent_again() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let line = format!("GET /v1/agents/{}", agent["id"].as_str().expect("an id"));
    let full = caller.ask(&line, &[], b"").await;
    let etag = full.header("etag").to_owned();
    assert_eq!(agent["etag"], etag.as_str());
    assert_eq!(full.json()["etag"], etag.as_str());
    assert_eq!(full.header("cache-control"), "private, no-cache");
    assert_eq!(full.header("vary"), "accept-encoding");
    let weak = format!("W/{etag}");
    let listed = format!("\"other\", {etag}");
    for known in [etag.as_str(), &weak, &listed, "*"] {
        for line in [line.clone(), line.replace("GET", "HEAD")] {
            let reply = caller.ask(&line, &[("if-none-match", known)], b"").await;
            assert_eq!(reply.status, 304, "{line} {known}");
            assert!(reply.body.is_empty());
            for name in ["etag", "cache-control", "vary"] {
                assert_eq!(reply.header(name), full.header(name), "{line} {known} {name}");
            }
            assert_eq!(reply.header("content-type"), "");
        }
    }
    let other = caller.ask(&line, &[("if-none-match", "\"other\"")], b"").await;
    assert_eq!((other.status.as_u16(), &other.body), (200, &full.body));
    let head = caller.ask(&line.replace("GET", "HEAD"), &[], b"").await;
    assert_eq!((head.header("etag"), head.body.len()), (etag.as_str(), 0));
    let odd = caller.ask(&line, &[("if-none-match", "abc")], b"").await;
    assert_eq!(odd.fails("invalid_field")["field"], "if-none-match");
    let gone = caller.ask("GET /v1/agents/agt_0", &[("if-none-match", "*")], b"").await;
    gone.fails("agent_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_changes_an_agent_changes_its_tag() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let id = agent["id"].as_str().expect("an id");
    let mut tags = vec![agent["etag"].as_str().expect("a tag").to_owned()];
    for (line, body) in [
        (format!("PATCH /v1/agents/{id}"), r#"{"max_steps":7}"#),
        (format!("POST /v1/agents/{id}/publish"), "{}"),
        (format!("POST /v1/agents/{id}/unpublish"), "{}"),
        (format!("PATCH /v1/agents/{id}"), r#"{"max_steps":8}"#),
    ] {
        let reply = caller.ask(&line, &[], body.as_bytes()).await;
        let tag = reply.header("etag").to_owned();
        assert_eq!(reply.json()["etag"], tag.as_str(), "{line}");
        assert!(!tags.contains(&tag), "{line} kept {tag}");
        let read = caller.ask(&format!("GET /v1/agents/{id}"), &[], b"").await;
        assert_eq!(read.header("etag"), tag);
        tags.push(tag);
        let again = caller.ask(&line, &[], body.as_bytes()).await;
        assert_eq!(Some(again.header("etag")), tags.last().map(String::as_str), "{line} twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn runs_keys_and_versions_have_the_tag_of_their_json() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let id = agent["id"].as_str().expect("an id");
    let door = caller.app.door(Door::Rest);
    let run = json!({"agent_id": id, "input": "x", "wait": 30});
    let run = door.call("RunsService/CreateRun", run).await.expect("a run");
    let key = door.call("KeysService/CreateKey", json!({"name": "spare"})).await.expect("a key");
    let key = format!("/v1/keys/{}", key["id"].as_str().expect("an id"));
    let run = format!("/v1/runs/{}", run["id"].as_str().expect("an id"));
    let mut seen = Vec::new();
    for target in [format!("/v1/agents/{id}/versions/1"), run, key.clone()] {
        let full = caller.ask(&format!("GET {target}"), &[], b"").await;
        let etag = full.header("etag").to_owned();
        assert!(etag.len() == 34 && !seen.contains(&etag), "{target}: {etag}");
        for verb in ["GET", "HEAD"] {
            let reply =
                caller.ask(&format!("{verb} {target}"), &[("if-none-match", &etag)], b"").await;
            assert_eq!((reply.status.as_u16(), reply.header("etag")), (304, etag.as_str()));
        }
        seen.push(etag);
    }
    let renamed = caller.ask(&format!("PATCH {key}"), &[], br#"{"name":"other"}"#).await;
    assert_eq!(renamed.status, 200);
    let full = caller.ask(&format!("GET {key}"), &[("if-none-match", &seen[2])], b"").await;
    assert_eq!(full.status, 200);
    assert_ne!(full.header("etag"), seen[2]);
    assert_eq!(caller.ask("GET /v1/keys", &[], b"").await.header("etag"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_change_is_made_of_what_was_read() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let line = format!("PATCH /v1/agents/{}", agent["id"].as_str().expect("an id"));
    let stale = agent["etag"].as_str().expect("a tag").to_owned();
    let change = |steps: i32| format!(r#"{{"max_steps":{steps}}}"#).into_bytes();
    let first = caller.ask(&line, &[("if-match", &stale)], &change(2)).await;
    assert_eq!(first.status, 200);
    let current = first.header("etag").to_owned();
    let weak = format!("W/{current}");
    for tags in [stale.as_str(), &weak, "\"a\", \"b\""] {
        let refused = caller.ask(&line, &[("if-match", tags)], &change(3)).await;
        let facts = refused.fails("precondition_failed");
        assert_eq!(facts["etag"], current.as_str(), "{tags}");
    }
    let any = caller.ask(&line, &[("if-match", "*")], &change(4)).await;
    assert_eq!(any.status, 200);
    let listed = format!("{stale}, {}", any.header("etag"));
    assert_eq!(caller.ask(&line, &[("if-match", &listed)], &change(4)).await.status, 200);
    for (header, value) in [("if-match", "abc"), ("if-match", ""), ("if-none-match", "*")] {
        let refused = caller.ask(&line, &[(header, value)], &change(5)).await;
        assert_eq!(refused.fails("invalid_field")["field"], header, "{header}: {value}");
    }
    let read = caller.ask(&line.replace("PATCH", "GET"), &[], b"").await;
    assert_eq!(read.json()["max_steps"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_publication_counts_as_a_change() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let id = agent["id"].as_str().expect("an id");
    let stale = agent["etag"].as_str().expect("a tag");
    let published = caller.ask(&format!("POST /v1/agents/{id}/publish"), &[], b"{}").await;
    let line = format!("PATCH /v1/agents/{id}");
    let refused = caller.ask(&line, &[("if-match", stale)], br#"{"max_steps":3}"#).await;
    refused.fails("precondition_failed");
    let etag = published.header("etag");
    let made = caller.ask(&line, &[("if-match", etag)], br#"{"max_steps":3}"#).await;
    assert_eq!(made.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_agent_is_deleted_as_it_was_read() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let id = agent["id"].as_str().expect("an id");
    let line = format!("DELETE /v1/agents/{id}");
    caller.ask(&line, &[("if-match", "\"x\"")], b"").await.fails("precondition_failed");
    let read = caller.ask(&format!("GET /v1/agents/{id}"), &[], b"").await;
    assert_eq!(read.status, 200);
    let labelled = caller.ask("GET /v1/agents?limit=1", &[], b"").await;
    assert_eq!(labelled.json()["data"][0]["id"], id);
    assert_eq!(caller.ask(&line, &[("if-match", read.header("etag"))], b"").await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_condition_that_would_not_be_heeded_is_refused() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let id = agent["id"].as_str().expect("an id");
    let publish = format!("POST /v1/agents/{id}/publish");
    for (line, header) in [
        (publish.as_str(), "if-match"),
        (&publish, "if-none-match"),
        ("POST /v1/agents", "if-match"),
    ] {
        let refused = caller.ask(line, &[(header, "\"a\"")], b"{}").await;
        assert_eq!(refused.fails("invalid_field")["field"], header, "{line}");
    }
    assert_eq!(caller.ask(&publish, &[("if-match", "*")], b"{}").await.status, 200);
    let get = format!("GET /v1/agents/{id}");
    let stale = caller.ask(&get, &[("if-match", "\"a\"")], b"").await;
    assert_eq!(stale.fails("precondition_failed")["field"], "if-match");
    let etag = caller.ask(&get, &[("if-match", "*")], b"").await.header("etag").to_owned();
    assert_eq!(caller.ask(&get, &[("if-match", &etag)], b"").await.status, 200);
    let both = [("if-match", etag.as_str()), ("if-none-match", &etag)];
    assert_eq!(caller.ask(&get, &both, b"").await.status, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn all_doors_take_tags_alike() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let (id, etag) = (&agent["id"], &agent["etag"]);
    let update = |tags| json!({"id": id, "agent": {"max_steps": 50}, "if_match": tags});
    let method = "AgentsService/UpdateAgent";
    for (tags, code, field) in [
        (json!(["\"x\""]), "precondition_failed", "if_match"),
        (
            json!([format!("W/{}", etag.as_str().expect("a tag"))]),
            "precondition_failed",
            "if_match",
        ),
        (json!([etag, "abc"]), "invalid_field", "if_match[1]"),
        (json!(["\"a b\""]), "invalid_field", "if_match[0]"),
    ] {
        let failure = everywhere(&caller.app, method, update(tags)).await.expect_err("refused");
        assert_eq!((&*failure.code, &*failure.details["field"]), (code, field));
    }
    everywhere(&caller.app, method, update(json!(["\"x\"", etag]))).await.expect("the same");
    everywhere(&caller.app, method, update(json!(["*"]))).await.expect("any");
    let delete = json!({"id": id, "if_match": ["\"x\""]});
    let failure = everywhere(&caller.app, "AgentsService/DeleteAgent", delete).await;
    assert_eq!(failure.expect_err("refused").code, "precondition_failed");
    let twice = format!("PATCH /v1/agents/{}?if_match=*", id.as_str().expect("an id"));
    let refused = caller.ask(&twice, &[("if-match", "*")], b"{}").await;
    assert_eq!(refused.fails("invalid_field")["field"], "if-match");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tags_may_stand_on_many_lines() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let line = format!("PATCH /v1/agents/{}", agent["id"].as_str().expect("an id"));
    let etag = agent["etag"].as_str().expect("a tag");
    let coded = etag.replace("\"", "").to_owned();
    for mine in [etag.to_owned(), format!("\"{coded}-gzip\""), format!("\"b\", \"{coded}-zstd\"")] {
        for tags in [[mine.as_str(), "\"a\""], ["\"a\"", &mine]] {
            let headers = tags.map(|tag| ("if-match", tag));
            let reply = caller.ask(&line, &headers, br#"{"max_steps":50}"#).await;
            assert_eq!(reply.status, 200, "{tags:?}: {reply:?}");
        }
    }
    let stale = ["\"a\"", "\"b\""].map(|tag| ("if-match", tag));
    caller.ask(&line, &stale, br#"{"max_steps":51}"#).await.fails("precondition_failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_tag_matters_where_there_is_one() {
    let caller = Caller::new().await;
    let agent = caller.agent().await;
    let odd = ("if-none-match", "abc");
    for line in ["GET /healthz", "GET /v1/agents", "HEAD /v1/runs"] {
        assert_eq!(caller.ask(line, &[odd], b"").await.status, 200, "{line}");
    }
    let line = format!("GET /v1/agents/{}", agent["id"].as_str().expect("an id"));
    for name in ["if-none-match", "if-match"] {
        let http = caller.http.get(format!("{}/v1/agents/x", caller.app.url)).header(name, "abc");
        assert_eq!(http.send().await.expect("an answer").status(), 401, "the key comes first");
        let refused = caller.ask(&line, &[(name, "abc")], b"").await;
        assert_eq!(refused.fails("invalid_field")["field"], name);
    }
}
