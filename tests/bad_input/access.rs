//! Every method of the contract asks for a key, and for one that may: over gRPC, gRPC-Web and REST,
//! read from the descriptors, so that a new method is covered on the day it is written.

use prost_reflect::MethodDescriptor;
use serde_json::{Map, Value};

use super::Site;
use crate::harness::contract::pool;
use crate::harness::doors::{Client, Door, Failure};
use crate::harness::rest::method_rule;

fn methods() -> Vec<MethodDescriptor> {
    let services = pool().services().filter(|s| s.package_name() == "runplane.v1");
    let methods: Vec<_> = services.flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() >= 25, "the contract was not found");
    methods
}

fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

fn scope(method: &MethodDescriptor) -> String {
    let rule = method_rule(method).unwrap_or_else(|| panic!("{} has no rule", name(method)));
    let scope = rule.get_field_by_name("scope").expect("a scope");
    scope.as_str().expect("a text").to_owned()
}

/// Calls a method with nothing but what its path needs; it must fail.
async fn refused(caller: &Client, method: &MethodDescriptor) -> Failure {
    let ids = ["id", "agent_id", "run_id"];
    let input = method.input();
    let fields = input.fields().filter(|field| ids.contains(&field.name()));
    let mut fields: Map<String, Value> =
        fields.map(|field| (field.name().to_owned(), Value::from("x"))).collect();
    if input.get_field_by_name("version").is_some() && fields.len() == 1 {
        fields.insert("version".to_owned(), Value::from(1));
    }
    let fields = Value::Object(fields);
    let answer = match method.is_server_streaming() {
        true => caller.stream(&name(method), fields).await.map(|events| format!("{events:?}")),
        false => caller.call(&name(method), fields).await.map(|answer| answer.to_string()),
    };
    answer.expect_err(&format!("{} over {:?} is refused", name(method), caller.door))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_method_asks_for_a_key() {
    let site = Site::new().await;
    let before = site.written().await;
    for door in Door::ALL {
        let (stranger, liar) = (site.app.stranger(door), site.app.client(door, "sk_live_nobody"));
        for method in methods() {
            assert_eq!(refused(&stranger, &method).await.code, "missing_api_key");
            assert_eq!(refused(&liar, &method).await.code, "invalid_api_key");
        }
    }
    assert_eq!(site.written().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_method_asks_for_its_scope() {
    let site = Site::new().await;
    let before = site.written().await;
    let mut count = 0;
    for door in Door::ALL {
        for method in methods() {
            let scope = scope(&method);
            let lesser: &[_] = match scope.as_str() {
                "runs:create" | "runs:write" => &[&site.app.reader],
                "agents:read" | "runs:read" | "self" => &[],
                _ => &[&site.app.reader, &site.app.runner],
            };
            for key in lesser {
                let failure = refused(&site.app.client(door, key), &method).await;
                assert_eq!(failure.code, "insufficient_scope", "{}", name(&method));
                assert_eq!(failure.details["scope"], scope, "{}", name(&method));
                count += 1;
            }
        }
    }
    assert!(count > 60, "only {count} calls");
    assert_eq!(site.written().await, before);
}
