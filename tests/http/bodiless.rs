//! `HEAD` is `GET` without a body, whoever answers. Over HTTP/2, where nothing below us drops a
//! body that should not be there.

use reqwest::Method;

use super::Caller;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_answer_to_head_has_a_body() {
    let caller = Caller::new().await;
    let http = reqwest::Client::builder().no_proxy().no_gzip().no_brotli().no_zstd();
    let http = http.no_deflate().http2_prior_knowledge().build().expect("an HTTP client");
    let gzip = ("accept-encoding", "gzip, identity;q=0");
    for (target, header, status) in [
        ("/openapi.json", ("x-any", ""), 200),
        ("/openapi.json", gzip, 200),
        ("/docs", ("x-any", ""), 200),
        ("/docs/swagger-ui-bundle.js", gzip, 200),
        ("/healthz", ("x-any", ""), 200),
        ("/healthz", gzip, 200),
        ("/v1/agents", ("x-any", ""), 401),
        ("/v1/agents", gzip, 401),
        ("/v1/agents", ("authorization", "Bearer x"), 401),
        ("/v1/agents", ("origin", "https://elsewhere.example"), 403),
        ("/v1/agents", ("x-server-timeout", "soon"), 400),
        ("/v1/agents", ("content-encoding", "snappy"), 415),
        ("/healthz", ("if-match", "\"a\""), 412),
        ("/healthz", ("x-long", &"v".repeat(17_000)), 431),
    ] {
        for verb in [Method::GET, Method::HEAD] {
            let request = http.request(verb.clone(), format!("{}{target}", caller.app.url));
            let sent = request.header(header.0, header.1).send().await;
            let response = sent.unwrap_or_else(|e| panic!("{verb} {target} {header:?}: {e:?}"));
            assert_eq!(response.status(), status, "{verb} {target} {header:?}");
            let coded = response.headers().contains_key("content-encoding");
            let length = response.headers().contains_key("content-length");
            let body = response.bytes().await.unwrap_or_else(|e| panic!("{verb} {target}: {e:?}"));
            if verb == Method::HEAD {
                assert!(body.is_empty(), "{target} {header:?}: {body:?}");
                assert!(length || coded, "{target} {header:?} does not tell its length");
            } else {
                assert!(!body.is_empty(), "{target} {header:?}");
            }
        }
    }
}
