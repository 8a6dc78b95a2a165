//! What the engine promises of a run, on SQLite and on Postgres from one body: with scripted
//! drivers instead of agents.

mod cancelling;
mod caps;
mod crashing;
mod following;
mod lifecycle;
mod limits;
mod lost_answers;
mod quotas;
mod rig;
mod suspects;
mod versions;
mod waiting;
