//! What the store promises, on SQLite and on Postgres from one body.

mod opening;
mod writing;
