//! Questions that move a run: its state, usage and end. Asked by `engine` only, which has the run's
//! queue row in hand and knows which move is lawful; each names the states that it may move from.

use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use uuid::Uuid;

use super::sessions::Session;
use super::sql::{pieces, places, statement};
use super::{Tx, owner};
use crate::kernel::{Result, Scope, Timestamp};

/// A run as its worker needs it.
#[derive(Debug, Clone)]
pub struct Started {
    /// Run.
    pub run_id: Uuid,
    /// Owner.
    pub scope: Scope,
    /// Agent.
    pub agent_id: Uuid,
    /// Version of the agent.
    pub agent_version: i32,
    /// Input, JSON.
    pub input: Option<String>,
    /// Parameters, JSON object.
    pub parameters: String,
    /// How many times it was claimed, with this one.
    pub attempt: i32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub deadline: Timestamp,
    /// Its conversation, and its place in it.
    pub session: Option<(Session, i64)>,
    /// Span of the call that created it, as W3C writes it.
    pub traceparent: Option<String>,
}

/// What a run used, to be added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Tokens read.
    pub input_tokens: i32,
    /// Tokens written.
    pub output_tokens: i32,
    /// Model calls answered.
    pub model_calls: i32,
    /// Tool calls answered.
    pub tool_calls: i32,
}

impl Used {
    /// True when there is nothing to add.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        let Self { input_tokens, output_tokens, model_calls, tool_calls } = self;
        [input_tokens, output_tokens, model_calls, tool_calls] == [0; 4]
    }
}

/// How a run ends.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// State that it ends in.
    pub status: &'static str,
    /// Output, JSON.
    pub output: Option<String>,
    /// Why it failed: code and words.
    pub error: Option<(String, String)>,
    /// Which limit ended it.
    pub incomplete_reason: Option<String>,
    /// Number of its last event.
    pub last_seq: i64,
}

/// What an ended run used in all, and in whose name.
#[derive(Debug, Clone, Copy)]
pub struct Total {
    /// Owner.
    pub scope: Scope,
    /// Key that created it.
    pub key_id: Option<Uuid>,
    /// Used in all.
    pub used: Used,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Moves claimed runs to `status` and counts the claim and its event. Runs in none of the states
/// `from` are left out.
pub async fn start(
    tx: &Tx,
    ids: &[Uuid],
    status: &str,
    from: &[&str],
    now: Timestamp,
) -> Result<Vec<Started>> {
    let mut started = Vec::with_capacity(ids.len());
    for piece in pieces(ids) {
        let sql = format!(
            "UPDATE runs SET status = $1, attempt = attempt + 1, last_seq = last_seq + 1,
                revision = revision + 1,
                started_at = COALESCE(started_at, $2)
            WHERE id IN ({}) AND status IN ({})
            RETURNING id, project_id, environment, agent_id, agent_version, input, parameters,
                attempt, created_at, expires_at, session_id, session_turn, traceparent",
            places(3, piece.len()),
            places(3 + piece.len(), from.len()),
        );
        let mut values: Vec<Value> = vec![status.into(), now.0.into()];
        values.extend(piece.iter().map(|id| Value::from(*id)));
        values.extend(from.iter().map(|word| Value::from(*word)));
        let backend = tx.get_database_backend();
        let rows = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        for row in rows {
            started.push(read_started(&row)?);
        }
    }
    Ok(started)
}

fn read_started(row: &QueryResult) -> Result<Started> {
    let scope = owner::scope(row.try_get_by_index(1)?, &row.try_get_by_index::<String>(2)?)?;
    let turn = row.try_get_by_index(11)?;
    let session = row.try_get_by_index::<Option<String>>(10)?;
    Ok(Started {
        run_id: row.try_get_by_index(0)?,
        scope,
        session: session.map(|id| (Session { scope, id }, turn)),
        traceparent: row.try_get_by_index(12)?,
        agent_id: row.try_get_by_index(3)?,
        agent_version: row.try_get_by_index(4)?,
        input: row.try_get_by_index(5)?,
        parameters: row.try_get_by_index(6)?,
        attempt: row.try_get_by_index(7)?,
        created_at: Timestamp(row.try_get_by_index(8)?),
        deadline: Timestamp(row.try_get_by_index::<Option<i64>>(9)?.unwrap_or(i64::MAX)),
    })
}

/// Adds to what a run used, and notes the number of its last event.
pub async fn note(tx: &Tx, run_id: Uuid, used: Used, last_seq: i64) -> Result<()> {
    let sql = "UPDATE runs SET input_tokens = input_tokens + $2,
            output_tokens = output_tokens + $3, model_calls = model_calls + $4,
            tool_calls = tool_calls + $5, last_seq = $6, revision = revision + 1
        WHERE id = $1";
    let values = [
        run_id.into(),
        used.input_tokens.into(),
        used.output_tokens.into(),
        used.model_calls.into(),
        used.tool_calls.into(),
        last_seq.into(),
    ];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}

/// A move of a run that goes on: the new state and what comes with it.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// State that it moves to.
    pub status: &'a str,
    /// What it waits for, JSON; `None` when nothing.
    pub required_action: Option<&'a str>,
    /// Number of its last event; `None` leaves it.
    pub last_seq: Option<i64>,
}

/// Moves a run that goes on; false when it is in none of the states `from`.
pub async fn go_on(tx: &Tx, run_id: Uuid, step: Step<'_>, from: &[&str]) -> Result<bool> {
    let sql = format!(
        "UPDATE runs SET status = $2, required_action = $3, last_seq = COALESCE($4, last_seq),
            revision = revision + 1
        WHERE id = $1 AND status IN ({})",
        places(5, from.len())
    );
    let mut values: Vec<Value> =
        vec![run_id.into(), step.status.into(), step.required_action.into(), step.last_seq.into()];
    values.extend(from.iter().map(|word| Value::from(*word)));
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.execute_raw(statement).await?.rows_affected() == 1)
}

/// Ends a run and adds the last of what it used; what it used in all. `None` when it is in none of
/// the states `from`.
pub async fn end(
    tx: &Tx,
    run_id: Uuid,
    ending: Ending,
    used: Used,
    (from, now): (&[&str], Timestamp),
) -> Result<Option<Total>> {
    let sql = format!(
        "UPDATE runs SET status = $2, output = $3, error_code = $4, error_message = $5,
            incomplete_reason = $6, last_seq = $7, completed_at = $8, required_action = NULL,
            input_tokens = input_tokens + $9, output_tokens = output_tokens + $10,
            model_calls = model_calls + $11, tool_calls = tool_calls + $12,
            revision = revision + 1
        WHERE id = $1 AND status IN ({})
        RETURNING input_tokens, output_tokens, model_calls, tool_calls, created_at, project_id,
            environment, key_id",
        places(13, from.len())
    );
    let (code, message) = ending.error.unzip();
    let mut values: Vec<Value> = vec![
        run_id.into(),
        ending.status.into(),
        ending.output.into(),
        code.into(),
        message.into(),
        ending.incomplete_reason.into(),
        ending.last_seq.into(),
        now.0.into(),
        used.input_tokens.into(),
        used.output_tokens.into(),
        used.model_calls.into(),
        used.tool_calls.into(),
    ];
    values.extend(from.iter().map(|word| Value::from(*word)));
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    let Some(row) = tx.query_one_raw(statement).await? else { return Ok(None) };
    let used = Used {
        input_tokens: row.try_get_by_index(0)?,
        output_tokens: row.try_get_by_index(1)?,
        model_calls: row.try_get_by_index(2)?,
        tool_calls: row.try_get_by_index(3)?,
    };
    let scope = owner::scope(row.try_get_by_index(5)?, &row.try_get_by_index::<String>(6)?)?;
    let created_at = Timestamp(row.try_get_by_index(4)?);
    Ok(Some(Total { scope, key_id: row.try_get_by_index(7)?, used, created_at }))
}

/// What there is to know of a run without reading it.
#[derive(Debug, Clone)]
pub struct Place {
    /// State.
    pub status: String,
    /// Number of its last event.
    pub last_seq: i64,
    /// What it waits for, JSON.
    pub required_action: Option<String>,
}

/// Where a run of the owner stands.
pub async fn place(
    conn: &impl ConnectionTrait,
    scope: Scope,
    run_id: Uuid,
) -> Result<Option<Place>> {
    let sql = "SELECT status, last_seq, required_action FROM runs
        WHERE id = $1 AND project_id = $2 AND environment = $3";
    let values = [run_id.into(), scope.project.into(), scope.environment.as_str().into()];
    let Some(row) = conn.query_one_raw(statement(conn, sql, values)).await? else {
        return Ok(None);
    };
    Ok(Some(Place {
        status: row.try_get_by_index(0)?,
        last_seq: row.try_get_by_index(1)?,
        required_action: row.try_get_by_index(2)?,
    }))
}

/// What a waiting run waits for, JSON. The engine's own question: it has the run's queue row in
/// hand.
pub async fn required_action(tx: &Tx, run_id: Uuid) -> Result<Option<String>> {
    let sql = "SELECT required_action FROM runs WHERE id = $1";
    let Some(row) = tx.query_one_raw(statement(tx, sql, [run_id.into()])).await? else {
        return Ok(None);
    };
    Ok(row.try_get_by_index(0)?)
}

/// A run to be.
#[derive(Debug, Clone)]
pub struct New {
    /// Id.
    pub run_id: Uuid,
    /// Agent.
    pub agent_id: Uuid,
    /// Version of the agent.
    pub agent_version: i32,
    /// Conversation.
    pub session_id: Option<String>,
    /// Key that creates it.
    pub key_id: Option<Uuid>,
    /// State that it begins in.
    pub status: &'static str,
    /// Input, JSON.
    pub input: Option<String>,
    /// Parameters, JSON object.
    pub parameters: String,
    /// Labels, JSON object of texts.
    pub metadata: String,
    /// When it is created.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Number of its last event.
    pub last_seq: i64,
    /// Span of the call that creates it, as W3C writes it.
    pub traceparent: Option<String>,
}

/// Adds a run, with its place in its conversation.
pub async fn create(tx: &Tx, scope: Scope, new: &New, turn: i64) -> Result<()> {
    let sql = "INSERT INTO runs (id, project_id, environment, agent_id, agent_version, session_id,
            key_id, status, input, parameters, metadata, created_at, expires_at, last_seq,
            session_turn, traceparent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let values = [
        new.run_id.into(),
        scope.project.into(),
        scope.environment.as_str().into(),
        new.agent_id.into(),
        new.agent_version.into(),
        new.session_id.clone().into(),
        new.key_id.into(),
        new.status.into(),
        new.input.clone().into(),
        new.parameters.clone().into(),
        new.metadata.clone().into(),
        new.created_at.0.into(),
        new.expires_at.0.into(),
        new.last_seq.into(),
        turn.into(),
        new.traceparent.clone().into(),
    ];
    tx.execute_raw(statement(tx, sql, values)).await?;
    Ok(())
}
