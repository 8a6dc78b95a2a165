//! How often callers may call: what they are told at each door, what is refused, the sums in memory
//! and in Redis against a model, many processes on one Redis, and a Redis that goes away.

mod headers;
mod outage;
mod replicas;
mod strangers;
mod sums;
