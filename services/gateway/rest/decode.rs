//! From a call to its request message: body, then query, then path, so that the path always wins.
//! Called by generated decoders; never looks at headers.

use std::fmt::Display;

use serde_json::value::RawValue;

use crate::kernel::error::{Error, Reason};

use super::{
    call::Call,
    json::{self, Json, JsonError, Kind, Message, Plain},
    path,
    query::{self, Pair},
};

impl Call {
    /// A request with nothing set.
    #[must_use]
    pub fn empty<M: Default>(&self) -> M {
        M::default()
    }

    /// The body as the whole request; no body is an empty request.
    pub fn whole<M: Json>(&self) -> Result<M, Error> {
        if self.body.is_empty() { Ok(M::default()) } else { self.parse(&self.body) }
    }

    /// The body as one message field of the request.
    pub fn field<M: Json>(&self) -> Result<Option<M>, Error> {
        if self.body.is_empty() { Ok(None) } else { self.parse(&self.body).map(Some) }
    }

    /// The body as a field of another kind: a request with nothing but that field.
    pub fn wrapped<M: Json>(&self, field: &str) -> Result<M, Error> {
        if self.body.is_empty() {
            return Ok(M::default());
        }
        let value: &RawValue =
            serde_json::from_slice(&self.body).map_err(|error| malformed(&error.to_string()))?;
        self.parse(format!("{{\"{field}\":{}}}", value.get()).as_bytes())
    }

    /// Paths of the fields that the body names.
    pub fn mask<M: Message>(&self) -> Result<Option<prost_types::FieldMask>, Error> {
        let paths = if self.body.is_empty() {
            Vec::new()
        } else {
            json::mask_paths::<M>(&self.body).map_err(told)?
        };
        Ok(Some(prost_types::FieldMask { paths }))
    }

    /// Refuses any query.
    pub fn no_query(&self) -> Result<(), Error> {
        self.query(|pair| Err(pair.unknown()))
    }

    /// Binds the query.
    pub fn query(&self, bind: impl FnMut(&mut Pair<'_>) -> Result<(), Error>) -> Result<(), Error> {
        query::bind(self.query_text(), &self.options, bind)
    }

    /// The value of a variable of the path.
    pub fn var<T, E: Display>(
        &self,
        index: usize,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        let (raw, multi) = path::capture(self.rule, self.path_text(), index);
        let text = if multi { path::decode_multi(raw) } else { path::decode(raw) };
        let text = text.map_err(|why| misfit(field, why))?;
        parse(&text).map_err(|error| misfit(field, &error.to_string()))
    }

    fn parse<M: Json>(&self, body: &[u8]) -> Result<M, Error> {
        let depth_max = self.options.json_depth_max;
        let ignore_unknown = self.options.ignore_unknown;
        let options = json::Options { depth_max, ignore_unknown, ..json::Options::DEFAULT };
        json::from_slice_as::<Plain, M>(body, &options).map_err(told)
    }

    /// The path without the rule's verb, still encoded.
    fn path_text(&self) -> &str {
        let path = self.path.as_deref().unwrap_or_else(|| self.uri.path());
        let end = path.rfind(':').filter(|_| self.verb).unwrap_or(path.len());
        &path[..end]
    }

    fn query_text(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }
}

fn misfit(field: &str, why: &str) -> Error {
    Error::field(field, format!("{field} in the path: {why}"))
}

fn malformed(why: &str) -> Error {
    Error::new(Reason::MalformedJson, format!("the body is not valid JSON: {why}"))
}

fn told(error: JsonError) -> Error {
    let reason = match error.kind {
        Kind::Malformed => return malformed(&error.message),
        Kind::UnknownField => Reason::UnknownField,
        Kind::InvalidField => Reason::InvalidField,
    };
    let message = match error.path.as_str() {
        "" => error.message,
        path => format!("{path}: {}", error.message),
    };
    Error::new(reason, message).with("field", error.path)
}
