//! Aliases: other prefixes for the same paths, some with request headers of their own. Applied
//! before a path is routed; never after.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Another prefix for the paths below a prefix.
#[derive(Debug, Clone)]
pub struct Alias {
    /// The prefix that a caller may use, without a slash at its end.
    pub prefix: String,
    /// The prefix that it stands for.
    pub to: String,
    /// Headers that a request below the prefix gets, unless it has them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Alias {
    /// The path that a path below the prefix stands for.
    #[must_use]
    pub fn apply(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", self.to))
    }

    /// Adds the headers that are not there.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
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
        let alias =
            Alias { prefix: "/api/v1".to_owned(), to: "/v1".to_owned(), headers: Vec::new() };
        assert_eq!(alias.apply("/api/v1/agents").as_deref(), Some("/v1/agents"));
        assert_eq!(alias.apply("/api/v1").as_deref(), Some("/v1"));
        assert_eq!(alias.apply("/api/v10/agents"), None);
        assert_eq!(alias.apply("/v1/agents"), None);
    }
}
