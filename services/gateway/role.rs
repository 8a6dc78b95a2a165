//! The port of a process that only drives runs: it tells its health, and nothing else. Before
//! anything looks at keys, which such a process does not serve.

use super::Request;
use super::https::is_health;
use crate::kernel::config::Role;
use crate::kernel::{Error, Reason, Result};

/// Refuses calls that a process of this role does not answer.
pub(super) fn check(role: Role) -> impl Fn(&Request) -> Result<()> + Clone {
    move |request| {
        if role != Role::Worker || is_health(request) {
            return Ok(());
        }
        let message = "this process only drives runs (server.role is worker); call a server";
        Err(Error::new(Reason::Unavailable, message))
    }
}
