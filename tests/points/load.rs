//! The load that comes to every point: runs that add up what tools say, that ask their caller, that
//! are cancelled, and that wait for a tool that does not answer yet. Each has a caller who makes
//! every call again, with the same key, until it is answered.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::crash::follower::{Follower, Seen};
use crate::crash::tools::Tools;
use crate::harness::process::Api;

/// Longest time for one run, with all that happens to the program meanwhile.
const LONG: Duration = Duration::from_secs(60);

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks two tools one after the other, then two at once, and speaks between.
    Adds,
    /// Asks its caller.
    Asks,
    /// Asks a tool that does not answer, and is cancelled.
    Stops,
    /// Asks a tool that does not answer until it is let go.
    Holds,
}

/// How many runs of which kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    pub adds: usize,
    pub asks: usize,
    pub stops: usize,
    pub holds: usize,
    /// The next begins when the one before has ended.
    pub one_by_one: bool,
}

/// A run that has ended.
pub struct Told {
    pub kind: Kind,
    pub seen: Seen,
}

/// What outlives the program: its callers, its tools, and where it is now.
pub struct World {
    pub tools: Tools,
    pub api: Api,
    url: watch::Receiver<Option<String>>,
    frames: Arc<watch::Sender<u64>>,
    agents: [String; 3],
}

/// One caller.
struct Story {
    world: Arc<World>,
    kind: Kind,
    /// Its name: the run's input, and what its keys begin with.
    name: String,
}

impl Load {
    fn kinds(self) -> Vec<Kind> {
        let Self { adds, asks, stops, holds, .. } = self;
        let counts =
            [(Kind::Adds, adds), (Kind::Asks, asks), (Kind::Stops, stops), (Kind::Holds, holds)];
        counts.into_iter().flat_map(|(kind, count)| vec![kind; count]).collect()
    }
}

impl World {
    /// Makes the agents on a program that serves.
    pub async fn new(api: &Api, url: watch::Receiver<Option<String>>) -> Arc<Self> {
        let tools = Tools::start().await;
        let agents = [
            api.agent(&adder(&tools)).await,
            api.agent(&asker()).await,
            api.agent(&holder(&tools)).await,
        ];
        let frames = Arc::new(watch::Sender::new(0));
        Arc::new(Self { tools, api: api.clone(), url, frames, agents })
    }

    /// Begins the load; what is left of it when all have ended.
    pub fn begin(self: &Arc<Self>, load: Load) -> impl Future<Output = Vec<Told>> + use<> {
        let mut stories = JoinSet::new();
        let all = load.kinds().into_iter().enumerate().map(|(n, kind)| Story {
            world: Arc::clone(self),
            kind,
            // All of one length, so that runs of one kind use as much as each other.
            name: format!("run-{n:02}"),
        });
        if load.one_by_one {
            let all: Vec<Story> = all.collect();
            stories.spawn(async move {
                let mut told = Vec::new();
                for story in all {
                    told.push(story.tell().await);
                }
                told
            });
        } else {
            for story in all {
                stories.spawn(async move { vec![story.tell().await] });
            }
        }
        async move { stories.join_all().await.into_iter().flatten().collect() }
    }

    fn agent(&self, kind: Kind) -> &str {
        match kind {
            Kind::Adds => &self.agents[0],
            Kind::Asks => &self.agents[1],
            Kind::Stops | Kind::Holds => &self.agents[2],
        }
    }

    /// The caller at wherever the program serves now.
    pub async fn here(&self) -> Api {
        self.elsewhere(None).await
    }

    async fn elsewhere(&self, tried: Option<&str>) -> Api {
        let mut url = self.url.clone();
        let next = url.wait_for(|url| url.is_some() && url.as_deref() != tried);
        let next = timeout(LONG, next).await.expect("it serves again").expect("the test goes on");
        self.api.at(next.as_deref().expect("a URL"))
    }
}

impl Story {
    async fn tell(self) -> Told {
        let body = json!({"agent_id": self.world.agent(self.kind), "input": self.name});
        let (status, run) = self.call(Method::POST, "/v1/runs", Some(("create", &body))).await;
        assert_eq!(status, 202, "{run}");
        let run_id = run["id"].as_str().expect("an id").to_owned();
        let world = Arc::clone(&self.world);
        let (url, frames) = (world.url.clone(), Arc::clone(&world.frames));
        let follower = Follower::start(&world.here().await, &run_id, url, frames);
        match self.kind {
            Kind::Asks => self.answer(&run_id).await,
            Kind::Stops => self.cancel(&run_id).await,
            Kind::Adds | Kind::Holds => {}
        }
        Told { kind: self.kind, seen: follower.end().await }
    }

    async fn answer(&self, run_id: &str) {
        let path = format!("/v1/runs/{run_id}");
        let run = loop {
            let (status, run) = self.call(Method::GET, &format!("{path}?wait=60"), None).await;
            assert_eq!(status, 200, "{run}");
            if run["status"] != "in_progress" && run["status"] != "queued" {
                break run;
            }
        };
        assert_eq!(run["status"], "requires_action", "{run}");
        let call_id = &run["required_action"]["tool_calls"][0]["id"];
        let outputs = json!({"tool_outputs": [{"tool_call_id": call_id, "output": self.name}]});
        let path = format!("{path}/submit_tool_outputs");
        let (status, run) = self.call(Method::POST, &path, Some(("submit", &outputs))).await;
        assert_eq!(status, 200, "{run}");
    }

    async fn cancel(&self, run_id: &str) {
        let world = Arc::clone(&self.world);
        world.tools.until(|sent| sent.iter().any(|sent| sent.run_id == run_id)).await;
        let path = format!("/v1/runs/{run_id}/cancel");
        let (status, run) = self.call(Method::POST, &path, Some(("cancel", &json!({})))).await;
        assert!([200, 202].contains(&status), "{status}: {run}");
        let ended = [json!("cancelling"), json!("cancelled")].contains(&run["status"]);
        assert!(ended, "{run}");
    }

    /// Makes a call until it is answered, a change always with the same key. A broken connection
    /// means that the program is gone; it comes back elsewhere.
    async fn call(
        &self,
        method: Method,
        path: &str,
        change: Option<(&str, &Value)>,
    ) -> (u16, Value) {
        let mut api = self.world.here().await;
        loop {
            let mut request = api.request(method.clone(), path).timeout(LONG);
            if let Some((what, body)) = change {
                let key = format!("{}-{what}", self.name);
                request = request.header("idempotency-key", key).json(body);
            }
            let answered = async {
                let response = request.send().await?;
                Ok::<_, reqwest::Error>((response.status().as_u16(), response.json().await?))
            };
            match answered.await {
                Ok((503, _)) => {}
                Ok(answer) => return answer,
                Err(_) => api = self.world.elsewhere(Some(&api.url)).await,
            }
        }
    }
}

fn adder(tools: &Tools) -> Value {
    let call = |name: &str, n: i32| json!({"name": name, "arguments": {"n": n, "pause_ms": 40}});
    let names = ["one", "two", "left", "right"];
    let tools: Vec<Value> = names.iter().map(|name| tools.tool(name)).collect();
    json!({
        "name": "adder", "model": "sim", "tools": tools,
        "sim": {"turns": [
            {"text": "First I ask one.", "tool_calls": [call("one", 1)]},
            {"text": "It has said {{ result.n }}, so I ask two.", "tool_calls": [call("two", 2)]},
            {"text": "Now left and right.", "tool_calls": [call("left", 4), call("right", 5)]},
            {"text": "{{ input }} has {{ tools.one.n + tools.two.n + tools.left.n \
                + tools.right.n }} in all."}
        ]}
    })
}

fn asker() -> Value {
    json!({
        "name": "asker", "model": "sim",
        "tools": [{"name": "ask", "client": {"deadline_seconds": 600}}],
        "sim": {"turns": [
            {"text": "I ask you.", "tool_calls": [{"name": "ask"}]},
            {"text": "{{ input }} was told {{ result }}."}
        ]}
    })
}

fn holder(tools: &Tools) -> Value {
    json!({
        "name": "holder", "model": "sim", "tools": [tools.tool("held")],
        "sim": {"turns": [
            {"tool_calls": [{"name": "held", "arguments": {"n": 21}}]},
            {"text": "{{ input }} has {{ result.n }}."}
        ]}
    })
}
