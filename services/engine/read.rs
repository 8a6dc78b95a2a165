//! Reads of a run's log: a page of events, and the messages in it. Called by the services.

use uuid::Uuid;

use super::Engine;
use super::events::Event;
use crate::cache::Durable;
use crate::kernel::{Result, Scope};
use crate::store::{events, moves, runs};

/// A page of a run's log.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// Durable events, oldest first.
    pub events: Vec<Event>,
    /// True when the log has more now.
    pub has_more: bool,
}

impl Engine {
    /// Durable events after `after`, at most `limit`.
    ///
    /// # Errors
    /// `run_not_found`.
    pub async fn events_page(
        &self,
        scope: Scope,
        run_id: Uuid,
        after: i64,
        limit: u32,
    ) -> Result<EventPage> {
        let conn = self.store().read();
        moves::place(conn, scope, run_id).await?.ok_or_else(|| runs::not_found(run_id))?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rows = events::after(conn, run_id, after, u64::from(limit) + 1).await?;
        let has_more = rows.len() > most;
        rows.truncate(most);
        let events = rows.into_iter().map(|row| Durable::from(row).into()).collect();
        Ok(EventPage { events, has_more })
    }

    /// The message thread: data of every `step` event as JSON text, oldest first.
    ///
    /// # Errors
    /// `run_not_found`.
    pub async fn messages(&self, scope: Scope, run_id: Uuid) -> Result<Vec<String>> {
        let conn = self.store().read();
        moves::place(conn, scope, run_id).await?.ok_or_else(|| runs::not_found(run_id))?;
        events::of_type(conn, run_id, "step").await
    }
}
