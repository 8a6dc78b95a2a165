//! Agents: versions that never change, conflicts that are told, lists by label.

use std::time::Duration;

use runplane::kernel::page::{Order, Page, Position};
use runplane::kernel::{Reason, Result};
use runplane::store::Store;
use runplane::store::agents::{self, Agent, Filter};
use uuid::Uuid;

use super::rows::{OWNER, first, pairs, spec, walk};
use crate::harness::databases::{Database, START};
use crate::on_both;

async fn insert(
    db: &Database,
    n: u128,
    metadata: &'static [(&'static str, &'static str)],
) -> Agent {
    let now = db.clock.now();
    db.clock.advance(Duration::from_secs(1));
    db.store
        .tx("insert", move |tx| {
            Box::pin(async move {
                let spec = spec(&format!("agent {n}"), metadata);
                agents::insert(tx, OWNER, Uuid::from_u128(n), &spec, now).await
            })
        })
        .await
        .expect("inserted")
}

async fn update(store: &Store, old: &Agent, name: &'static str) -> Result<Agent> {
    let old = old.clone();
    store
        .tx("update", move |tx| {
            let old = old.clone();
            Box::pin(async move {
                agents::update(tx, OWNER, &old, &spec(name, &[("team", name)]), START).await
            })
        })
        .await
}

async fn names(db: &Database, filter: &Filter) -> Vec<String> {
    let page = first(100, Order::Asc);
    let rows = agents::list(db.store.read(), OWNER, filter, &page).await.expect("listed");
    rows.items.into_iter().map(|agent| agent.name).collect()
}

on_both! {
    async fn an_agent_reads_back_as_it_was_made(db: Database) {
        let made = insert(&db, 5, &[("team", "pay")]).await;
        assert_eq!((made.version, made.published), (1, false));
        let read = agents::get(db.store.read(), OWNER, made.id).await.expect("found");
        assert_eq!(read, made);
        assert_eq!(agents::spec(&read.spec).expect("read"), spec("agent 5", &[("team", "pay")]));
        let version = agents::get_version(db.store.read(), OWNER, (made.id, 1)).await;
        assert_eq!(version.expect("found").spec, made.spec);
    }

    async fn a_change_makes_a_version_and_leaves_the_old_one(db: Database) {
        let one = insert(&db, 5, &[]).await;
        let two = update(&db.store, &one, "two").await.expect("updated");
        assert_eq!((two.version, two.name.as_str(), two.created_at), (2, "two", one.created_at));
        let read = |version| agents::get_version(db.store.read(), OWNER, (one.id, version));
        assert_eq!(read(1).await.expect("found").spec, one.spec);
        assert_eq!(read(2).await.expect("found").spec, two.spec);
        assert_eq!(read(3).await.expect_err("no such").reason, Reason::AgentNotFound);
        let list = |page| agents::list_versions(db.store.read(), OWNER, one.id, page);
        let listed = list(&Page::first()).await.expect("listed");
        assert_eq!(listed.items.iter().map(|row| row.version).collect::<Vec<_>>(), [2, 1]);
    }

    async fn a_change_of_an_older_version_is_a_conflict(db: Database) {
        let one = insert(&db, 5, &[]).await;
        update(&db.store, &one, "two").await.expect("updated");
        let error = update(&db.store, &one, "three").await.expect_err("stale");
        assert_eq!(error.reason, Reason::VersionConflict);
        assert_eq!(error.message, "the agent is at version 2, not 1");
        let read = agents::get(db.store.read(), OWNER, one.id).await.expect("found");
        assert_eq!((read.version, read.name.as_str()), (2, "two"));
    }

    async fn of_many_changes_at_once_one_wins(db: Database) {
        let one = insert(&db, 5, &[]).await;
        let changes = (0..8).map(|_| update(&db.store, &one, "two"));
        let outcomes = futures::future::join_all(changes).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.reason, Reason::VersionConflict);
        }
        let read = agents::get(db.store.read(), OWNER, one.id).await.expect("found");
        assert_eq!(read.version, 2);
    }

    async fn publishing_twice_changes_nothing(db: Database) {
        let made = insert(&db, 5, &[]).await;
        let publish = |published| {
            db.clock.advance(Duration::from_secs(1));
            let now = db.clock.now();
            db.store.tx("publish", move |tx| {
                Box::pin(agents::set_published(tx, OWNER, Uuid::from_u128(5), published, now))
            })
        };
        assert_eq!(publish(false).await.expect("same"), made);
        let published = publish(true).await.expect("published");
        assert!(published.published && published.updated_at > made.updated_at);
        assert_eq!(publish(true).await.expect("same"), published);
        let filter = |published| Filter { published: Some(published), ..Filter::default() };
        assert_eq!(names(&db, &filter(true)).await, ["agent 5"]);
        assert!(names(&db, &filter(false)).await.is_empty());
    }

    async fn a_deleted_agent_is_found_by_its_runs_alone(db: Database) {
        let made = insert(&db, 5, &[("team", "pay")]).await;
        let delete = || db.store.tx("delete", |tx| {
            Box::pin(agents::delete(tx, OWNER, Uuid::from_u128(5), START))
        });
        delete().await.expect("deleted");
        assert_eq!(delete().await.expect_err("gone").reason, Reason::AgentNotFound);
        let conn = db.store.read();
        assert!(agents::get(conn, OWNER, made.id).await.is_err());
        assert!(agents::get_version(conn, OWNER, (made.id, 1)).await.is_err());
        assert!(update(&db.store, &made, "two").await.is_err());
        let versions = agents::list_versions(conn, OWNER, made.id, &Page::first()).await;
        assert!(versions.expect("listed").items.is_empty());
        assert!(names(&db, &Filter::default()).await.is_empty());
        let labelled = Filter { metadata: pairs(&[("team", "pay")]), ..Filter::default() };
        assert!(names(&db, &labelled).await.is_empty());
        let pinned = agents::pinned(conn, OWNER, (made.id, 1)).await.expect("still there");
        assert_eq!(pinned.spec, made.spec);
    }

    async fn a_list_is_filtered_by_each_label(db: Database) {
        insert(&db, 1, &[("team", "pay"), ("tier", "1")]).await;
        insert(&db, 2, &[("team", "pay"), ("tier", "2")]).await;
        let three = insert(&db, 3, &[("team", "risk"), ("tier", "1")]).await;
        let by = |metadata: &[(&str, &str)]| Filter {
            metadata: pairs(metadata),
            ..Filter::default()
        };
        assert_eq!(names(&db, &by(&[("team", "pay")])).await, ["agent 1", "agent 2"]);
        assert_eq!(names(&db, &by(&[("tier", "1"), ("team", "pay")])).await, ["agent 1"]);
        assert_eq!(names(&db, &by(&[("tier", "1"), ("tier", "2")])).await, [""; 0]);
        assert_eq!(names(&db, &by(&[("team", "pa")])).await, [""; 0]);
        update(&db.store, &three, "sales").await.expect("updated");
        assert_eq!(names(&db, &by(&[("team", "risk")])).await, [""; 0]);
        assert_eq!(names(&db, &by(&[("team", "sales")])).await, ["sales"]);
    }

    async fn pages_by_number_say_how_many_there_are(db: Database) {
        for n in 1..=5 {
            insert(&db, n, &[("team", "pay")]).await;
        }
        for metadata in [pairs(&[]), pairs(&[("team", "pay")])] {
            let filter = Filter { metadata, ..Filter::default() };
            let page = Page { position: Position::Offset(3), ..first(2, Order::Asc) };
            let listed = agents::list(db.store.read(), OWNER, &filter, &page).await;
            let listed = listed.expect("listed");
            assert_eq!((listed.total, listed.pages(&page)), (Some(5), Some(3)));
            assert_eq!((listed.items.len(), listed.has_more, listed.next), (1, false, None));
            assert_eq!(listed.items[0].name, "agent 5");
        }
    }

    async fn versions_are_paged_by_number(db: Database) {
        let mut agent = insert(&db, 5, &[]).await;
        for _ in 0..6 {
            agent = update(&db.store, &agent, "next").await.expect("updated");
        }
        let conn = db.store.read();
        let ask = |page: Page| async move {
            agents::list_versions(conn, OWNER, agent.id, &page).await
        };
        let up = walk(2, Order::Asc, ask).await;
        assert_eq!(up.iter().map(|row| row.version).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        let down = walk(3, Order::Desc, ask).await;
        assert_eq!(down.iter().map(|row| row.version).collect::<Vec<_>>(), [7, 6, 5, 4, 3, 2, 1]);
    }
}
