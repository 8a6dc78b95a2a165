//! The proof: one binary, which reads like the list of promises.

#[path = "../proto/codegen/mod.rs"]
mod codegen;

mod generator;
mod json;
mod probe;
mod transcoder;
