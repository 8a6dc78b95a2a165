//! JSON alone: our generated codec against derived serde, and against protobuf's own encoding of
//! the same messages. The least of many short batches, so that whatever else runs does not count.

use std::hint::black_box;
use std::time::{Duration, Instant};

use prost::Message;
use runplane::proto::codec::{Json, from_slice, to_vec};
use runplane::proto::runplane::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Samples;
use super::hand;
use super::table::{ratio, table};
use super::{Outcome, Size};

/// How long one batch takes, about.
const BATCH: Duration = Duration::from_millis(2);

/// Batches of a round.
const BATCHES: usize = 60;

/// Measures one run and a list of 50.
pub(super) fn measure(samples: &Samples, size: Size) -> Outcome<String> {
    let mut rows = compare::<hand::Run, pb::Run>("a run", &samples.run, size)?;
    let list = &samples.lists[1];
    rows.extend(compare::<hand::Runs, pb::ListRunsResponse>("a list of 50", list, size)?);
    let head = ["message", "derived serde", "our codec", "ratio", "protobuf", "our codec ÷ it"];
    Ok(table("JSON alone, in µs: the least of many short batches.", &head, &rows))
}

fn compare<H, M>(name: &str, bytes: &[u8], size: Size) -> Outcome<Vec<Vec<String>>>
where
    H: Serialize + DeserializeOwned,
    M: Json + Message,
{
    let by_hand: H = serde_json::from_slice(bytes)?;
    let message: M = from_slice(bytes).map_err(|error| error.to_string())?;
    let binary = message.encode_to_vec();
    let written = [
        least(size, || serde_json::to_vec(&by_hand).unwrap_or_default()),
        least(size, || to_vec(&message)),
        least(size, || message.encode_to_vec()),
    ];
    let read = [
        least(size, || serde_json::from_slice::<H>(bytes).ok()),
        least(size, || from_slice::<M>(bytes).ok()),
        least(size, || M::decode(&binary[..]).ok()),
    ];
    let row = |what: &str, [serde, ours, prost]: [Duration; 3]| {
        let us = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e6);
        let name = format!("{what} {name} ({} bytes)", bytes.len());
        vec![name, us(serde), us(ours), ratio(ours, serde), us(prost), ratio(ours, prost)]
    };
    Ok(vec![row("write", written), row("read", read)])
}

/// Time of one call, the least over all batches.
fn least<T>(size: Size, mut call: impl FnMut() -> T) -> Duration {
    let mut batch = |calls: u32| {
        let begun = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        begun.elapsed()
    };
    let trial = batch(16) / 16;
    let calls = BATCH.as_nanos() / trial.as_nanos().max(1);
    let calls = u32::try_from(calls).unwrap_or(u32::MAX).max(1);
    let times = (0..BATCHES * size.rounds).map(|_| batch(calls) / calls);
    times.min().unwrap_or_default()
}
