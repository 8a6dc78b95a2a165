//! Gets one key, or a page of them; never a secret.

use super::{Keys, convert};
use crate::kernel::page::{Asked, Order, Page, Paged};
use crate::kernel::{Caller, Error, Result};
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
    let order = match pb::Order::try_from(request.order) {
        Ok(pb::Order::Asc) => Order::Asc,
        Ok(pb::Order::Desc | pb::Order::Unspecified) => Order::Desc,
        Err(_) => return Err(Error::field("order", "order must be asc or desc")),
    };
    let (limit, cursor) = (request.limit, request.cursor.as_str());
    let page = list.page(Asked { limit, cursor, page: request.page, order })?;
    let rows = store::keys::list(keys.store.read(), caller.scope, &page).await?;
    let paged = rows.try_map(|row| convert::key(row, None))?;
    Ok(pb::ListKeysResponse {
        object: "list".to_owned(),
        has_more: paged.has_more,
        next_cursor: list.next(&page, &paged),
        pagination: pagination(&page, &paged),
        data: paged.items,
    })
}

fn pagination<T>(page: &Page, paged: &Paged<T>) -> Option<pb::Pagination> {
    let [page, limit, total, pages] = paged.figures(page)?;
    Some(pb::Pagination { page, limit, total, pages })
}
