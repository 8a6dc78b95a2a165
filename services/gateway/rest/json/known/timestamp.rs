//! `google.protobuf.Timestamp`: RFC 3339 in UTC, years 1 to 9999. Called through the traits of the
//! codec and for query texts. Reads no clock.

use prost_types::Timestamp;
use serde::Deserializer;

use super::super::{Context, Json, Writer};
use super::{TextVisitor, parse_nanos, write_nanos};

pub(in super::super) const EXPECTED: &str = "a time such as `2026-01-02T03:04:05Z`";

/// Seconds of 0001-01-01T00:00:00Z.
const SECONDS_MIN: i64 = -62_135_596_800;
/// Seconds of 9999-12-31T23:59:59Z.
const SECONDS_MAX: i64 = 253_402_300_799;
const DAY_SECONDS: i64 = 86_400;
/// Days from 0000-03-01, where leap years are easy, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

impl Json for Timestamp {
    fn write_json(&self, out: &mut Writer) {
        let nanos = u32::try_from(self.nanos).ok().filter(|&nanos| nanos < 1_000_000_000);
        let fits = (SECONDS_MIN..=SECONDS_MAX).contains(&self.seconds);
        let Some(nanos) = nanos.filter(|_| fits) else {
            return out.fault("a time outside the years 1 to 9999");
        };
        let (year, month, day) = civil(self.seconds.div_euclid(DAY_SECONDS));
        let second = unsigned(self.seconds.rem_euclid(DAY_SECONDS));
        out.raw(b"\"");
        for (number, width, after) in [
            (year, 4, b"-"),
            (month, 2, b"-"),
            (day, 2, b"T"),
            (second / 3600, 2, b":"),
            (second / 60 % 60, 2, b":"),
        ] {
            out.padded(number, width);
            out.raw(after);
        }
        out.padded(second % 60, 2);
        write_nanos(nanos, out);
        out.raw(b"Z\"");
    }

    fn read_json<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<Self, D::Error> {
        source.deserialize_str(TextVisitor { parse, expected: EXPECTED })
    }
}

/// Reads RFC 3339 with capital `T` and `Z` or an offset; none: it is no such time, or out of range.
pub(in super::super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if bytes.len() < 20 || !text.is_ascii() || marks.iter().any(|&(at, mark)| bytes[at] != mark) {
        return None;
    }
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let clock = [digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?];
    if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    if clock[0] > 23 || clock[1] > 59 || clock[2] > 59 {
        return None;
    }
    let zone = text[19..].find(['Z', '+', '-'])? + 19;
    let nanos = match &text[19..zone] {
        "" => 0,
        fraction => parse_nanos(fraction.strip_prefix('.')?)?,
    };
    let clock = clock[0] * 3600 + clock[1] * 60 + clock[2];
    let seconds = days(year, month, day) * DAY_SECONDS + clock - offset(&text[zone..])?;
    (SECONDS_MIN..=SECONDS_MAX).contains(&seconds).then_some(Timestamp { seconds, nanos })
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let bytes = zone.as_bytes();
    if bytes.len() != 6 || bytes[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&bytes[1..3])?, digits(&bytes[4..])?);
    let seconds = hours * 3600 + minutes * 60;
    let fits = hours <= 23 && minutes <= 59;
    fits.then_some(if bytes[0] == b'-' { -seconds } else { seconds })
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. Years are counted from March, so that a leap day comes last; 400
/// years are one round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (round, year) = (year.div_euclid(400), year.rem_euclid(400));
    let year_day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    round * 146_097 + year * 365 + year / 4 - year / 100 + year_day - EPOCH_DAYS
}

/// Year, month and day of a number of days from 1970-01-01.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = days + EPOCH_DAYS;
    let (round, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let year_day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * year_day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = round * 400 + year + i64::from(month <= 2);
    (unsigned(year), unsigned(month), unsigned(year_day - (153 * march + 2) / 5 + 1))
}

/// A number that cannot be negative or large.
fn unsigned(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::rest::json::to_vec;

    #[test]
    fn every_day_of_ten_thousand_years_is_written_and_read_back() {
        for day in SECONDS_MIN / DAY_SECONDS..=SECONDS_MAX / DAY_SECONDS {
            let (year, month, date) = civil(day);
            assert_eq!(days(year.into(), month.into(), date.into()), day);
        }
    }

    #[test]
    fn times_are_written_with_as_many_digits_as_they_need() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 999_000_000, "1969-12-31T23:59:59.999Z"),
            (951_782_400, 1000, "2000-02-29T00:00:00.000001Z"),
            (SECONDS_MAX, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (SECONDS_MIN, 0, "0001-01-01T00:00:00Z"),
        ];
        for (seconds, nanos, text) in cases {
            let time = Timestamp { seconds, nanos };
            assert_eq!(to_vec(&time), format!("\"{text}\"").into_bytes());
            assert_eq!(parse(text), Some(time));
        }
    }

    #[test]
    fn an_offset_is_taken_off() {
        assert_eq!(parse("1970-01-01T01:30:00+01:30"), parse("1970-01-01T00:00:00Z"));
        assert_eq!(parse("1969-12-31T16:00:00.5-08:00"), parse("1970-01-01T00:00:00.500Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01 00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1970-01-01T00:00:00+1:00",
            "1970-01-01T00:00:00Zjunk",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "1970-01-0\u{661}T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
