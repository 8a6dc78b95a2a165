//! The one writer of SQLite, with group commit: jobs that wait run one after the other inside one
//! transaction, each undone alone when it fails, and are answered together after the commit. So a
//! slow disk limits commits, not jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::{Tx, Work, guarded};
use super::lock::FileLock;
use crate::kernel::config::StoreConfig;
use crate::kernel::{Error, Reason, Result};

/// The door to the writer's task, which this owns.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    closing: CancellationToken,
    task: TaskTracker,
    commits: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(
        connection: DatabaseConnection,
        lock: FileLock,
        config: &StoreConfig,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.queue_jobs.max(1));
        let (closing, task) = (CancellationToken::new(), TaskTracker::new());
        let commits = Arc::new(AtomicU64::new(0));
        let turn = Turn {
            connection,
            _lock: lock,
            waiting,
            closing: closing.clone(),
            batch_jobs: config.batch_jobs.max(1),
            commits: Arc::clone(&commits),
        };
        task.spawn(turn.run());
        task.close();
        Self { queue, closing, task, commits }
    }

    pub(super) async fn tx<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Queued { name, work, outcome: None, reply };
        self.queue.send(Box::new(job)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.task.wait().await;
    }
}

fn closed() -> Error {
    Error::new(Reason::Unavailable, "the server is shutting down")
}

/// A job of any type.
trait Job: Send {
    /// True when nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Does it, keeps the outcome, and says whether it succeeded.
    fn run<'t>(&'t mut self, tx: &'t Tx) -> BoxFuture<'t, bool>;
    /// Answers with the outcome, or with the failure of the commit that it was part of.
    fn settle(self: Box<Self>, commit: &Result<(), DbErr>);
}

struct Queued<T, F> {
    name: &'static str,
    work: F,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Queued<T, F>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t Tx) -> Work<'t, T> + Send + Sync + 'static,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run<'t>(&'t mut self, tx: &'t Tx) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let outcome = guarded(self.name, &self.work, tx).await;
            let ok = outcome.is_ok();
            self.outcome = Some(outcome);
            ok
        })
    }

    fn settle(self: Box<Self>, commit: &Result<(), DbErr>) {
        let answer = match (self.outcome, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(outcome), Ok(())) => outcome,
            (_, Err(error)) => Err(error.clone().into()),
            (None, Ok(())) => Err(closed()),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(answer);
    }
}

/// The writer's task. The lock on the file goes when it has ended, with everything written.
struct Turn {
    connection: DatabaseConnection,
    _lock: FileLock,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    closing: CancellationToken,
    batch_jobs: usize,
    commits: Arc<AtomicU64>,
}

impl Turn {
    /// Batch after batch, until the store closes and no job waits.
    async fn run(mut self) {
        while let Some(first) = self.next().await {
            self.batch(first).await;
        }
        if let Err(error) = self.connection.close_by_ref().await {
            tracing::warn!(%error, "cannot close the database");
        }
    }

    async fn next(&mut self) -> Option<Box<dyn Job>> {
        if self.closing.is_cancelled() {
            self.waiting.close();
        }
        tokio::select! {
            biased;
            job = self.waiting.recv() => job,
            () = self.closing.cancelled() => {
                self.waiting.close();
                self.waiting.recv().await
            }
        }
    }

    /// One commit. The first job needs no savepoint: when it fails there is nothing else to undo.
    async fn batch(&mut self, mut first: Box<dyn Job>) {
        let tx = match self.begin().await {
            Ok(tx) => tx,
            Err(error) => return first.settle(&Err(error)),
        };
        if first.is_abandoned() || !first.run(&tx).await {
            let undone = tx.rollback().await;
            return first.settle(&undone);
        }
        let mut done = vec![first];
        let filled = self.fill(&tx, &mut done).await;
        let outcome = match filled {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        for job in done {
            job.settle(&outcome);
        }
    }

    /// Does the jobs that wait, and those that come meanwhile, each in a savepoint.
    async fn fill(&mut self, tx: &Tx, done: &mut Vec<Box<dyn Job>>) -> Result<(), DbErr> {
        let mut mark = "SAVEPOINT job";
        while done.len() < self.batch_jobs {
            let Some(mut job) = self.waiting_now().await else { break };
            if job.is_abandoned() {
                continue;
            }
            let marked = tx.execute_unprepared(mark).await;
            let ok = marked.is_ok() && job.run(tx).await;
            done.push(job);
            marked?;
            mark = "RELEASE job; SAVEPOINT job";
            if !ok {
                tx.execute_unprepared("ROLLBACK TO job").await?;
            }
        }
        Ok(())
    }

    /// A job that waits; gives those that are about to ask one chance to do so.
    async fn waiting_now(&mut self) -> Option<Box<dyn Job>> {
        if let Ok(job) = self.waiting.try_recv() {
            return Some(job);
        }
        tokio::task::yield_now().await;
        self.waiting.try_recv().ok()
    }

    async fn begin(&self) -> Result<Tx, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(Tx::new(self.connection.begin_with_options(options).await?))
    }
}
