//! `runplane audit`: looks after the audit log, beside a server that is stopped or on Postgres.

use clap::Subcommand;

use super::{Common, Outcome, output};
use crate::kernel::config::Config;
use crate::serve::Server;
use crate::upkeep::Checked;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Checks that no line was changed or taken out, and prints the head of the chain. Kept
    /// elsewhere and given as --head later, it shows that the end was not cut off either.
    Verify {
        #[command(flatten)]
        common: Common,
        /// A head that an earlier check has printed, which must still be part of the log.
        #[arg(long, value_name = "SEQ:CHAIN")]
        head: Option<String>,
    },
}

pub(super) async fn run(command: AuditCommand) -> Outcome<()> {
    let AuditCommand::Verify { common, head } = command;
    verify(common.load()?, head).await
}

/// Checks the audit log and tells what is wrong, or how far it goes.
async fn verify(config: Config, head: Option<String>) -> Outcome<()> {
    let server = Server::build(config).await?;
    let upkeep = server.upkeep();
    let checked = upkeep.verify().await;
    let kept = match &head {
        Some(head) => upkeep.has(head).await,
        None => Ok(true),
    };
    server.store.close().await;
    let Checked { lines, head: found, faults } = checked?;
    for fault in &faults {
        output::line(&fault.to_string())?;
    }
    output::line(&format!("{lines} lines; head {found}"))?;
    if !faults.is_empty() {
        return Err("the audit log was changed".into());
    }
    match (kept?, head) {
        (false, Some(head)) => {
            Err(format!("the audit log does not contain the head {head}").into())
        }
        _ => Ok(()),
    }
}
