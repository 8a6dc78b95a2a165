//! How a field of a message maps to Rust: the same Rust type may be an integer or an enum, so the
//! generated code names the shape of each field. Called by generated code and by the message codec.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::key::MapKey;
use super::{Context, Json, JsonEnum, Step, Writer, known, number};

/// A way to write and read a `T`.
pub trait Shape<T> {
    /// True when JSON `null` is a value and not the absence of one.
    const NULL: bool = false;
    /// True when a value that was read may have to be dropped.
    const SKIPS: bool = false;

    /// Writes a value.
    fn write(value: &T, out: &mut Writer);

    /// Reads a value.
    fn read<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<T, D::Error>;

    /// True when a field without presence counts as unset.
    fn is_unset(value: &T) -> bool;
}

/// As the Rust type says.
pub struct Plain;
/// An enum, kept as its number.
pub struct Enum<E>(PhantomData<E>);
/// The enum `google.protobuf.NullValue`, kept as its number.
pub struct Null;
/// A field mask with paths as in the proto file; camelCase is read too.
pub struct Mask;
/// A list of values of a shape.
pub struct List<S>(PhantomData<S>);
/// A map to values of a shape.
pub struct Map<S>(PhantomData<S>);

impl<T: Json> Shape<T> for Plain {
    const NULL: bool = T::NULL;

    #[inline]
    fn write(value: &T, out: &mut Writer) {
        value.write_json(out);
    }

    #[inline]
    fn read<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<T, D::Error> {
        T::read_json(source, cx)
    }

    #[inline]
    fn is_unset(value: &T) -> bool {
        value.is_unset()
    }
}

impl<E: JsonEnum> Shape<i32> for Enum<E> {
    const SKIPS: bool = true;

    #[inline]
    fn write(value: &i32, out: &mut Writer) {
        match E::word(*value) {
            Some(word) => {
                out.open(b'"');
                out.raw(word.as_bytes());
                out.open(b'"');
            }
            None => out.integer(*value),
        }
    }

    fn read<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<i32, D::Error> {
        source.deserialize_any(Word::<E>(cx, PhantomData))
    }

    #[inline]
    fn is_unset(value: &i32) -> bool {
        *value == 0
    }
}

impl Shape<i32> for Null {
    const NULL: bool = true;

    fn write(_: &i32, out: &mut Writer) {
        out.raw(b"null");
    }

    fn read<'de, D: Deserializer<'de>>(source: D, _: &Context) -> Result<i32, D::Error> {
        source.deserialize_any(known::NullVisitor)
    }

    fn is_unset(value: &i32) -> bool {
        *value == 0
    }
}

impl Shape<prost_types::FieldMask> for Mask {
    fn write(value: &prost_types::FieldMask, out: &mut Writer) {
        out.text(&value.paths.join(","));
    }

    fn read<'de, D: Deserializer<'de>>(
        source: D,
        _: &Context,
    ) -> Result<prost_types::FieldMask, D::Error> {
        source.deserialize_str(known::MaskVisitor { snake: true })
    }

    fn is_unset(_: &prost_types::FieldMask) -> bool {
        false
    }
}

impl<T, S: Shape<T>> Shape<Vec<T>> for List<S> {
    fn write(values: &Vec<T>, out: &mut Writer) {
        out.open(b'[');
        for value in values {
            S::write(value, out);
            out.comma();
        }
        out.close(b']');
    }

    fn read<'de, D: Deserializer<'de>>(source: D, cx: &Context) -> Result<Vec<T>, D::Error> {
        source.deserialize_seq(Elements::<S, T>(cx, PhantomData))
    }

    fn is_unset(values: &Vec<T>) -> bool {
        values.is_empty()
    }
}

impl<K: MapKey, T, S: Shape<T>> Shape<BTreeMap<K, T>> for Map<S> {
    fn write(map: &BTreeMap<K, T>, out: &mut Writer) {
        out.open(b'{');
        for (key, value) in map {
            key.write(out);
            out.raw(b":");
            S::write(value, out);
            out.comma();
        }
        out.close(b'}');
    }

    fn read<'de, D: Deserializer<'de>>(
        source: D,
        cx: &Context,
    ) -> Result<BTreeMap<K, T>, D::Error> {
        source.deserialize_map(Pairs::<K, S, T>(cx, PhantomData))
    }

    fn is_unset(map: &BTreeMap<K, T>) -> bool {
        map.is_empty()
    }
}

struct Word<'a, E>(&'a Context, PhantomData<E>);

impl<T: JsonEnum> Visitor<'_> for Word<'_, T> {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<i32, E> {
        match T::from_name(name) {
            Some(number) => Ok(number),
            None if self.0.options.ignore_unknown => {
                self.0.skip();
                Ok(0)
            }
            None => Err(E::invalid_value(Unexpected::Str(name), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i32, E> {
        i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i32, E> {
        i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i32, E> {
        let whole = number::whole(number).and_then(|whole| i32::try_from(whole).ok());
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

/// Reads a value that may not be `null`.
struct Exactly<'a, S, T>(&'a Context, PhantomData<(S, T)>);

impl<'de, S: Shape<T>, T> DeserializeSeed<'de> for Exactly<'_, S, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<T>, D::Error> {
        let value = S::read(source, self.0)?;
        Ok(if S::SKIPS && self.0.take_skip() { None } else { Some(value) })
    }
}

struct Elements<'a, S, T>(&'a Context, PhantomData<(S, T)>);

impl<'de, S: Shape<T>, T> Visitor<'de> for Elements<'_, S, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        self.0.enter()?;
        let mut values = Vec::new();
        for index in 0.. {
            let element = elements.next_element_seed(Exactly::<S, T>(self.0, PhantomData));
            match element.map_err(|error| self.0.at(Step::Index(index), error))? {
                Some(value) => values.extend(value),
                None => break,
            }
        }
        self.0.leave();
        Ok(values)
    }
}

struct Pairs<'a, K, S, T>(&'a Context, PhantomData<(K, S, T)>);

impl<'de, K: MapKey, S: Shape<T>, T> Visitor<'de> for Pairs<'_, K, S, T> {
    type Value = BTreeMap<K, T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<BTreeMap<K, T>, A::Error> {
        let cx = self.0;
        cx.enter()?;
        let mut map = BTreeMap::new();
        while let Some(key) = pairs.next_key_seed(Key::<K>(cx, PhantomData))? {
            let value = pairs.next_value_seed(Exactly::<S, T>(cx, PhantomData));
            let value = value.map_err(|error| cx.at(Step::Key(key.name()), error))?;
            match (map.entry(key), value) {
                (Entry::Vacant(slot), Some(value)) => {
                    slot.insert(value);
                }
                (Entry::Vacant(_), None) => (),
                (Entry::Occupied(slot), _) => {
                    let error = A::Error::custom("given twice");
                    return Err(cx.at(Step::Key(slot.key().name()), error));
                }
            }
        }
        cx.leave();
        Ok(map)
    }
}

struct Key<'a, K>(&'a Context, PhantomData<K>);

impl<'de, K: MapKey> DeserializeSeed<'de> for Key<'_, K> {
    type Value = K;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<K, D::Error> {
        source.deserialize_str(self)
    }
}

impl<K: MapKey> Visitor<'_> for Key<'_, K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", K::EXPECTED)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<K, E> {
        K::parse(name).ok_or_else(|| {
            let error = E::invalid_value(Unexpected::Str(name), &self);
            self.0.at(Step::Key(name.to_owned()), error)
        })
    }
}
