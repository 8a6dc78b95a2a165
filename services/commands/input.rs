//! What commands read beside their arguments: files or the standard input, as YAML or JSON, and
//! values written `NAME=VALUE`. Never calls a server.

use std::io::Read;
use std::path::Path;

use prost_types::Value as Proto;
use serde_json::Value;

use super::exit::{Failure, Outcome};
use super::ordered::Ordered;
use crate::kernel::json;
use crate::proto::codec::{self, Message};

/// Most bytes of a file.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The text of a file; `-` is the standard input.
pub(super) fn text(file: &str) -> Outcome<String> {
    let wrong = |error: std::io::Error| Failure::usage(format!("{file}: {error}"));
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().take(BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(Path::new(file)).map_err(wrong)?;
        opened.take(BYTES_MAX + 1).read_to_string(&mut text)
    };
    read.map_err(wrong)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::usage(format!("{file} is larger than {BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The one document of a file.
pub(super) fn document(file: &str) -> Outcome<Ordered> {
    let mut documents =
        Ordered::documents(&text(file)?).map_err(|failure| failure.of(file))?.into_iter();
    match (documents.next(), documents.next()) {
        (Some(document), None) => Ok(document),
        _ => Err(Failure::usage(format!("{file} must hold one document"))),
    }
}

/// A document as a message, every field known.
pub(super) fn message<M: Message>(document: &Ordered, of: &str) -> Outcome<M> {
    let read = codec::from_slice(document.json().as_bytes());
    read.map_err(|error| Failure::usage(format!("{of}: {error}")))
}

/// A value: JSON where the text is JSON, and else the text itself.
pub(super) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A value of the contract.
pub(super) fn proto(value: Value) -> Proto {
    json::to_value(value)
}

/// `NAME=VALUE`, for clap.
pub(super) fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
