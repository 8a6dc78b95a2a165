//! One round of one peer: started afresh, asked for everything in turn, stopped. All peers are
//! asked by the same code. Called by `mod.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Events};
use super::model::{Model, PIECE};
use super::peer::{Ask, Peer};
use super::process::{Places, Running};
use crate::Outcome;

/// Connections of the calls and of the runs.
pub(super) const CLIENTS: usize = 50;
/// Streams at once.
pub(super) const STREAMS: usize = 20;
/// Pieces of text in a streamed answer.
pub(super) const PIECES: usize = 20;
/// Streams that are held open, each of a run of its own.
pub(super) const OPEN: usize = 100;
/// Runs whose first event is waited for, one after the other.
const FIRSTS: usize = 200;
/// Of each kind, before anything is measured.
const WARM: usize = 5;
const SETTLED: Duration = Duration::from_secs(2);
const OPEN_MAX: Duration = Duration::from_secs(20);
/// Most time that the last answers of a load may take.
const LATE_MAX: Duration = Duration::from_secs(60);

/// Calls that were made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// How many a second.
    pub(super) rate: f64,
    /// CPU of the server for each.
    pub(super) cpu: Duration,
}

/// What was measured; what could not be is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// From the start to the first answer.
    pub(super) cold: Option<Duration>,
    /// Memory before it was asked for anything.
    pub(super) idle_kib: Option<f64>,
    /// Memory of an open stream.
    pub(super) stream_kib: Option<f64>,
    /// The description of an agent.
    pub(super) get: Option<Load>,
    /// Runs, created and waited for.
    pub(super) runs: Option<Load>,
    /// Until the first event, and until the first text: p50 and p99 of each.
    pub(super) first: Option<[Duration; 4]>,
    /// Streamed events.
    pub(super) events: Option<Load>,
    /// The pieces of the model's text in them; some servers join pieces that come together.
    pub(super) pieces: Option<Load>,
    /// Events of a streamed run.
    pub(super) per_run: Option<f64>,
    /// What went wrong.
    pub(super) faults: Vec<String>,
}

/// What a load counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Calls,
    Runs,
    Events,
}

/// A peer that is being measured.
struct Measured<'a> {
    peer: &'a Peer,
    running: Running,
    model: &'a Model,
    span: Duration,
    clients: AtomicUsize,
}

/// Measures a peer once; each load goes on for `span`.
pub(super) async fn measure(
    peer: &Peer,
    places: &Places,
    model: &Model,
    (scratch, span): (&Path, Duration),
) -> Outcome<Figures> {
    let running = Running::start(peer, places, scratch).await?;
    let mut figures = Figures { cold: Some(running.cold), ..Figures::default() };
    let mut measured = Measured { peer, running, model, span, clients: AtomicUsize::new(0) };
    if let Err(error) = measured.all(scratch, &mut figures).await {
        figures.faults.push(error.to_string());
    }
    measured.running.stop().await?;
    Ok(figures)
}

impl Measured<'_> {
    async fn all(&mut self, scratch: &Path, figures: &mut Figures) -> Outcome<()> {
        sleep(SETTLED).await;
        figures.idle_kib = Some(self.running.memory_kib()? as f64);
        self.running.set_up(self.peer, scratch).await?;
        self.warm().await?;
        let mut faults = Vec::new();
        let mut keep = |what: &str, error| faults.push(format!("{what}: {error}"));
        // Only the model that all ask can be slow for one and quick for another.
        if self.peer.asks_the_model() {
            match self.open().await {
                Ok(kib) => figures.stream_kib = Some(kib),
                Err(error) => keep("open streams", error),
            }
        }
        match self.get().await {
            Ok(load) => figures.get = load,
            Err(error) => keep("agent", error),
        }
        match self.runs().await {
            Ok(load) => figures.runs = Some(load),
            Err(error) => keep("runs", error),
        }
        match self.first().await {
            Ok(first) => figures.first = Some(first),
            Err(error) => keep("first event", error),
        }
        match self.events().await {
            Ok((events, pieces, per_run)) => {
                (figures.events, figures.pieces) = (Some(events), Some(pieces));
                figures.per_run = Some(per_run);
            }
            Err(error) => keep("events", error),
        }
        figures.faults.extend(faults);
        Ok(())
    }

    /// A request as a connection of its own makes it.
    fn request(&self, ask: &Ask, input: &str) -> Vec<u8> {
        let mut values = self.running.values.clone();
        values.insert("client", self.clients.fetch_add(1, Ordering::Relaxed).to_string());
        ask.request(&values, input)
    }

    fn stream(&self, input: &str) -> Vec<u8> {
        self.request(&self.peer.stream, input)
    }

    /// A few of everything, which must be answered with the model's text.
    async fn warm(&self) -> Outcome<()> {
        let mut client = Client::new(&self.running.address);
        let stream = self.stream(&format!("bench:{PIECES}"));
        for request in [self.request(&self.peer.run, "bench:1"), stream] {
            for _ in 0..WARM {
                let body = timeout(LATE_MAX, client.body(&request)).await??;
                let text = String::from_utf8_lossy(&body);
                if !text.contains(PIECE.trim_end()) {
                    let text: String = text.chars().take(500).collect();
                    return Err(format!("no text of the model in its answer: {text}").into());
                }
            }
        }
        Ok(())
    }

    async fn get(&self) -> Outcome<Option<Load>> {
        let Some(get) = &self.peer.get else { return Ok(None) };
        Ok(Some(self.load((get, ""), CLIENTS, Counted::Calls).await?.0))
    }

    async fn runs(&self) -> Outcome<Load> {
        Ok(self.load((&self.peer.run, "bench:1"), CLIENTS, Counted::Runs).await?.0)
    }

    /// Events, pieces of text, and events of a run.
    async fn events(&self) -> Outcome<(Load, Load, f64)> {
        let asks = (&self.peer.stream, format!("bench:{PIECES}"));
        let (load, calls, events) = self.load((asks.0, &asks.1), STREAMS, Counted::Events).await?;
        let per_run = events as f64 / calls as f64;
        // The same time and the same CPU, counted in what the model has said.
        let more = PIECES as f64 / per_run;
        let pieces = Load { rate: load.rate * more, cpu: load.cpu.div_f64(more) };
        Ok((load, pieces, per_run))
    }

    /// Asks over so many connections until the time is over; tells how often, and for how many of
    /// what is counted.
    async fn load(
        &self,
        (ask, input): (&Ask, &str),
        clients: usize,
        counted: Counted,
    ) -> Outcome<(Load, usize, usize)> {
        let (asked, cpu, begun) = (self.model.asked().await?, self.running.cpu()?, Instant::now());
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let client = Client::new(&self.running.address);
            let request = self.request(ask, input);
            all.spawn(again(client, request, begun + self.span, counted));
        }
        let (mut calls, mut count) = (0, 0);
        let ends = async {
            while let Some(done) = all.join_next().await {
                let (more, counted) = done??;
                (calls, count) = (calls + more, count + counted);
            }
            Outcome::Ok(())
        };
        timeout(self.span + LATE_MAX, ends).await.map_err(|_| "answers are missing")??;
        let (wall, cpu) = (begun.elapsed(), self.running.cpu()?.since(&cpu));
        let asked = self.model.asked().await? - asked;
        if counted != Counted::Calls && self.peer.asks_the_model() && asked < calls {
            return Err(format!("{calls} runs asked the model only {asked} times").into());
        }
        let each = cpu / u32::try_from(count.max(1))?;
        Ok((Load { rate: count as f64 / wall.as_secs_f64(), cpu: each }, calls, count))
    }

    /// Until the first event and the first text of runs, one after the other.
    async fn first(&self) -> Outcome<[Duration; 4]> {
        let (mut client, request) = (Client::new(&self.running.address), self.stream("bench:1"));
        let (mut events, mut texts) = (Vec::new(), Vec::new());
        let end = Instant::now() + self.span * 3;
        while events.len() < FIRSTS && Instant::now() < end {
            let (mut body, mut event, mut text) = (Vec::new(), None, None);
            let begun = Instant::now();
            let exchange = client.exchange(&request, |bytes| {
                body.extend_from_slice(bytes);
                if event.is_none() && holds(&body, b"data:") {
                    event = Some(begun.elapsed());
                }
                if text.is_none() && holds(&body, PIECE.trim_end().as_bytes()) {
                    text = Some(begun.elapsed());
                }
            });
            timeout(LATE_MAX, exchange).await??;
            events.push(event.ok_or("a stream without an event")?);
            texts.push(text.ok_or("a stream without text")?);
        }
        let at = |sorted: &[Duration], part: f64| {
            let at = (sorted.len() as f64 * part) as usize;
            sorted.get(at).copied().unwrap_or_default()
        };
        events.sort_unstable();
        texts.sort_unstable();
        Ok([at(&events, 0.5), at(&events, 0.99), at(&texts, 0.5), at(&texts, 0.99)])
    }

    /// KiB of each of many open streams, whose model is slow.
    async fn open(&self) -> Outcome<f64> {
        let begun = Arc::new(AtomicUsize::new(0));
        let before = self.running.memory_kib()?;
        let mut all = JoinSet::new();
        for _ in 0..OPEN {
            let mut client = Client::new(&self.running.address);
            let request = self.stream("bench:slow");
            let begun = Arc::clone(&begun);
            all.spawn(async move {
                let mut events = Events::default();
                let exchange = client.exchange(&request, |bytes| {
                    let had = events.count;
                    events.push(bytes);
                    begun.fetch_add(usize::from(had == 0 && events.count > 0), Ordering::Relaxed);
                });
                exchange.await
            });
        }
        let waiting = async {
            while begun.load(Ordering::Relaxed) < OPEN {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(OPEN_MAX, waiting).await;
        sleep(SETTLED).await;
        let after = self.running.memory_kib();
        let begun = begun.load(Ordering::Relaxed);
        self.model.release().await?;
        let ends = async {
            while let Some(done) = all.join_next().await {
                done??;
            }
            Outcome::Ok(())
        };
        // Those that a peer only begins now are slow as well.
        let released = async {
            loop {
                sleep(Duration::from_millis(200)).await;
                self.model.release().await?;
            }
        };
        let ended: Outcome<()> = tokio::select! {
            ended = timeout(LATE_MAX, ends) => ended.map_err(|_| "streams did not end")?,
            error = released => error,
        };
        ended?;
        waited.map_err(|_| format!("only {begun} of {OPEN} streams began"))?;
        Ok(after?.saturating_sub(before) as f64 / OPEN as f64)
    }
}

/// Asks again and again until the time is over; how often, and what was counted.
async fn again(
    mut client: Client,
    request: Vec<u8>,
    end: Instant,
    counted: Counted,
) -> Outcome<(usize, usize)> {
    let (mut calls, mut count, mut body) = (0, 0, Vec::new());
    while Instant::now() < end {
        let mut events = Events::default();
        body.clear();
        client
            .exchange(&request, |bytes| match counted {
                Counted::Events => events.push(bytes),
                Counted::Calls | Counted::Runs => body.extend_from_slice(bytes),
            })
            .await?;
        if counted == Counted::Runs && !holds(&body, PIECE.trim_end().as_bytes()) {
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(format!("a run without the model's text: {text}").into());
        }
        calls += 1;
        count += if counted == Counted::Events { events.count } else { 1 };
    }
    Ok((calls, count))
}

fn holds(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

impl Figures {
    /// The best of this round and another: what disturbs only ever makes it worse.
    pub(super) fn best(self, other: Self) -> Self {
        let mut faults = self.faults;
        faults.extend(other.faults);
        faults.sort_unstable();
        faults.dedup();
        Self {
            cold: least(self.cold, other.cold),
            idle_kib: least(self.idle_kib, other.idle_kib),
            stream_kib: least(self.stream_kib, other.stream_kib),
            get: better(self.get, other.get),
            runs: better(self.runs, other.runs),
            first: match (self.first, other.first) {
                (Some(a), Some(b)) => Some(std::array::from_fn(|i| a[i].min(b[i]))),
                (a, b) => a.or(b),
            },
            events: better(self.events, other.events),
            pieces: better(self.pieces, other.pieces),
            per_run: self.per_run.or(other.per_run),
            faults,
        }
    }
}

fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn better(a: Option<Load>, b: Option<Load>) -> Option<Load> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Load { rate: a.rate.max(b.rate), cpu: a.cpu.min(b.cpu) }),
        (a, b) => a.or(b),
    }
}
