//! How long a call waits for a run: the request's `wait`, or else `Prefer: wait=N` (RFC 7240), or
//! else not at all.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::kernel::{Error, Result};

/// Longest wait, in seconds.
const WAIT_S_MAX: u32 = 600;

/// Seconds that `Prefer` asks for. Preferences that say nothing of waiting are left alone, as RFC
/// 7240 has it; a wait that is longer than allowed is cut to the longest.
pub(super) fn preferred(metadata: &MetadataMap) -> Result<Option<u32>> {
    for value in metadata.get_all("prefer") {
        let Ok(text) = value.to_str() else { continue };
        for preference in text.split([',', ';']) {
            let Some((name, seconds)) = preference.split_once('=') else { continue };
            if !name.trim().eq_ignore_ascii_case("wait") {
                continue;
            }
            let seconds = seconds.trim().trim_matches('"');
            let Ok(seconds) = seconds.parse::<u32>() else {
                let message = format!("prefer: wait is {seconds:?}, must be whole seconds");
                return Err(Error::field("prefer", message));
            };
            return Ok(Some(seconds.min(WAIT_S_MAX)));
        }
    }
    Ok(None)
}

/// How long to wait, from what the request and `Prefer` say.
pub(super) fn duration(wait: Option<i32>, prefer: Option<u32>) -> Result<Duration> {
    let Some(wait) = wait else { return Ok(Duration::from_secs(prefer.unwrap_or(0).into())) };
    match u32::try_from(wait) {
        Ok(seconds) if seconds <= WAIT_S_MAX => Ok(Duration::from_secs(seconds.into())),
        _ => {
            let message = format!("wait is {wait}, must be 0 to {WAIT_S_MAX} seconds");
            Err(Error::field("wait", message).with("limit", format!("0 to {WAIT_S_MAX}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(value: &'static str) -> Result<Option<u32>> {
        let mut metadata = MetadataMap::new();
        metadata.insert("prefer", tonic::metadata::MetadataValue::from_static(value));
        preferred(&metadata)
    }

    #[test]
    fn prefer_is_read_as_rfc_7240_has_it() {
        assert_eq!(prefer("wait=30").unwrap(), Some(30));
        assert_eq!(prefer("respond-async, Wait = 5").unwrap(), Some(5));
        assert_eq!(prefer("return=minimal").unwrap(), None);
        assert_eq!(prefer("wait=100000").unwrap(), Some(WAIT_S_MAX));
        assert_eq!(prefer("wait=soon").unwrap_err().fact("field"), Some("prefer"));
        assert_eq!(preferred(&MetadataMap::new()).unwrap(), None);
    }

    #[test]
    fn a_wait_in_the_request_goes_before_prefer() {
        assert_eq!(duration(Some(2), Some(9)).unwrap(), Duration::from_secs(2));
        assert_eq!(duration(None, Some(9)).unwrap(), Duration::from_secs(9));
        for wrong in [-1, 601] {
            assert_eq!(duration(Some(wrong), None).unwrap_err().fact("field"), Some("wait"));
        }
    }
}
