//! The standard codec against another implementation: whatever message or text comes, both write
//! the same and read the same. Where they do not, `texts.rs` says who is right.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use runplane::gateway::rest::json::{Entry, Options};

use super::tape::{Tape, message};
use super::{entry, texts};
use crate::probe::{self, standard as plain};

const MESSAGES: &[&str] = &["Scalars", "Optionals", "Many", "Tree", "Choice", "Known", "Resource"];
const STANDARD: Options = Options { types: plain::json::MESSAGES, ..Options::DEFAULT };

fn descriptor(name: &str) -> MessageDescriptor {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(plain::DESCRIPTOR_SET).unwrap());
    POOL.get_message_by_name(name).unwrap()
}

/// The oracle's JSON.
fn oracle_writes(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}

/// The oracle's message; none: it refuses the text.
fn oracle_reads(descriptor: &MessageDescriptor, json: &[u8]) -> Option<DynamicMessage> {
    let mut source = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(descriptor.clone(), &mut source).ok()?;
    source.end().ok().map(|()| message)
}

/// Equal, but that `1` is `1.0` and a float may have been written as a double.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Null, Number, Object, String};
    match (a, b) {
        #[expect(clippy::cast_possible_truncation, reason = "the oracle widens floats")]
        (Number(a), Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || a as f32 == b as f32 && (a as f32).is_finite()
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        // The oracle writes a wrapped infinity as null.
        (String(word), Null) => ["NaN", "Infinity", "-Infinity"].contains(&word.as_str()),
        _ => a == b,
    }
}

fn read_back(entry: &Entry, descriptor: &MessageDescriptor, json: &[u8]) -> DynamicMessage {
    let bytes = entry.from_json(json, &STANDARD).unwrap();
    DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap()
}

/// The same cases each time.
fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(1);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..Default::default() }
}

/// What messages and texts are made of.
fn tape(words: usize) -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(any::<u64>(), 0..words);
    words.prop_map(|words| words.into_iter().flat_map(u64::to_le_bytes).collect())
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn any_message_is_written_and_read_as_the_oracle_does(
        tape in tape(20),
        which in 0..MESSAGES.len(),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let bytes = prost::Message::encode_to_vec(&message);
        let expected = oracle_writes(&message);

        let standard = entry(plain::json::MESSAGES, &name);
        let json = standard.to_json(&bytes, &STANDARD).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert!(same(&written, &expected), "{written}\n{expected}");

        let read = standard.from_json(&json, &STANDARD).unwrap();
        let written_again = standard.to_json(&read, &STANDARD).unwrap();
        prop_assert_eq!(written_again, json.clone());
        let back = read_back(standard, &descriptor, &serde_json::to_vec(&expected).unwrap());
        let read = oracle_writes(&back);
        prop_assert!(same(&read, &expected), "{read}\n{expected}");
        let back = oracle_reads(&descriptor, &json).unwrap();
        prop_assert!(same(&oracle_writes(&back), &expected));
    }

    #[test]
    fn any_text_is_taken_or_refused_as_the_oracle_does(
        tape in tape(16),
        which in 0..MESSAGES.len(),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let (json, odd) = texts::text(&descriptor, &tape);
        let standard = entry(plain::json::MESSAGES, &name);
        let ours = standard.from_json(json.as_bytes(), &STANDARD);
        let theirs = oracle_reads(&descriptor, json.as_bytes());
        match (ours, theirs) {
            (Ok(bytes), Some(theirs)) => {
                let expected = oracle_writes(&theirs);
                let ours = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
                let read = oracle_writes(&ours);
                prop_assert!(same(&read, &expected), "{json}\n{read}\n{expected}");
                let written = standard.to_json(&bytes, &STANDARD).unwrap();
                let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
                prop_assert!(same(&written, &expected), "{json}\n{written}\n{expected}");
            }
            (Err(_), None) => (),
            (Ok(_), None) => {
                prop_assert!(odd.iter().any(|odd| odd.is_taken()), "only taken here: {json}");
            }
            (Err(error), Some(_)) => {
                let odd = odd.iter().any(|odd| !odd.is_taken());
                prop_assert!(odd, "only refused here: {error}: {json}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn any_message_survives_the_house_style(
        tape in tape(40),
        which in 0..MESSAGES.len(),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let options = Options { types: probe::json::MESSAGES, ..Options::DEFAULT };
        let house = entry(probe::json::MESSAGES, &name);
        let json = house.to_json(&prost::Message::encode_to_vec(&message), &options).unwrap();
        let bytes = house.from_json(&json, &options).unwrap();
        prop_assert_eq!(house.to_json(&bytes, &options).unwrap(), json);
        let back = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
        prop_assert!(same(&oracle_writes(&back), &oracle_writes(&message)));
    }

    #[test]
    fn a_damaged_text_is_refused_or_read_as_the_oracle_does(
        tape in tape(25),
        which in 0..MESSAGES.len(),
        at in any::<prop::sample::Index>(),
        damage in prop::sample::select(&b"\"{}[],:0159.-eEntfx \\u"[..]),
    ) {
        let name = format!("probe.json.{}", MESSAGES[which]);
        let descriptor = descriptor(&name);
        let message = message(&descriptor, &mut Tape(&tape), 0);
        let mut json = serde_json::to_vec(&oracle_writes(&message)).unwrap();
        let at = at.index(json.len());
        json[at] = damage;
        let ours = entry(plain::json::MESSAGES, &name).from_json(&json, &STANDARD);
        if let (Ok(bytes), Some(theirs)) = (ours, oracle_reads(&descriptor, &json)) {
            let ours = DynamicMessage::decode(descriptor, bytes.as_slice()).unwrap();
            prop_assert!(same(&oracle_writes(&ours), &oracle_writes(&theirs)));
        }
    }
}

#[test]
fn most_texts_are_right() {
    let mut taken = 0;
    for seed in 1..=1000_u64 {
        let tape: Vec<u8> =
            (1..120_u64).map(|at| (seed * at * 2_654_435_761 >> 16) as u8).collect();
        let (json, _) = texts::text(&descriptor("probe.json.Known"), &tape);
        let entry = entry(plain::json::MESSAGES, "probe.json.Known");
        taken += u32::from(entry.from_json(json.as_bytes(), &STANDARD).is_ok());
    }
    assert!((300..950).contains(&taken), "{taken} of 1000 are right");
}
