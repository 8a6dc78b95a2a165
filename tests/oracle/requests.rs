//! What both are asked: the table of behaviours of `tests/transcoder`, but for what no other
//! transcoder can be asked, and more of what Envoy is known to do otherwise.

use std::net::SocketAddr;

use crate::transcoder::behaviours::{self, Case};

/// Longest request that is shown as it is.
const SHOWN: usize = 80;

/// Paths whose rules Envoy refuses to start with: `descriptors.rs` leaves them out.
const REFUSED: [&str; 3] = ["/v1/tags", "/v1/members/", "/v1/plain/"];

/// One request.
pub(super) struct Asked {
    /// As the page shows it.
    pub(super) shown: String,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

/// All of them.
pub(super) fn all() -> Vec<Asked> {
    let table = behaviours::table().into_iter().filter(is_comparable).map(|case| {
        let Case { method, target, headers, body, .. } = case;
        Asked::new(method, target, headers, body)
    });
    let more = MORE.iter().map(|(method, target, kind, body)| {
        let kind = (!kind.is_empty()).then_some(("content-type", *kind));
        Asked::new(method, (*target).to_owned(), kind.into_iter().collect(), (*body).to_owned())
    });
    table.chain(more).collect()
}

/// False for what is about our own stack, about options that Envoy has not, and about answers that
/// end only with a clock.
fn is_comparable(case: &Case<'_>) -> bool {
    let stack = ["66", "67", "74", "P18"];
    let own = case.rows.iter().any(|row| stack.contains(row)) || case.lenient;
    let header = |name: &str| case.headers.iter().any(|(other, _)| *other == name);
    let connection =
        ["connection", "content-length", "origin", "accept-encoding", "content-encoding"];
    let connection = connection.into_iter().any(header);
    let refused = REFUSED.iter().any(|path| case.target.starts_with(path));
    // Who refuses a body before its end may close the connection before the answer is read.
    let early = case.body.len() > 64 * 1024;
    !(own || connection || refused || early)
}

impl Asked {
    fn new(
        method: &'static str,
        target: String,
        headers: Vec<(&'static str, &'static str)>,
        body: String,
    ) -> Self {
        let mut shown = format!("{method} {target}");
        for (name, value) in headers.iter().filter(|(_, value)| *value != "application/json") {
            shown += &format!(" {name}: {value}");
        }
        if !body.is_empty() {
            shown += &format!(" {}", body.replace('\n', " "));
        }
        if shown.chars().count() > SHOWN {
            let bytes = shown.len();
            shown = shown.chars().take(SHOWN).collect();
            shown += &format!("… of {bytes} bytes");
        }
        Self { shown, method, target, headers, body }
    }

    /// As it goes over the wire, to the letter.
    pub(super) fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let Self { method, target, headers, body, .. } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\n");
        text += "connection: close\r\n";
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(*method, "POST" | "PUT" | "PATCH") {
            text += &format!("content-length: {}\r\n", body.len());
        }
        format!("{text}\r\n{body}").into_bytes()
    }
}

const JSON: &str = "application/json";

/// Method, target, content type and body.
const MORE: &[(&str, &str, &str, &str)] = &[
    ("GET", "/v1/things/%66ixed", "", ""),
    ("GET", "/v1/things/a+b", "", ""),
    ("GET", "/v1/things/..", "", ""),
    ("GET", "/v1/things/%2E%2E", "", ""),
    ("GET", "/v1/things/%E2%82%AC", "", ""),
    ("GET", "/v1/things/%00", "", ""),
    ("GET", "/v1/files/a//b", "", ""),
    ("GET", "/v1/files/", "", ""),
    ("GET", "/v1/files:dump", "", ""),
    ("GET", "/v1/files/a/%ff", "", ""),
    ("GET", "/V1/things/abc", "", ""),
    ("GET", "/v1//things/abc", "", ""),
    ("GET", "/v1/shelves/1/books/2%2F", "", ""),
    ("GET", "/v1/kinds/x/2024-01-02T00:00:00Z/COLOR_RED/AA/w", "", ""),
    ("GET", "/v1/kinds/1/2024-01-02T03:04:05Z/COLOR_RED/!/w", "", ""),
    ("GET", "/v1/kinds/1/2024-01-02T03:04:05Z/1/AA/w", "", ""),
    ("GET", "/v1/kinds/1/2024-01-02T03:04:05Z/COLOR_RED/AA/w?number=1", "", ""),
    ("GET", "/v1/things/a:archive", "", ""),
    ("PURGE", "/v1/things/a", "", ""),
    ("DELETE", "/v1/things/a", "", ""),
    ("DELETE", "/v1/things/a", JSON, "{}"),
    ("GET", "/v1/things/a?parent=%zz", "", ""),
    ("GET", "/v1/things/a?parent=%4", "", ""),
    ("GET", "/v1/things/a?parent=%ff", "", ""),
    ("GET", "/v1/things/a?parent=x+y%2Bz%20%26", "", ""),
    ("GET", "/v1/things/a?p%61rent=x", "", ""),
    ("GET", "/v1/things/a?parent", "", ""),
    ("GET", "/v1/things/a?parent=a=b", "", ""),
    ("GET", "/v1/things/a?&&parent=b&", "", ""),
    ("GET", "/v1/things/a?=1", "", ""),
    ("GET", "/v1/things/a?tags=x&tags=y,z&tags=", "", ""),
    ("GET", "/v1/things/a?nested=x", "", ""),
    ("GET", "/v1/things/a?nested.=x", "", ""),
    ("GET", "/v1/things/a?count.x=1", "", ""),
    ("GET", "/v1/things/a?count=99999999999", "", ""),
    ("GET", "/v1/things/a?count=1.0", "", ""),
    ("GET", "/v1/things/a?count=1e2", "", ""),
    ("GET", "/v1/things/a?count=%201", "", ""),
    ("GET", "/v1/things/a?count=", "", ""),
    ("GET", "/v1/things/a?ratio=1.5e3", "", ""),
    ("GET", "/v1/things/a?ratio=Infinity", "", ""),
    ("GET", "/v1/things/a?ratio=1e999", "", ""),
    ("GET", "/v1/things/a?flag=false", "", ""),
    ("GET", "/v1/things/a?word=x&branch.number=1", "", ""),
    ("GET", "/v1/things/a?branch.number=1&branch.tags=x", "", ""),
    ("GET", "/v1/things/a?limit=7", "", ""),
    ("GET", "/v1/things/a?limit.value=7", "", ""),
    ("GET", "/v1/things/a?span=-0.5s", "", ""),
    ("GET", "/v1/things/a?at=2024-01-02T03:04:05", "", ""),
    ("GET", "/v1/things/a?data=!!", "", ""),
    ("POST", "/v1/touch?x=1", "", ""),
    ("POST", "/v1/touch", "", ""),
    ("POST", "/v1/things", JSON, "[]"),
    ("POST", "/v1/things", JSON, "{'name':1}"),
    ("POST", "/v1/things", JSON, "{\"name\":\"a\",}"),
    ("POST", "/v1/things", JSON, "{\"name\":\"\\ud800\"}"),
    ("POST", "/v1/things", JSON, "{\"count\":\"x\"}"),
    ("POST", "/v1/things", JSON, "{\"count\":\"1\"}"),
    ("POST", "/v1/things", JSON, "{\"count\":\" 1\"}"),
    ("POST", "/v1/things", JSON, "{\"flag\":\"true\"}"),
    ("POST", "/v1/things", JSON, "{\"big\":9007199254740993}"),
    ("POST", "/v1/things", JSON, "{\"big\":1e30}"),
    ("POST", "/v1/things", JSON, "{\"ratio\":\"NaN\"}"),
    ("POST", "/v1/things", JSON, "{\"ratio\":NaN}"),
    ("POST", "/v1/things", JSON, "{\"color\":1.0}"),
    ("POST", "/v1/things", JSON, "{\"color\":99}"),
    ("POST", "/v1/things", JSON, "{\"data\":\"_-8\"}"),
    ("POST", "/v1/things", JSON, "{\"at\":\"2024-01-02T03:04:05.5+02:00\"}"),
    ("POST", "/v1/things", JSON, "{\"at\":\"2024-02-30T00:00:00Z\"}"),
    ("POST", "/v1/things", JSON, "{\"span\":\"1.5s\"}"),
    ("POST", "/v1/things", JSON, "{\"span\":\"1h\"}"),
    ("POST", "/v1/things", JSON, "{\"mask\":\"displayName,nested.a\"}"),
    ("POST", "/v1/things", JSON, "{\"mask\":\"display_name\"}"),
    ("POST", "/v1/things", JSON, "{\"tags\":[null]}"),
    ("POST", "/v1/things", JSON, "{\"labels\":{\"k\":null}}"),
    ("POST", "/v1/things", JSON, "{\"labels\":{\"k\":\"v\",\"k\":\"w\"}}"),
    ("POST", "/v1/things", JSON, "{\"word\":\"x\",\"number\":1}"),
    ("POST", "/v1/things", JSON, "{\"word\":\"x\",\"number\":null}"),
    ("POST", "/v1/things", JSON, "{\"object\":{\"a\":[1,null,\"x\"]}}"),
    ("POST", "/v1/things", JSON, "{\"nests\":[{},{\"inner\":{\"number\":1}}]}"),
    ("POST", "/v1/things", JSON, "\u{feff}{}"),
    ("POST", "/v1/things", "application/json; charset=utf-16", "{}"),
    ("POST", "/v1/things", "application/x-www-form-urlencoded", "name=a"),
    ("POST", "/v1/nested", "", ""),
    ("POST", "/v1/nested", JSON, "{\"number\":true}"),
    ("PUT", "/v1/branch", JSON, "{\"number\":1}"),
    ("PUT", "/v1/branch?word=x", JSON, "{}"),
    ("PUT", "/v1/tags", JSON, "{\"tags\":[]}"),
    ("PUT", "/v1/tags", JSON, "[1]"),
    ("PATCH", "/v1/things/a", JSON, "{\"displayName\":\"x\",\"inner\":{\"number\":1}}"),
    ("PATCH", "/v1/things/a?mask=number", JSON, "{\"displayName\":\"x\"}"),
    ("GET", "/v1/plain", "", ""),
    ("GET", "/v1/watch/bare", "", ""),
    ("GET", "/v1/watch/empty", "", ""),
    ("POST", "/v1/uploads", JSON, "[{\"name\":\"a\"},{\"name\":\"b\"}]"),
];
