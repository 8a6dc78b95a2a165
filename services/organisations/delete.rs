//! Deletes an organisation. Its keys open nothing any more.

use super::{Organisations, convert};
use crate::kernel::call::Changed;
use crate::kernel::ids::{self, Kind};
use crate::kernel::{Caller, Result};
use crate::store;

pub(super) async fn delete(organisations: &Organisations, caller: &Caller, id: &str) -> Result<()> {
    let (id, now) = (convert::id(id)?, organisations.clock.now());
    let changed = organisations.store.change(caller, "delete_organisation", move |tx| {
        Box::pin(async move {
            let name = store::organisations::delete(tx, id, now).await?.name;
            Changed::new(ids::format(Kind::Organisation, id), ()).before(&name)
        })
    });
    changed.await?;
    organisations.forget.all().await;
    Ok(())
}
