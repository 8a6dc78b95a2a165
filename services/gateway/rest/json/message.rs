//! What the generated code of a message is made of: writing and reading its fields, and the table
//! of them. Called by generated code alone.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};

use super::{Context, Json, Shape, Step, Writer};

/// A generated message.
pub trait Message: Json + prost::Message {
    /// The table of its fields.
    fn table() -> &'static Table;

    /// Position in the table of the field that JSON calls `name`.
    fn index(name: &str) -> Option<usize>;

    /// Writes the members without the braces, a comma after each.
    fn write_fields(&self, out: &mut Writer);

    /// Reads the value of the field at a position of the table.
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        index: usize,
        map: &mut A,
        cx: &Context,
    ) -> Result<(), A::Error>;
}

/// The fields of a message, for paths.
pub struct Table {
    /// Full name of the message.
    pub name: &'static str,
    /// The fields, in the order of the proto file.
    pub fields: &'static [Field],
    /// [`Message::index`] of the message.
    pub index: fn(&str) -> Option<usize>,
}

/// One field of a [`Table`].
pub struct Field {
    /// Name in the proto file.
    pub name: &'static str,
    /// Name that is written in JSON.
    pub written: &'static str,
    /// True when the server sets it and ignores what a caller gives.
    pub output_only: bool,
    /// Table of the message that a mask may descend into: singular and without a JSON form of its
    /// own.
    pub inner: Option<fn() -> &'static Table>,
}

/// Most fields of one message; the generator refuses more.
const FIELDS_MAX: usize = 256;

/// Which fields have been read.
#[derive(Default)]
struct Seen([u64; FIELDS_MAX / 64]);

impl Seen {
    /// Marks a field; false when it was marked before.
    fn first(&mut self, index: usize) -> bool {
        let (word, bit) = (&mut self.0[index / 64 % (FIELDS_MAX / 64)], 1 << (index % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// Writes a member.
#[inline]
pub fn put<S: Shape<T>, T>(out: &mut Writer, key: &'static str, value: &T) {
    out.raw(key.as_bytes());
    S::write(value, out);
    out.comma();
}

/// Writes a member unless it is at its default.
#[inline]
pub fn put_set<S: Shape<T>, T>(out: &mut Writer, key: &'static str, value: &T) {
    if !S::is_unset(value) {
        put::<S, T>(out, key, value);
    }
}

/// Writes a member if it is there.
#[inline]
pub fn put_some<S: Shape<T>, T>(out: &mut Writer, key: &'static str, value: &Option<T>) {
    if let Some(value) = value {
        put::<S, T>(out, key, value);
    }
}

/// Reads a field without presence; `null` leaves it alone.
#[inline]
pub fn read<'de, S, T, A>(map: &mut A, cx: &Context, slot: &mut T) -> Result<(), A::Error>
where
    S: Shape<T>,
    A: MapAccess<'de>,
{
    if let Some(value) = map.next_value_seed(Maybe::<S, T>(cx, PhantomData))? {
        *slot = value;
    }
    Ok(())
}

/// Reads a field with presence; `null` leaves it alone.
#[inline]
pub fn read_some<'de, S, T, A>(
    map: &mut A,
    cx: &Context,
    slot: &mut Option<T>,
) -> Result<(), A::Error>
where
    S: Shape<T>,
    A: MapAccess<'de>,
{
    if let Some(value) = map.next_value_seed(Maybe::<S, T>(cx, PhantomData))? {
        *slot = Some(value);
    }
    Ok(())
}

/// Reads a member of a oneof; `null` is none. Fails when another member is set already.
#[inline]
pub fn one<'de, S, T, A>(map: &mut A, cx: &Context, taken: bool) -> Result<Option<T>, A::Error>
where
    S: Shape<T>,
    A: MapAccess<'de>,
{
    let value = map.next_value_seed(Maybe::<S, T>(cx, PhantomData))?;
    if taken && value.is_some() {
        return Err(A::Error::custom("another field of the same oneof is set"));
    }
    Ok(value)
}

/// Reads a message from an object.
pub fn read_message<'de, M, D>(source: D, cx: &Context) -> Result<M, D::Error>
where
    M: Message,
    D: Deserializer<'de>,
{
    source.deserialize_map(Members::<M> { cx, typed: false, message: PhantomData })
}

/// Reads a message from an object that also names its type, as the value of an `Any` does.
pub(super) fn read_typed<'de, M, D>(source: D, cx: &Context) -> Result<M, D::Error>
where
    M: Message,
    D: Deserializer<'de>,
{
    source.deserialize_map(Members::<M> { cx, typed: true, message: PhantomData })
}

/// Reads a value, or none when it is `null` or was asked to be dropped.
struct Maybe<'a, S, T>(&'a Context, PhantomData<(S, T)>);

impl<'de, S: Shape<T>, T> DeserializeSeed<'de> for Maybe<'_, S, T> {
    type Value = Option<T>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<T>, D::Error> {
        if S::NULL { self.visit_some(source) } else { source.deserialize_option(self) }
    }
}

impl<'de, S: Shape<T>, T> Visitor<'de> for Maybe<'_, S, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Option<T>, D::Error> {
        let value = S::read(source, self.0)?;
        Ok(if S::SKIPS && self.0.take_skip() { None } else { Some(value) })
    }
}

struct Members<'a, M> {
    cx: &'a Context,
    typed: bool,
    message: PhantomData<M>,
}

impl<'de, M: Message> Visitor<'de> for Members<'_, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object ({})", M::table().name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<M, A::Error> {
        let Self { cx, typed, .. } = self;
        cx.enter()?;
        let mut message = M::default();
        let mut seen = Seen::default();
        while let Some(index) = map.next_key_seed(Key::<M> { cx, typed, message: PhantomData })? {
            let Some(index) = index else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let read = match seen.first(index) {
                true => message.read_field(index, &mut map, cx),
                false => Err(A::Error::custom("given twice")),
            };
            read.map_err(|error| cx.at(Step::Field(M::table().fields[index].written), error))?;
        }
        cx.leave();
        Ok(message)
    }
}

struct Key<'a, M> {
    cx: &'a Context,
    typed: bool,
    message: PhantomData<M>,
}

impl<'de, M: Message> DeserializeSeed<'de> for Key<'_, M> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<usize>, D::Error> {
        source.deserialize_identifier(self)
    }
}

impl<M: Message> Visitor<'_> for Key<'_, M> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a field name")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        match M::index(name) {
            Some(index) => Ok(Some(index)),
            None if self.typed && name == "@type" => Ok(None),
            None if self.cx.options.ignore_unknown => Ok(None),
            None => Err(self.cx.unknown(name)),
        }
    }
}
