//! Runs a `curl` command as a page prints it, with the few options that the pages use, against an
//! app: only host, key and ids are replaced. Needs no `curl` on the machine.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::app::App;
use crate::harness::rest::{Frame, Frames};

/// What `curl` would have printed with `-i`.
#[derive(Debug)]
pub(super) struct Printed {
    /// Status.
    pub(super) status: u16,
    /// Headers, names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// Body.
    pub(super) body: String,
}

/// What the command says.
#[derive(Debug, Default, PartialEq)]
struct Command {
    verb: Option<String>,
    url: String,
    headers: Vec<(String, String)>,
    data: Option<String>,
}

impl Printed {
    /// The body as JSON; no number is lost to a string.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body as server-sent events.
    pub(super) fn frames(&self) -> Vec<Frame> {
        assert_eq!(self.headers["content-type"], "text/event-stream", "{self:?}");
        let mut frames = Frames::default();
        frames.push(self.body.as_bytes());
        std::iter::from_fn(|| frames.next()).collect()
    }

    /// The error's code, after a look at its envelope.
    pub(super) fn code(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        assert_eq!(error["request_id"], self.headers["x-request-id"].as_str(), "{self:?}");
        error["code"].as_str().expect("a code").to_owned()
    }
}

/// Runs a command. `replaced` are the page's placeholders and what stands for them here.
pub(super) async fn curl(app: &App, command: &str, replaced: &[(&str, &str)]) -> Printed {
    let mut command = command.to_owned();
    for (placeholder, value) in replaced {
        assert!(command.contains(placeholder), "{placeholder} is not in {command}");
        command = command.replace(placeholder, value);
    }
    let command = Command::parse(&command);
    let (_, rest) = command.url.split_once("://").expect("a URL");
    let url = format!("{}{}", app.url, &rest[rest.find('/').unwrap_or(rest.len())..]);
    let verb = command.verb.as_deref().unwrap_or(match command.data {
        Some(_) => "POST",
        None => "GET",
    });
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let mut request = http.request(verb.parse().expect("a verb"), url);
    for (name, value) in command.headers {
        request = request.header(name, value);
    }
    if let Some(data) = command.data {
        request = request.body(data);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = |value: &http::HeaderValue| value.to_str().expect("ASCII").to_owned();
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    let printed = Printed { status, headers, body: response.text().await.expect("a whole body") };
    assert!(printed.headers["x-request-id"].starts_with("req_"), "{printed:?}");
    printed
}

impl Command {
    fn parse(text: &str) -> Self {
        let mut words = words(text).into_iter();
        assert_eq!(words.next().as_deref(), Some("curl"), "{text}");
        let mut command = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} without a value"));
            match word.as_str() {
                "-X" => command.verb = Some(value()),
                "-d" => command.data = Some(value()),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(':').expect("a header");
                    command.headers.push((name.to_owned(), value.trim().to_owned()));
                }
                url if !url.starts_with('-') && command.url.is_empty() => command.url = word,
                other => panic!("{other} is not known here"),
            }
        }
        let typed =
            command.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        assert!(command.data.is_none() || typed, "curl would send a form: {text}");
        command
    }
}

/// The words of a command as a shell reads them: quotes, and lines that go on after a backslash.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut open) = (Vec::new(), None::<String>, None::<char>);
    let text = text.replace("\\\n", " ");
    for c in text.chars() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '"' | '\'') => {
                open = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(open, None, "an open quote in {text}");
    words.extend(word);
    words
}

#[test]
fn a_command_is_read_as_a_shell_reads_it() {
    let command = Command::parse(
        "curl -X POST https://x.y/v2/runs \\\n-H \"A: B c\" \\\n-H 'Content-Type: x' \
         -d '{\n \"a\": \"\\u2019\"\n}'",
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = Command {
        verb: Some("POST".to_owned()),
        url: "https://x.y/v2/runs".to_owned(),
        headers: vec![header("A", "B c"), header("Content-Type", "x")],
        data: Some("{\n \"a\": \"\\u2019\"\n}".to_owned()),
    };
    assert_eq!(command, expected);
}
