//! A call with an `Idempotency-Key` has one effect, however often it comes, and one answer; each
//! effect has its line in the audit log.

mod crashes;
mod crowds;
mod every;
mod keys;
pub mod log;
