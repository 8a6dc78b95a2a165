//! From the database's errors to ours. A constraint becomes a reason in the question that runs into
//! it; whatever no question expected is `unavailable` or `internal_error` here.

use sea_orm::{DbErr, RuntimeErr, SqlErr, SqlxError};

use crate::kernel::{Error, Reason};

/// SQLSTATE classes and codes that say the server is away, going away, or full, or has given us up.
const AWAY: &[&str] = &["08", "25P03", "53", "57P01", "57P02", "57P03"];
/// SQLSTATE codes after which the same transaction may succeed: serialization failure, deadlock.
const AGAIN: &[&str] = &["40001", "40P01"];
/// SQLSTATE code after `lock_timeout`.
const IN_USE: &str = "55P03";
/// SQLite: busy, locked.
const BUSY: &[&str] = &["5", "6", "261", "517"];

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if is_away(&error) {
            // A restart takes seconds; whoever calls comes back then.
            let away = Self::new(Reason::Unavailable, "the database does not answer");
            return away.with("retry_after_s", "1").caused_by(error);
        }
        Self::internal(error)
    }
}

/// The database's error behind one of ours.
#[must_use]
pub fn database(error: &Error) -> Option<&DbErr> {
    error.source.as_deref().and_then(|source| source.downcast_ref::<DbErr>())
}

/// True when a row with the same unique value is already there.
#[must_use]
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// True when the same transaction may succeed now.
pub(super) fn is_again(error: &DbErr) -> bool {
    code(error).is_some_and(|code| AGAIN.contains(&code.as_str()))
}

/// True when others held what a change of the schema needs.
pub(super) fn is_in_use(error: &DbErr) -> bool {
    is_again(error) || code(error).is_some_and(|code| code == IN_USE)
}

/// True when the connection is of no use any more, but another may be.
pub(super) fn is_dead(error: &DbErr) -> bool {
    matches!(driver(error), Some(SqlxError::Io(_)))
        || code(error).is_some_and(|code| code.starts_with("57P") || code == "25P03")
}

fn is_away(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) {
        return true;
    }
    if let Some(code) = code(error) {
        return BUSY.contains(&code.as_str())
            || (code.len() == 5 && AWAY.iter().any(|away| code.starts_with(away)));
    }
    matches!(
        driver(error),
        Some(
            SqlxError::Io(_)
                | SqlxError::Tls(_)
                | SqlxError::PoolTimedOut
                | SqlxError::PoolClosed
                | SqlxError::WorkerCrashed
        )
    )
}

fn driver(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e))
        | DbErr::Conn(RuntimeErr::SqlxError(e)) => Some(e.as_ref()),
        _ => None,
    }
}

fn code(error: &DbErr) -> Option<String> {
    let SqlxError::Database(error) = driver(error)? else { return None };
    error.code().map(|code| code.into_owned())
}
