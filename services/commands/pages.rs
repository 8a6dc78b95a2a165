//! Lists page by page: `--limit`, `--cursor` and `--all`. Used by the commands that list.

use std::future::Future;

use clap::Args;

use super::exit::Outcome;
use super::output::{self, Form};
use super::table::Table;
use crate::proto::codec::Json;

/// Most items of one page.
const PAGE: i32 = 100;

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub(super) struct Pages {
    /// Most items, 1 to 100.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=100),
        default_value_t = 20)]
    limit: i32,
    /// Where to go on, as the list before has told.
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
    /// All items, page after page.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Pages {
    /// Everything there is.
    pub(super) fn everything() -> Self {
        Self { limit: PAGE, cursor: String::new(), all: true }
    }

    /// Fetches page after page, by most items and cursor, and hands each page's items over. Tells
    /// at the end where to go on.
    pub(super) async fn walk<T, F, Fut>(
        &self,
        fetch: F,
        mut take: impl FnMut(Vec<T>) -> Outcome<()>,
    ) -> Outcome<()>
    where
        F: Fn(i32, String) -> Fut,
        Fut: Future<Output = Outcome<(Vec<T>, Option<String>)>>,
    {
        let limit = if self.all { PAGE } else { self.limit };
        let mut cursor = self.cursor.clone();
        loop {
            let (items, next) = fetch(limit, cursor).await?;
            take(items)?;
            match next {
                Some(next) if self.all => cursor = next,
                Some(next) => {
                    output::notice(&format!("more follow: --cursor {next}"));
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// Shows what is fetched: each item as a row of one table, or as a line of JSON.
    pub(super) async fn show<T: Json, const N: usize, F, Fut>(
        &self,
        form: Form,
        headings: [&str; N],
        fetch: F,
        row: impl Fn(T) -> Outcome<[String; N]>,
    ) -> Outcome<()>
    where
        F: Fn(i32, String) -> Fut,
        Fut: Future<Output = Outcome<(Vec<T>, Option<String>)>>,
    {
        let mut table = Table::new(headings);
        let take = |items: Vec<T>| {
            for item in items {
                match form {
                    Form::Json => output::json(&item)?,
                    Form::Text => table.row(row(item)?),
                }
            }
            Ok(())
        };
        self.walk(fetch, take).await?;
        if form == Form::Text { table.print() } else { Ok(()) }
    }

    /// All items of the pages.
    pub(super) async fn collect<T, F, Fut>(&self, fetch: F) -> Outcome<Vec<T>>
    where
        F: Fn(i32, String) -> Fut,
        Fut: Future<Output = Outcome<(Vec<T>, Option<String>)>>,
    {
        let mut all = Vec::new();
        let take = |items| {
            all.extend(items);
            Ok(())
        };
        self.walk(fetch, take).await?;
        Ok(all)
    }
}
