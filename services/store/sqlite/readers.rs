//! Connections that read the file. Taken and given back without a look at them: a pool asks each
//! one that it gets back whether it still lives, in a task of its own and at the price of a query,
//! which makes sense over a network. Used by `sqlite/mod.rs` alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, Sqlite};
use sea_orm::{
    ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, SqlxError, Statement, Values,
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::kernel::telemetry::Meters;

/// A few connections, opened when they are first needed.
#[derive(Debug)]
pub(in crate::store) struct Readers {
    options: SqliteConnectOptions,
    most: u32,
    free: Semaphore,
    idle: Mutex<Vec<SqliteConnection>>,
    patience: Duration,
    meters: Meters,
}

/// A connection that is in use; it goes back when this is dropped, unless it is broken.
struct Taken<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Readers {
    /// Opens the first of `most` connections.
    pub(super) async fn open(
        options: SqliteConnectOptions,
        most: u32,
        patience: Duration,
        meters: Meters,
    ) -> Result<Self, SqlxError> {
        let first = options.connect().await?;
        let free = Semaphore::new(usize::try_from(most).unwrap_or(1));
        Ok(Self { options, most, free, idle: Mutex::new(vec![first]), patience, meters })
    }

    /// Waits for the questions under way, and answers no more.
    pub(in crate::store) async fn close(&self) {
        // Fails only when it was closed before.
        let _all = self.free.acquire_many(self.most).await;
        self.free.close();
        let idle = std::mem::take(&mut *self.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "cannot close the database");
            }
        }
    }

    /// True when the file answers.
    pub(in crate::store) async fn is_ready(&self) -> bool {
        let Ok(mut taken) = self.take().await else { return false };
        match taken.connection() {
            Ok(connection) => connection.ping().await.is_ok(),
            Err(_) => false,
        }
    }

    async fn take(&self) -> Result<Taken<'_>, DbErr> {
        let permit = match self.free.try_acquire() {
            Ok(permit) => {
                self.meters.waited(Duration::ZERO);
                permit
            }
            Err(_) => {
                let begun = Instant::now();
                let permit = self.wait().await;
                self.meters.waited(begun.elapsed());
                permit?
            }
        };
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(|error| DbErr::Conn(runtime(error)))?,
        };
        Ok(Taken { readers: self, connection: Some(connection), _permit: permit })
    }

    async fn wait(&self) -> Result<SemaphorePermit<'_>, DbErr> {
        match timeout(self.patience, self.free.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            Err(_) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    fn connection(&mut self) -> Result<&mut SqliteConnection, DbErr> {
        let broken = || DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.connection.as_mut().ok_or_else(broken)
    }

    /// What the database answered; a connection whose thread is gone is not given back.
    fn outcome<T>(&mut self, outcome: Result<T, SqlxError>) -> Result<T, RuntimeErr> {
        if matches!(outcome, Err(SqlxError::WorkerCrashed)) {
            self.connection = None;
        }
        outcome.map_err(runtime)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.lock().push(connection);
        }
    }
}

/// The questions, as `ConnectionTrait` has them.
impl Readers {
    pub(in crate::store) async fn execute_raw(
        &self,
        statement: Statement,
    ) -> Result<ExecResult, DbErr> {
        let mut taken = self.take().await?;
        let done = query(statement).execute(taken.connection()?).await;
        Ok(taken.outcome(done).map_err(DbErr::Exec)?.into())
    }

    pub(in crate::store) async fn execute_unprepared(
        &self,
        sql: &str,
    ) -> Result<ExecResult, DbErr> {
        let mut taken = self.take().await?;
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        let done = sql.execute(taken.connection()?).await;
        Ok(taken.outcome(done).map_err(DbErr::Exec)?.into())
    }

    pub(in crate::store) async fn query_one_raw(
        &self,
        statement: Statement,
    ) -> Result<Option<QueryResult>, DbErr> {
        let mut taken = self.take().await?;
        let row = query(statement).fetch_optional(taken.connection()?).await;
        Ok(taken.outcome(row).map_err(DbErr::Query)?.map(QueryResult::from))
    }

    pub(in crate::store) async fn query_all_raw(
        &self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut taken = self.take().await?;
        let rows: Result<Vec<SqliteRow>, _> = query(statement).fetch_all(taken.connection()?).await;
        let rows = taken.outcome(rows).map_err(DbErr::Query)?;
        Ok(rows.into_iter().map(QueryResult::from).collect())
    }
}

fn query(statement: Statement) -> sqlx::query::Query<'static, Sqlite, SqlxValues> {
    let values = statement.values.unwrap_or_else(|| Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn runtime(error: SqlxError) -> RuntimeErr {
    RuntimeErr::SqlxError(Arc::new(error))
}
