//! `runplane serve`, `demo` and `check`: configuration, then telemetry, then a server until it is
//! told to end.

use std::future::Future;
use std::net::SocketAddr;

use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Common, Outcome, output};
use crate::kernel::config::Config;
use crate::kernel::telemetry;
use crate::serve::{self, Server, Source};
use crate::{demo, gateway};

pub(super) async fn demo(once: bool, listen: SocketAddr) -> Outcome<()> {
    let telemetry = telemetry::init(&Config::with("[log]\nfilter = \"warn\"")?)?;
    let stop = CancellationToken::new();
    let ends = stop.clone();
    let work = async { Ok(demo::run(demo::Options { once, listen }, ends).await?) };
    let done = interruptible(stop, work).await;
    telemetry.finish().await;
    done
}

/// The configuration, when the files that it names can be used too: told before a port is bound.
pub(super) async fn whole(common: &Common) -> Outcome<Config> {
    let config = common.load()?;
    gateway::tls::load(&config.tls).await?;
    Ok(config)
}

pub(super) async fn serve(common: Common) -> Outcome<()> {
    let config = whole(&common).await?;
    let telemetry = telemetry::init(&config)?;
    let read = move || Config::load(common.config.as_deref());
    let served = serve_on(config, Source::new(read, telemetry.refilter())?).await;
    telemetry.finish().await;
    served
}

async fn serve_on(config: Config, source: Source) -> Outcome<()> {
    let listen = config.server.listen;
    let server = Server::build(config).await?.reading(source);
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        format!("cannot listen at {listen} (server.listen, RUNPLANE__SERVER__LISTEN): {error}")
    })?;
    if let Some(key) = server.first_key().await? {
        let shown = format!("First admin key, shown this once: {}", key.expose_secret());
        // Not told of a closed output: a server that has begun has not done what it should.
        let lost = "the first key could not be printed; make another by runplane keys create";
        output::line(&shown).map_err(|_| lost)?;
    }
    let stop = CancellationToken::new();
    let work = serve::run(server, listener, stop.clone().cancelled_owned());
    interruptible(stop, async { Ok(work.await?) }).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Does the work and fires `stop` at the first interrupt or termination; a second one ends the work
/// at once.
async fn interruptible(
    stop: CancellationToken,
    work: impl Future<Output = Outcome<()>>,
) -> Outcome<()> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let twice = async {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.cancel();
        }
    };
    tokio::select! {
        done = work => done,
        () = twice => Err("stopped at once by a second signal".into()),
    }
}
