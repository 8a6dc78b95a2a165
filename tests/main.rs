//! The proof: one binary, which reads like the list of promises.

#[path = "../proto/codegen/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is a part of the build script, which asks for more"
)]
mod codegen;

mod generator;
mod json;
mod probe;
mod transcoder;
