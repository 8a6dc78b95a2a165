//! A server in a process of its own: started, asked and measured from here. `server.rs` is its
//! other end.

use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::machine::Cpu;
use super::server::Kind;
use super::{Outcome, machine};

/// What a server says when it serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Its address.
    pub(super) address: String,
    /// A key for it; empty where none is needed.
    pub(super) key: String,
    /// Another process that serves with it, whose CPU time counts too.
    #[serde(default)]
    pub(super) beside: Option<u32>,
}

/// A running server. It ends when this is dropped.
pub(super) struct Served {
    /// How to reach it.
    pub(super) ready: Ready,
    process: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Served {
    /// Starts this very program as a server.
    pub(super) async fn start(kind: Kind, folder: &Path) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        Self::run(Command::new(program).args(["serve", kind.name()]).arg(folder)).await
    }

    /// Starts a program that speaks as `server.rs` does.
    pub(super) async fn run(command: &mut Command) -> Outcome<Self> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let questions = process.stdin.take().ok_or("no standard input")?;
        let answers = process.stdout.take().ok_or("no standard output")?;
        let mut answers = BufReader::new(answers).lines();
        let first = answers.next_line().await?.ok_or("the server did not start")?;
        let ready = serde_json::from_str(&first)?;
        machine::pin(machine::SERVER_CORE, process.id().ok_or("the server has ended")?);
        Ok(Self { ready, process, questions, answers })
    }

    /// CPU time that the server has used.
    pub(super) fn cpu(&self) -> Outcome<Cpu> {
        let mut cpu = Cpu::default();
        cpu.add(self.process.id().ok_or("the server has ended")?)?;
        self.ready.beside.map_or(Ok(()), |beside| cpu.add(beside))?;
        Ok(cpu)
    }

    /// Memory of the server that is in RAM.
    pub(super) fn memory_kib(&self) -> Outcome<u64> {
        machine::memory_kib(self.process.id().ok_or("the server has ended")?)
    }

    /// Asks the server for a number, and waits for it.
    pub(super) async fn ask(&mut self, question: &str) -> Outcome<u64> {
        self.questions.write_all(format!("{question}\n").as_bytes()).await?;
        let answer = self.answers.next_line().await?.ok_or("the server has ended")?;
        Ok(answer.parse()?)
    }

    /// Ends the server and waits for it.
    pub(super) async fn stop(mut self) -> Outcome<()> {
        drop(self.questions);
        self.process.wait().await?;
        Ok(())
    }
}
