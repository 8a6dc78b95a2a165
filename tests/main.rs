//! The proof: one binary, which reads like the list of promises.
#![expect(
    clippy::expect_used,
    unreachable_pub,
    reason = "a test that cannot go on says so; nobody imports a test"
)]

#[path = "../proto/codegen/mod.rs"]
mod codegen;

mod admission;
mod agents;
mod attacks;
mod bad_input;
mod browser;
mod caps;
mod chaos;
mod conformance;
mod conversations;
mod crash;
mod engine;
mod errors;
mod fuzz;
mod generator;
mod harness;
mod http;
mod idempotency;
mod isolation;
mod json;
mod keys;
mod lasting;
mod limits;
#[cfg(feature = "faults")]
mod model;
mod openapi;
mod oracle;
mod pictures;
#[cfg(feature = "faults")]
mod points;
mod probe;
mod reload;
mod replicas;
mod revocation;
mod roles;
mod runs;
mod runtime;
mod seeds;
mod sessions;
mod store;
mod telemetry;
mod tidy;
mod tls;
mod transcoder;
#[cfg(feature = "faults")]
mod upgrades;
