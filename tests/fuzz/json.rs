//! The JSON decoder, in both styles: what it reads it writes, and reads again as the same message;
//! what it refuses it refuses in few words.

use runplane::gateway::rest::json::{Entry, Options};

use crate::probe::{house, standard};

/// Input: the name of a message, space, JSON.
pub(super) fn check(data: &[u8]) {
    let Some(space) = data.iter().position(|byte| *byte == b' ') else { return };
    let (name, json) = (&data[..space], &data[space + 1..]);
    let found = |entries: &'static [Entry]| {
        let named = |entry: &&Entry| entry.name.rsplit('.').next().map(str::as_bytes) == Some(name);
        entries.iter().filter(|entry| entry.name.starts_with("probe.")).find(named)
    };
    let (Some(ours), Some(theirs)) =
        (found(house::json::MESSAGES), found(standard::json::MESSAGES))
    else {
        return;
    };
    let options = Options { types: house::json::MESSAGES, ..Options::DEFAULT };
    both(ours, json, &options);
    let options = Options { types: standard::json::MESSAGES, ..Options::DEFAULT };
    if let Some((bytes, written)) = both(theirs, json, &options) {
        // The house reads everything that the standard says.
        assert_eq!(ours.from_json(&written, &options).unwrap(), bytes);
    }
}

/// Reads strictly and without; the answer is the message and its JSON.
fn both(entry: &Entry, json: &[u8], strict: &Options) -> Option<(Vec<u8>, Vec<u8>)> {
    let lenient = Options { ignore_unknown: true, ..*strict };
    let dropped = entry.from_json(json, &lenient);
    let bytes = match entry.from_json(json, strict) {
        Ok(bytes) => bytes,
        Err(error) => {
            assert!(error.message.len() < 300 && error.path.len() < 300, "{error}");
            if let Ok(bytes) = dropped {
                written_and_read(entry, &bytes, strict);
            }
            return None;
        }
    };
    assert_eq!(dropped.as_ref(), Ok(&bytes), "what is known must not be dropped");
    let written = written_and_read(entry, &bytes, strict);
    Some((bytes, written))
}

/// The JSON of a message, which must be read as that message.
fn written_and_read(entry: &Entry, bytes: &[u8], options: &Options) -> Vec<u8> {
    let written = entry.to_json(bytes, options).unwrap();
    serde_json::from_slice::<serde::de::IgnoredAny>(&written).unwrap();
    let again = entry.from_json(&written, options).unwrap();
    assert_eq!(again, bytes, "{}", String::from_utf8_lossy(&written));
    written
}
