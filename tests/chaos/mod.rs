//! Faults on purpose: three real replicas on a private Postgres and Redis, callers and followers
//! all the while, and at the end a checker that looks for anything lost, missing, repeated or
//! torn. `tests/chaos/run` runs the scenarios and tells their table; `cargo test` runs only the
//! tests of the checker. What is promised stands in docs/reliability.md.

mod broken;
mod checker;
mod cluster;
mod crowds;
mod doors;
mod follower;
mod guards;
mod history;
mod load;
mod poison;
mod postgres;
mod rows;
mod settings;
mod stores;
mod streams;
mod table;
mod upgrades;
mod workers;
