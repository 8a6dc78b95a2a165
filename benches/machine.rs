//! The machine: which core who runs on, how much CPU a process has used, and what it all ran on.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Outcome;

/// Core of the servers.
pub(super) const SERVER_CORE: usize = 0;

/// Core of the load.
pub(super) const LOAD_CORE: usize = 1;

/// Binds a process to a core, where there are two and `taskset` is installed; else it runs
/// anywhere.
pub(super) fn pin(core: usize, process: u32) {
    if cores() < 2 {
        return;
    }
    let _best_effort = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &process.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// The words before a command that start it on a core, where `pin` would bind it.
pub(super) fn on_core(core: usize) -> Vec<String> {
    let installed = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    if cores() < 2 || installed.is_err() {
        return Vec::new();
    }
    ["taskset", "-c", &core.to_string()].map(str::to_owned).to_vec()
}

/// Linux tells the CPU time of a whole process in hundredths of a second, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that processes have used, their own and the kernel's for them.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    /// Of each living thread, to the nanosecond.
    threads: BTreeMap<String, Duration>,
    /// Of all threads that ever were, in ticks.
    ticks: Duration,
}

impl Cpu {
    /// Adds what a process has used.
    pub(super) fn add(&mut self, process: u32) -> Outcome<()> {
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?;
            let text = fs::read_to_string(thread.path().join("schedstat"))?;
            let ran = text.split(' ').next().and_then(|ran| ran.parse().ok());
            let ran = Duration::from_nanos(ran.ok_or("an odd schedstat")?);
            self.threads.insert(thread.file_name().to_string_lossy().into_owned(), ran);
        }
        self.ticks += ticks(process)?;
        Ok(())
    }

    /// What was used since `before`: exactly, unless a thread has ended.
    pub(super) fn since(&self, before: &Self) -> Duration {
        if before.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return self.ticks.saturating_sub(before.ticks);
        }
        let all = |cpu: &Self| cpu.threads.values().sum::<Duration>();
        all(self).saturating_sub(all(before))
    }
}

fn ticks(process: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').ok_or("an odd /proc/PID/stat")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u32>().ok());
    match (next(), next()) {
        (Some(user), Some(kernel)) => Ok(TICK * (user + kernel)),
        _ => Err("an odd /proc/PID/stat".into()),
    }
}

/// Memory of a process that is in RAM.
pub(super) fn memory_kib(process: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("an odd /proc/PID/status")?.parse()?)
}

/// Memory of a process that is in RAM, what it shares with others counted in parts.
pub(super) fn share_kib(process: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("an odd /proc/PID/smaps_rollup")?.parse()?)
}

/// What the figures were made on, as a line.
pub(super) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let build =
        if cfg!(debug_assertions) { "debug build, figures mean nothing" } else { "release" };
    format!("{model}, {} cores, load {load} before the start, {build}.\n", cores())
}

fn cores() -> usize {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().filter(|line| line.starts_with("processor")).count()
}
