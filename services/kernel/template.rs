//! Templates and conditions that agents carry, in the syntax of Jinja: instructions, the texts and
//! arguments of `sim`. Checked when an agent is written, filled by the runtime. Bounded in steps
//! and in output; an undefined name is an error.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, Value as Filled};
use serde::Serialize;
use serde_json::Value;

use super::growth;

/// Most instructions that one rendering may take.
const FUEL: u64 = 50_000;
/// Most bytes that one rendering may write.
const OUTPUT_BYTES_MAX: usize = 1 << 18;
/// Deepest nesting of loops that call themselves.
const RECURSION_MAX: usize = 32;
/// Statements that give a value a name: again and again they make a value as large or as deep as no
/// count of steps can bound.
const REMOVED_STATEMENTS: [&str; 2] = ["set", "with"];
/// Filters that turn little text into much.
const REMOVED_FILTERS: [&str; 7] =
    ["replace", "indent", "format", "batch", "slice", "join", "pprint"];

/// Renders templates.
#[derive(Debug, Clone)]
pub struct Templates {
    env: Environment<'static>,
}

/// The values that a template may name.
#[derive(Debug, Clone)]
pub struct Names(Filled);

impl Names {
    /// The names are the keys of the object.
    pub fn of(values: &impl Serialize) -> Self {
        Self(Filled::from(Serde(values)))
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    /// Templates with the house's bounds.
    #[must_use]
    pub fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(RECURSION_MAX);
        env.set_formatter(|out, state, value| match value.kind() {
            // As JSON: what a model reads is read by no Python.
            ValueKind::Map | ValueKind::Seq => {
                let text = serde_json::to_string(value).map_err(|error| {
                    minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
                })?;
                out.write_str(&text).map_err(minijinja::Error::from)
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        for name in REMOVED_FILTERS {
            env.remove_filter(name);
        }
        env.remove_global("namespace");
        Self { env }
    }

    /// Checks that a template can be read and names nothing but these.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, source: &str, known: &[&str]) -> Result<(), String> {
        refuse_names(source)?;
        growth::check_template(source)?;
        let template = self.env.template_from_str(source).map_err(|error| told(&error))?;
        self.only(template.undeclared_variables(false), known)
    }

    /// Checks the strings in a JSON value, as [`Templates::render_json`] reads them.
    ///
    /// # Errors
    /// What is wrong with the first wrong one, in words.
    pub fn check_json(&self, source: &Value, known: &[&str]) -> Result<(), String> {
        match source {
            Value::String(text) => match lone_expression(text) {
                Some(expression) => self.check_condition(expression, known),
                None => self.check(text, known),
            },
            Value::Array(items) => items.iter().try_for_each(|item| self.check_json(item, known)),
            Value::Object(fields) => {
                fields.values().try_for_each(|value| self.check_json(value, known))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a condition can be read and names nothing but these.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check_condition(&self, source: &str, known: &[&str]) -> Result<(), String> {
        let condition = self.compiled(source)?;
        self.only(condition.undeclared_variables(false), known)
    }

    fn only(&self, named: impl IntoIterator<Item = String>, known: &[&str]) -> Result<(), String> {
        let mut unknown: Vec<String> = named
            .into_iter()
            .filter(|name| !known.contains(&name.as_str()))
            .filter(|name| !self.env.globals().any(|(global, _)| global == name))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        Err(format!("names {}, which is not one of: {}", unknown.join(", "), known.join(", ")))
    }

    /// Fills a template.
    ///
    /// # Errors
    /// What is wrong, in words: a name that is not there, too many steps, too long an output.
    pub fn render(&self, source: &str, names: &Names) -> Result<String, String> {
        if !source.contains('{') {
            return Ok(source.to_owned());
        }
        refuse_names(source)?;
        growth::check_template(source)?;
        let template = self.env.template_from_str(source).map_err(|error| told(&error))?;
        let mut output = Bounded(Vec::new());
        template
            .render_captured_to(names.0.clone(), &mut output)
            .map_err(|error| output.explain(&error))?;
        String::from_utf8(output.0).map_err(|error| error.to_string())
    }

    /// Fills the strings in a JSON value. A string that is one `{{ … }}` becomes the value itself,
    /// with its type.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_json(&self, source: &Value, names: &Names) -> Result<Value, String> {
        match source {
            Value::String(text) => match lone_expression(text) {
                Some(expression) => self.value(expression, names),
                None => self.render(text, names).map(Value::String),
            },
            Value::Array(items) => items.iter().map(|item| self.render_json(item, names)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), self.render_json(value, names)?)))
                .collect(),
            other => Ok(other.clone()),
        }
    }

    /// True when the condition holds.
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn holds(&self, condition: &str, names: &Names) -> Result<bool, String> {
        let expression = self.compiled(condition)?;
        let value = expression.eval(names.0.clone()).map_err(|error| told(&error))?;
        Ok(value.is_true())
    }

    fn compiled<'s>(&'s self, expression: &'s str) -> Result<Expression<'s, 's>, String> {
        growth::check_expression(expression)?;
        self.env.compile_expression(expression).map_err(|error| told(&error))
    }

    fn value(&self, expression: &str, names: &Names) -> Result<Value, String> {
        let expression = self.compiled(expression)?;
        let value = expression.eval(names.0.clone()).map_err(|error| told(&error))?;
        if value.is_undefined() {
            return Err("names a value that is not there".to_owned());
        }
        serde_json::to_value(&value).map_err(|error| error.to_string())
    }
}

/// Refuses statements that give values names.
fn refuse_names(source: &str) -> Result<(), String> {
    for statement in source.split("{%").skip(1) {
        let statement = statement.trim_start_matches(['-', '+']).trim_start();
        let end = statement.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = &statement[..end.unwrap_or(statement.len())];
        if REMOVED_STATEMENTS.contains(&word) {
            return Err(format!("the statement {word} is not available"));
        }
    }
    Ok(())
}

/// What is inside, when the text is exactly one `{{ … }}`.
fn lone_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let plain = !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%");
    plain.then(|| inner.trim_matches('-').trim())
}

fn told(error: &minijinja::Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (line {line})"),
        (Some(detail), None) => detail.to_owned(),
        (None, Some(line)) => format!("{} (line {line})", error.kind()),
        (None, None) => error.kind().to_string(),
    }
}

/// An output that takes so much and no more.
struct Bounded(Vec<u8>);

impl Bounded {
    fn explain(&self, error: &minijinja::Error) -> String {
        match error.kind() {
            minijinja::ErrorKind::WriteFailure => {
                format!("writes more than {OUTPUT_BYTES_MAX} bytes")
            }
            _ => told(error),
        }
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let names = Names::of(&json!({"name": "Ada", "n": 3, "list": [1, 2], "none": null}));
        Templates::new().render(source, &names)
    }

    #[test]
    fn a_template_is_filled() {
        assert_eq!(render("Hi {{ name }}, {{ n + 2 }}\n").unwrap(), "Hi Ada, 5\n");
        assert_eq!(render("{% for i in list %}{{ i }},{% endfor %}").unwrap(), "1,2,");
        assert_eq!(render("{{ list | tojson }}").unwrap(), "[1, 2]");
    }

    #[test]
    fn an_undefined_name_is_an_error() {
        assert!(render("{{ nobody }}").is_err());
        assert!(render("{{ name.first.letter }}").is_err());
        let templates = Templates::new();
        assert!(templates.check("{{ range(3) }}{{ name }}", &["name"]).is_ok());
        let error = templates.check("{{ nobody }}", &["input", "name"]).unwrap_err();
        assert!(error.contains("nobody") && error.contains("input, name"), "{error}");
        assert!(templates.check("{{ name", &["name"]).is_err());
        assert!(templates.check_condition("turn == 1", &["turn"]).is_ok());
        assert!(templates.check_condition("turn ==", &["turn"]).is_err());
        assert!(templates.check_condition("turm", &["turn"]).is_err());
    }

    #[test]
    fn a_template_has_an_end() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(render(loops).is_err());
        let much = format!("{{% for a in range(30000) %}}{}{{% endfor %}}", "x".repeat(100));
        let error = render(&much).unwrap_err();
        assert!(error.contains("262144"), "{error}");
        assert!(render("{{ 'x' * 1000000 }}").unwrap_err().contains("operator *"));
    }

    #[test]
    fn a_template_cannot_build_a_value_step_by_step() {
        for source in [
            "{% set a = [1] %}{% set a = [a] %}{{ a }}",
            "{%- set a %}x{% endset %}{{ a }}",
            "{%+ with a = 1 %}{{ a }}{% endwith %}",
            "{%set a=1%}",
            "{{ namespace(x=1) }}",
            "{% for a in [1] recursive %}{{ loop([a, a]) }}{% endfor %}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
        assert!(Templates::new().check("{% set a = 1 %}", &[]).is_err());
        let kept = "{% for setting in [1] %}set {{ setting }}{% endfor %}";
        assert_eq!(render(kept).unwrap(), "set 1");
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        let names = Names::of(&json!({"n": 3, "list": [1, {"a": true}], "s": "text"}));
        let source = json!({
            "number": "{{ n }}", "list": "{{ list }}", "text": "{{ s }}", "mixed": "n={{ n }}",
            "two": "{{ n }}{{ n }}", "deep": [{"x": "{{ list[1].a }}"}], "plain": 7
        });
        let filled = Templates::new().render_json(&source, &names).unwrap();
        let expected = json!({
            "number": 3, "list": [1, {"a": true}], "text": "text", "mixed": "n=3",
            "two": "33", "deep": [{"x": true}], "plain": 7
        });
        assert_eq!(filled, expected);
        assert!(Templates::new().render_json(&json!("{{ gone }}"), &names).is_err());
    }
}
