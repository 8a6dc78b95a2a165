//! The rows as they lie in both databases: entities without logic, one file per table. Used by the
//! questions and by nothing above them. Times are microseconds, JSON is text, ids are 16 bytes.

pub mod agent;
pub mod agent_label;
pub mod agent_version;
pub mod api_key;
pub mod lane;
pub mod organisation;
pub mod project;
pub mod run;
pub mod run_event;
pub mod run_inbox;
pub mod run_label;
pub mod run_queue;
pub mod run_step;
pub mod worker;
