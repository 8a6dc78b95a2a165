//! `google.protobuf.Duration`: seconds with an `s` behind, at most 10,000 years. Called through the
//! traits of the codec and for query texts.

use prost_types::Duration;
use serde::Deserializer;

use super::super::{Context, Json, Writer};
use super::{TextVisitor, parse_nanos, write_nanos};

pub(in super::super) const EXPECTED: &str = "seconds such as `1.5s`";

const SECONDS_MAX: u64 = 315_576_000_000;

impl Json for Duration {
    fn write_json(&self, out: &mut Writer) {
        let (seconds, nanos) = (self.seconds.unsigned_abs(), self.nanos.unsigned_abs());
        let mixed = (self.seconds > 0 && self.nanos < 0) || (self.seconds < 0 && self.nanos > 0);
        if mixed || seconds > SECONDS_MAX || nanos > 999_999_999 {
            return out.fault("a duration of mixed signs or beyond 10,000 years");
        }
        out.raw(if self.seconds < 0 || self.nanos < 0 { b"\"-" } else { b"\"" });
        out.integer(seconds);
        write_nanos(nanos, out);
        out.raw(b"s\"");
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_str(TextVisitor { parse, expected: EXPECTED })
    }
}

/// Reads digits, perhaps a sign before and a fraction behind, and an `s`; none: it is no such text,
/// or out of range.
pub(in super::super) fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let (seconds, nanos) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, parse_nanos(fraction)?),
        None => (text, 0),
    };
    if !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok().filter(|&seconds| seconds <= SECONDS_MAX)?;
    let seconds = i64::try_from(seconds).ok()?;
    Some(Duration { seconds: sign * seconds, nanos: i32::try_from(sign).ok()? * nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rest::json::to_vec;

    #[test]
    fn durations_are_written_and_read_back() {
        let cases = [
            (0, 0, "0s"),
            (1, 500_000_000, "1.500s"),
            (0, -1, "-0.000000001s"),
            (-3, -1_000, "-3.000001s"),
            (315_576_000_000, 999_999_999, "315576000000.999999999s"),
        ];
        for (seconds, nanos, text) in cases {
            let duration = Duration { seconds, nanos };
            assert_eq!(to_vec(&duration), format!("\"{text}\"").into_bytes());
            assert_eq!(parse(text), Some(duration));
        }
        assert_eq!(parse("1.5s"), parse("1.500s"));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "1",
            "1.s",
            ".5s",
            "1h",
            "+1s",
            "--1s",
            "1 s",
            "1.1234567890s",
            "315576000001s",
            "1.-5s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
