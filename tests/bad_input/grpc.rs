//! Bad input over gRPC and gRPC-Web: bytes that are no message, messages that are too large or too
//! deep, methods that nobody has, deadlines that are none. Sent as gRPC-Web frames over plain HTTP,
//! where each byte can be chosen; what is below the frames is the same for both.

use prost_reflect::prost::bytes::{BufMut as _, BytesMut};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::Site;

/// A call: method, headers, and what follows the headers.
struct Call<'a> {
    method: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: Vec<u8>,
}

const LIST: &str = "runplane.v1.AgentsService/ListAgents";
const CREATE: &str = "runplane.v1.AgentsService/CreateAgent";
const RUN: &str = "runplane.v1.RunsService/CreateRun";
const GET: &str = "runplane.v1.RunsService/GetRun";

/// A frame with a flag, a length that may lie, and bytes.
fn frame(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(length).expect("a length"));
    frame.put_slice(message);
    frame.to_vec()
}

fn message(bytes: &[u8]) -> Vec<u8> {
    frame(0, bytes.len(), bytes)
}

/// The status of a call, from its headers or its trailers.
async fn status(site: &Site, call: &Call<'_>) -> Status {
    let mut request = site.http.post(format!("{}/{}", site.app.url, call.method));
    request = request.bearer_auth(&site.app.admin).header("x-grpc-web", "1");
    let headers = call.headers.iter().copied();
    let typed = call.headers.iter().any(|(name, _)| *name == "content-type");
    let typed = (!typed).then_some(("content-type", "application/grpc-web+proto"));
    for (name, value) in headers.chain(typed) {
        request = request.header(name, value);
    }
    let response = request.body(call.body.clone()).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "gRPC tells its failures in its own way: {response:?}");
    let mut headers = response.headers().clone();
    assert!(headers.get("x-request-id").is_some(), "{headers:?}");
    let body = response.bytes().await.expect("a whole body");
    if let Some(at) = body.windows(12).position(|part| part == b"grpc-status:") {
        for line in String::from_utf8_lossy(&body[at..]).lines() {
            let (name, value) = line.split_once(':').expect("a trailer");
            let name: http::HeaderName = name.parse().expect("a name");
            headers.insert(name, value.trim().parse().expect("a value"));
        }
    }
    Status::from_header_map(&headers).unwrap_or_else(|| panic!("no status in {headers:?}"))
}

async fn refuses(site: &Site, call: Call<'_>, reason: &str) {
    let before = site.written().await;
    let status = status(site, &call).await;
    let what = format!("{} {:?}: {status:?}", call.method, &call.body[..call.body.len().min(40)]);
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no reason: {what}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "runplane"), "{what}");
    assert_eq!(site.written().await, before, "{what} wrote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_that_are_no_message_are_refused() {
    let site = Site::new().await;
    let long_id = [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"x"].concat();
    for bytes in [
        &b"\xff\xff\xff\xff"[..], // no tag
        b"\x0a\x05ab",            // cut short
        b"\x0d\x01\x02\x03\x04",  // another wire type
        b"\x0a\x02\xff\xfe",      // no UTF-8
        b"\x07",                  // no wire type
        b"\x0b",                  // a group that does not end
        b"\x00\x00",              // field 0
        &long_id,                 // longer than all there is
    ] {
        refuses(&site, Call { method: GET, headers: &[], body: message(bytes) }, "INVALID_FIELD")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn frames_that_are_none_are_refused() {
    let site = Site::new().await;
    for (body, why) in [
        (Vec::new(), "no frame"),
        (b"\0\0".to_vec(), "half a head"),
        (frame(0, 100, b"\x0a\x01x"), "less than it says"),
        (frame(1, 3, b"\x0a\x01x"), "compressed, but not said how"),
        (frame(7, 3, b"\x0a\x01x"), "an unknown flag"),
    ] {
        let before = site.written().await;
        let status = status(&site, &Call { method: GET, headers: &[], body }).await;
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("{why}: {status:?}"));
        let ours = ["INTERNAL_ERROR", "UNAVAILABLE"].contains(&info.reason.as_str());
        assert!(!ours, "{why} is no fault of ours: {status:?}");
        assert_eq!(site.written().await, before, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_that_is_too_large_is_refused() {
    let site = Site::new().await;
    let name = "x".repeat(2 << 20);
    let mut bytes = BytesMut::new();
    prost_reflect::prost::encoding::string::encode(1, &name, &mut bytes);
    let call = Call { method: GET, headers: &[], body: message(&bytes) };
    refuses(&site, call, "PAYLOAD_TOO_LARGE").await;
    let call = Call { method: GET, headers: &[], body: frame(0, 1 << 30, b"\x0a") };
    refuses(&site, call, "PAYLOAD_TOO_LARGE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_message_that_is_too_deep_is_refused() {
    let site = Site::new().await;
    for levels in [60, 1000, 10_000] {
        // A list in a list in a list…: `Value.list_value` is field 6, `ListValue.values` field 1.
        let mut value = Vec::new();
        for _ in 0..levels {
            for tag in [0x0a, 0x32] {
                let mut outer = vec![tag];
                prost_reflect::prost::encoding::encode_varint(value.len() as u64, &mut outer);
                outer.append(&mut value);
                value = outer;
            }
        }
        let mut run = BytesMut::new();
        prost_reflect::prost::encoding::string::encode(1, &site.names[0].1, &mut run);
        prost_reflect::prost::encoding::bytes::encode(2, &value, &mut run);
        refuses(&site, Call { method: RUN, headers: &[], body: message(&run) }, "INVALID_FIELD")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_method_that_nobody_has_is_refused() {
    let site = Site::new().await;
    for method in [
        "runplane.v1.AgentsService/Nothing",
        "runplane.v1.Nothing/ListAgents",
        "runplane.v1.AgentsService",
        "x",
        "v1/agents",
        "runplane.v1.AgentsService/ListAgents/x",
        "runplane.v1.AgentsService/listagents",
    ] {
        refuses(&site, Call { method, headers: &[], body: message(b"") }, "ROUTE_NOT_FOUND").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deadline_that_is_none_is_refused() {
    let site = Site::new().await;
    for timeout in ["", "soon", "5", "S", "-1S", "1.5S", "123456789S", "1s"] {
        let headers = &[("grpc-timeout", timeout)];
        refuses(&site, Call { method: LIST, headers, body: message(b"") }, "INVALID_FIELD").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_encoding_that_nobody_knows_is_refused() {
    let site = Site::new().await;
    let headers = &[("grpc-encoding", "snappy")];
    let body = frame(1, 3, b"\x0a\x01x");
    refuses(&site, Call { method: GET, headers, body }, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_message_says_is_checked_like_json() {
    let site = Site::new().await;
    for (method, bytes, reason) in [
        (CREATE, &b""[..], "MISSING_FIELD"),
        (CREATE, b"\x0a\x00", "MISSING_FIELD"),
        (RUN, b"", "MISSING_FIELD"),
        (RUN, b"\x0a\x01x", "AGENT_NOT_FOUND"),
        (GET, b"", "RUN_NOT_FOUND"),
        (GET, b"\x0a\x01\x00", "RUN_NOT_FOUND"),
        (LIST, b"\x08\x00", "INVALID_FIELD"),
        (LIST, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "INVALID_FIELD"),
        (LIST, b"\x12\x01x", "INVALID_CURSOR"),
        (LIST, b"\x18\x63", "INVALID_FIELD"), // an order that nobody knows
    ] {
        refuses(&site, Call { method, headers: &[], body: message(bytes) }, reason).await;
    }
}
