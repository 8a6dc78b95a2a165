//! The proof: one binary, which reads like the list of promises.
#![expect(clippy::expect_used, reason = "in a test, a failed expectation is a failed test")]

mod errors;
mod harness;
mod tidy;
