//! Cursors that were tampered with.

use serde_json::json;

use super::an_agent;
use crate::harness::app::App;
use crate::harness::doors::Door;

#[tokio::test]
async fn a_cursor_with_one_character_changed_is_none() {
    let app = App::start().await;
    let admin = app.door(Door::Rest);
    for _ in 0..2 {
        let agent = json!({"agent": an_agent()});
        admin.call("AgentsService/CreateAgent", agent).await.expect("an agent");
    }
    let list = "AgentsService/ListAgents";
    let page = admin.call(list, json!({"limit": 1})).await.expect("a page");
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    let next = json!({"limit": 1, "cursor": cursor});
    admin.call(list, next).await.expect("the next page");
    let mut odd: Vec<String> = (0..cursor.len())
        .flat_map(|i| {
            let now = cursor.as_bytes()[i];
            let others = *b"AZaz09-_";
            let one = others.into_iter().find(|other| *other != now).expect("another");
            // The next in the alphabet: of the last character only bits that mean nothing differ.
            [one, now ^ 1, b'=', b'%'].map(|other| {
                let mut bytes = cursor.clone().into_bytes();
                bytes[i] = other;
                String::from_utf8(bytes).expect("ASCII")
            })
        })
        .collect();
    odd.extend([&cursor[1..], &cursor[..cursor.len() - 1]].map(str::to_owned));
    odd.extend([format!("{cursor}{cursor}"), format!("{cursor}="), "x".repeat(8192)]);
    for cursor in odd {
        let fields = json!({"limit": 1, "cursor": cursor});
        let refused = admin.call(list, fields).await.expect_err(&cursor);
        assert_eq!(refused.code, "invalid_cursor", "{cursor}");
        assert_eq!(refused.details["field"], "cursor");
    }
    // For another order or filter it is none either.
    for more in [json!({"order": "asc"}), json!({"published": true})] {
        let mut fields = json!({"limit": 1, "cursor": cursor});
        for (name, value) in more.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        let refused = admin.call(list, fields).await.expect_err("another list");
        assert_eq!(refused.code, "invalid_cursor", "{more}");
    }
}
