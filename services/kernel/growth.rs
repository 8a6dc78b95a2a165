//! What a template may not do because no count of steps bounds it: make much text out of little.
//! Read off its source by `template.rs`, before it is compiled; never renders.

/// Most operators that join texts in one template.
const JOINS_MAX: usize = 64;
/// Most conversions to JSON in one tag: each may double what it escapes.
const CONVERSIONS_MAX: usize = 2;

/// Refuses a template that could outgrow its input.
///
/// # Errors
/// Which operator or filter, in words.
pub fn check_template(source: &str) -> Result<(), String> {
    let mut joins = 0;
    let mut rest = source;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        let code = &rest[start + 2..];
        let end = check_code(code, Some(close), &mut joins)?;
        rest = &code[end..];
    }
    Ok(())
}

/// Refuses an expression that could outgrow its input.
///
/// # Errors
/// Which operator or filter, in words.
pub fn check_expression(source: &str) -> Result<(), String> {
    check_code(source, None, &mut 0).map(|_| ())
}

/// Checks code up to `close`; where it ends.
fn check_code(code: &str, close: Option<&str>, joins: &mut usize) -> Result<usize, String> {
    let (mut quote, mut escaped, mut conversions) = (None, false, 0);
    for (at, c) in code.char_indices() {
        if let Some(open) = quote {
            quote = if c == open && !escaped { None } else { quote };
            escaped = c == '\\' && !escaped;
            continue;
        }
        if close.is_some_and(|close| code[at..].starts_with(close)) {
            return Ok(at);
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '*' => return Err("the operator * is not available".to_owned()),
            '~' | '+' => *joins += 1,
            't' if code[at..].starts_with("tojson") => conversions += 1,
            _ => {}
        }
        if *joins > JOINS_MAX {
            return Err(format!("more than {JOINS_MAX} operators ~ and +"));
        }
        if conversions > CONVERSIONS_MAX {
            return Err(format!("more than {CONVERSIONS_MAX} times tojson in one tag"));
        }
    }
    Ok(code.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_much_of_little_is_refused() {
        for source in [
            "{{ 'a' * 100000000 }}",
            "{% for x in [1] * 9 %}{% endfor %}",
            "{{ \"}}\" ~ 'x' * 9 }}",
            "{{ input|tojson|tojson|tojson }}",
            &format!("{{{{ input{} }}}}", " ~ input".repeat(65)),
            &"{{ input ~ input }}".repeat(65),
        ] {
            assert!(check_template(source).is_err(), "{source}");
        }
        assert!(check_expression("input * 2 > 3").is_err());
    }

    #[test]
    fn what_is_no_code_may_say_anything() {
        for source in [
            "2 * 3 ~ 4",
            "{{ '*' ~ \"it\\\"s *\" }} * {{ input | tojson }}",
            "{# * #}{%- if input -%}{{ (a / 100) | round(2) }}{% endif %}",
            "{{",
            "{% é",
        ] {
            assert_eq!(check_template(source), Ok(()), "{source}");
        }
    }
}
