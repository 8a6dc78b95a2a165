//! What travels along while one text is read: the options, the depth, and after a mistake its kind
//! and path. It costs nothing until a mistake is made: the path is gathered on the way out.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use super::error::cut;
use super::{Entry, JsonError, Kind};

/// Most `Any` within each other.
const ANYS_MAX: u32 = 8;

/// How strictly to read, and which types an `Any` may hold.
#[derive(Clone, Copy)]
pub struct Options {
    /// True drops unknown fields and unknown enum words instead of refusing them.
    pub ignore_unknown: bool,
    /// Most levels of nesting, at most 127. Default 100.
    pub depth_max: u32,
    /// Types that an `Any` may hold besides those of the contract and the well-known ones, sorted
    /// by name.
    pub types: &'static [Entry],
}

impl Options {
    /// Strict, 100 levels, the types of the contract.
    pub const DEFAULT: Self = Self { ignore_unknown: false, depth_max: 100, types: &[] };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One step of a path.
#[derive(Debug)]
pub enum Step {
    /// A field of a message.
    Field(&'static str),
    /// A key of a map or an object.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// The state of reading one text.
pub struct Context {
    pub(super) options: Options,
    depth: Cell<u32>,
    kind: Cell<Option<Kind>>,
    anys: Cell<u32>,
    skip: Cell<bool>,
    path: RefCell<Vec<Step>>,
}

impl Context {
    /// Starts with nothing read.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            depth: Cell::new(0),
            kind: Cell::new(None),
            anys: Cell::new(0),
            skip: Cell::new(false),
            path: RefCell::default(),
        }
    }

    /// Goes one level down; fails below the limit.
    pub(super) fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        let depth = self.depth.get() + 1;
        if depth > self.options.depth_max {
            self.kind.set(Some(Kind::Malformed));
            let limit = self.options.depth_max;
            return Err(E::custom(format_args!("nested deeper than {limit} levels")));
        }
        self.depth.set(depth);
        Ok(())
    }

    /// Comes one level up. After a failure nobody needs to.
    pub(super) fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }

    /// Goes into an `Any`; each is looked through twice, so there is a limit to those within each
    /// other.
    pub(super) fn enter_any<E: serde::de::Error>(&self) -> Result<(), E> {
        self.enter()?;
        if self.anys.get() == ANYS_MAX {
            self.kind.set(Some(Kind::Malformed));
            return Err(E::custom(format_args!("more than {ANYS_MAX} Any within each other")));
        }
        self.anys.set(self.anys.get() + 1);
        Ok(())
    }

    /// Comes out of an `Any`.
    pub(super) fn leave_any(&self) {
        self.anys.set(self.anys.get() - 1);
        self.leave();
    }

    /// Notes, on the way out, where a mistake was made.
    #[cold]
    pub(super) fn at<E>(&self, step: Step, error: E) -> E {
        self.path.borrow_mut().push(step);
        error
    }

    /// A field that the message does not have.
    #[cold]
    pub(super) fn unknown<E: serde::de::Error>(&self, name: &str) -> E {
        self.kind.set(Some(Kind::UnknownField));
        self.at(Step::Key(name.to_owned()), E::custom("unknown field"))
    }

    /// Asks the reader of the surrounding field to drop the value that was just read.
    pub(super) fn skip(&self) {
        self.skip.set(true);
    }

    /// True when the value that was just read is to be dropped.
    pub(super) fn take_skip(&self) -> bool {
        self.skip.take()
    }

    /// Turns the parser's error into ours.
    #[cold]
    pub(super) fn explain(&self, error: &serde_json::Error) -> JsonError {
        let text = error.to_string();
        let (said, place) = match text.rfind(" at line ") {
            Some(end) => text.split_at(end),
            None => (text.as_str(), ""),
        };
        let kind = match error.classify() {
            _ if self.kind.get().is_some() => self.kind.get().unwrap_or(Kind::Malformed),
            serde_json::error::Category::Data => Kind::InvalidField,
            _ if said == "number out of range" => Kind::InvalidField,
            _ => Kind::Malformed,
        };
        let mut message = cut(said.to_owned());
        if kind == Kind::Malformed {
            message.push_str(place);
        }
        JsonError { kind, path: self.path(), message }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.path.borrow().iter().rev() {
            let dot = if path.is_empty() { "" } else { "." };
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Field(name) => write!(path, "{dot}{name}"),
                Step::Key(key) => write!(path, "{dot}{key}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        cut(path)
    }
}
