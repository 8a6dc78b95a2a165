//! Deletes a project. Its keys open nothing any more, and its runs end.

use super::{Projects, convert};
use crate::kernel::call::Changed;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Caller, Result};
use crate::store;

pub(super) async fn delete(projects: &Projects, caller: &Caller, id: &str) -> Result<()> {
    let (id, now) = (convert::id(id)?, projects.clock.now());
    let changed = projects.store.change(caller, "delete_project", move |tx| {
        Box::pin(async move {
            let name = store::projects::delete(tx, id, now).await?.name;
            Changed::new(ids::format(Kind::Project, id), ()).before(&name)
        })
    });
    changed.await?;
    projects.forget.all().await;
    projects.store.orphaned();
    Ok(())
}
