//! Reads what the database says at the end into a history. Called by `load.rs` and scenarios, when
//! nothing goes on any more.

use runplane::kernel::ids::{self, Kind};
use runplane::store::Store;
use runplane::store::tables::{run, run_event, run_queue, run_step, worker};
use sea_orm::EntityTrait;
use serde_json::Value;
use uuid::Uuid;

use super::history::{Event, History, Queued, Run, Step};

/// Label of a run that has the idempotency key of its creation.
pub const LABEL: &str = "asked";

/// The id as callers know it.
pub fn run_id(id: Uuid) -> Option<String> {
    Some(ids::format(Kind::Run, id))
}

/// Reads everything.
pub async fn read(store: &Store, history: &mut History) {
    let (conn, id) = (store.read(), |id| ids::format(Kind::Run, id));
    for row in run::Entity::find().all(conn).await.expect("runs") {
        history.runs.insert(id(row.id), a_run(row));
    }
    for row in run_event::Entity::find().all(conn).await.expect("events") {
        let data = serde_json::from_str(&row.data).expect("JSON");
        let event = Event { seq: row.seq, kind: row.r#type, at_us: row.at, data };
        history.events.entry(id(row.run_id)).or_default().push(event);
    }
    history.events.values_mut().for_each(|events| events.sort_by_key(|event| event.seq));
    for row in run_step::Entity::find().all(conn).await.expect("steps") {
        let step = a_step(&row);
        history.steps.entry(id(row.run_id)).or_default().push(step);
    }
    let queue = run_queue::Entity::find().all(conn).await.expect("the queue");
    history.queue = queue
        .into_iter()
        .map(|row| Queued {
            run_id: id(row.run_id),
            state: row.state.into(),
            worker: row.worker_id.map(|worker| worker.to_string()),
        })
        .collect();
    let workers = worker::Entity::find().all(conn).await.expect("workers");
    history.workers = workers.into_iter().map(|row| row.id.to_string()).collect();
}

fn a_run(row: run::Model) -> Run {
    let labels: Value = serde_json::from_str(&row.metadata).unwrap_or_default();
    let output: Value = row.output.map_or(Value::Null, |text| parse(&text));
    Run {
        status: row.status,
        key: labels[LABEL].as_str().unwrap_or_default().to_owned(),
        result: output["result"].as_str().map(str::to_owned),
        error: row.error_code,
        last_seq: row.last_seq,
        attempt: row.attempt.into(),
        usage: [row.model_calls, row.tool_calls, row.input_tokens, row.output_tokens]
            .map(i64::from),
        created_us: row.created_at,
        started_us: row.started_at,
    }
}

fn a_step(row: &run_step::Model) -> Step {
    let result: Value = row.result.as_deref().map_or(Value::Null, parse);
    let tokens = |name: &str| result["usage"][name].as_i64().unwrap_or(0);
    let is_model = row.kind == "llm" && row.status == 1;
    Step {
        key: row.idem_key.clone(),
        kind: row.kind.clone(),
        status: row.status.into(),
        epoch: row.epoch,
        finished_us: row.finished_at,
        tokens: if is_model { [tokens("input_tokens"), tokens("output_tokens")] } else { [0, 0] },
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
