//! What questions are asked on that change nothing, whichever database it is. Made by the store;
//! on SQLite it refuses to write.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use sea_orm_migration::async_trait::async_trait;

use super::sqlite::Readers;

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
        match &self.0 {
            Kind::Sqlite(readers) => readers.query_one_raw(statement).await,
            Kind::Postgres(pool) => pool.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite(readers) => readers.query_all_raw(statement).await,
            Kind::Postgres(pool) => pool.query_all_raw(statement).await,
        }
    }
}
