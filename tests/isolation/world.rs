//! Two organisations with projects, both environments of one, and keys of every level that look at
//! them from one place: Ann's first project, live.

use serde_json::{Value, json};

use super::fields::Names;
use super::spaces::Space;
use super::{ok, text};
use crate::harness::app::App;
use crate::harness::doors::{Client, Door};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The key of a project that may do all.
    Admin,
    /// A session of it.
    Session,
    /// A key that runs what is published.
    Runner,
    /// A key for one agent.
    Narrow,
    /// A key of the organisation.
    Organisation,
    /// A key of the server.
    Operator,
}

/// All of it.
pub(super) struct World {
    /// The server.
    pub(super) app: App,
    /// The place of the callers.
    pub(super) own: Space,
    /// The other environment, another project, another organisation's, and a deleted project.
    pub(super) foreign: Vec<Space>,
    /// A deleted organisation.
    pub(super) no_organisation: String,
    keys: Vec<(Who, String)>,
}

impl Who {
    /// Everybody.
    pub(super) const ALL: [Self; 6] = [
        Self::Admin,
        Self::Session,
        Self::Runner,
        Self::Narrow,
        Self::Organisation,
        Self::Operator,
    ];
}

impl World {
    /// Makes it, over the API.
    pub(super) async fn new() -> Self {
        let app = App::start().await;
        let operator = app.client(Door::Rest, &app.operator);
        let (ann, bob) = (an_organisation(&operator).await, an_organisation(&operator).await);
        let first = a_project(&operator, &ann).await;
        let mut spaces = Vec::new();
        for (name, organisation, project, environment) in [
            ("own", &ann, first.clone(), "live"),
            ("environment", &ann, first, "test"),
            ("project", &ann, a_project(&operator, &ann).await, "live"),
            ("organisation", &bob, a_project(&operator, &bob).await, "live"),
            ("deleted", &ann, a_project(&operator, &ann).await, "live"),
        ] {
            let key = json!({"name": "admin", "scopes": ["admin"], "project_id": project,
                "environment": environment});
            let admin = secret(&ok(&operator, "KeysService/CreateKey", key).await);
            let (name, organisation) = (name.to_owned(), organisation.clone());
            let space = Space { name, organisation, project, admin, ..Space::default() };
            spaces.push(space.furnished(&app).await);
        }
        let own = spaces.remove(0);
        let deleted = json!({"id": spaces[3].project});
        ok(&operator, "ProjectsService/DeleteProject", deleted).await;
        let no_organisation = an_organisation(&operator).await;
        let gone = json!({"id": no_organisation});
        ok(&operator, "OrganisationsService/DeleteOrganisation", gone).await;
        let mut world = Self { app, own, foreign: spaces, no_organisation, keys: Vec::new() };
        world.keys = world.make_keys().await;
        world
    }

    async fn make_keys(&self) -> Vec<(Who, String)> {
        let admin = self.app.client(Door::Rest, &self.own.admin);
        let operator = self.operator();
        let agent = &self.own.agent;
        let narrow = ["agents:read", "agents:write", "runs:create", "runs:read", "runs:write"];
        let narrow = narrow.map(|scope| format!("{scope}:{agent}"));
        let create = "KeysService/CreateKey";
        let runner = ok(&admin, create, json!({"name": "runner", "scopes": ["run"]})).await;
        let narrow = ok(&admin, create, json!({"name": "narrow", "scopes": narrow})).await;
        let wide = json!({"name": "wide", "scopes": ["admin"],
            "organisation_id": self.own.organisation});
        let wide = ok(&operator, create, wide).await;
        let session = ok(&admin, "AuthService/CreateToken", json!({})).await;
        vec![
            (Who::Admin, self.own.admin.clone()),
            (Who::Session, text(&session, "token")),
            (Who::Runner, secret(&runner)),
            (Who::Narrow, secret(&narrow)),
            (Who::Organisation, secret(&wide)),
            (Who::Operator, self.app.operator.clone()),
        ]
    }

    /// A caller.
    pub(super) fn caller(&self, who: Who, door: Door) -> Client {
        let (_, key) = self.keys.iter().find(|(known, _)| *known == who).expect("a key");
        self.app.client(door, key)
    }

    /// The server's operator.
    pub(super) fn operator(&self) -> Client {
        self.app.client(Door::Rest, &self.app.operator)
    }

    /// All spaces.
    pub(super) fn spaces(&self) -> impl Iterator<Item = &Space> {
        std::iter::once(&self.own).chain(&self.foreign)
    }

    /// Ids that there are or were, and that are not the caller's; each with what it is.
    pub(super) fn ids(&self, who: Who, names: Names) -> Vec<(String, String)> {
        let mut ids = Vec::new();
        for space in self.spaces() {
            let own = space.name == "own";
            let reached = own || (who == Who::Organisation && space.name == "project");
            let mut put = |what: &str, id: &str, is_his: bool| {
                if !is_his || who == Who::Operator {
                    ids.push((format!("{what} of {}", space.name), id.to_owned()));
                }
            };
            let wide = reached && who != Who::Narrow;
            match names {
                Names::Agent => {
                    put("agent", &space.agent, reached);
                    put("other agent", &space.other, wide);
                    let sees = [Who::Admin, Who::Session].contains(&who);
                    put("draft", &space.draft, own && sees);
                    put("deleted agent", &space.gone, false);
                }
                Names::Run => {
                    put("run", &space.run, reached);
                    put("other run", &space.other_run, wide);
                }
                Names::Key => {
                    put("key", &space.key, own && who != Who::Organisation);
                    put("session", &space.session, false);
                }
                Names::Call => put("call", &space.call, own),
                Names::Label => put("word", &space.canary(""), reached),
                // The operator's own are all but what is deleted.
                Names::Project if who != Who::Operator || space.name == "deleted" => {
                    put("project", &space.project, false);
                }
                Names::Organisation if who != Who::Operator => {
                    put("organisation", &space.organisation, false);
                }
                Names::Project | Names::Organisation => {}
            }
        }
        if names == Names::Organisation {
            ids.push(("deleted organisation".to_owned(), self.no_organisation.clone()));
        }
        ids
    }

    /// Words that a caller may never hear.
    pub(super) fn canaries(&self, who: Who) -> Vec<String> {
        let mut words = Vec::new();
        for space in self.spaces() {
            let own = space.name == "own";
            let reached = own || (who == Who::Organisation && space.name == "project");
            let sees = |is_his: bool| is_his && who != Who::Operator;
            let all = own && [Who::Admin, Who::Session].contains(&who);
            let may = [
                ("", sees(reached)),
                ("other", sees(reached && who != Who::Narrow)),
                ("draft", all),
                ("gone", false),
                ("key", all),
            ];
            words.extend(may.iter().filter(|(_, may)| !may).map(|(kind, _)| space.canary(kind)));
        }
        words
    }

    /// Fails when an answer holds what the caller may never hear.
    pub(super) fn listen(&self, who: Who, what: &str, answer: &Value) {
        let answer = answer.to_string();
        for word in self.canaries(who) {
            assert!(!answer.contains(&word), "{what}: {who:?} hears {word}: {answer}");
        }
    }
}

/// A new organisation.
pub(super) async fn an_organisation(operator: &Client) -> String {
    let made = ok(operator, "OrganisationsService/CreateOrganisation", json!({"name": "o"}));
    text(&made.await, "id")
}

/// A new project.
pub(super) async fn a_project(operator: &Client, organisation: &str) -> String {
    let project = json!({"name": "p", "organisation_id": organisation});
    text(&ok(operator, "ProjectsService/CreateProject", project).await, "id")
}

/// The secret of a key, just made.
pub(super) fn secret(key: &Value) -> String {
    text(key, "secret")
}
