//! The document and the page that shows it, as a browser gets them.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::{Method, Response};

use crate::harness::app::App;
use crate::harness::doors::crypto;

/// A request without a key.
async fn ask(app: &App, method: Method, path: &str, header: (&str, &str)) -> Response {
    crypto();
    let http = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let request = http.request(method, format!("{}{path}", app.url)).header(header.0, header.1);
    request.send().await.unwrap()
}

const PLAIN: (&str, &str) = ("accept-encoding", "identity");

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn the_document_needs_no_key_and_is_sent_once() {
    let app = App::start().await;
    let response = ask(&app, Method::GET, "/openapi.json", PLAIN).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    let (tag, length) = (header(&response, "etag"), header(&response, "content-length"));
    let text = response.text().await.unwrap();
    assert_eq!(text, runplane::gateway::openapi::document().unwrap());
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let again = ask(&app, Method::GET, "/openapi.json", ("if-none-match", &known)).await;
        assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.clone()));
        assert_eq!(again.text().await.unwrap(), "");
    }
    let other = ask(&app, Method::GET, "/openapi.json", ("if-none-match", "\"x\"")).await;
    assert_eq!(other.status(), 200);
    let head = ask(&app, Method::HEAD, "/openapi.json", PLAIN).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, length));
    let wrong = ask(&app, Method::POST, "/openapi.json", PLAIN).await;
    assert_eq!((wrong.status().as_u16(), header(&wrong, "allow")), (405, "GET, HEAD".to_owned()));
    assert!(wrong.text().await.unwrap().contains("method_not_allowed"));
    let options = ask(&app, Method::OPTIONS, "/docs", PLAIN).await;
    assert_eq!(options.status(), 204);
    assert_eq!(header(&options, "allow"), "GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn the_page_asks_nobody_else() {
    let app = App::start().await;
    let page = ask(&app, Method::GET, "/docs", PLAIN).await;
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = page.text().await.unwrap();
    let mut files = vec!["/docs/start.js"];
    files.extend(["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"]);
    for file in &files {
        assert!(page.contains(file), "the page does not have {file}");
        let sent = ask(&app, Method::GET, file, PLAIN).await;
        assert_eq!(sent.status(), 200, "{file}");
        assert_eq!(header(&sent, "x-content-type-options"), "nosniff");
    }
    let start = ask(&app, Method::GET, "/docs/start.js", PLAIN).await.text().await.unwrap();
    for (name, text) in [("page", page), ("start.js", start)] {
        assert!(!text.contains("//cdn") && !text.contains("https:"), "{name} names a host");
    }
    assert_eq!(ask(&app, Method::GET, "/docs/other.js", PLAIN).await.status(), 404);
}

#[tokio::test]
async fn a_packed_file_is_unpacked_for_who_cannot() {
    let app = App::start().await;
    for file in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let plain = ask(&app, Method::GET, file, PLAIN).await;
        assert_eq!(header(&plain, "content-encoding"), "");
        let plain = plain.bytes().await.unwrap();
        let refused = ask(&app, Method::GET, file, ("accept-encoding", "gzip;q=0")).await;
        assert_eq!(header(&refused, "content-encoding"), "");
        let packed = ask(&app, Method::GET, file, ("accept-encoding", "br, GZIP;q=0.5")).await;
        assert_eq!(header(&packed, "content-encoding"), "gzip");
        assert_eq!(header(&packed, "vary"), "accept-encoding");
        let packed = packed.bytes().await.unwrap();
        let mut unpacked = Vec::new();
        GzDecoder::new(packed.as_ref()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain && plain.len() > 100_000, "{file}: {}", plain.len());
    }
}
