//! Lists of runs: every filter, alone and together, and pages that neither skip nor repeat.

use std::collections::HashSet;

use runplane::kernel::page::{Order, Page, Position};
use runplane::kernel::{Reason, Timestamp};
use runplane::store::runs::{self, Filter, Run};
use uuid::Uuid;

use super::rows::{OWNER, first, insert_runs, pairs, run, walk};
use crate::on_both;

const STATUSES: [&str; 4] = ["queued", "in_progress", "completed", "failed"];

/// 48 runs whose features repeat at different paces, so that filters meet in every way.
fn some_runs() -> Vec<Run> {
    let feature = |n: u128, every: u128| (n / every).is_multiple_of(2);
    (1..=48)
        .map(|n| Run {
            agent_id: Uuid::from_u128(7 + n % 3),
            status: STATUSES[usize::try_from(n % 4).expect("small")].to_owned(),
            key_id: feature(n, 4).then(|| Uuid::from_u128(90)),
            session_id: feature(n, 8).then(|| "s".to_owned()),
            metadata: format!(r#"{{"even":"{}","third":"{}"}}"#, n % 2 == 0, n % 3 == 0),
            ..run(OWNER, n, i64::try_from(n / 2).expect("small"))
        })
        .collect()
}

fn holds(filter: &Filter, run: &Run) -> bool {
    let metadata: serde_json::Value = serde_json::from_str(&run.metadata).expect("JSON");
    filter.agent_id.is_none_or(|agent| run.agent_id == agent)
        && (filter.statuses.is_empty() || filter.statuses.contains(&run.status.as_str()))
        && filter.created_after.is_none_or(|from| run.created_at >= from.0)
        && filter.created_before.is_none_or(|to| run.created_at < to.0)
        && filter.metadata.iter().all(|(key, value)| metadata[key] == value.as_str())
        && filter.key_id.is_none_or(|key| run.key_id == Some(key))
        && filter.session_id.as_ref().is_none_or(|id| run.session_id.as_ref() == Some(id))
}

/// Every combination of the seven filters.
fn filters() -> Vec<Filter> {
    let statuses = [vec![], vec!["completed"], vec!["failed", "queued", "in_progress"]];
    let metadata = [vec![], vec![("even", "true")], vec![("even", "true"), ("third", "false")]];
    let mut filters = Vec::new();
    for (n, statuses) in (0..32).flat_map(|n| statuses.iter().map(move |words| (n, words))) {
        filters.extend(metadata.iter().map(|metadata| Filter {
            agent_id: (n & 1 != 0).then(|| Uuid::from_u128(8)),
            statuses: statuses.clone(),
            created_after: (n & 2 != 0).then_some(Timestamp(5)),
            created_before: (n & 4 != 0).then_some(Timestamp(20)),
            metadata: pairs(metadata),
            key_id: (n & 8 != 0).then(|| Uuid::from_u128(90)),
            session_id: (n & 16 != 0).then(|| "s".to_owned()),
            ..Filter::default()
        }));
    }
    filters
}

on_both! {
    async fn every_filter_holds_alone_and_together(db: Database) {
        let runs = some_runs();
        insert_runs(&db.store, OWNER, runs.clone()).await;
        for filter in filters() {
            let expected: Vec<u128> = runs
                .iter()
                .rev()
                .filter(|run| holds(&filter, run))
                .map(|run| run.id.as_u128())
                .collect();
            let (conn, asked) = (db.store.read(), &filter);
            let ask = |page: Page| async move { runs::list(conn, OWNER, asked, &page).await };
            let listed = walk(7, Order::Desc, ask).await;
            let ids: Vec<u128> = listed.iter().map(|run| run.id.as_u128()).collect();
            assert_eq!(ids, expected, "{filter:?}");
            let page = Page { position: Position::Offset(2), ..first(3, Order::Asc) };
            let second = ask(page).await.expect("listed");
            let ids: Vec<u128> = second.items.iter().map(|run| run.id.as_u128()).collect();
            let up: Vec<u128> = expected.iter().rev().skip(3).take(3).copied().collect();
            assert_eq!(ids, up, "{filter:?}");
            assert_eq!(second.total, Some(expected.len() as u64), "{filter:?}");
        }
    }

    async fn a_walk_meets_every_run_that_was_there_once(db: Database) {
        let at = |n: u128| i64::try_from(n / 4).expect("small");
        let there: Vec<Run> = (0..60).map(|n| run(OWNER, n * 10, at(n))).collect();
        insert_runs(&db.store, OWNER, there.clone()).await;
        for order in [Order::Asc, Order::Desc] {
            let added = std::cell::Cell::new(1_u128);
            let (store, added) = (&db.store, &added);
            let met = walk(4, order, |page| async move {
                let paged = runs::list(store.read(), OWNER, &Filter::default(), &page).await;
                // New runs land before, between and after the rows of the walk.
                let n = added.get();
                added.set(n + 1);
                let id = n * 10 + u128::from(order == Order::Asc) + 1;
                let at = [0, 7, 100][usize::try_from(n % 3).expect("small")];
                insert_runs(store, OWNER, vec![run(OWNER, id, at)]).await;
                paged
            }).await;
            let ids: Vec<Uuid> = met.iter().map(|run| run.id).collect();
            let distinct: HashSet<Uuid> = ids.iter().copied().collect();
            assert_eq!(distinct.len(), ids.len(), "a run was repeated");
            assert!(there.iter().all(|run| distinct.contains(&run.id)), "a run was skipped");
            let keys: Vec<(i64, Uuid)> = met.iter().map(|run| (run.created_at, run.id)).collect();
            let mut sorted = keys.clone();
            sorted.sort();
            if order == Order::Desc {
                sorted.reverse();
            }
            assert_eq!(keys, sorted, "out of order");
        }
    }

    async fn a_run_reads_back_as_it_was_kept(db: Database) {
        let full = Run {
            session_id: Some("s".to_owned()),
            key_id: Some(Uuid::max()),
            output: Some("{}".to_owned()),
            error_code: Some("model_error".to_owned()),
            error_message: Some("no \u{1F9ED}".to_owned()),
            required_action: Some("{}".to_owned()),
            input_tokens: i32::MAX,
            incomplete_reason: Some("timeout".to_owned()),
            started_at: Some(i64::MAX),
            completed_at: Some(i64::MIN),
            expires_at: Some(0),
            last_seq: i64::MAX,
            ..run(OWNER, 1, -1)
        };
        let bare = Run { input: None, ..run(OWNER, 2, 0) };
        insert_runs(&db.store, OWNER, vec![full.clone(), bare.clone()]).await;
        for run in [full, bare] {
            assert_eq!(runs::get(db.store.read(), OWNER, run.id).await.expect("found"), run);
        }
        let missing = runs::get(db.store.read(), OWNER, Uuid::max()).await.expect_err("none");
        assert_eq!(missing.reason, Reason::RunNotFound);
    }
}
