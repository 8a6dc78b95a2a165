//! The field paths that a JSON body names, for a PATCH without a mask. Called by the transcoder
//! after the body was read, so it checks nothing that reading has checked.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::{Context, JsonError, Message, Options, Table};

/// The paths of a body of message `M`, as in the proto file and in the order of the body. A path
/// ends at a scalar, `null`, a list, a map, a message with a JSON form of its own, and an empty
/// object. Fields that only the server sets are left out, and so are unknown ones.
pub fn mask_paths<M: Message>(json: &[u8]) -> Result<Vec<String>, JsonError> {
    let cx = Context::new(Options::DEFAULT);
    let mut paths = Vec::new();
    let members = Members { table: M::table(), prefix: "", paths: &mut paths, cx: &cx };
    let mut source = serde_json::Deserializer::from_slice(json);
    source.deserialize_map(members).map_err(|error| cx.explain(&error))?;
    Ok(paths)
}

struct Members<'a> {
    table: &'static Table,
    prefix: &'a str,
    paths: &'a mut Vec<String>,
    cx: &'a Context,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object ({})", self.table.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.paths.push(self.prefix.to_owned());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.cx.enter()?;
        let mut empty = true;
        while let Some(name) = map.next_key::<String>()? {
            empty = false;
            let field = (self.table.index)(&name).map(|index| &self.table.fields[index]);
            let Some(field) = field.filter(|field| !field.output_only) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let dot = if self.prefix.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{}", self.prefix, field.name);
            let Some(inner) = field.inner else {
                map.next_value::<IgnoredAny>()?;
                self.paths.push(path);
                continue;
            };
            let (table, prefix, paths) = (inner(), path.as_str(), &mut *self.paths);
            map.next_value_seed(Members { table, prefix, paths, cx: self.cx })?;
        }
        if empty && !self.prefix.is_empty() {
            self.paths.push(self.prefix.to_owned());
        }
        self.cx.leave();
        Ok(())
    }
}
