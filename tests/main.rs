//! The proof: one binary, which reads like the list of promises.
#![expect(
    clippy::expect_used,
    unreachable_pub,
    reason = "a test that cannot go on says so; nobody imports a test"
)]

mod engine;
mod harness;
mod store;
