//! How long to wait before a call is made again. Used for models and for HTTP tools. Never decides
//! whether.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::kernel::Timestamp;

/// Longest wait that the other side may ask for.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// Longest wait of our own.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The wait before retry `n`, from 0: what the other side asked for, or else double the last with
/// jitter.
pub(crate) fn delay(n: u32, base: Duration, asked: Option<Duration>) -> Duration {
    if let Some(asked) = asked {
        return asked.min(ASKED_MAX);
    }
    let full = base.saturating_mul(2u32.saturating_pow(n)).min(BACKOFF_MAX);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

/// What `Retry-After` asks for: seconds, or a date.
pub(crate) fn asked(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let now = i128::from(now.0) * 1000;
    let wait = (date.unix_timestamp_nanos() - now).max(0);
    Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
}

/// True for an answer that may be another one later.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429) || status >= 500
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let base = Duration::from_millis(500);
        for (n, full) in [(0, 500), (1, 1000), (3, 4000), (6, 30_000), (40, 30_000)] {
            let delay = delay(n, base, None).as_millis();
            assert!((full / 2..=full).contains(&delay), "{n}: {delay}");
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_up_to_a_limit() {
        let base = Duration::from_millis(500);
        assert_eq!(delay(5, base, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(delay(0, base, Some(Duration::from_secs(7000))), ASKED_MAX);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = Timestamp(1_445_412_470_000_000);
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            asked(&headers, now)
        };
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Wed, 21 Oct 2015 07:20:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(asked(&HeaderMap::new(), now), None);
    }
}
