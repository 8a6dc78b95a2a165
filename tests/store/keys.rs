//! Keys: found by their public part, replaced once, revoked for ever.

use runplane::kernel::page::{Order, Page};
use runplane::kernel::{Reason, Result, Timestamp};
use runplane::store::keys::{self, Change, Key};
use runplane::store::projects;
use uuid::Uuid;

use super::rows::{OWNER, key, walk};
use crate::harness::databases::Database;
use crate::on_both;

async fn insert(db: &Database, key: Key) -> Result<Key> {
    db.store
        .tx("insert", move |tx| {
            let key = key.clone();
            Box::pin(async move { keys::insert(tx, OWNER, key).await })
        })
        .await
}

const ID: Uuid = Uuid::from_u128(1);

on_both! {
    async fn a_key_is_found_with_its_owner(db: Database) {
        let made = insert(&db, key(1, 10)).await.expect("inserted");
        assert_eq!(made.project_id, OWNER.project);
        let conn = db.store.read();
        let found = keys::by_public_id(conn, "public1").await.expect("asked");
        assert_eq!(found, Some((OWNER, made.clone())));
        assert_eq!(keys::by_public_id(conn, "public2").await.expect("asked"), None);
        assert_eq!(keys::get(conn, OWNER, ID).await.expect("found"), made);
    }

    async fn a_public_part_is_used_once(db: Database) {
        insert(&db, key(1, 10)).await.expect("inserted");
        let twin = Key { id: Uuid::from_u128(2), ..key(1, 10) };
        assert_eq!(insert(&db, twin).await.expect_err("taken").reason, Reason::NameTaken);
    }

    async fn a_key_is_changed_in_what_is_given(db: Database) {
        let made = insert(&db, key(1, 10)).await.expect("inserted");
        let change = |name: Option<&'static str>, metadata: Option<&'static str>| {
            db.store.tx("change", move |tx| {
                let (name, metadata) = (name.map(str::to_owned), metadata.map(str::to_owned));
                Box::pin(keys::update(tx, OWNER, ID, Change { name, metadata, limits: None }))
            })
        };
        assert_eq!(change(None, None).await.expect("same"), made);
        let named = change(Some("new"), None).await.expect("changed");
        assert_eq!(named, Key { name: "new".to_owned(), ..made });
        let both = change(Some("newer"), Some("{\"a\":\"b\"}")).await.expect("changed");
        assert_eq!((both.name.as_str(), both.metadata.as_str()), ("newer", "{\"a\":\"b\"}"));
    }

    async fn a_key_has_one_successor(db: Database) {
        insert(&db, key(1, 10)).await.expect("inserted");
        let replace = |successor| {
            db.store.tx("replace", move |tx| {
                let (now, end) = (Timestamp(100), Timestamp(500));
                Box::pin(keys::replace(tx, OWNER, (ID, Uuid::from_u128(successor)), (now, end)))
            })
        };
        let old = replace(2).await.expect("replaced");
        assert_eq!((old.replaced_by, old.expires_at), (Some(Uuid::from_u128(2)), Some(500)));
        assert_eq!(replace(3).await.expect_err("twice").reason, Reason::ValidationFailed);
    }

    async fn a_successor_never_lengthens_a_key(db: Database) {
        for (n, expires_at) in [(1, Some(300)), (2, Some(900)), (3, Some(50))] {
            insert(&db, Key { expires_at, ..key(n, 10) }).await.expect("inserted");
        }
        let replace = |id: u128| {
            db.store.tx("replace", move |tx| {
                let (now, end) = (Timestamp(100), Timestamp(500));
                Box::pin(keys::replace(tx, OWNER, (Uuid::from_u128(id), Uuid::max()), (now, end)))
            })
        };
        assert_eq!(replace(1).await.expect("replaced").expires_at, Some(300));
        assert_eq!(replace(2).await.expect("replaced").expires_at, Some(500));
        assert_eq!(replace(3).await.expect_err("ended").reason, Reason::ValidationFailed);
        assert_eq!(replace(4).await.expect_err("unknown").reason, Reason::KeyNotFound);
    }

    async fn the_first_revocation_counts(db: Database) {
        insert(&db, key(1, 10)).await.expect("inserted");
        let revoke = |id, now| {
            db.store.tx("revoke", move |tx| Box::pin(keys::revoke(tx, OWNER, id, Timestamp(now))))
        };
        assert_eq!(revoke(ID, 50).await.expect("revoked").revoked_at, Some(50));
        assert_eq!(revoke(ID, 60).await.expect("revoked").revoked_at, Some(50));
        assert_eq!(revoke(Uuid::max(), 60).await.expect_err("no").reason, Reason::KeyNotFound);
    }

    async fn use_is_marked_to_the_minute(db: Database) {
        insert(&db, key(1, 10)).await.expect("inserted");
        for (second, marked) in [(5, 5), (6, 5), (64, 5), (65, 65), (70, 65)] {
            let now = Timestamp(second * 1_000_000);
            let touch = db.store.tx("touch", move |tx| Box::pin(keys::touch(tx, OWNER, ID, now)));
            touch.await.expect("touched");
            let key = keys::get(db.store.read(), OWNER, ID).await.expect("found");
            assert_eq!(key.last_used_at, Some(marked * 1_000_000), "at {second} s");
        }
    }

    async fn keys_are_listed_by_age(db: Database) {
        for n in 1..=7 {
            // Some are of one moment: then the id decides.
            insert(&db, key(n, i64::try_from(n / 3).expect("small"))).await.expect("inserted");
        }
        let conn = db.store.read();
        let ask = |page: Page| async move { keys::list(conn, OWNER, &page).await };
        let ids = |rows: Vec<Key>| rows.iter().map(|key| key.id.as_u128()).collect::<Vec<_>>();
        assert_eq!(ids(walk(2, Order::Desc, ask).await), [7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(ids(walk(3, Order::Asc, ask).await), [1, 2, 3, 4, 5, 6, 7]);
    }

    async fn the_first_project_is_the_oldest(db: Database) {
        assert_eq!(projects::first(db.store.read()).await.expect("asked"), None);
        for (n, created_at) in [(1, 20), (2, 10), (3, 30)] {
            let project = projects::Project {
                id: Uuid::from_u128(n),
                name: format!("p{n}"),
                signing_secret: "s".to_owned(),
                created_at,
                organisation_id: None,
                plan: String::new(),
                metadata: "{}".to_owned(),
                updated_at: created_at,
                deleted_at: None,
            };
            db.store.tx("project", move |tx| {
                let project = project.clone();
                Box::pin(async move { projects::insert(tx, project).await })
            }).await.expect("inserted");
        }
        let first = projects::first(db.store.read()).await.expect("asked").expect("there");
        assert_eq!(first.name, "p2");
        assert_eq!(projects::get(db.store.read(), first.id).await.expect("asked"), Some(first));
    }
}
