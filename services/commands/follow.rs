//! `runplane runs follow`: a run as it happens, to its end. A stream that breaks is taken up again
//! after the last event that came, here or at another replica. What is shown is `live.rs`.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::Status;

use super::exit::{Exit, Failure, Outcome};
use super::live::{Ended, Live};
use super::remote::{Remote, again, backoff};
use super::runs;
use crate::kernel::reply;
use crate::proto::runplane::v1 as pb;

/// How often the progress is drawn while nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// A stream that was open for so long had a server.
const WELL: Duration = Duration::from_secs(2);

/// Why a stream is over.
enum Over {
    /// The run has ended.
    Ended(Ended),
    /// It broke, and may be taken up again.
    Broken(Failure, Duration),
}

/// Shows the run after an event, to its end; its end is the command's.
pub(super) async fn follow(remote: &Remote, run_id: &str, after: String) -> Outcome<()> {
    let (mut live, mut last) = (Live::new(remote.form), after);
    let (mut away, mut attempt) = (Instant::now(), 1);
    loop {
        let (opened, before) = (Instant::now(), last.clone());
        let over = watch(remote, run_id, &mut last, &mut live, attempt).await;
        let (failure, wait) = match over.inspect_err(|_| live.over())? {
            Over::Ended(ended) => return runs::end((run_id, ended.status), ended.why),
            Over::Broken(failure, wait) => (failure, wait),
        };
        if last != before || opened.elapsed() > WELL {
            (away, attempt) = (Instant::now(), 1);
        }
        if away.elapsed() + wait > remote.patience {
            live.over();
            return Err(failure);
        }
        live.away();
        sleep(wait).await;
        attempt += 1;
    }
}

/// Shows events until the stream is over.
async fn watch(
    remote: &Remote,
    run_id: &str,
    last: &mut String,
    live: &mut Live,
    attempt: u32,
) -> Outcome<Over> {
    let request = pb::ListRunEventsRequest {
        run_id: run_id.to_owned(),
        after: last.clone(),
        ..Default::default()
    };
    let call = |c, r| async { runs::client(c).watch_run(r).await };
    let opened = tokio::time::timeout(remote.patience, remote.open(request, call)).await;
    let mut stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(status)) => return broken(remote, status, attempt),
        Err(_) => return Err(late(remote)),
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            event = stream.message() => event,
            _ = tick.tick() => {
                live.draw();
                continue;
            }
        };
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => {
                let message = "the server has ended the stream before the run's end";
                let failure = Failure::new(Exit::Unavailable, message);
                return Ok(Over::Broken(failure, backoff(attempt)));
            }
            Err(status) => return broken(remote, status, attempt),
        };
        event.id.clone_into(last);
        if let Some(ended) = live.event(event)? {
            return Ok(Over::Ended(ended));
        }
    }
}

/// A failure that ends the command, or a stream to be taken up again.
fn broken(remote: &Remote, status: Status, attempt: u32) -> Outcome<Over> {
    let foreign = !reply::is_ours(&status) && status.metadata().get("x-request-id").is_none();
    let wait = again(&status, attempt).or_else(|| foreign.then(|| backoff(attempt)));
    let failure = remote.failure(status);
    match wait {
        Some(wait) => Ok(Over::Broken(failure, wait)),
        None => Err(failure),
    }
}

fn late(remote: &Remote) -> Failure {
    let seconds = remote.patience.as_secs();
    Failure::new(Exit::Unavailable, format!("no answer in {seconds} seconds (--timeout)"))
}
