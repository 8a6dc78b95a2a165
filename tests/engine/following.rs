//! Following a run: from any position, at any time, every later durable event once and
//! byte-identical.

use std::sync::Arc;

use futures::StreamExt;
use runplane::cache::EventId;
use runplane::engine::Event;
use runplane::engine::attempt::{Attempt, Drive, Outcome};
use runplane::kernel::Reason;
use runplane::store::events;
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::rig::{Rig, SCOPE, begin, data, driver, end, has, instant};
use crate::{on_all, on_both};

/// Three rounds, each with text that comes in pieces; a pause before the end of the second.
fn talkative(reached: &Arc<Notify>, go: &Arc<Notify>) -> Drive {
    let (reached, go) = (Arc::clone(reached), Arc::clone(go));
    driver(move |attempt: Attempt| {
        let (reached, go) = (Arc::clone(&reached), Arc::clone(&go));
        async move {
            for step in (0..3).filter(|step| !has(&attempt, *step)).collect::<Vec<_>>() {
                if attempt.journal.commit(begin(step)).await.is_err() {
                    return Outcome::Stopped;
                }
                for (offset, piece) in ["a", "b", "c"].into_iter().enumerate() {
                    attempt.journal.token(&format!("stp_{step}"), offset, piece);
                }
                if step == 1 {
                    reached.notify_one();
                    go.notified().await;
                }
                if attempt.journal.commit(end(step)).await.is_err() {
                    return Outcome::Stopped;
                }
            }
            Outcome::Completed(Default::default(), json!("done"))
        }
    })
}

fn durable(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| event.id.n == 0).cloned().collect()
}

/// Text of each message as its tokens had it.
fn texts(events: &[Event]) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for token in events.iter().filter(|event| &*event.r#type == "token").map(data) {
        let (id, delta) = (token["step_id"].as_str(), token["delta"].as_str());
        let (id, delta) = (id.expect("an id"), delta.expect("a delta"));
        if texts.last().is_none_or(|(last, _)| last != id) {
            texts.push((id.to_owned(), String::new()));
        }
        let text = &mut texts.last_mut().expect("a text").1;
        assert_eq!(token["offset"], text.len(), "no gap in the text");
        text.push_str(delta);
    }
    texts
}

on_all! {
    async fn from_every_position_every_later_event_comes_once(db: Database) {
        let rig = Rig::new(db).await;
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let run = rig.create().await;
        let mut followers = Vec::new();
        for _ in 0..8 {
            let events = rig.engine.follow(SCOPE, run, EventId::default()).await.expect("followed");
            let events = events.map(|event| event.expect("an event"));
            followers.push(tokio::spawn(events.collect::<Vec<_>>()));
        }
        let worker = rig.work(talkative(&reached, &go));
        reached.notified().await;
        let late = rig.engine.follow(SCOPE, run, EventId::durable(2)).await.expect("followed");
        go.notify_one();
        let late: Vec<_> = late.map(|event| event.expect("an event")).collect().await;
        let log = rig.log(run).await;
        assert_eq!(log.len(), 6);
        assert_eq!(durable(&late), log[2..]);
        for follower in followers {
            let live = follower.await.expect("no panic");
            assert_eq!(durable(&live), log, "byte-identical, once each");
            assert!(live.windows(2).all(|pair| pair[0].id < pair[1].id), "in order");
            let texts = texts(&live);
            assert!(texts.iter().all(|(_, text)| "abc".starts_with(text)), "no gap: {texts:?}");
            // With others to be heard, a text may be left to its message at the start.
            if !rig.engine.bus().pictures() {
                assert_eq!(texts.len(), 3, "tokens make up the message");
                assert!(texts.iter().all(|(_, text)| text == "abc"), "all of it: {texts:?}");
            }
        }
        for after in 0..=log.len() {
            let later = rig.follow(run, EventId::durable(after as i64)).await;
            assert_eq!(later, log[after..], "after {after}");
        }
        worker.stop().await;
    }
}

on_both! {
    async fn a_follower_resumes_within_live_text(db: Database) {
        let rig = Rig::new(db).await;
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let run = rig.create().await;
        let worker = rig.work(talkative(&reached, &go));
        reached.notified().await;
        let mut first = rig.engine.follow(SCOPE, run, EventId::durable(3)).await.expect("followed");
        let token = first.next().await.expect("an event").expect("a token");
        assert_eq!((&*token.r#type, token.id), ("token", EventId { seq: 3, n: 1 }));
        drop(first);
        let mut again = rig.engine.follow(SCOPE, run, token.id).await.expect("followed");
        go.notify_one();
        let next = again.next().await.expect("an event").expect("a step");
        assert_eq!(next.id, EventId::durable(4), "no token twice");
        rig.ended(run).await;
        worker.stop().await;
        let events = rig.follow(run, token.id).await;
        assert_eq!(events, rig.log(run).await[3..], "the events that supersede it");
    }
}

on_all! {
    async fn a_follower_on_another_replica_gets_every_durable_event(db: Database) {
        let rig = Rig::new(db).await;
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let run = rig.create().await;
        let replica = rig.replica().await;
        let events = replica.follow(SCOPE, run, EventId::default()).await.expect("followed");
        let worker = rig.work(talkative(&reached, &go));
        go.notify_one();
        let events: Vec<_> = events.map(|event| event.expect("an event")).collect().await;
        assert_eq!(durable(&events), rig.log(run).await);
        assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "in order");
        // Where there is a Redis, live text comes too: whole, or from its beginning.
        for (_, text) in texts(&events) {
            assert!("abc".starts_with(&text), "{text}");
        }
        worker.stop().await;
    }

    async fn a_follower_comes_through_large_events_page_by_page(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let worker = rig.work(driver(|attempt: Attempt| async move {
            for step in 0..8 {
                let _ = attempt.journal.commit(begin(step)).await;
                let mut large = end(step);
                large.events[0].data["content"] = json!("é".repeat(120_000));
                let _ = attempt.journal.commit(large).await;
            }
            Outcome::Completed(Default::default(), json!("done"))
        }));
        rig.ended(run).await;
        let log = rig.log(run).await;
        let store = rig.db.store.read();
        let page = events::page(store, run, 0, (200, 1024 * 1024)).await.expect("a page");
        assert!(page.len() > 4 && page.len() < log.len() - 2, "{} of {}", page.len(), log.len());
        let one = events::page(store, run, 2, (200, 1)).await.expect("a page");
        assert_eq!(one.len(), 1, "the first comes however large it is");
        assert_eq!(rig.follow(run, EventId::default()).await, log);
        worker.stop().await;
    }

    async fn how_far_many_runs_are_is_asked_at_once(db: Database) {
        let rig = Rig::new(db).await;
        let mut runs = vec![rig.create().await, rig.create().await];
        runs.extend((0..1500).map(Uuid::from_u128));
        let mut reached = events::reached(rig.db.store.read(), &runs).await.expect("an answer");
        reached.sort_unstable();
        let mut expected = vec![(runs[0], 1), (runs[1], 1)];
        expected.sort_unstable();
        assert_eq!(reached, expected);
    }

    async fn a_slow_follower_misses_nothing_that_lasts(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let mut slow = rig.engine.follow(SCOPE, run, EventId::default()).await.expect("followed");
        let first = slow.next().await.expect("an event").expect("created");
        assert_eq!(&*first.r#type, "run.created");
        let worker = rig.work(driver(|attempt: Attempt| async move {
            for step in 0..150 {
                let _ = attempt.journal.commit(begin(step)).await;
                for offset in 0..4 {
                    attempt.journal.token("stp", offset * 2000, &"x".repeat(1500));
                }
                let _ = attempt.journal.commit(end(step)).await;
            }
            Outcome::Completed(Default::default(), json!("done"))
        }));
        rig.ended(run).await;
        let rest: Vec<_> = slow.map(|event| event.expect("an event")).collect().await;
        assert_eq!(durable(&rest), rig.log(run).await[1..]);
        worker.stop().await;
    }

    async fn nothing_is_kept_of_a_run_that_is_over(db: Database) {
        let bus = runplane::cache::Bus::memory();
        let mut rig = Rig::new(db).await;
        let (store, clock) = (rig.db.store.clone(), rig.db.clock.clone());
        rig.engine =
            runplane::engine::Engine::new(store, bus.clone(), clock, rig.config.clone());
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let worker = rig.work(talkative(&reached, &go));
        let run = rig.create().await;
        reached.notified().await;
        assert_eq!(bus.runs(), 1);
        go.notify_one();
        rig.ended(run).await;
        worker.stop().await;
        assert_eq!(bus.runs(), 0);
    }

    async fn a_position_that_was_never_reached_is_refused(db: Database) {
        let rig = Rig::new(db).await;
        let run = rig.create().await;
        let refused = rig.engine.follow(SCOPE, run, EventId::durable(9)).await;
        assert!(matches!(refused, Err(error) if error.reason == Reason::InvalidField));
        let worker = rig.work(instant());
        rig.ended(run).await;
        let page = rig.engine.events_page(SCOPE, run, 1, 2).await.expect("a page");
        let numbers: Vec<i64> = page.events.iter().map(|event| event.id.seq).collect();
        assert_eq!((numbers, page.has_more), (vec![2, 3], true));
        worker.stop().await;
    }
}
