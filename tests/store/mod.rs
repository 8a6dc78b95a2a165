//! What the store promises, on SQLite and on Postgres from one body.

mod agents;
mod hanging;
mod keys;
mod opening;
mod owners;
mod plans;
mod rows;
mod runs;
mod writing;
