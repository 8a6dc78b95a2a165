//! `runplane keys create`: makes keys from the operator's side, with the database and not with a
//! server.

use clap::{Args, ValueEnum};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::super::output;
use super::super::{Common, Outcome};
use crate::kernel::Environment;
use crate::kernel::caller::{Grant, Level};
use crate::kernel::{grants, ids};
use crate::keys::bootstrap::Opens;
use crate::serve::Server;

/// What `keys create` takes.
#[derive(Debug, Args)]
pub(in crate::commands) struct CreateArgs {
    #[command(flatten)]
    common: Common,
    /// Name of the key.
    #[arg(long, default_value = "operator")]
    name: String,
    /// What the key may do, such as read, run, admin or agents:write; give it more than once
    /// for more than one. Default: admin, of an operator's key operator.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Makes a key of the server's operator, who makes organisations and projects.
    #[arg(long)]
    operator: bool,
    /// Project that the key opens.
    #[arg(long, value_name = "PRJ_ID", value_parser = project, conflicts_with = "operator")]
    project: Option<Uuid>,
    /// Organisation whose published agents the key reaches.
    #[arg(long, value_name = "ORG_ID", value_parser = organisation,
        conflicts_with_all = ["operator", "project"])]
    organisation: Option<Uuid>,
    /// Environment that the key opens.
    #[arg(long, value_enum, default_value_t = EnvironmentArg::Live)]
    environment: EnvironmentArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::commands) enum EnvironmentArg {
    Test,
    Live,
}

pub(super) async fn run(args: CreateArgs) -> Outcome<()> {
    let CreateArgs { common, name, scopes, operator, project, organisation, environment } = args;
    let environment = place(environment);
    let (opens, level) = match (project, organisation) {
        (Some(id), _) => (Opens::Project(id, environment), Level::Project),
        (_, Some(id)) => (Opens::Organisation(id, environment), Level::Organisation),
        _ if operator => (Opens::Operator, Level::Operator),
        _ => (Opens::First(environment), Level::Project),
    };
    let mut grants = scopes.iter().map(|text| grant(text, level)).collect::<Result<Vec<_>, _>>()?;
    if grants.is_empty() {
        grants.push(if operator { Grant::OPERATOR } else { Grant::ADMIN });
    }
    let server = Server::build(common.load()?).await?;
    let secret = server.key_for(opens, &name, &grants).await?;
    let printed = output::line(secret.expose_secret());
    server.store.close().await;
    printed
}

fn grant(text: &str, level: Level) -> Result<Grant, String> {
    let known = Grant::parse(text).filter(|grant| grant.fits(level));
    known.ok_or_else(|| format!("--scope {text}: must be one of: {}", grants::choices(level)))
}

fn project(text: &str) -> Result<Uuid, &'static str> {
    ids::parse(ids::Kind::Project, text).ok_or("must be prj_ and 26 characters")
}

fn organisation(text: &str) -> Result<Uuid, &'static str> {
    ids::parse(ids::Kind::Organisation, text).ok_or("must be org_ and 26 characters")
}

fn place(environment: EnvironmentArg) -> Environment {
    match environment {
        EnvironmentArg::Test => Environment::Test,
        EnvironmentArg::Live => Environment::Live,
    }
}
