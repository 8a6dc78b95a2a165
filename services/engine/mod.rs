//! Runs that outlive the process: claimed with an epoch, journaled step by step, resumed from the last journaled step.

pub mod attempt;
pub mod events;
mod live;
pub mod state;
