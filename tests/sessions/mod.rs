//! Sessions: tokens and cookies that are made of keys, and the end of keys, sessions and the
//! streams that they have opened.

mod cookies;
mod revocation;
mod tokens;

use serde_json::{Value, json};

use crate::harness::app::App;
use crate::harness::doors::{Client, Door};

/// Calls a method, which succeeds.
async fn ok(caller: &Client, method: &str, fields: Value) -> Value {
    let answer = caller.call(method, fields.clone()).await;
    answer.unwrap_or_else(|failure| panic!("{method} {fields}: {failure:?}"))
}

/// Who a caller is; or the code that the call fails with.
async fn me(caller: &Client) -> Result<Value, String> {
    caller.call("AuthService/GetMe", json!({})).await.map_err(|failure| failure.code)
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

/// A key with these scopes, made by the admin: its id, and a caller with it.
async fn a_key(app: &App, door: Door, scopes: &[&str]) -> (String, Client) {
    let new = json!({"name": "k", "scopes": scopes});
    let key = ok(&app.door(Door::Rest), "KeysService/CreateKey", new).await;
    (text(&key, "id"), app.client(door, &text(&key, "secret")))
}

/// A session of a caller.
async fn a_session(app: &App, caller: &Client, fields: Value) -> (Value, Client) {
    let session = ok(caller, "AuthService/CreateToken", fields).await;
    let holder = app.client(caller.door, &text(&session, "token"));
    (session, holder)
}
