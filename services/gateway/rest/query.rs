//! The query of a request: pairs, decoded and bound one by one. Generated binders step through a
//! [`Pair`]'s name and set the field it leads to; never builds a map of them.

use std::fmt::Display;

use crate::kernel::error::{Error, Reason};

use super::{TranscoderOptions, path};

/// Fields within fields that a name may step through.
const DEPTH_MAX: usize = 8;

/// Numbers of the fields that a name stepped through; zeros after the last.
type Trail = [u32; DEPTH_MAX];

/// One pair on its way to its field.
pub struct Pair<'a> {
    name: &'a str,
    value: &'a str,
    rest: Option<&'a str>,
    trail: Trail,
    depth: usize,
    seen: &'a mut Seen,
}

/// The fields that earlier pairs have set.
#[derive(Default)]
pub(super) struct Seen {
    singles: Vec<Trail>,
    members: Vec<(Trail, u32, u32)>,
}

impl<'a> Pair<'a> {
    /// The next part of the name, up to a dot.
    pub fn step(&mut self) -> &'a str {
        match self.rest.unwrap_or_default().split_once('.') {
            Some((part, rest)) => {
                self.rest = Some(rest);
                part
            }
            None => self.rest.take().unwrap_or_default(),
        }
    }

    /// The value for a field that may be set once.
    pub fn single<T, E: Display>(
        &mut self,
        field: u32,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        self.enter(field)?;
        if self.seen.singles.contains(&self.trail) {
            return Err(invalid(self.name, "it may be given once"));
        }
        self.seen.singles.push(self.trail);
        self.item(parse)
    }

    /// The value for one more item of a repeated field.
    pub fn item<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Error> {
        if self.rest.is_some() {
            return Err(self.unknown());
        }
        parse(self.value).map_err(|error| invalid(self.name, &error.to_string()))
    }

    /// Steps into a message.
    pub fn enter(&mut self, field: u32) -> Result<(), Error> {
        let Some(place) = self.trail.get_mut(self.depth) else {
            return Err(invalid(self.name, &format!("it is deeper than {DEPTH_MAX} fields")));
        };
        *place = field;
        self.depth += 1;
        Ok(())
    }

    /// Claims a oneof for one of its members; the member's value or fields follow.
    pub fn member(&mut self, oneof: u32, field: u32) -> Result<(), Error> {
        let claimed = |(trail, of, _): &&(Trail, u32, u32)| *trail == self.trail && *of == oneof;
        match self.seen.members.iter().find(claimed) {
            Some((_, _, other)) if *other != field => {
                Err(invalid(self.name, "it excludes another parameter that was given"))
            }
            Some(_) => Ok(()),
            None => {
                self.seen.members.push((self.trail, oneof, field));
                Ok(())
            }
        }
    }

    /// The failure of a name that leads nowhere, or to what a query cannot set.
    #[must_use]
    pub fn unknown(&self) -> Error {
        unknown(self.name)
    }

    /// Refuses names that the path or the body sets, in any spelling, and all below them.
    pub fn refuse(&self, taken: &[&str]) -> Result<(), Error> {
        let below = |name: &&str| {
            self.name
                .strip_prefix(*name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if taken.iter().any(below) { Err(self.unknown()) } else { Ok(()) }
    }
}

/// Hands every pair of a query to a binder.
pub(super) fn bind(
    query: &str,
    options: &TranscoderOptions,
    mut take: impl FnMut(&mut Pair<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if query.is_empty() {
        return Ok(());
    }
    if query.len() > options.query_bytes_max {
        return Err(too_much(format!("{} bytes", options.query_bytes_max)));
    }
    let mut seen = Seen::default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (index, pair) in pairs.enumerate() {
        if index >= options.query_pairs_max {
            return Err(too_much(format!("{} parameters", options.query_pairs_max)));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (plus(name), plus(value));
        let name = path::decode(&name).map_err(|why| invalid(&name, why))?;
        let value = path::decode(&value).map_err(|why| invalid(&name, why))?;
        if options.query_ignored.iter().any(|ignored| *ignored == name) {
            continue;
        }
        let taken = take(&mut Pair {
            name: &name,
            value: &value,
            rest: Some(&name),
            trail: Trail::default(),
            depth: 0,
            seen: &mut seen,
        });
        match taken {
            Err(error) if options.ignore_unknown && error.reason == Reason::UnknownField => (),
            taken => taken?,
        }
    }
    Ok(())
}

fn plus(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('+') { text.replace('+', " ").into() } else { text.into() }
}

fn unknown(name: &str) -> Error {
    let name = cut(name);
    Error::new(Reason::UnknownField, format!("unknown query parameter {name}")).with("field", name)
}

fn invalid(name: &str, why: &str) -> Error {
    let name = cut(name);
    Error::field(name, format!("the query parameter {name}: {why}"))
}

/// The part of a name that an answer repeats.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(100)]
}

fn too_much(limit: String) -> Error {
    Error::field("query", format!("the query is larger than {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq)]
    struct Tree {
        name: String,
        tags: Vec<i32>,
        left: Option<Box<Tree>>,
    }

    fn bind_tree(tree: &mut Tree, pair: &mut Pair<'_>) -> Result<(), Error> {
        match pair.step() {
            "name" => tree.name = pair.single(1, |text| Ok::<_, &str>(text.to_owned()))?,
            "tags" => tree.tags.push(pair.item(str::parse)?),
            "left" => {
                pair.enter(3)?;
                bind_tree(tree.left.get_or_insert_default(), pair)?;
            }
            "a" => pair.member(0, 4)?,
            "b" => pair.member(0, 5)?,
            _ => return Err(pair.unknown()),
        }
        Ok(())
    }

    fn parse(query: &str) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        bind(query, &TranscoderOptions::default(), |pair| bind_tree(&mut tree, pair))?;
        Ok(tree)
    }

    #[test]
    fn names_lead_to_fields() {
        let left = Tree { name: "a b+c".to_owned(), ..Tree::default() };
        let tree = Tree { tags: vec![1, 2], left: Some(Box::new(left)), ..Tree::default() };
        assert_eq!(parse("tags=1&&left.na%6De=a+b%2Bc&tags=2").unwrap(), tree);
        assert_eq!(parse("").unwrap(), Tree::default());
        assert_eq!(parse("name").unwrap(), Tree::default());
        assert!(parse("a&a").is_ok(), "one member may be claimed again");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep = "left.".repeat(9) + "name";
        let pairs = "tags=1&".repeat(129);
        let long = format!("name={}", "x".repeat(16 * 1024));
        for (query, reason, field) in [
            ("nmae=1", Reason::UnknownField, "nmae"),
            ("=1", Reason::UnknownField, ""),
            ("name.x=1", Reason::UnknownField, "name.x"),
            ("left=1", Reason::UnknownField, "left"),
            ("tags=x", Reason::InvalidField, "tags"),
            ("name=1&name=2", Reason::InvalidField, "name"),
            ("a&b", Reason::InvalidField, "b"),
            ("name=%zz", Reason::InvalidField, "name"),
            ("%ff=1", Reason::InvalidField, "%ff"),
            (&deep, Reason::InvalidField, &deep),
            (&pairs, Reason::InvalidField, "query"),
            (&long, Reason::InvalidField, "query"),
        ] {
            let error = parse(query).unwrap_err();
            assert_eq!((error.reason, error.fact("field")), (reason, Some(field)), "{query}");
        }
    }
}
