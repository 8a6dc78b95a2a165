//! ProtoJSON for generated messages: a direct writer and strict visitors, without reflection and
//! without a tree in between. The generated code implements the traits; the transcoder and the
//! tests call the functions. Nothing here knows a message of ours, reads a socket or logs.

mod context;
mod error;
mod key;
mod known;
mod message;
mod number;
mod paths;
mod registry;
mod scalar;
mod shape;
pub mod text;
mod write;

use serde::Deserializer;

pub use context::{Context, Options, Step};
pub use error::{JsonError, Kind};
pub use message::{
    Field, Message, Table, one, put, put_set, put_some, read, read_message, read_some,
};
pub use paths::mask_paths;
pub use registry::{Entry, find};
pub use shape::{Enum, List, Map, Mask, Null, Plain, Shape};
pub use write::Writer;

/// Bytes to begin an answer with: most resources fit without growing more than once.
const BYTES_USUAL: usize = 1024;

/// A value with a JSON form: a message, a scalar or a well-known type.
pub trait Json: Sized + Default {
    /// True when JSON `null` is a value of this type and not the absence of one.
    const NULL: bool = false;

    /// Writes compact JSON.
    fn write_json(&self, out: &mut Writer);

    /// Reads JSON, strictly.
    fn read_json<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Self, D::Error>;

    /// True when a field without presence counts as unset. Only scalars ever do.
    fn is_unset(&self) -> bool {
        false
    }
}

/// A generated enum: its words and numbers.
pub trait JsonEnum: Sized + Copy + Into<i32> + TryFrom<i32> {
    /// Full name of the enum in its proto file.
    const NAME: &'static str;

    /// What is expected where the enum stands, for messages.
    const EXPECTED: &'static str;

    /// The word that is written for a number; none: the number itself is written.
    fn word(number: i32) -> Option<&'static str>;

    /// The number of a word or a full value name; none: no value has it.
    fn from_name(name: &str) -> Option<i32>;

    /// The word that is written for this value.
    fn name(self) -> &'static str {
        Self::word(self.into()).unwrap_or_default()
    }
}

/// Writes a message as compact JSON. What has no JSON form, such as a time beyond the year 9999,
/// becomes `null`.
pub fn to_vec<M: Json>(message: &M) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES_USUAL);
    append(message, &mut out);
    out
}

/// The JSON that a function writes.
pub fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(Vec::with_capacity(BYTES_USUAL), &Options::DEFAULT);
    write(&mut writer);
    writer.into_bytes()
}

/// Writes a message at the end of a buffer, otherwise as [`to_vec`] does.
pub fn append<M: Json>(message: &M, out: &mut Vec<u8>) {
    let mut writer = Writer::new(std::mem::take(out), &Options::DEFAULT);
    message.write_json(&mut writer);
    *out = writer.into_bytes();
}

/// Writes a message as compact JSON; fails when something in it has no JSON form.
pub fn try_to_vec<M: Json>(message: &M, options: &Options) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer::new(Vec::with_capacity(BYTES_USUAL), options);
    message.write_json(&mut writer);
    writer.finish()
}

/// Reads one message and nothing after it.
pub fn from_slice<M: Json>(bytes: &[u8]) -> Result<M, JsonError> {
    from_slice_as::<Plain, M>(bytes, &Options::DEFAULT)
}

/// Reads one value of any shape, such as the list or the enum that is one field of a request.
pub fn from_slice_as<S: Shape<T>, T>(bytes: &[u8], options: &Options) -> Result<T, JsonError> {
    let cx = Context::new(*options);
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let value = S::read(&mut source, &cx).map_err(|error| cx.explain(&error))?;
    source.end().map_err(|error| cx.explain(&error))?;
    Ok(value)
}
