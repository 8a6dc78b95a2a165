//! The few types that everything else stands on. Imports nothing of ours.

pub mod address;
pub mod call;
pub mod caller;
pub mod clock;
pub mod config;
pub mod error;
pub mod faults;
pub mod grants;
pub mod growth;
pub mod ids;
pub mod json;
pub mod labels;
pub mod models;
pub mod month;
pub mod page;
pub mod parameters;
pub mod pepper;
pub mod plan;
pub mod reply;
pub mod reread;
pub mod schema;
pub mod session;
pub mod spec;
pub mod telemetry;
pub mod template;
pub mod text;

pub use caller::{Caller, Environment, Scope};
pub use clock::{Clock, Timestamp};
pub use error::{Error, Reason, Result};
pub use month::Month;
pub use pepper::Pepper;
pub use reread::Reread;
