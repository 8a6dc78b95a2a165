//! What proxies write of those who call them: `X-Forwarded-For` with `X-Forwarded-Proto`, and
//! `Forwarded` (RFC 7239). Each proxy writes at the end of what it was sent, so a chain is read
//! from there, and only as far as those who wrote it are trusted: what stands before was written by
//! anybody. `peer.rs` asks, once it trusts whoever has sent the request.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Most proxies, one behind the other.
const HOPS_MAX: usize = 32;

/// What was said of the caller.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// Its address; `None`: nothing.
    pub(super) address: Option<IpAddr>,
    /// Whether it called over HTTPS; `None`: nothing.
    pub(super) secure: Option<bool>,
}

/// What `X-Forwarded-For` and `X-Forwarded-Proto` say; `None` when it cannot be read.
pub(super) fn by_x_forwarded(headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> Option<Said> {
    let (mut address, mut hops) = (None, 0);
    for part in from_the_end(headers, &FOR) {
        let found = self::address(part)?;
        (address, hops) = (Some(found), hops + 1);
        if !trusts(found) {
            break;
        }
        if hops == HOPS_MAX {
            return None;
        }
    }
    let mut schemes = Vec::new();
    for part in from_the_end(headers, &PROTO) {
        schemes.push(is_secure(part)?);
        // Those who called the first proxy that is trusted did so by the scheme that it wrote.
        if schemes.len() == hops.max(1) {
            break;
        }
    }
    // With fewer schemes than addresses it is not known whose they are: none may be in the clear.
    let secure = match (schemes.last(), schemes.len() == hops) {
        (Some(last), true) => Some(*last),
        (Some(_), false) => Some(schemes.iter().all(|secure| *secure)),
        (None, _) => None,
    };
    Some(Said { address, secure })
}

/// What `Forwarded` says; `None` when it cannot be read.
pub(super) fn by_forwarded(headers: &HeaderMap, trusts: impl Fn(IpAddr) -> bool) -> Option<Said> {
    let (mut said, mut hops) = (Said::default(), 0);
    for line in headers.get_all(header::FORWARDED).iter().rev() {
        for element in unquoted_parts(line.as_bytes(), b',') {
            let found = element_of(element)?;
            said = Said { address: found.address.or(said.address), secure: found.secure };
            hops += 1;
            if !found.address.is_some_and(&trusts) {
                return Some(said);
            }
            if hops == HOPS_MAX {
                return None;
            }
        }
    }
    Some(said)
}

/// The parts of a list from its end, over all its lines; what is no text is an empty one.
fn from_the_end<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter().rev();
    let parts = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    parts.map(|part| std::str::from_utf8(part).unwrap_or_default())
}

/// `for=192.0.2.60;proto=http;by=203.0.113.43`
fn element_of(text: &[u8]) -> Option<Said> {
    let mut said = Said::default();
    for pair in unquoted_parts(text, b';') {
        let (name, value) = std::str::from_utf8(pair).ok()?.trim().split_once('=')?;
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") {
            let twice = said.address.replace(address(&value)?).is_some();
            (!twice).then_some(())?;
        } else if name.eq_ignore_ascii_case("proto") {
            let twice = said.secure.replace(is_secure(&value)?).is_some();
            (!twice).then_some(())?;
        }
    }
    Some(said)
}

/// The parts between separators that do not stand in quotes, from the end: so a quote that somebody
/// has opened before, and left open, takes in nothing of what was written after it.
fn unquoted_parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest.take()?;
        let mut quoted = false;
        for (at, byte) in whole.iter().enumerate().rev() {
            if *byte == b'"' && !escapes(&whole[..at]) {
                quoted = !quoted;
            } else if *byte == separator && !quoted {
                rest = Some(&whole[..at]);
                return Some(&whole[at + 1..]);
            }
        }
        Some(whole)
    })
}

/// True when this ends with a backslash that is not itself escaped.
fn escapes(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// A token, or what stands in quotes.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let (mut text, mut rest) = (String::new(), rest.chars());
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(text),
            '\\' => text.push(rest.next()?),
            c => text.push(c),
        }
    }
}

/// An address, with or without a port; one of IPv6 in brackets or bare.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    };
    bare.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

fn is_secure(scheme: &str) -> Option<bool> {
    let scheme = scheme.trim();
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        return Some(true);
    }
    (is("http") || is("ws")).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// Trusts 10/8 and fd00::/8; tells the address and the scheme, or `odd`.
    fn shown(said: Option<Said>) -> String {
        let Some(said) = said else { return "odd".to_owned() };
        let address = said.address.map_or_else(|| "none".to_owned(), |a| a.to_string());
        match said.secure {
            Some(true) => format!("{address} https"),
            Some(false) => format!("{address} http"),
            None => address,
        }
    }

    fn trusts(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    fn x(chain: &[&str], proto: &[&str]) -> String {
        let chain = chain.iter().map(|line| ("x-forwarded-for", *line));
        let proto = proto.iter().map(|line| ("x-forwarded-proto", *line));
        let lines: Vec<_> = chain.chain(proto).collect();
        shown(by_x_forwarded(&headers(&lines), trusts))
    }

    fn rfc(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        shown(by_forwarded(&headers(&lines), trusts))
    }

    #[test]
    fn the_caller_is_the_last_one_that_is_not_trusted() {
        for (chain, caller) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.1.1.1, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            (&["1.1.1.1", "203.0.113.9,10.0.0.8 , fd00::1"], "203.0.113.9"),
            // What the caller itself wrote, before the first proxy.
            (&["', or anything <>, 203.0.113.9"], "203.0.113.9"),
            (&["unknown", "203.0.113.9"], "203.0.113.9"),
            // All are ours: the furthest is the caller.
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:203.0.113.9, ::ffff:10.0.0.1"], "203.0.113.9"),
            (&[], "none"),
        ] {
            assert_eq!(x(chain, &[]), caller, "{chain:?}");
        }
    }

    #[test]
    fn a_chain_that_cannot_be_read_says_nothing() {
        for odd in ["", "unknown", "_hidden", "203.0.113.9,", "1.2.3", "a, 10.0.0.1", "1.2.3.4 x"]
            .into_iter()
            .chain(["203.0.113.9:99999", "[::1", "203.0.113.9;proto=https"])
        {
            assert_eq!(x(&[odd], &["https"]), "odd", "{odd}");
        }
        assert_eq!(x(&["203.0.113.9"], &["gopher"]), "odd");
        let long = |hops: usize| format!("203.0.113.9{}", ", 10.0.0.1".repeat(hops));
        assert_eq!(x(&[&long(31)], &[]), "203.0.113.9");
        assert_eq!(x(&[&long(32)], &[]), "odd");
        let mut bytes = headers(&[]);
        bytes.insert(FOR, http::HeaderValue::from_bytes(b"203.0.113.\xff").unwrap());
        assert_eq!(by_x_forwarded(&bytes, trusts), None);
        bytes.insert(FOR, http::HeaderValue::from_bytes(b"\xff, 203.0.113.9").unwrap());
        assert_eq!(shown(by_x_forwarded(&bytes, trusts)), "203.0.113.9");
    }

    #[test]
    fn the_scheme_is_the_one_by_which_the_caller_came() {
        for (chain, proto, expected) in [
            (&["1.1.1.1"][..], &["https"][..], "1.1.1.1 https"),
            (&["1.1.1.1"], &["HTTP"], "1.1.1.1 http"),
            (&[], &["https"], "none https"),
            // Written by the caller, then by the proxy.
            (&["6.6.6.6, 1.1.1.1"], &["https, http"], "1.1.1.1 http"),
            (&["6.6.6.6, 1.1.1.1"], &["https", "http"], "1.1.1.1 http"),
            (&["1.1.1.1, 10.0.0.1"], &["https, http"], "1.1.1.1 https"),
            (&["1.1.1.1, 10.0.0.1"], &["https, http, https"], "1.1.1.1 http"),
            // The proxies have handed on the word of the first.
            (&["1.1.1.1, 10.0.0.1"], &["https"], "1.1.1.1 https"),
            (&["1.1.1.1, 10.0.0.1, 10.0.0.2"], &["https, http"], "1.1.1.1 http"),
        ] {
            assert_eq!(x(chain, proto), expected, "{chain:?} {proto:?}");
        }
    }

    #[test]
    fn forwarded_is_read_by_its_own_rules() {
        for (lines, expected) in [
            (&["for=203.0.113.9"][..], "203.0.113.9"),
            (&["For=203.0.113.9; Proto=HTTPS;by=10.0.0.1"], "203.0.113.9 https"),
            (&["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=1.1.1.1;proto=http, for=203.0.113.9;proto=https"], "203.0.113.9 https"),
            (&["for=203.0.113.9;proto=https, for=10.0.0.1;proto=http"], "203.0.113.9 https"),
            (&["for=203.0.113.9;proto=https", "for=10.0.0.1"], "203.0.113.9 https"),
            (&["for=\"a,;\\\" b\", for=203.0.113.9"], "203.0.113.9"),
            // Who called the proxy is not told.
            (&["proto=https"], "none https"),
            (&["for=1.1.1.1, proto=https, for=10.0.0.2"], "10.0.0.2 https"),
            (&["for=203.0.113.9;host=\"a;proto=http\";proto=https"], "203.0.113.9 https"),
            (&[], "none"),
        ] {
            assert_eq!(rfc(lines), expected, "{lines:?}");
        }
        for odd in ["", "for", "for=unknown", "for=_x", "for=1.1.1.1;for=2.2.2.2", "for=\"1.1.1.1"]
            .into_iter()
            .chain(["proto=https;proto=https", "for=\"1.1.1.1\"x", "for=1.1.1.1;;proto=http"])
            .chain(["proto=gopher", "for=1.1.1.1,", "for=\"1.1.1.1\\\"", "for=\"1.1.1.1\"\""])
        {
            assert_eq!(rfc(&[odd]), "odd", "{odd}");
        }
        let long = format!("for=1.1.1.1{}", ", for=10.0.0.1".repeat(32));
        assert_eq!(rfc(&[&long]), "odd");
        let mut bytes = headers(&[]);
        let begun = http::HeaderValue::from_bytes(b"for=\xff\", for=203.0.113.9").unwrap();
        bytes.insert(header::FORWARDED, begun);
        assert_eq!(shown(by_forwarded(&bytes, trusts)), "203.0.113.9");
    }

    proptest::proptest! {
        /// Whatever a caller writes before it, what the proxy wrote is what counts.
        #[test]
        fn nothing_written_before_changes_what_a_proxy_wrote(begun in "[ -~]{0,40}") {
            let said = x(&[&format!("{begun},203.0.113.9")], &["https"]);
            proptest::prop_assert_eq!(said, "203.0.113.9 https");
            for wrote in ["for=203.0.113.9;proto=http", "for=\"203.0.113.9:80\";proto=http"] {
                let said = rfc(&[&format!("{begun},{wrote}")]);
                proptest::prop_assert_eq!(said, "203.0.113.9 http");
            }
        }
    }
}
