//! That no tenant meets another's: every method with every id that is not the caller's, every list
//! and every stream, over gRPC, gRPC-Web and REST, read from the descriptors, so that a new method
//! is covered on the day it is written. And what each key may do, by a table of its own.

mod fields;
mod lists;
mod matrix;
mod narrow;
mod organisation;
mod scopes;
mod spaces;
mod table;
mod world;

use serde_json::Value;

use crate::harness::doors::Client;

/// Calls a method, which succeeds.
async fn ok(caller: &Client, method: &str, fields: Value) -> Value {
    let answer = caller.call(method, fields.clone()).await;
    answer.unwrap_or_else(|failure| panic!("{method} {fields}: {failure:?}"))
}

/// Calls a method, which fails; its code.
async fn code(caller: &Client, method: &str, fields: Value) -> String {
    match caller.call(method, fields.clone()).await {
        Ok(answer) => panic!("{method} {fields}: {answer}"),
        Err(failure) => failure.code,
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}
