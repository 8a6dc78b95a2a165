//! The proof: one binary, which reads like the list of promises.
#![expect(
    clippy::expect_used,
    unreachable_pub,
    reason = "a test that cannot go on says so; nobody imports a test"
)]

#[path = "../proto/codegen/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the build script, which asks for more"
)]
mod codegen;

mod crash;
mod engine;
mod errors;
mod generator;
mod harness;
mod json;
mod probe;
mod runtime;
mod store;
mod tidy;
mod transcoder;
