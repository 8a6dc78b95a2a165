//! The REST part of the generator: from services and their rules to the route table, the decoders,
//! the query binders, the dispatch and the table of methods. Called by `codegen::generate`; writes
//! `rest.rs` and nothing else.

pub(super) mod bind;
mod decode;
mod deprecated;
mod dispatch;
mod event;
mod member;
pub(super) mod rules;
mod table;
pub(super) mod template;

use super::{Failure, Model, names};

/// Everything that the parts are emitted from.
struct Input<'a> {
    model: &'a Model<'a>,
    root: &'a str,
    services: &'a [super::options::Service],
    rules: Vec<rules::Rule<'a>>,
    touched: deprecated::Touched,
}

/// The REST code of a set; none: it has no rules.
pub fn generate(model: &Model<'_>) -> Result<Option<String>, Failure> {
    let rules = rules::read(&model.services)?;
    if rules.is_empty() {
        return Ok(None);
    }
    let touched = deprecated::touched(&rules)?;
    let (root, services) = (model.set.root, &model.services[..]);
    let input = Input { model, root, services, rules, touched };
    let mut code = format!(
        "// @generated from the services and their google.api.http rules.\n\
         #[allow(unused_imports)]\n\
         use {}::{{\n    call::Call,\n    json::{{self, text}},\n    query::Pair,\n    \
         notice::{{self, Notice}},\n    \
         raw::Raw,\n    stream::{{self, Event}},\n    \
         table::{{Answer, Answering, Api, Decoded, Method, Place, Rule, Segment, Shape}},\n}};\n\n",
        model.set.runtime
    );
    code += &table::methods(&input);
    code += &table::rules(&input)?;
    code += &deprecated::deprecated(&input)?;
    code += &dispatch::services(&input)?;
    code += &event::events(&input)?;
    code += &event::raw(&input);
    code += &member::members(&input)?;
    code += &decode::decoders(&input)?;
    code += &bind::binders(&input);
    Ok(Some(code))
}
