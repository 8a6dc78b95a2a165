//! The audit log: who changed what, and who was refused. A line is written in the transaction of
//! its change and signed; the linker (`link`) then gives the lines of all transactions an order and
//! chains them, so that a line can be neither changed nor taken out unseen. Nothing is ever changed
//! here but the place in the chain, and no line holds a secret.

use std::net::IpAddr;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};
use serde::Serialize;
use uuid::Uuid;

use super::Tx;
use super::sql::{pieces, statement};
use crate::kernel::call::{Call, Changed, hex};
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Caller, Error, Pepper, Reason, Result, Scope, Timestamp};

/// Most lines that one round of the linker takes.
const ROUND: i64 = 512;
/// Two linkers go one after the other: the number of the lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7885632)";

/// A line, as it is written; the fields in this order.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: String,
    at: Timestamp,
    /// Whose it is, as the row says: moved to another owner, a line would be hidden from its own.
    owner: String,
    #[serde(flatten)]
    actor: Actor,
    scope: &'a str,
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

/// Whose call it was.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Actor {
    /// Key, `key_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Session of the key, `key_…`, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Level of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// Public part of a key that was refused before it was known whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
}

/// A call that was refused for who made it.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Whose it is, as far as that is known.
    pub scope: Option<Scope>,
    /// Who made it.
    pub actor: Actor,
    /// What was called.
    pub action: &'static str,
    /// What it needs.
    pub needs: &'static str,
    /// Id of the request.
    pub request_id: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// Why it was refused.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

/// A line as it is kept.
#[derive(Debug, Clone)]
pub struct Line {
    /// Id, `aud_…` within the entry.
    pub id: Uuid,
    /// Place in the chain; none: not yet linked.
    pub seq: Option<i64>,
    /// What happened, JSON.
    pub entry: String,
    /// Signature of the entry.
    pub mac: Vec<u8>,
    /// Signature of this line and all before it.
    pub chain: Option<Vec<u8>>,
    /// When.
    pub at: Timestamp,
    /// Whose it is, as the entry names it.
    pub owner: String,
}

impl Line {
    /// True when the row is what its entry says: no other row has the same signature.
    #[must_use]
    pub fn is_its_own(&self) -> bool {
        let entry: serde_json::Value = serde_json::from_str(&self.entry).unwrap_or_default();
        let is = |name: &str, value: String| entry[name] == value;
        is("id", ids::format(Kind::Audit, self.id))
            && is("at", self.at.to_string())
            && is("owner", self.owner.clone())
    }
}

/// An owner as an entry names it.
fn owner(project: Uuid, environment: &str) -> String {
    format!("{project}/{environment}")
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        if caller.key_id.is_nil() {
            return Self { public: Some("command line".to_owned()), ..Self::default() };
        }
        Self {
            key_id: Some(ids::format(Kind::Key, caller.key_id)),
            session_id: caller.session_id.map(|id| ids::format(Kind::Key, id)),
            level: Some(caller.level.as_str()),
            public: None,
        }
    }
}

/// Writes the line of a change.
pub(super) async fn change<M, X>(
    tx: &Tx,
    caller: &Caller,
    changed: &Changed<M, X>,
    now: Timestamp,
) -> Result<()> {
    let Call { action, scope, .. } = *caller.call;
    let (before, after) = (changed.before.as_deref(), changed.after.as_deref());
    line_of(tx, caller, (action, scope), (&changed.target, before, after), now).await
}

/// Writes the line of what a call has changed besides, as if that had been a call of its own: it
/// did this, which needs this scope, to what has this id.
///
/// # Errors
/// Those of the database.
pub async fn besides(
    tx: &Tx,
    caller: &Caller,
    what: (&'static str, &'static str),
    target: &str,
    now: Timestamp,
) -> Result<()> {
    line_of(tx, caller, what, (target, None, None), now).await
}

async fn line_of(
    tx: &Tx,
    caller: &Caller,
    (action, scope): (&str, &str),
    (target, before, after): (&str, Option<&str>, Option<&str>),
    now: Timestamp,
) -> Result<()> {
    let Call { request_id, address, pepper, .. } = &*caller.call;
    let id = ids::fresh(now);
    let entry = Entry {
        id: ids::format(Kind::Audit, id),
        at: now,
        owner: owner(caller.scope.project, caller.scope.environment.as_str()),
        actor: caller.into(),
        scope,
        action,
        target: Some(target),
        request_id,
        address: *address,
        outcome: "ok",
        before,
        after,
    };
    write(tx, pepper, caller.scope, (id, now), &entry).await
}

/// Writes the lines of calls that were refused.
///
/// # Errors
/// Those of the database.
pub async fn refused(tx: &Tx, pepper: &Pepper, calls: &[Refused]) -> Result<()> {
    for call in calls {
        let id = ids::fresh(call.at);
        let nobody = Scope { project: Uuid::nil(), environment: crate::kernel::Environment::Live };
        let scope = call.scope.unwrap_or(nobody);
        let entry = Entry {
            id: ids::format(Kind::Audit, id),
            at: call.at,
            owner: owner(scope.project, scope.environment.as_str()),
            actor: call.actor.clone(),
            scope: call.needs,
            action: call.action,
            target: None,
            request_id: &call.request_id,
            address: call.address,
            outcome: call.reason.row().code,
            before: None,
            after: None,
        };
        write(tx, pepper, scope, (id, call.at), &entry).await?;
    }
    Ok(())
}

async fn write(
    tx: &Tx,
    pepper: &Pepper,
    scope: Scope,
    (id, at): (Uuid, Timestamp),
    entry: &Entry<'_>,
) -> Result<()> {
    let entry = serde_json::to_string(entry).map_err(Error::internal)?;
    let mac = pepper.derive("audit", &entry);
    let sql = "INSERT INTO audit_log (id, project_id, environment, at, entry, mac)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        id.into(),
        scope.project.into(),
        scope.environment.as_str().into(),
        at.0.into(),
        entry.into(),
        mac.to_vec().into(),
    ];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// Links lines that are loose, the oldest first; how many. Asked again while there are more.
///
/// # Errors
/// Those of the database.
pub async fn link(tx: &Tx, pepper: &Pepper) -> Result<u64> {
    let postgres = tx.get_database_backend() == DbBackend::Postgres;
    if postgres {
        tx.query_one_raw(statement(tx, LOCK, [])).await?;
    }
    let loose = "SELECT id, seq, entry, mac, chain, at, project_id, environment
        FROM audit_log WHERE seq IS NULL
        ORDER BY at, id LIMIT $1 + 0";
    let rows = tx.query_all_raw(statement(tx, loose, [ROUND.into()])).await?;
    let lines = rows.into_iter().map(line).collect::<Result<Vec<_>>>()?;
    let (mut seq, mut chain) = match head(tx).await? {
        Some((seq, chain)) if !lines.is_empty() => (seq, chain),
        _ => (0, Vec::new()),
    };
    let mut links: Vec<[Value; 3]> = Vec::with_capacity(lines.len());
    // What was not written by who has this pepper is left loose: linked, it would look as if.
    let own = |line: &&Line| line.mac == pepper.derive("audit", &line.entry) && line.is_its_own();
    for line in lines.iter().filter(own) {
        seq += 1;
        chain = chained(pepper, seq, &chain, &line.mac);
        links.push([line.id.into(), seq.into(), chain.clone().into()]);
    }
    for piece in pieces(&links) {
        let row = |i: usize| match postgres {
            true => format!("(${}::uuid,${}::bigint,${}::bytea)", 3 * i + 1, 3 * i + 2, 3 * i + 3),
            false => format!("(${},${},${})", 3 * i + 1, 3 * i + 2, 3 * i + 3),
        };
        let rows: Vec<_> = (0..piece.len()).map(row).collect();
        let sql = format!(
            "WITH links (id, seq, chain) AS (VALUES {})
            UPDATE audit_log SET seq = links.seq, chain = links.chain
            FROM links WHERE audit_log.id = links.id",
            rows.join(",")
        );
        let values: Vec<Value> = piece.iter().flatten().cloned().collect();
        let backend = tx.get_database_backend();
        let update = sea_orm::Statement::from_sql_and_values(backend, sql, values);
        tx.execute_raw(update).await?;
    }
    Ok(links.len() as u64)
}

/// The signature of a line and all before it.
#[must_use]
pub fn chained(pepper: &Pepper, seq: i64, before: &[u8], mac: &[u8]) -> Vec<u8> {
    pepper.derive("audit chain", &format!("{seq}:{}:{}", hex(before), hex(mac))).to_vec()
}

/// The end of the chain; `None` when nothing is linked.
///
/// # Errors
/// Those of the database.
pub async fn head(conn: &impl ConnectionTrait) -> Result<Option<(i64, Vec<u8>)>> {
    let sql = "SELECT seq, chain FROM audit_log WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1";
    let row = conn.query_one_raw(statement(conn, sql, [])).await?;
    row.map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()
}

/// Linked lines after a place in the chain, in its order.
///
/// # Errors
/// Those of the database.
pub async fn linked(conn: &impl ConnectionTrait, after: i64) -> Result<Vec<Line>> {
    let sql = "SELECT id, seq, entry, mac, chain, at, project_id, environment
        FROM audit_log WHERE seq > $1
        ORDER BY seq LIMIT $2 + 0";
    let rows = conn.query_all_raw(statement(conn, sql, [after.into(), ROUND.into()])).await?;
    rows.into_iter().map(line).collect()
}

/// Lines that are not linked yet, after one of them.
///
/// # Errors
/// Those of the database.
pub async fn loose(
    conn: &impl ConnectionTrait,
    (at, id): (Timestamp, Uuid),
) -> Result<Vec<(Timestamp, Line)>> {
    let sql = "SELECT id, seq, entry, mac, chain, at, project_id, environment
        FROM audit_log
        WHERE seq IS NULL AND (at, id) > ($1, $2) ORDER BY at, id LIMIT $3 + 0";
    let values = [at.0.into(), id.into(), ROUND.into()];
    let rows = conn.query_all_raw(statement(conn, sql, values)).await?;
    let dated = |row: QueryResult| Ok((Timestamp(row.try_get_by_index(5)?), line(row)?));
    rows.into_iter().map(dated).collect()
}

fn line(row: QueryResult) -> Result<Line> {
    Ok(Line {
        id: row.try_get_by_index(0)?,
        seq: row.try_get_by_index(1)?,
        entry: row.try_get_by_index(2)?,
        mac: row.try_get_by_index(3)?,
        chain: row.try_get_by_index(4)?,
        at: Timestamp(row.try_get_by_index(5)?),
        owner: owner(row.try_get_by_index(6)?, &row.try_get_by_index::<String>(7)?),
    })
}
