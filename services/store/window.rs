//! How a page becomes SQL: the rows after a key, in order, one more than asked for. Used by every
//! question that lists.

use sea_orm::sea_query::{Expr, ExprTrait, Func, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DynIden, EntityTrait, Order as Direction, QuerySelect,
    QueryTrait, Select,
};

use crate::kernel::Result;
use crate::kernel::page::{Order, Page, Position};

/// The direction in SQL.
pub(super) fn direction(page: &Page) -> Direction {
    match page.order {
        Order::Asc => Direction::Asc,
        Order::Desc => Direction::Desc,
    }
}

/// The columns that a list is ordered by: its time and its id.
pub(super) type By = [(DynIden, DynIden); 2];

/// Names the columns that a list is ordered by.
pub(super) fn by(at: impl ColumnTrait, id: impl ColumnTrait) -> By {
    [at.as_column_ref(), id.as_column_ref()]
}

/// Narrows a select to the rows of the page and one more, along an index on these columns.
pub(super) fn narrow(select: &mut SelectStatement, page: &Page, [at, id]: By) {
    let row = Expr::tuple([Expr::col(at.clone()), Expr::col(id.clone())]);
    if let Position::Cursor(Some(key)) = page.position {
        let last = Expr::tuple([Expr::val(key.at), Expr::val(key.id)]);
        select.and_where(match page.order {
            Order::Asc => row.gt(last),
            Order::Desc => row.lt(last),
        });
    }
    select
        .order_by(at, direction(page))
        .order_by(id, direction(page))
        .limit(u64::from(page.limit) + 1)
        .offset(page.offset());
}

/// How many rows the whole list has, when the page was asked for by its number.
pub(super) async fn total<E: EntityTrait>(
    conn: &impl ConnectionTrait,
    select: Select<E>,
    page: &Page,
) -> Result<Option<u64>> {
    if !matches!(page.position, Position::Offset(_)) {
        return Ok(None);
    }
    let counting = select.select_only().expr(Func::count(Expr::val(1))).into_query();
    let row = conn.query_one(&counting).await?;
    let count: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
    Ok(Some(count.unsigned_abs()))
}
