//! Runs that have ended before anything is measured, put into the database as they would stand
//! there: a row, its events, its step. In the server's process, which has the store.

use runplane::store::Store;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::Outcome;
use super::server::job;

/// Rows in one transaction.
const CHUNK: usize = 50_000;

/// Adds runs with the numbers `from` to `to`, like one that is there.
pub(super) async fn fill(store: &Store, from: usize, to: usize) -> Outcome<()> {
    let is_postgres = store.read().get_database_backend() == DbBackend::Postgres;
    for first in (from..to).step_by(CHUNK) {
        let last = (first + CHUNK).min(to) - 1;
        let (numbers, id) = if is_postgres {
            (format!("generate_series({first}, {last}) AS n(i)"), "lpad(to_hex(i), 32, '0')::uuid")
        } else {
            let series = format!(
                "(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n
                    WHERE i < {last}) SELECT i FROM n)"
            );
            (series, "unhex(printf('%032x', i))")
        };
        let like = "(SELECT * FROM runs WHERE status = 'completed' LIMIT 1) r";
        for sql in [
            format!(
                "INSERT INTO runs (id, project_id, environment, agent_id, agent_version, key_id,
                    status, input, parameters, output, metadata, attempt, created_at, started_at,
                    completed_at, expires_at, last_seq)
                SELECT {id}, project_id, environment, agent_id, agent_version, key_id, status,
                    input, parameters, output, metadata, 1, i, i, i, i, 5
                FROM {numbers}, {like}"
            ),
            format!(
                "INSERT INTO run_events (run_id, seq, type, data, at)
                SELECT {id}, e.seq, e.type, e.data, e.at FROM {numbers},
                    (SELECT * FROM run_events WHERE run_id = (SELECT id FROM {like})) e"
            ),
            format!(
                "INSERT INTO run_steps (run_id, step, call, kind, idem_key, status, epoch, request,
                    result, started_at, finished_at)
                SELECT {id}, 0, 0, s.kind, s.idem_key, s.status, s.epoch, s.request, s.result,
                    s.started_at, s.finished_at FROM {numbers},
                    (SELECT * FROM run_steps WHERE run_id = (SELECT id FROM {like})) s"
            ),
        ] {
            job(store, &sql).await?;
        }
    }
    job(store, "ANALYZE").await?;
    Ok(())
}

/// Transactions that Postgres has counted in this database.
pub(super) async fn transactions(store: &Store) -> Outcome<u64> {
    // Its figures are up to a second late.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database
        WHERE datname = current_database()";
    let question = Statement::from_string(DbBackend::Postgres, sql);
    let row = store.read().query_one_raw(question).await?.ok_or("no figures")?;
    Ok(u64::try_from(row.try_get_by_index::<i64>(0)?)?)
}
