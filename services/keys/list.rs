//! Gets one key, or a page of them; never a secret.

use super::{Keys, convert};
use crate::kernel::page::Asked;
use crate::kernel::{Caller, Result};
use crate::messages;
use crate::proto::runplane::v1 as pb;
use crate::store;

pub(super) async fn get(keys: &Keys, caller: &Caller, id: &str) -> Result<pb::Key> {
    let row = store::keys::get(keys.store.read(), caller.scope, convert::id(id)?).await?;
    convert::key(row, None)
}

pub(super) async fn list(
    keys: &Keys,
    caller: &Caller,
    request: pb::ListKeysRequest,
) -> Result<pb::ListKeysResponse> {
    let list = keys.cursors.list("keys", caller.scope, &[]);
    let order = messages::order(request.order)?;
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::keys::list(keys.store.read(), caller.scope, &page).await?;
    let paged = rows.try_map(|row| convert::key(row, None))?;
    Ok(pb::ListKeysResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: messages::pagination(&page, &paged),
        data: paged.items,
    })
}
