//! What becomes of runs when the process does not do well: killed, stopped, cancelled, late, or
//! given too much at once. Here the real program runs as a child of the test.

mod drain;
mod ends;
pub mod follower;
mod kill;
mod load;
mod operator;

pub use crate::harness::tools;
