//! A peer that runs: a child on the servers' core, with all that it starts itself. Called by
//! `round.rs`; ends what it has started, by the id of its group.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::peer::{Peer, Values, filled};
use crate::Outcome;
use crate::machine::{self, Cpu};

const READY_MAX: Duration = Duration::from_secs(120);
/// Between two looks whether it serves.
const LOOK: Duration = Duration::from_millis(4);
const STOP_MAX: Duration = Duration::from_secs(5);

/// Where things are.
#[derive(Debug)]
pub(super) struct Places {
    /// Where the peers are installed, a folder each.
    pub(super) installed: PathBuf,
    /// The product's program.
    pub(super) runplane: PathBuf,
    /// Base URL of the model.
    pub(super) model: String,
}

/// A running peer.
pub(super) struct Running {
    /// What is put into its requests.
    pub(super) values: Values,
    /// Its address.
    pub(super) address: String,
    /// From its start to its first answer.
    pub(super) cold: Duration,
    process: Child,
    id: u32,
}

impl Running {
    /// Starts it in an empty folder, and waits until it serves.
    pub(super) async fn start(peer: &Peer, places: &Places, scratch: &Path) -> Outcome<Self> {
        fs::create_dir_all(scratch)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut values = values(peer, places);
        values.insert("port", port.to_string());
        let log = scratch.join("log");
        let begun = Instant::now();
        let mut process = command(peer, &values, scratch, &File::create(&log)?)?.spawn()?;
        let id = process.id().ok_or("it has ended")?;
        let address = format!("127.0.0.1:{port}");
        let waited = timeout(READY_MAX, ready(peer, &address, &mut process)).await;
        let cold = begun.elapsed();
        let mut running = Self { values, address, cold, process, id };
        match waited {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(running.failed(&log, &error.to_string()).await),
            Err(_) => return Err(running.failed(&log, "it did not serve in time").await),
        }
        if let Some(before) = &peer.key_after {
            let log = fs::read_to_string(&log)?;
            let key = log.lines().find_map(|line| line.split_once(before.as_str()));
            let (_, key) = key.ok_or("it has printed no key")?;
            running.values.insert("key", key.trim().to_owned());
        }
        if let Some(setup) = &peer.setup {
            let request = setup.ask.request(&running.values, "");
            let answer = Client::new(&running.address).body(&request).await?;
            let answer: serde_json::Value = serde_json::from_slice(&answer)?;
            let value = answer.pointer(&setup.pointer).and_then(|value| value.as_str());
            running.values.insert("setup", value.ok_or("no value in its setup")?.to_owned());
        }
        Ok(running)
    }

    /// CPU time that it and its children have used.
    pub(super) fn cpu(&self) -> Outcome<Cpu> {
        let mut cpu = Cpu::default();
        for process in tree(self.id) {
            // A child may just have ended.
            let _gone = cpu.add(process);
        }
        Ok(cpu)
    }

    /// Memory of it and its children, in KiB; what processes share is counted in parts.
    pub(super) fn memory_kib(&self) -> Outcome<u64> {
        tree(self.id).into_iter().map(machine::share_kib).sum()
    }

    /// Ends it and what it has started.
    pub(super) async fn stop(mut self) -> Outcome<()> {
        self.signal("TERM").await?;
        if timeout(STOP_MAX, self.process.wait()).await.is_err() {
            self.signal("KILL").await?;
            self.process.wait().await?;
        }
        Ok(())
    }

    async fn signal(&self, name: &str) -> Outcome<()> {
        let group = format!("-{}", self.id);
        let mut kill = Command::new("kill");
        kill.args(["-s", name, "--", &group]).stderr(Stdio::null()).status().await?;
        Ok(())
    }

    /// Ends it, and says why with the last of its log.
    async fn failed(self, log: &Path, why: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let _ended = self.stop().await;
        let text = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<_> =
            text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
        format!("{why}: {last}").into()
    }
}

fn values(peer: &Peer, places: &Places) -> Values {
    let text = |path: &Path| path.display().to_string();
    Values::from([
        ("model", places.model.clone()),
        ("folder", text(&peer.folder)),
        ("venv", text(&places.installed.join(peer.name()))),
        ("runplane", text(&places.runplane)),
    ])
}

fn command(peer: &Peer, values: &Values, scratch: &Path, log: &File) -> Outcome<Command> {
    let words: Vec<_> = peer.command.iter().map(|word| filled(word, values)).collect();
    // Before it starts: its threads and children shall not run elsewhere either.
    let on_core = machine::on_core(machine::SERVER_CORE);
    let mut words = on_core.into_iter().chain(words);
    let mut command = Command::new(words.next().ok_or("no command")?);
    command.args(words).current_dir(scratch).process_group(0).kill_on_drop(true);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command.envs(peer.env.iter().map(|(name, value)| (name, filled(value, values))));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    Ok(command)
}

/// Returns when the server answers.
async fn ready(peer: &Peer, address: &str, process: &mut Child) -> Outcome<()> {
    let request = format!("GET {} HTTP/1.1\r\nhost: {address}\r\n\r\n", peer.ready);
    loop {
        if Client::new(address).body(request.as_bytes()).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = process.try_wait()? {
            return Err(format!("it ended with {status}").into());
        }
        sleep(LOOK).await;
    }
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(process) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == process).map(|(child, _)| child));
        at += 1;
    }
    found
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
