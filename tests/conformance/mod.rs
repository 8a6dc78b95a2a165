//! Google's conformance suite of ProtoJSON. `run` plays it live, with the ignored test of
//! `testee.rs` at the other end; `corpus.rs` replays what was asked then, on every test run.

#![expect(clippy::unwrap_used, reason = "tests")]

mod answer;
mod corpus;
mod testee;

pub(crate) use generated::*;

#[expect(
    clippy::allow_attributes,
    reason = "which lints hold in generated code depends on the generators"
)]
#[allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::too_many_lines)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/conformance/mod.rs"));

    pub mod json {
        include!(concat!(env!("OUT_DIR"), "/conformance/json.rs"));
    }
}
