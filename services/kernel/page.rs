//! Pages of lists: what a caller asks for, where a page goes on, and the opaque cursors that say
//! so. Called by every service that lists; the questions of the store take a [`Page`] and answer a
//! [`Paged`]. Never knows what is listed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::caller::Scope;
use super::error::{Error, Reason, Result};

/// Rows on a page when the caller does not say.
pub const LIMIT_DEFAULT: u32 = 20;
/// Most rows on a page.
pub const LIMIT_MAX: u32 = 100;
/// Last page of offset paging; whoever needs more follows the cursor, which costs the same at any
/// depth.
pub const PAGE_MAX: u32 = 100_000;

const AT_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Order of a list, by time of creation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    #[default]
    Desc,
}

/// What a request says about its page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Most rows.
    pub limit: Option<i32>,
    /// `next_cursor` of the page before; empty: none.
    pub cursor: &'a str,
    /// Number of the page, from 1: asks for offset paging.
    pub page: Option<i32>,
    /// Order.
    pub order: Order,
}

/// Where a row stands in its list: what the list is ordered by, and the id that settles ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Time of creation in microseconds, or a version's number.
    pub at: i64,
    /// Id.
    pub id: Uuid,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// After the row with this key; `None`: at the first.
    Cursor(Option<Key>),
    /// At the page with this number, from 1.
    Offset(u32),
}

/// One page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Most rows, 1 to 100.
    pub limit: u32,
    /// Order.
    pub order: Order,
    /// Where it begins.
    pub position: Position,
}

/// The rows of a page.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The rows.
    pub items: Vec<T>,
    /// True when more follow.
    pub has_more: bool,
    /// Key of the last row, when more follow and the page was not asked for by its number.
    pub next: Option<Key>,
    /// Rows of the whole list; only when the page was asked for by its number.
    pub total: Option<u64>,
}

/// Makes and reads cursors.
#[derive(Clone)]
pub struct Cursors {
    mac: Hmac<Sha256>,
}

/// The cursors of one list: of one owner, with the same filters, in the same order.
pub struct List {
    mac: Hmac<Sha256>,
}

impl Page {
    /// The first page, with the default limit, newest first.
    #[must_use]
    pub fn first() -> Self {
        let position = Position::Cursor(None);
        Self { limit: LIMIT_DEFAULT, order: Order::Desc, position }
    }

    /// How many rows go before the page in offset paging.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self.position {
            Position::Offset(number) => u64::from(number - 1) * u64::from(self.limit),
            Position::Cursor(_) => 0,
        }
    }
}

impl<T> Paged<T> {
    /// The page of these rows: one more than the limit when more follow.
    #[must_use]
    pub fn of(page: &Page, mut items: Vec<T>, key: impl Fn(&T) -> Key) -> Self {
        let limit = page.limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let by_cursor = matches!(page.position, Position::Cursor(_));
        let next = items.last().filter(|_| has_more && by_cursor).map(key);
        Self { items, has_more, next, total: None }
    }

    /// The same page with other rows.
    ///
    /// # Errors
    /// Those of `turn`.
    pub fn try_map<U>(self, turn: impl FnMut(T) -> Result<U>) -> Result<Paged<U>> {
        let items = self.items.into_iter().map(turn).collect::<Result<Vec<U>>>()?;
        Ok(Paged { items, has_more: self.has_more, next: self.next, total: self.total })
    }

    /// Number, limit, rows and pages of offset paging; only when the page was asked for by its
    /// number.
    #[must_use]
    pub fn figures(&self, page: &Page) -> Option<[i32; 4]> {
        let Position::Offset(number) = page.position else { return None };
        let whole = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
        let pages = self.pages(page)?;
        Some([whole(number.into()), whole(page.limit.into()), whole(self.total?), whole(pages)])
    }

    /// Pages of the whole list; only when the page was asked for by its number.
    #[must_use]
    pub fn pages(&self, page: &Page) -> Option<u64> {
        self.total.map(|total| total.div_ceil(u64::from(page.limit)))
    }
}

impl Cursors {
    /// Cursors that are signed with this secret. Servers that share a database share it.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key[..32].copy_from_slice(&Sha256::digest(secret));
        Self { mac: Hmac::new(&key) }
    }

    /// The cursors of the list of this name and owner. `filters` are any bytes that say what the
    /// list leaves out; the order belongs to them.
    #[must_use]
    pub fn list(&self, name: &'static str, scope: Scope, filters: &[u8]) -> List {
        let mut mac = self.mac.clone();
        mac.update(scope.project.as_bytes());
        for part in [scope.environment.as_str().as_bytes(), name.as_bytes(), filters] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        List { mac }
    }
}

impl List {
    /// The page that a request asks for.
    ///
    /// # Errors
    /// `invalid_field` for a limit or number out of bounds, or a number beside a cursor;
    /// `invalid_cursor` for a cursor that is not of this list.
    pub fn page(&self, asked: Asked<'_>) -> Result<Page> {
        let limit = bounded("limit", asked.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
        if asked.page.is_some() && !asked.cursor.is_empty() {
            let message = "page and cursor cannot be given together";
            return Err(Error::field("page", message));
        }
        let position = match asked.page {
            Some(_) => Position::Offset(bounded("page", asked.page, 1, PAGE_MAX)?),
            None if asked.cursor.is_empty() => Position::Cursor(None),
            None => Position::Cursor(Some(self.open(asked.cursor, asked.order)?)),
        };
        Ok(Page { limit, order: asked.order, position })
    }

    /// The cursor that goes on after the rows of this page; `None` at the end.
    #[must_use]
    pub fn next<T>(&self, page: &Page, paged: &Paged<T>) -> Option<String> {
        let key = paged.next?;
        let tag = self.over(key, page.order).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(AT_BYTES + ID_BYTES + TAG_BYTES);
        sealed.extend_from_slice(&key.at.to_be_bytes());
        sealed.extend_from_slice(key.id.as_bytes());
        sealed.extend_from_slice(&tag[..TAG_BYTES]);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(&self, cursor: &str, order: Order) -> Result<Key> {
        let refused = || {
            Error::new(Reason::InvalidCursor, Reason::InvalidCursor.row().example)
                .with("field", "cursor")
        };
        let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let (at, rest) = sealed.split_first_chunk::<AT_BYTES>().ok_or_else(refused)?;
        let (id, tag) = rest.split_first_chunk::<ID_BYTES>().ok_or_else(refused)?;
        if tag.len() != TAG_BYTES {
            return Err(refused());
        }
        let key = Key { at: i64::from_be_bytes(*at), id: Uuid::from_bytes(*id) };
        self.over(key, order).verify_truncated_left(tag).map_err(|_| refused())?;
        Ok(key)
    }

    fn over(&self, key: Key, order: Order) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&[u8::from(order == Order::Asc)]);
        mac.update(&key.at.to_be_bytes());
        mac.update(key.id.as_bytes());
        mac
    }
}

fn bounded(field: &'static str, asked: Option<i32>, default: u32, most: u32) -> Result<u32> {
    let Some(asked) = asked else { return Ok(default) };
    match u32::try_from(asked) {
        Ok(value) if (1..=most).contains(&value) => Ok(value),
        _ => Err(Error::field(field, format!("{field} must be 1 to {most}"))
            .with("limit", most.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Environment;

    const SCOPE: Scope = Scope { project: Uuid::nil(), environment: Environment::Test };
    const KEY: Key = Key { at: -7, id: Uuid::max() };

    fn list() -> List {
        Cursors::new(b"secret").list("runs", SCOPE, b"agent=1")
    }

    fn cursor(list: &List) -> String {
        let paged = Paged { items: vec![()], has_more: true, next: Some(KEY), total: None };
        list.next(&Page::first(), &paged).expect("a cursor")
    }

    fn asked(cursor: &str) -> Asked<'_> {
        Asked { cursor, ..Asked::default() }
    }

    #[test]
    fn a_cursor_leads_back_to_its_row() {
        let page = list().page(asked(&cursor(&list()))).expect("a page");
        assert_eq!(page.position, Position::Cursor(Some(KEY)));
        assert_eq!((page.limit, page.order), (20, Order::Desc));
    }

    #[test]
    fn a_cursor_is_refused_everywhere_but_in_its_own_list() {
        let cursor = cursor(&list());
        let project = Scope { project: Uuid::max(), ..SCOPE };
        let live = Scope { environment: Environment::Live, ..SCOPE };
        let cursors = Cursors::new(b"secret");
        for other in [
            cursors.list("agents", SCOPE, b"agent=1"),
            cursors.list("runs", project, b"agent=1"),
            cursors.list("runs", live, b"agent=1"),
            cursors.list("runs", SCOPE, b"agent=2"),
            cursors.list("runsa", SCOPE, b"gent=1"),
            Cursors::new(b"another").list("runs", SCOPE, b"agent=1"),
        ] {
            let error = other.page(asked(&cursor)).expect_err("not of this list");
            assert_eq!(error.reason, Reason::InvalidCursor);
        }
        let up = Asked { order: Order::Asc, ..asked(&cursor) };
        assert_eq!(list().page(up).expect_err("turned").reason, Reason::InvalidCursor);
    }

    #[test]
    fn a_cursor_that_was_touched_is_refused() {
        let good = cursor(&list());
        let sealed = URL_SAFE_NO_PAD.decode(&good).expect("base64");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = list().page(asked(&URL_SAFE_NO_PAD.encode(bad))).expect_err("touched");
            assert_eq!(error.reason, Reason::InvalidCursor, "bit {bit}");
        }
        let (short, long) = (&good[..good.len() - 4], format!("{good}AAAA"));
        for odd in [short, &long, "x", "=", "\u{e9}", "AAAA", &"A".repeat(10_000)] {
            let error = list().page(asked(odd)).expect_err(odd);
            assert_eq!(error.fact("field"), Some("cursor"));
        }
    }

    #[test]
    fn limits_and_numbers_have_bounds() {
        for (limit, page, field) in [
            (Some(0), None, "limit"),
            (Some(101), None, "limit"),
            (Some(-1), None, "limit"),
            (None, Some(0), "page"),
            (None, Some(100_001), "page"),
            (None, Some(i32::MIN), "page"),
        ] {
            let error = list().page(Asked { limit, page, ..Asked::default() }).expect_err(field);
            assert_eq!((error.reason, error.fact("field")), (Reason::InvalidField, Some(field)));
            assert!(error.message.starts_with(field), "{error}");
        }
        let both = Asked { page: Some(1), ..asked("x") };
        assert_eq!(list().page(both).expect_err("both").fact("field"), Some("page"));
        let page = list().page(Asked { page: Some(3), limit: Some(7), ..Asked::default() });
        assert_eq!(page.expect("a page").offset(), 14);
    }

    #[test]
    fn a_full_page_goes_on_only_when_a_row_is_left() {
        let page = Page { limit: 2, ..Page::first() };
        let key = |n: &i64| Key { at: *n, id: Uuid::nil() };
        let exact = Paged::of(&page, vec![3, 2], key);
        assert_eq!((exact.has_more, exact.next), (false, None));
        let more = Paged::of(&page, vec![3, 2, 1], key);
        assert_eq!((more.items.as_slice(), more.has_more), ([3, 2].as_slice(), true));
        assert_eq!(more.next.map(|key| key.at), Some(2));
    }
}
