//! Path templates of `google.api.http`: text in, segments and variables out. Used by the rules;
//! knows no message.

use std::ops::Range;

use crate::codegen::Failure;

/// A path template, taken apart.
pub struct Template {
    /// Segments, variables replaced by what they cover.
    pub segments: Vec<Segment>,
    /// Variables in order.
    pub vars: Vec<Var>,
    /// The verb after the last colon; empty: none.
    pub verb: String,
}

/// One segment.
#[derive(Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `*`
    One,
    /// `**`
    Many,
}

/// A variable.
pub struct Var {
    /// Path of the field, such as `agent.id`.
    pub field: String,
    /// Segments that it covers.
    pub covers: Range<usize>,
}

impl Template {
    /// Takes a template apart.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let rest = text.strip_prefix('/').ok_or("a template begins with a slash")?;
        let (rest, verb) = split_verb(rest);
        let mut template = Self { segments: Vec::new(), vars: Vec::new(), verb: verb.to_owned() };
        for part in split(rest, '/').into_iter().filter(|_| !rest.is_empty()) {
            template.part(part)?;
        }
        if template.segments.iter().filter(|segment| **segment == Segment::Many).count() > 1 {
            return Err("a template has at most one **".into());
        }
        Ok(template)
    }

    /// The template with its variables' names left out: two of the same shape cannot be told apart.
    pub fn shape(&self) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::One => "/*".to_owned(),
            Segment::Many => "/**".to_owned(),
        });
        format!("{}:{}", segments.collect::<String>(), self.verb)
    }

    fn part(&mut self, part: &str) -> Result<(), Failure> {
        let Some(inner) = part.strip_prefix('{') else {
            self.segments.push(Segment::parse(part)?);
            return Ok(());
        };
        let inner = inner
            .strip_suffix('}')
            .ok_or_else(|| format!("{part}: a variable is a whole segment"))?;
        let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        if field.is_empty() || field.contains(['{', '}', '*', '/']) {
            return Err(format!("{part}: no field").into());
        }
        let start = self.segments.len();
        for segment in pattern.split('/') {
            self.segments.push(Segment::parse(segment)?);
        }
        let covers = start..self.segments.len();
        self.vars.push(Var { field: field.to_owned(), covers });
        Ok(())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "*" => Ok(Self::One),
            "**" => Ok(Self::Many),
            "" => Err("a segment is empty".into()),
            _ if text.contains(['{', '}', '*', ':']) => {
                Err(format!("{text}: a segment is a text, a star, or a variable").into())
            }
            _ => Ok(Self::Literal(text.to_owned())),
        }
    }
}

/// The verb is what follows a colon outside braces.
fn split_verb(text: &str) -> (&str, &str) {
    let parts = split(text, ':');
    match parts.as_slice() {
        [_] | [] => (text, ""),
        [.., verb] => (&text[..text.len() - verb.len() - 1], verb),
    }
}

/// Splits at a character outside braces.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut depth = 0_u32;
    let inside = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => (),
        }
        c == at && depth == 0
    };
    text.split(inside).collect()
}
