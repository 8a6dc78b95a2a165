//! Lists walk along an index: SQLite's own plan of each has no scan of a table and no sort.

use std::sync::Mutex;

use runplane::kernel::page::{Key, Order, Page, Position};
use runplane::kernel::{Environment, Timestamp};
use runplane::store::sessions::{self, Session};
use runplane::store::{Reader, agents, keys, retention, runs};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use sea_orm_migration::async_trait::async_trait;
use uuid::Uuid;

use super::rows::{OWNER, pairs};
use crate::harness::databases::Database;

/// Asks for the plan of every query before the query.
struct Explaining<'a> {
    conn: &'a Reader,
    plans: Mutex<Vec<String>>,
}

impl Explaining<'_> {
    async fn explain(&self, statement: &Statement) -> Result<(), DbErr> {
        let mut plan = statement.clone();
        plan.sql = format!("EXPLAIN QUERY PLAN {}", plan.sql);
        for row in self.conn.query_all_raw(plan).await? {
            let detail: String = row.try_get("", "detail")?;
            self.plans.lock().expect("not poisoned").push(detail);
        }
        Ok(())
    }

    /// The plans since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.plans.lock().expect("not poisoned"))
    }
}

#[async_trait]
impl ConnectionTrait for Explaining<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.conn.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.conn.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.conn.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.explain(&statement).await?;
        self.conn.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.explain(&statement).await?;
        self.conn.query_all_raw(statement).await
    }
}

fn pages() -> Vec<Page> {
    let key = Key { at: 5, id: Uuid::from_u128(3) };
    let mut pages = Vec::new();
    for order in [Order::Asc, Order::Desc] {
        for position in [Position::Cursor(None), Position::Cursor(Some(key))] {
            pages.push(Page { order, position, ..Page::first() });
        }
    }
    pages
}

fn assert_walks(conn: &Explaining<'_>, what: &str) {
    let plans = conn.take();
    assert!(!plans.is_empty(), "{what} asked nothing");
    for plan in &plans {
        assert!(!plan.contains("TEMP B-TREE"), "{what} sorts: {plans:#?}");
        let scans = plan.starts_with("SCAN") && !plan.contains("CONSTANT");
        assert!(!scans, "{what} scans: {plans:#?}");
    }
}

fn run_filters() -> Vec<runs::Filter> {
    let all = runs::Filter::default;
    vec![
        all(),
        runs::Filter { agent_id: Some(Uuid::nil()), ..all() },
        runs::Filter { statuses: vec!["failed"], ..all() },
        runs::Filter { key_id: Some(Uuid::nil()), ..all() },
        runs::Filter { session_id: Some("s".to_owned()), ..all() },
        runs::Filter { metadata: pairs(&[("a", "b")]), ..all() },
        runs::Filter { metadata: pairs(&[("a", "b"), ("c", "d")]), ..all() },
        runs::Filter { metadata: pairs(&[("a", "b")]), statuses: vec!["failed"], ..all() },
    ]
}

#[tokio::test]
async fn no_list_scans_or_sorts() {
    let db = Database::sqlite().await;
    let conn = Explaining { conn: db.store.read(), plans: Mutex::default() };
    for page in pages() {
        for filter in run_filters() {
            runs::list(&conn, OWNER, &filter, &page).await.expect("listed");
            assert_walks(&conn, &format!("{filter:?} {page:?}"));
        }
        for metadata in [pairs(&[]), pairs(&[("a", "b"), ("c", "d")])] {
            for published in [None, Some(true), Some(false)] {
                let filter =
                    agents::Filter { published, metadata: metadata.clone(), ..Default::default() };
                agents::list(&conn, OWNER, &filter, &page).await.expect("listed");
                assert_walks(&conn, &format!("{filter:?} {page:?}"));
            }
        }
        agents::list_versions(&conn, OWNER, Uuid::nil(), &page).await.expect("listed");
        assert_walks(&conn, "versions");
        keys::list(&conn, OWNER, &page).await.expect("listed");
        assert_walks(&conn, "keys");
    }
}

#[tokio::test]
async fn several_states_are_merged_from_their_windows() {
    let db = Database::sqlite().await;
    let conn = Explaining { conn: db.store.read(), plans: Mutex::default() };
    let filter = runs::Filter { statuses: vec!["failed", "expired"], ..runs::Filter::default() };
    for page in pages() {
        runs::list(&conn, OWNER, &filter, &page).await.expect("listed");
        let plans = conn.take();
        let windows = plans.iter().filter(|plan| plan.contains("INDEX runs_status"));
        assert_eq!(windows.count(), 2, "{plans:#?}");
        assert!(!plans.iter().any(|plan| plan.starts_with("SCAN runs")), "{plans:#?}");
        let sorts = plans.iter().filter(|plan| plan.contains("TEMP B-TREE")).count();
        assert!(sorts <= 1, "more is sorted than the page: {plans:#?}");
    }
}

#[tokio::test]
async fn what_is_removed_and_what_a_session_has_said_is_found_along_an_index() {
    let db = Database::sqlite().await;
    let conn = Explaining { conn: db.store.read(), plans: Mutex::default() };
    let (live, now) = (Environment::Live, Timestamp(5));
    retention::ended(&conn, live, now, 100).await.expect("asked");
    let plans = conn.take();
    assert!(plans.iter().any(|plan| plan.contains("INDEX runs_ended")), "{plans:#?}");
    assert!(!plans.iter().any(|plan| plan.contains("TEMP B-TREE")), "{plans:#?}");
    runs::orphans(&conn).await.expect("asked");
    let plans = conn.take();
    for index in ["INDEX lanes_paused", "INDEX runs_status"] {
        assert!(plans.iter().any(|plan| plan.contains(index)), "{plans:#?}");
    }
    let session = Session { scope: OWNER, id: "s".to_owned() };
    sessions::before(&conn, &session, 5, 100).await.expect("asked");
    sessions::around(&conn, &session, 10).await.expect("asked");
    sessions::messages(&conn, &[Uuid::nil(), Uuid::max()]).await.expect("asked");
    assert_walks(&conn, "a session");
}
