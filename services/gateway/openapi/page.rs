//! The page that shows the document: Swagger UI, built into the program, so that it works without a
//! network. Its files are those of the crate that build.rs took them from; `index.html` and
//! `start.js` are ours.

use std::io::Read;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::File;

/// What the page may do: run and show what this server sends, ask this server, and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const INDEX: &[u8] = include_bytes!("index.html");
const START: &[u8] = include_bytes!("start.js");
const SWAGGER_SCRIPT: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/viewer/swagger-ui-bundle.js.gz"));
const SWAGGER_STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/viewer/swagger-ui.css.gz"));

/// Every file with its path, made when the first is asked for.
static FILES: LazyLock<[(&str, File); 4]> = LazyLock::new(|| {
    let ours = |kind, bytes| File::new(kind, Bytes::from_static(bytes), None);
    let packed = |kind, bytes| File::new(kind, unpacked(bytes), Some(Bytes::from_static(bytes)));
    [
        ("/docs", ours(HTML, INDEX)),
        ("/docs/start.js", ours(SCRIPT, START)),
        ("/docs/swagger-ui-bundle.js", packed(SCRIPT, SWAGGER_SCRIPT)),
        ("/docs/swagger-ui.css", packed(STYLE, SWAGGER_STYLE)),
    ]
});

/// The file at a path.
pub(super) fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|(known, _)| *known == path).map(|(_, file)| file)
}

/// A packed file for a caller that cannot unpack it.
fn unpacked(packed: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(packed.len() * 4);
    match GzDecoder::new(packed).read_to_end(&mut bytes) {
        Ok(_) => bytes.into(),
        // The file was checked when it was packed.
        Err(_) => Bytes::new(),
    }
}
