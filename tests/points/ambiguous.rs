//! The database commits, and then says that it did not answer in time: five of a hundred times, and
//! twenty. Whoever asked does not know whether it was done; what follows must be right both ways.

use runplane::store::StoreConfig;
use tokio::sync::watch;

use super::check;
use super::crash::IMPATIENT;
use super::load::{Load, World};
use crate::harness::databases;
use crate::harness::process::Program;

const LOAD: Load = Load { adds: 10, asks: 10, stops: 8, holds: 0, one_by_one: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_lose_and_repeat_nothing_on_sqlite() {
    for percent in [5, 20] {
        let mut program = Program::new(IMPATIENT);
        let api = program.start().await;
        let world = World::new(&api, program.url.subscribe()).await;
        program.terminate();
        assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
        program.faults = format!("ambiguous:{percent}");
        program.start().await;
        let stories = world.begin(LOAD).await;
        let count = check::check(&world, &stories).await;
        program.terminate();
        assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
        let url = format!("sqlite:{}", program.folder().join("runplane.db").display());
        check::left(StoreConfig { url, ..StoreConfig::default() }).await;
        println!("{percent} % of the answers of SQLite were lost: {count:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_lose_and_repeat_nothing_on_postgres() {
    for percent in [5, 20] {
        let (config, _place) = databases::postgres_place(None).await;
        let mut first = Program::on(&config.url, IMPATIENT);
        let mut second = Program::on(&config.url, IMPATIENT);
        let api = first.start().await;
        let url = watch::Sender::new(None);
        let world = World::new(&api, url.subscribe()).await;
        first.kill().await;
        for program in [&mut first, &mut second] {
            program.faults = format!("ambiguous:{percent}");
            let api = program.start_with(&api.key).await;
            url.send_replace(Some(api.url));
        }
        let stories = world.begin(LOAD).await;
        let count = check::check(&world, &stories).await;
        for mut program in [first, second] {
            program.terminate();
            assert_eq!(program.ended().await.code(), Some(0), "{}", program.logged);
        }
        check::left(config).await;
        println!("{percent} % of the answers of Postgres were lost: {count:?}");
    }
}
