//! Questions about what owners with a quota have used in a month: runs when they are created,
//! tokens when the runs end, both in the month of the creation. Asked by `engine`, which counts,
//! and by whoever shows it.
//!
//! The last lock that a transaction takes is its row here, its project's before its key's: so two
//! transactions never wait for each other.

use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::Tx;
use super::sql::statement;
use crate::kernel::plan::Quota;
use crate::kernel::{Month, Result, Scope};

/// Whose usage it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A project's environment.
    Project(Scope),
    /// A key, by its id.
    Key(Uuid),
}

/// What was used in a month, since the owner had a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Runs created.
    pub runs: u64,
    /// Tokens of those that have ended.
    pub tokens: u64,
}

impl Owner {
    fn columns(self) -> (Uuid, &'static str) {
        match self {
            Self::Project(scope) => (scope.project, scope.environment.as_str()),
            Self::Key(key_id) => (key_id, ""),
        }
    }
}

/// Counts a run that is being created; false, and nothing counted, when the quota is used up.
///
/// # Errors
/// Those of the database.
pub async fn count_run(tx: &Tx, owner: Owner, month: Month, quota: Quota) -> Result<bool> {
    let (runs, tokens) = (most(quota.runs), most(quota.tokens));
    if runs == 0 || tokens == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO usage_months (owner_id, environment, month, runs, tokens)
        VALUES ($1, $2, $3, 1, 0)
        ON CONFLICT (owner_id, environment, month) DO UPDATE SET runs = usage_months.runs + 1
        WHERE usage_months.runs < $4 AND usage_months.tokens < $5
        RETURNING runs";
    let (id, environment) = owner.columns();
    let values = [id.into(), environment.into(), month.0.into(), runs.into(), tokens.into()];
    Ok(tx.query_one_raw(statement(tx, sql, values)).await?.is_some())
}

/// Adds the tokens of a run that ends, where its creation was counted.
///
/// # Errors
/// Those of the database.
pub async fn add_tokens(tx: &Tx, owner: Owner, month: Month, tokens: i64) -> Result<()> {
    let sql = "UPDATE usage_months SET tokens = tokens + $4
        WHERE owner_id = $1 AND environment = $2 AND month = $3";
    let (id, environment) = owner.columns();
    let values = [id.into(), environment.into(), month.0.into(), tokens.into()];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// What was used in a month.
///
/// # Errors
/// Those of the database.
pub async fn used(conn: &impl ConnectionTrait, owner: Owner, month: Month) -> Result<Used> {
    let sql = "SELECT runs, tokens FROM usage_months
        WHERE owner_id = $1 AND environment = $2 AND month = $3";
    let (id, environment) = owner.columns();
    let values = [id.into(), environment.into(), month.0.into()];
    let row = conn.query_one_raw(statement(conn, sql, values)).await?;
    let Some(row) = row else { return Ok(Used::default()) };
    let (runs, tokens): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Used { runs: runs.unsigned_abs(), tokens: tokens.unsigned_abs() })
}

fn most(quota: Option<u64>) -> i64 {
    quota.map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX))
}
