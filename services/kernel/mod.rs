//! The few types that everything else stands on. Imports nothing of ours.

pub mod caller;
pub mod clock;
pub mod config;
pub mod error;
pub mod ids;
pub mod page;
pub mod reply;
pub mod spec;
pub mod telemetry;

pub use caller::{Caller, Environment, Scope};
pub use clock::{Clock, Timestamp};
pub use error::{Error, Reason, Result};
