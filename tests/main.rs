//! The proof: one binary, which reads like the list of promises.

mod probe;
mod transcoder;
