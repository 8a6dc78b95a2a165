//! `runplane keys`: those of a server, over gRPC; and `create` from its operator's side, with the
//! database itself. A secret is printed by the command that makes it, and by no other.

mod create;

use clap::Subcommand;
use tonic::transport::Channel;

use super::exit::Outcome;
use super::output::{self, Form};
use super::pages::Pages;
use super::remote::{Remote, RemoteArgs};
use super::table;
use crate::proto::runplane::v1 as pb;
use pb::auth_service_client::AuthServiceClient;
use pb::keys_service_client::KeysServiceClient;

/// What `keys` takes.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Makes a key with the database and prints it once: of the first project, unless another space
    /// is named. With SQLite, while the server is stopped.
    Create(create::CreateArgs),
    /// Lists keys, newest first, revoked ones included.
    List {
        #[command(flatten)]
        remote: RemoteArgs,
        #[command(flatten)]
        pages: Pages,
    },
    /// Shows a key, without its secret.
    Get {
        #[command(flatten)]
        remote: RemoteArgs,
        /// Id of the key.
        id: String,
    },
    /// Revokes a key for ever.
    Revoke {
        #[command(flatten)]
        remote: RemoteArgs,
        /// Id of the key.
        id: String,
    },
    /// Makes a successor of a key and prints its secret once.
    Rotate {
        #[command(flatten)]
        remote: RemoteArgs,
        /// Id of the key.
        id: String,
        /// Seconds for which the old key still works; a day when there is none.
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<i32>,
    },
    /// Shows whose key this is, what it may do and what it has used.
    Me {
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

impl KeysCommand {
    /// True when failures are to be told as JSON.
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Create(_) => false,
            Self::List { remote, .. }
            | Self::Get { remote, .. }
            | Self::Revoke { remote, .. }
            | Self::Rotate { remote, .. }
            | Self::Me { remote } => remote.json,
        }
    }
}

pub(super) async fn run(command: KeysCommand) -> Outcome<()> {
    match command {
        KeysCommand::Create(args) => create::run(args).await,
        KeysCommand::List { remote, pages } => list(&remote.connect()?, pages).await,
        KeysCommand::Get { remote, id } => {
            let remote = remote.connect()?;
            let call = |c, r| async { client(c).get_key(r).await };
            output::message(remote.form, &remote.call(pb::GetKeyRequest { id }, call).await?)
        }
        KeysCommand::Revoke { remote, id } => {
            let remote = remote.connect()?;
            let call = |c, r| async { client(c).revoke_key(r).await };
            output::message(remote.form, &remote.call(pb::RevokeKeyRequest { id }, call).await?)
        }
        KeysCommand::Rotate { remote, id, overlap } => {
            let remote = remote.connect()?;
            let request = pb::RotateKeyRequest { id, overlap_seconds: overlap };
            let call = |c, r| async { client(c).rotate_key(r).await };
            secret(remote.form, &remote.call(request, call).await?)
        }
        KeysCommand::Me { remote } => {
            let remote = remote.connect()?;
            let call = |c, r| async { AuthServiceClient::new(c).get_me(r).await };
            output::message(remote.form, &remote.call(pb::GetMeRequest {}, call).await?)
        }
    }
}

/// The client of a channel.
pub(super) fn client(channel: Channel) -> KeysServiceClient<Channel> {
    KeysServiceClient::new(channel)
}

/// Prints the secret of a key that was made: alone, so that it can go into a file.
fn secret(form: Form, key: &pb::Key) -> Outcome<()> {
    if form == Form::Json {
        return output::json(key);
    }
    output::line(key.secret())?;
    output::notice(&format!("{} ({}) is made; its secret is not shown again", key.id, key.name));
    Ok(())
}

/// A page of keys, and where the next begins.
pub(super) async fn page(
    remote: &Remote,
    order: pb::Order,
    limit: i32,
    cursor: String,
) -> Outcome<(Vec<pb::Key>, Option<String>)> {
    let (limit, order) = (Some(limit), order.into());
    let request = pb::ListKeysRequest { limit, cursor, order, ..Default::default() };
    let call = |c, r| async { client(c).list_keys(r).await };
    let page = remote.call(request, call).await?;
    Ok((page.data, page.next_cursor))
}

async fn list(remote: &Remote, pages: Pages) -> Outcome<()> {
    let fetch = |limit, cursor| page(remote, pb::Order::Desc, limit, cursor);
    let row = |key: pb::Key| {
        let [used, ends, revoked] =
            [key.last_used_at, key.expires_at, key.revoked_at].map(table::at);
        Ok([key.id, key.name, key.prefix, key.scopes.join(" "), used, ends, revoked])
    };
    let headings = ["ID", "NAME", "PREFIX", "SCOPES", "LAST USED", "ENDS", "REVOKED"];
    pages.show(remote.form, headings, fetch, row).await
}
