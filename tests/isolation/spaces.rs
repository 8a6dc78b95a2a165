//! A data space with something of everything, and in all of it a word that is nowhere else: a
//! canary, which nobody hears who may not.

use serde_json::{Value, json};

use super::fields::Names;
use super::{ok, text};
use crate::harness::app::App;
use crate::harness::doors::{Client, Door};

/// An environment of a project, and what is in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Space {
    /// What it is to the caller: `own`, `project` for another project…
    pub(super) name: String,
    /// Organisation.
    pub(super) organisation: String,
    /// Project.
    pub(super) project: String,
    /// Its admin key.
    pub(super) admin: String,
    /// A published agent, with a run that waits for the output of a call.
    pub(super) agent: String,
    /// Its run.
    pub(super) run: String,
    /// The call that the run waits for.
    pub(super) call: String,
    /// Another published agent.
    pub(super) other: String,
    /// Its run.
    pub(super) other_run: String,
    /// An agent that is not published.
    pub(super) draft: String,
    /// An agent that was deleted.
    pub(super) gone: String,
    /// A key.
    pub(super) key: String,
    /// A session.
    pub(super) session: String,
}

impl Space {
    /// The id of what it has of a kind.
    pub(super) fn id(&self, names: Names) -> String {
        match names {
            Names::Agent => self.agent.clone(),
            Names::Run => self.run.clone(),
            Names::Key => self.key.clone(),
            Names::Project => self.project.clone(),
            Names::Organisation => self.organisation.clone(),
            Names::Call => self.call.clone(),
            Names::Label => self.canary(""),
        }
    }

    /// The word that stands in everything of a kind: `draft`, `other`, `key`, or empty for the
    /// rest.
    pub(super) fn canary(&self, kind: &str) -> String {
        format!("canary-{kind}-of-{}", self.name)
    }

    /// Fills the space with its admin's key.
    pub(super) async fn furnished(mut self, app: &App) -> Self {
        let caller = app.client(Door::Rest, &self.admin);
        // Furnished once more, its new runs wait for none that were there before.
        let again = !self.run.is_empty();
        let running = async |word: String| a_running_agent(&caller, &word, again).await;
        (self.agent, self.run, self.call) = running(self.canary("")).await;
        (self.other, self.other_run, _) = running(self.canary("other")).await;
        self.draft = an_agent(&caller, &self.canary("draft")).await;
        self.gone = an_agent(&caller, &self.canary("gone")).await;
        ok(&caller, "AgentsService/DeleteAgent", json!({"id": self.gone})).await;
        let word = self.canary("key");
        let key = json!({"name": word, "metadata": {"canary": word}});
        self.key = text(&ok(&caller, "KeysService/CreateKey", key).await, "id");
        self.session = text(&ok(&caller, "AuthService/CreateToken", json!({})).await, "id");
        self
    }
}

/// A published agent of this word, its waiting run, and the call that it waits for.
async fn a_running_agent(caller: &Client, word: &str, again: bool) -> (String, String, String) {
    let agent = an_agent(caller, word).await;
    ok(caller, "AgentsService/PublishAgent", json!({ "id": agent })).await;
    let session = if again { format!("{word} {agent}") } else { word.to_owned() };
    let run = json!({"agent_id": agent, "input": word, "session_id": session,
        "wait": 30,
        "metadata": {"canary": word}});
    let run = ok(caller, "RunsService/CreateRun", run).await;
    assert_eq!(run["status"], "requires_action", "{run}");
    (agent, text(&run, "id"), text(&run["required_action"]["tool_calls"][0], "id"))
}

async fn an_agent(caller: &Client, word: &str) -> String {
    let agent = ok(caller, "AgentsService/CreateAgent", json!({"agent": definition(word)})).await;
    text(&agent, "id")
}

fn definition(word: &str) -> Value {
    json!({
        "name": word, "description": word, "instructions": word, "model": "sim",
        "tools": [{"name": "ask", "description": word, "client": {}}],
        "metadata": {"canary": word},
        "sim": {"turns": [
            {"when": "turn == 0", "tool_calls": [{"name": "ask", "arguments": {"about": word}}]},
            {"text": word},
        ]},
    })
}
