//! Calendar months by UTC, which quotas are counted in. Pure arithmetic.

use std::fmt;

use time::{Date, Month as Name, OffsetDateTime, Time};

use super::Timestamp;

/// A calendar month, by UTC: `year * 12 + month`, with January 0. Stored as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

impl Month {
    /// The month that a moment is in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self(moment.year() * 12 + i32::from(u8::from(moment.month())) - 1)
    }

    /// When the next one begins.
    #[must_use]
    pub fn end(self) -> Timestamp {
        let next = Self(self.0 + 1);
        let name = u8::try_from(next.0.rem_euclid(12) + 1).ok().and_then(|n| n.try_into().ok());
        let first = name.and_then(|name: Name| Date::from_calendar_date(next.year(), name, 1).ok());
        let Some(first) = first else { return Timestamp(i64::MAX) };
        let nanos = first.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp_nanos();
        Timestamp(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
    }

    /// Whole seconds from `now` to the end, at least 1.
    #[must_use]
    pub fn seconds_left(self, now: Timestamp) -> i64 {
        let micros = self.end().0.saturating_sub(now.0).max(1);
        micros / 1_000_000 + i64::from(micros % 1_000_000 > 0)
    }

    fn year(self) -> i32 {
        self.0.div_euclid(12)
    }
}

impl fmt::Display for Month {
    /// As in `2026-11`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.0.rem_euclid(12) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    #[test]
    fn a_month_ends_when_the_next_begins() {
        for (moment, month, end) in [
            ("2026-11-26T09:20:44Z", "2026-11", "2026-12-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999999Z", "2026-12", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00Z", "2027-01", "2027-02-01T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2028-02", "2028-03-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01", "1970-02-01T00:00:00Z"),
            ("1969-12-31T23:00:00Z", "1969-12", "1970-01-01T00:00:00Z"),
            // By UTC, whatever the caller's calendar says.
            ("2026-12-01T01:00:00+02:00", "2026-11", "2026-12-01T00:00:00Z"),
        ] {
            let found = Month::of(at(moment));
            assert_eq!((found.to_string().as_str(), found.end()), (month, at(end)), "{moment}");
            assert_eq!(Month::of(found.end()), Month(found.0 + 1));
        }
    }

    #[test]
    fn what_is_left_is_rounded_up() {
        let month = Month::of(at("2026-11-26T00:00:00Z"));
        assert_eq!(month.seconds_left(at("2026-11-30T23:59:58.5Z")), 2);
        assert_eq!(month.seconds_left(at("2026-11-30T23:59:58Z")), 2);
        assert_eq!(month.seconds_left(at("2026-11-30T23:59:59.999999Z")), 1);
        assert_eq!(month.seconds_left(at("2026-12-05T00:00:00Z")), 1);
    }
}
