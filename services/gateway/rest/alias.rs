//! Aliases: other prefixes for the same paths, some with request headers of their own. Applied
//! before a path is routed; never after.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Another prefix for the paths below a prefix.
#[derive(Debug, Clone)]
pub struct Alias {
    /// The prefix that a caller may use, without a slash at its end.
    pub prefix: String,
    /// The prefix that it stands for.
    pub to: String,
    /// Headers that a request below the prefix gets, unless it has them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// HTTP methods whose requests get them; empty: all.
    pub methods: Vec<Method>,
}

impl Alias {
    /// The path that a path below the prefix stands for.
    #[must_use]
    pub fn apply(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.to))
    }

    /// Adds the headers that are not there.
    pub(super) fn complete(&self, method: &Method, headers: &mut HeaderMap) {
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return;
        }
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// The first alias that fits, and the path behind it.
pub(super) fn find<'a>(aliases: &'a [Alias], path: &str) -> Option<(&'a Alias, String)> {
    aliases.iter().find_map(|alias| alias.apply(path).map(|path| (alias, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_whole_segments() {
        let (prefix, to) = ("/api/v1".to_owned(), "/v1".to_owned());
        let alias = Alias { prefix, to, headers: Vec::new(), methods: Vec::new() };
        assert_eq!(alias.apply("/api/v1/agents").as_deref(), Some("/v1/agents"));
        assert_eq!(alias.apply("/api/v1").as_deref(), Some("/v1"));
        assert_eq!(alias.apply("/api/v10/agents"), None);
        assert_eq!(alias.apply("/v1/agents"), None);
    }

    #[test]
    fn headers_are_for_the_methods_that_are_named() {
        let header = (HeaderName::from_static("prefer"), HeaderValue::from_static("wait=30"));
        let (prefix, to) = ("/v2".to_owned(), "/v1".to_owned());
        let alias = Alias { prefix, to, headers: vec![header], methods: vec![Method::POST] };
        for (method, sent) in [(Method::POST, true), (Method::GET, false)] {
            let mut headers = HeaderMap::new();
            alias.complete(&method, &mut headers);
            assert_eq!(headers.contains_key("prefer"), sent, "{method}");
        }
    }
}
