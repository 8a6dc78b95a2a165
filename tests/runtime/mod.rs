//! What one claim of a run does, proved against the runtime alone: a journal in memory takes the
//! place of the engine.

mod agent_loop;
mod cancel;
mod crash;
mod ledger;
mod providers;
pub mod tool_server;
mod tools;
