//! The router: one trie over raw segments, literal before `*` before `**`, with backtracking. Asked
//! by the transcoder for every request; never decodes a path.

use super::table::{Rule, Segment};

/// The rules of an API as a trie.
#[derive(Debug)]
pub struct Router {
    rules: &'static [Rule],
    nodes: Vec<Node>,
    verbs: Vec<&'static str>,
}

/// What a method and a path lead to.
#[derive(Debug)]
pub enum Found {
    /// A rule; with true the path ends in the rule's verb.
    Rule(&'static Rule, bool),
    /// The path exists, the method does not; these do.
    Methods(Vec<&'static str>),
    /// No such path.
    Nothing,
}

#[derive(Debug, Default)]
struct Node {
    literals: Vec<(&'static str, usize)>,
    one: Option<usize>,
    many: Option<usize>,
    ends: Vec<End>,
}

/// The rules that end at a node with the same verb.
#[derive(Debug)]
struct End {
    verb: &'static str,
    rules: Vec<&'static Rule>,
}

impl Router {
    /// Builds the trie. The generator has refused what cannot be told apart.
    #[must_use]
    pub fn new(rules: &'static [Rule]) -> Self {
        let mut router = Self { rules, nodes: vec![Node::default()], verbs: Vec::new() };
        for rule in rules {
            router.add(rule);
        }
        router
    }

    /// The rules it was built from.
    #[must_use]
    pub fn rules(&self) -> &'static [Rule] {
        self.rules
    }

    /// The rule for a method and a raw path. `HEAD` is served by `GET`, unless that streams.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Found {
        let mut found = None;
        self.visit(path, &mut |end, verb| {
            found = pick(&end.rules, method).map(|rule| (rule, verb));
            found.is_some()
        });
        if let Some((rule, verb)) = found {
            return Found::Rule(rule, verb);
        }
        let mut methods = Vec::new();
        self.visit(path, &mut |end, _| {
            end.rules.iter().for_each(|rule| note(&mut methods, rule));
            false
        });
        if methods.is_empty() { Found::Nothing } else { Found::Methods(methods) }
    }

    fn add(&mut self, rule: &'static Rule) {
        let mut at = 0;
        for segment in rule.segments {
            at = self.child(at, *segment);
        }
        let ends = &mut self.nodes[at].ends;
        match ends.iter_mut().find(|end| end.verb == rule.verb) {
            Some(end) => end.rules.push(rule),
            None => ends.push(End { verb: rule.verb, rules: vec![rule] }),
        }
        if !rule.verb.is_empty() && !self.verbs.contains(&rule.verb) {
            self.verbs.push(rule.verb);
        }
    }

    fn child(&mut self, at: usize, segment: Segment) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Literal(text) => {
                match node.literals.iter().find(|(known, _)| *known == text) {
                    Some((_, child)) => *child,
                    None => {
                        node.literals.push((text, next));
                        next
                    }
                }
            }
            Segment::One => *node.one.get_or_insert(next),
            Segment::Many => *node.many.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Shows every end that fits the path, best first, until one is taken. A suffix that is a verb
    /// here is never part of a value.
    fn visit(&self, path: &str, take: &mut dyn FnMut(&End, bool) -> bool) {
        let Some(rest) = path.strip_prefix('/') else { return };
        if rest.is_empty() {
            self.walk(0, None, &mut |node| ends(node, "").any(|end| take(end, false)));
            return;
        }
        if rest.ends_with('/') {
            return;
        }
        if let Some((head, verb)) = verb_of(rest).filter(|(_, verb)| self.verbs.contains(verb)) {
            let mut known = false;
            self.walk(0, Some(head), &mut |node| {
                ends(node, verb).any(|end| {
                    known = true;
                    take(end, true)
                })
            });
            if known {
                return;
            }
        }
        self.walk(0, Some(rest), &mut |node| ends(node, "").any(|end| take(end, false)));
    }

    /// Walks from a node; `rest` is what the path still holds, without its leading slash. Deep as
    /// the templates, never as the path, and linear in the path for each `**`.
    fn walk(&self, at: usize, rest: Option<&str>, take: &mut dyn FnMut(&Node) -> bool) -> bool {
        let node = &self.nodes[at];
        let Some(rest) = rest else {
            return take(node) || node.many.is_some_and(|many| self.walk(many, None, take));
        };
        let (segment, after) = split(rest);
        let literal = node.literals.iter().find(|(text, _)| *text == segment);
        if literal.is_some_and(|(_, child)| self.walk(*child, after, take)) {
            return true;
        }
        let one = node.one.filter(|_| !segment.is_empty());
        if one.is_some_and(|child| self.walk(child, after, take)) {
            return true;
        }
        node.many.is_some_and(|many| self.walk_many(many, rest, take))
    }

    fn walk_many(&self, many: usize, rest: &str, take: &mut dyn FnMut(&Node) -> bool) -> bool {
        let mut rest = Some(rest);
        loop {
            if self.walk(many, rest, take) {
                return true;
            }
            let Some(left) = rest else { return false };
            rest = split(left).1;
        }
    }
}

/// The first segment, and what follows its slash.
fn split(path: &str) -> (&str, Option<&str>) {
    match path.find('/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

/// What follows the last colon of the last segment, and what goes before it.
fn verb_of(path: &str) -> Option<(&str, &str)> {
    let (head, verb) = path.rsplit_once(':')?;
    (!verb.contains('/')).then_some((head, verb))
}

fn ends<'a>(node: &'a Node, verb: &str) -> impl Iterator<Item = &'a End> {
    node.ends.iter().filter(move |end| end.verb == verb)
}

fn pick(rules: &[&'static Rule], method: &str) -> Option<&'static Rule> {
    let exact = |method: &str| rules.iter().find(|rule| rule.http == method).copied();
    let head = || exact("GET").filter(|rule| method == "HEAD" && rule.has_head());
    exact(method).or_else(head).or_else(|| exact("*"))
}

fn note(methods: &mut Vec<&'static str>, rule: &Rule) {
    for name in [Some(rule.http), rule.has_head().then_some("HEAD")].into_iter().flatten() {
        if !methods.contains(&name) {
            methods.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{
            Place,
            Segment::{Literal as L, Many, One},
            Shape,
        },
        *,
    };

    const fn rule(id: u16, http: &'static str, segments: &'static [Segment]) -> Rule {
        Rule {
            id,
            http,
            segments,
            verb: "",
            vars: &[],
            grpc: "/test.Test/Test",
            shape: Shape::Unary,
            body: Place::Nowhere,
            uploads: false,
        }
    }

    static RULES: &[Rule] = &[
        rule(0, "GET", &[L("v1"), L("a"), One]),
        rule(1, "POST", &[L("v1"), One, L("b")]),
        rule(2, "GET", &[L("v1"), L("f"), Many]),
        rule(3, "GET", &[L("v1"), L("f"), Many, L("tail")]),
        Rule { verb: "archive", ..rule(4, "POST", &[L("v1"), L("a"), One]) },
        rule(5, "GET", &[]),
        rule(6, "GET", &[L("v1"), L("a"), L("fixed")]),
        Rule { shape: Shape::Stream, ..rule(7, "GET", &[L("v1"), L("s")]) },
        Rule { verb: "dump", ..rule(8, "GET", &[L("v1"), L("f"), Many]) },
    ];

    fn found(method: &str, path: &str) -> String {
        match Router::new(RULES).find(method, path) {
            Found::Rule(rule, verb) => format!("{}{}", rule.id, if verb { ":" } else { "" }),
            Found::Methods(methods) => methods.join(","),
            Found::Nothing => "-".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_rule_with_the_method_wins() {
        let cases = [
            ("GET", "/v1/a/x", "0"),
            ("GET", "/v1/a/fixed", "6"),
            ("POST", "/v1/a/b", "1"),
            ("GET", "/v1/f", "2"),
            ("GET", "/v1/f/x/y", "2"),
            ("GET", "/v1/f/x//y", "2"),
            ("GET", "/v1/f/x/y/tail", "3"),
            ("GET", "/v1/f/tail", "3"),
            ("GET", "/v1/f/x:dump", "8:"),
            ("GET", "/v1/f:dump", "8:"),
            ("GET", "/", "5"),
            ("HEAD", "/v1/a/x", "0"),
            ("POST", "/v1/a/x:archive", "4:"),
            ("POST", "/v1/a/x:y:archive", "4:"),
            ("GET", "/v1/a/x:archive", "POST"),
            ("GET", "/v1/a/x:other", "0"),
            ("PUT", "/v1/a/x", "GET,HEAD"),
            ("PUT", "/v1/a/b", "GET,HEAD,POST"),
            ("HEAD", "/v1/s", "GET"),
        ];
        for (method, path, expected) in cases {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn slashes_are_meant() {
        for path in ["", "*", "//", "/v1/a", "/v1/a/", "/v1/a/x/", "/v1//a/x", "/v1/f/", "/V1/a/x"]
        {
            assert_eq!(found("GET", path), "-", "{path}");
        }
    }
}
