//! Rows for the tests of the store.

use runplane::kernel::page::{Asked, Cursors, Order, Page, Paged};
use runplane::kernel::spec::{AgentSpec, ModelSettings};
use runplane::kernel::{Environment, Result, Scope};
use runplane::store::keys::Key;
use runplane::store::runs::Run;
use runplane::store::{Store, Tx, labels, tables::run};
use sea_orm::{EntityTrait, IntoActiveModel};
use serde_json::{Map, Value};
use uuid::Uuid;

pub fn scope(project: u128, environment: Environment) -> Scope {
    Scope { project: Uuid::from_u128(project), environment }
}

pub const OWNER: Scope = Scope { project: Uuid::from_u128(1), environment: Environment::Test };

pub fn pairs(metadata: &[(&str, &str)]) -> Vec<(String, String)> {
    metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn object(metadata: &[(&str, &str)]) -> Map<String, Value> {
    pairs(metadata).into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

pub fn spec(name: &str, metadata: &[(&str, &str)]) -> AgentSpec {
    AgentSpec {
        name: name.to_owned(),
        description: String::new(),
        instructions: String::new(),
        model: "sim".to_owned(),
        model_settings: ModelSettings::default(),
        sim: None,
        parameters: Vec::new(),
        tools: Vec::new(),
        max_steps: 50,
        timeout_seconds: 3600,
        metadata: object(metadata),
    }
}

pub fn key(n: u128, created_at: i64) -> Key {
    Key {
        id: Uuid::from_u128(n),
        project_id: Uuid::nil(),
        environment: String::new(),
        key_id: format!("public{n}"),
        mac: vec![u8::try_from(n % 256).expect("a byte"); 32],
        pepper_id: "p1".to_owned(),
        name: format!("key {n}"),
        scopes: r#"["run"]"#.to_owned(),
        metadata: "{}".to_owned(),
        created_by: None,
        created_at,
        expires_at: None,
        revoked_at: None,
        replaced_by: None,
        last_used_at: None,
        organisation_id: None,
        level: "project".to_owned(),
        limits: "{}".to_owned(),
        parent_id: None,
    }
}

pub fn run(scope: Scope, n: u128, created_at: i64) -> Run {
    Run {
        id: Uuid::from_u128(n),
        project_id: scope.project,
        environment: scope.environment.as_str().to_owned(),
        agent_id: Uuid::from_u128(7),
        agent_version: 1,
        session_id: None,
        key_id: None,
        status: "queued".to_owned(),
        input: Some("\"hi\"".to_owned()),
        parameters: "{}".to_owned(),
        output: None,
        error_code: None,
        error_message: None,
        required_action: None,
        input_tokens: 0,
        output_tokens: 0,
        model_calls: 0,
        tool_calls: 0,
        metadata: "{}".to_owned(),
        incomplete_reason: None,
        attempt: 0,
        created_at,
        started_at: None,
        completed_at: None,
        expires_at: None,
        last_seq: 0,
        revision: 0,
    }
}

/// Keeps a run with its labels, as the engine does.
pub async fn insert_run(tx: &Tx, scope: Scope, run: Run) -> Result<()> {
    let metadata: Map<String, Value> = serde_json::from_str(&run.metadata).expect("an object");
    labels::add_run(tx, scope, (run.id, run.created_at), &metadata).await?;
    run::Entity::insert(run.into_active_model()).exec_without_returning(tx).await?;
    Ok(())
}

/// Keeps runs of one owner.
pub async fn insert_runs(store: &Store, scope: Scope, runs: Vec<Run>) {
    store
        .tx("runs", move |tx| {
            let runs = runs.clone();
            Box::pin(async move {
                for run in runs {
                    insert_run(tx, scope, run).await?;
                }
                Ok(())
            })
        })
        .await
        .expect("inserted");
}

pub fn first(limit: u32, order: Order) -> Page {
    Page { limit, order, ..Page::first() }
}

/// Walks a list to its end by its cursors, as a caller does, and gives the rows of all pages.
pub async fn walk<T, F>(limit: i32, order: Order, mut ask: impl FnMut(Page) -> F) -> Vec<T>
where
    F: Future<Output = Result<Paged<T>>>,
{
    let list = Cursors::new(b"secret").list("list", OWNER, b"");
    let (mut cursor, mut rows) = (String::new(), Vec::new());
    loop {
        let asked = Asked { limit: Some(limit), cursor: &cursor, page: None, order };
        let page = list.page(asked).expect("a page");
        let paged = ask(page).await.expect("rows");
        let next = list.next(&page, &paged);
        assert_eq!(paged.has_more, next.is_some());
        rows.extend(paged.items);
        let Some(next) = next else { return rows };
        cursor = next;
    }
}
