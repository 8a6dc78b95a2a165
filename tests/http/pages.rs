//! The document and the files of its page as HTTP has them: tags, conditions and codings like those
//! of any answer.

use super::{Caller, Reply};

const FILES: [&str; 4] =
    ["/openapi.json", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"];

/// The file as a caller with this tag gets it, in gzip or plain.
async fn ask(caller: &Caller, file: &str, gzip: bool, tag: &str) -> Reply {
    let headers = [("if-none-match", tag), ("accept-encoding", "gzip")];
    let headers = if gzip { &headers[..] } else { &headers[..1] };
    caller.ask(&format!("GET {file}"), headers, b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_form_of_a_file_has_a_tag_of_its_own() {
    let caller = Caller::new().await;
    for file in FILES {
        let plain = ask(&caller, file, false, "\"\"").await;
        let packed = ask(&caller, file, true, "\"\"").await;
        let coded = packed.header("content-encoding") == "gzip";
        assert_eq!(coded, packed.header("etag") != plain.header("etag"), "{file}: {packed:?}");
        for (gzip, mine, other) in [(false, &plain, &packed), (true, &packed, &plain)] {
            assert_eq!(mine.header("vary"), "accept-encoding", "{file}");
            let etag = mine.header("etag");
            for known in [etag, &format!("\"x\", W/{etag}"), "*"] {
                let reply = ask(&caller, file, gzip, known).await;
                assert_eq!((reply.status.as_u16(), reply.header("etag")), (304, etag), "{file}");
                let kept =
                    |reply: &Reply| ["vary", "cache-control"].map(|n| reply.header(n).to_owned());
                assert_eq!(kept(&reply), kept(mine), "{file}");
                assert!(reply.body.is_empty() && reply.header("content-length").is_empty());
            }
            let reply = ask(&caller, file, gzip, other.header("etag")).await;
            assert_eq!(reply.status.as_u16(), if coded { 200 } else { 304 }, "{file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_packed_file_is_not_packed_again() {
    let caller = Caller::new().await;
    for file in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let line = format!("GET {file}");
        for (accept, coding) in [
            ("br", ""),
            ("zstd, br", ""),
            ("gzip;q=0.000", ""),
            ("gzip; q = 0", ""),
            ("*", "gzip"),
            ("x-gzip", "gzip"),
            ("br, gzip;q=0.1", "gzip"),
        ] {
            let reply = caller.ask(&line, &[("accept-encoding", accept)], b"").await;
            assert_eq!(reply.header("content-encoding"), coding, "{file}: {accept}");
        }
    }
}
