//! What the generator writes down about an API: its rules as data, its services as one [`Api`].
//! Read by the router, the decoder and the caller; nothing here is made at run time.

use std::{future::Future, pin::Pin};

use axum::body::Body;
use tonic::Status;

use crate::kernel::error::Error;

use super::call::Call;
use super::notice::Notice;

/// A decoded request, or why it is none.
pub type Decoded<M> = Result<M, Error>;

/// The answer of one call.
pub type Answer = Result<http::Response<Body>, Status>;

/// The answer of one call, under way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// The services of one API and its rules. Implemented by generated code only.
pub trait Api: Send + Sync + 'static {
    /// The rules of the API; [`Rule::id`] is the index.
    fn rules(&self) -> &'static [Rule];

    /// Decodes the call, makes it and encodes the answer.
    fn dispatch(&self, call: Call) -> Answering<'_>;
}

/// One way to reach one method over REST: a `google.api.http` binding.
#[derive(Debug)]
pub struct Rule {
    /// Index in the table, by which generated code knows the rule.
    pub id: u16,
    /// HTTP method, or `*` for any.
    pub http: &'static str,
    /// The template between the slashes.
    pub segments: &'static [Segment],
    /// The verb after the last colon, without it; empty for none.
    pub verb: &'static str,
    /// Segments that each variable covers, from the first to before the second, in the template's
    /// order.
    pub vars: &'static [(u8, u8)],
    /// gRPC path of the method, as in `/package.Service/Method`.
    pub grpc: &'static str,
    /// What the method answers with.
    pub shape: Shape,
    /// Where the body goes.
    pub body: Place,
    /// True when the method takes a stream: each piece of the body is a message.
    pub uploads: bool,
    /// Since when the method is deprecated; none: it is not.
    pub deprecated: Option<&'static Notice>,
}

/// What the contract says of one method, REST or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// gRPC path, as in `/package.Service/Method`.
    pub grpc: &'static str,
    /// Its name, as in `Service/Method`.
    pub action: &'static str,
    /// Scope that a caller needs.
    pub scope: &'static str,
    /// True when a call may change something: its first rule is no `GET`.
    pub changes: bool,
    /// gRPC path under which a caller knows it: of a stream that of its twin.
    pub route: &'static str,
    /// True when the service goes on from an answer that was kept: the answer is a stream, has one
    /// as its twin, or its option says so.
    pub goes_on: bool,
}

/// One segment of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// This very text, compared as it was sent.
    Literal(&'static str),
    /// `*`: one segment that is not empty.
    One,
    /// `**`: any number of segments, also none.
    Many,
}

/// What a method answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One message.
    Unary,
    /// One message, or the stream of its twin when the caller asks for it.
    Twin,
    /// A stream.
    Stream,
    /// One `google.api.HttpBody`: bytes of any type.
    Raw,
    /// A stream of `google.api.HttpBody`.
    RawStream,
}

impl Shape {
    /// True for answers that are no JSON.
    #[must_use]
    pub fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawStream)
    }
}

/// Where the body of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the rule takes no body.
    Nowhere,
    /// It is the request: the rule takes no query.
    Whole,
    /// It is one field of the request.
    Field,
    /// It is bytes of any type: the request, or one field of it, is a `google.api.HttpBody`.
    Raw,
}

impl Rule {
    /// The template, as in `/v1/agents/*:publish`: the same for all calls that the rule fits.
    #[must_use]
    pub fn template(&self) -> String {
        let mut template = String::new();
        for segment in self.segments {
            template.push('/');
            template.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::One => "*",
                Segment::Many => "**",
            });
        }
        if !self.verb.is_empty() {
            template.push(':');
            template.push_str(self.verb);
        }
        template
    }

    /// True when `HEAD` is answered as `GET` is.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.http == "GET" && self.shape != Shape::Stream
    }
}
