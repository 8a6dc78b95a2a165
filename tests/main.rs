//! The proof: one binary, which reads like the list of promises.

mod json;
mod probe;
mod transcoder;
