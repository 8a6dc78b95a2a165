//! No question meets the rows of another owner: neither another project's nor the other
//! environment's.

use runplane::kernel::page::{Page, Position};
use runplane::kernel::{Environment, Reason, Result, Scope, Timestamp};
use runplane::store::agents::{self, Agent};
use runplane::store::keys::{self, Change};
use runplane::store::{Store, Tx, Work, runs};
use uuid::Uuid;

use super::rows::{OWNER, insert_runs, key, pairs, run, scope, spec};
use crate::harness::databases::START;
use crate::on_both;

const ID: Uuid = Uuid::from_u128(5);

fn others() -> [Scope; 3] {
    [scope(1, Environment::Live), scope(2, Environment::Test), scope(2, Environment::Live)]
}

async fn tx<T: Send + 'static>(
    store: &Store,
    job: impl for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
) -> Result<T> {
    store.tx("owners", job).await
}

async fn an_agent(store: &Store) -> Agent {
    tx(store, |tx| {
        Box::pin(async move {
            agents::insert(tx, OWNER, ID, &spec("a", &[("team", "pay")]), START).await
        })
    })
    .await
    .expect("inserted")
}

fn refused<T>(outcome: Result<T>, reason: Reason, what: &str) {
    match outcome {
        Ok(_) => panic!("{what} met another owner's row"),
        Err(error) => assert_eq!(error.reason, reason, "{what}"),
    }
}

on_both! {
    async fn agents_belong_to_their_owner(db: Database) {
        let made = an_agent(&db.store).await;
        let (store, conn, none) = (&db.store, db.store.read(), Reason::AgentNotFound);
        for other in others() {
            refused(agents::get(conn, other, ID).await, none, "get");
            refused(agents::get_version(conn, other, (ID, 1)).await, none, "get_version");
            refused(agents::pinned(conn, other, (ID, 1)).await, Reason::InternalError, "pinned");
            let old = made.clone();
            let update = tx(store, move |tx| {
                let old = old.clone();
                Box::pin(async move {
                    agents::update(tx, other, &old, &spec("b", &[]), START).await
                })
            });
            refused(update.await, none, "update");
            let publish = tx(store, move |tx| {
                Box::pin(agents::set_published(tx, other, ID, true, START))
            });
            refused(publish.await, none, "set_published");
            let delete = tx(store, move |tx| Box::pin(agents::delete(tx, other, ID, START)));
            refused(delete.await, none, "delete");
            for position in [Position::Cursor(None), Position::Offset(1)] {
                let page = Page { position, ..Page::first() };
                for metadata in [pairs(&[]), pairs(&[("team", "pay")])] {
                    let filter = agents::Filter { metadata, ..Default::default() };
                    let listed = agents::list(conn, other, &filter, &page).await.expect("listed");
                    assert!(listed.items.is_empty() && listed.total.unwrap_or(0) == 0);
                }
                let versions = agents::list_versions(conn, other, ID, &page).await.expect("listed");
                assert!(versions.items.is_empty() && versions.total.unwrap_or(0) == 0);
            }
        }
        assert_eq!(agents::get(conn, OWNER, ID).await.expect("untouched"), made);
    }

    async fn keys_belong_to_their_owner(db: Database) {
        let made = tx(&db.store, |tx| Box::pin(keys::insert(tx, OWNER, key(5, 1)))).await;
        let (store, conn, none) = (&db.store, db.store.read(), Reason::KeyNotFound);
        for other in others() {
            refused(keys::get(conn, other, ID).await, none, "get");
            let change = || Change { name: Some("mine".to_owned()), ..Change::default() };
            let update = tx(store, move |tx| Box::pin(keys::update(tx, other, ID, change())));
            refused(update.await, none, "update");
            let nothing = keys::update(conn, other, ID, Change::default());
            refused(nothing.await, none, "update of nothing");
            let revoke = tx(store, move |tx| Box::pin(keys::revoke(tx, other, ID, START)));
            refused(revoke.await, none, "revoke");
            let replace = tx(store, move |tx| {
                Box::pin(keys::replace(tx, other, (ID, Uuid::max()), (Timestamp(0), START)))
            });
            refused(replace.await, none, "replace");
            let touch = tx(store, move |tx| Box::pin(keys::touch(tx, other, ID, START)));
            touch.await.expect("nothing to touch");
            for position in [Position::Cursor(None), Position::Offset(1)] {
                let page = Page { position, ..Page::first() };
                let listed = keys::list(conn, other, &page).await.expect("listed");
                assert!(listed.items.is_empty() && listed.total.unwrap_or(0) == 0);
            }
        }
        let untouched = keys::get(conn, OWNER, ID).await.expect("found");
        assert_eq!(untouched, made.expect("inserted"));
    }

    async fn runs_belong_to_their_owner(db: Database) {
        let mut row = run(OWNER, 5, 1);
        row.metadata = r#"{"team":"pay"}"#.to_owned();
        row.session_id = Some("s".to_owned());
        row.key_id = Some(Uuid::from_u128(9));
        insert_runs(&db.store, OWNER, vec![row.clone()]).await;
        let all = || runs::Filter::default();
        let filters = [
            all(),
            runs::Filter { agent_id: Some(row.agent_id), ..all() },
            runs::Filter { statuses: vec!["queued"], ..all() },
            runs::Filter { statuses: vec!["queued", "failed"], ..all() },
            runs::Filter { metadata: pairs(&[("team", "pay")]), ..all() },
            runs::Filter { key_id: row.key_id, ..all() },
            runs::Filter { session_id: Some("s".to_owned()), ..all() },
        ];
        let conn = db.store.read();
        for other in others() {
            refused(runs::get(conn, other, ID).await, Reason::RunNotFound, "get");
            for position in [Position::Cursor(None), Position::Offset(1)] {
                let page = Page { position, ..Page::first() };
                for filter in &filters {
                    let listed = runs::list(conn, other, filter, &page).await.expect("listed");
                    let count = listed.items.len() as u64 + listed.total.unwrap_or(0);
                    assert_eq!(count, 0, "{filter:?}");
                }
            }
        }
        for filter in &filters {
            let listed = runs::list(conn, OWNER, filter, &Page::first()).await.expect("listed");
            assert_eq!(listed.items, [row.clone()], "{filter:?}");
        }
    }
}
