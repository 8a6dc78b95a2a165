//! What questions are asked on that change nothing, whichever database it is. Made by the store;
//! on SQLite it refuses to write. Each question is a span of whoever asks it.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use sea_orm_migration::async_trait::async_trait;
use tracing::{Instrument, Span};

use super::sqlite::Readers;
use crate::kernel::telemetry::TRACE;

/// Connections that read.
#[derive(Debug)]
pub struct Reader(Kind);

#[derive(Debug)]
enum Kind {
    Sqlite(Box<Readers>),
    Postgres(DatabaseConnection),
}

impl From<Readers> for Reader {
    fn from(readers: Readers) -> Self {
        Self(Kind::Sqlite(Box::new(readers)))
    }
}

impl From<DatabaseConnection> for Reader {
    fn from(pool: DatabaseConnection) -> Self {
        Self(Kind::Postgres(pool))
    }
}

impl Reader {
    /// True when the database answers.
    pub(super) async fn is_ready(&self) -> bool {
        match &self.0 {
            Kind::Sqlite(readers) => readers.is_ready().await,
            Kind::Postgres(pool) => pool.ping().await.is_ok(),
        }
    }

    fn span(&self, statement: &Statement) -> Span {
        let system = match self.0 {
            Kind::Sqlite(_) => "sqlite",
            Kind::Postgres(_) => "postgresql",
        };
        tracing::info_span!(
            target: TRACE,
            "read",
            otel.name = format_args!("read {}", table(&statement.sql)),
            otel.kind = "client",
            db.system.name = system,
            db.operation.name = "SELECT",
            db.collection.name = table(&statement.sql),
        )
    }

    /// Lets go of the database.
    pub(super) async fn close(&self) {
        match &self.0 {
            Kind::Sqlite(readers) => readers.close().await,
            Kind::Postgres(pool) => {
                if let Err(error) = pool.close_by_ref().await {
                    tracing::warn!(%error, "cannot close the database");
                }
            }
        }
    }
}

/// The table that a question asks first.
fn table(sql: &str) -> &str {
    let mut words = sql.split([' ', '\n', '(', ')', ',']).filter(|word| !word.is_empty());
    let _from = words.find(|word| *word == "FROM");
    let table = words.find(|word| *word != "SELECT").unwrap_or("");
    table.trim_matches('"')
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Kind::Sqlite(_) => DbBackend::Sqlite,
            Kind::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(readers) => readers.execute_raw(statement).await,
            Kind::Postgres(pool) => pool.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(readers) => readers.execute_unprepared(sql).await,
            Kind::Postgres(pool) => pool.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let span = self.span(&statement);
        let asking = async {
            match &self.0 {
                Kind::Sqlite(readers) => readers.query_one_raw(statement).await,
                Kind::Postgres(pool) => pool.query_one_raw(statement).await,
            }
        };
        asking.instrument(span).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let span = self.span(&statement);
        let asking = async {
            match &self.0 {
                Kind::Sqlite(readers) => readers.query_all_raw(statement).await,
                Kind::Postgres(pool) => pool.query_all_raw(statement).await,
            }
        };
        asking.instrument(span).await
    }
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_question_is_known_by_its_table() {
        assert_eq!(table("SELECT a, b FROM runs WHERE id = $1"), "runs");
        assert_eq!(table("SELECT \"r\".\"id\" FROM \"run_events\" WHERE"), "run_events");
        assert_eq!(
            table("SELECT EXISTS (SELECT 1\n            FROM run_queue WHERE x)"),
            "run_queue"
        );
        assert_eq!(table("SELECT 1"), "");
    }
}
