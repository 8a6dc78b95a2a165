//! The machine: which core who runs on, how much CPU a process has used, and what it all ran on.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Outcome;

/// Core of the servers.
pub(super) const SERVER_CORE: usize = 0;

/// Core of the load.
pub(super) const LOAD_CORE: usize = 1;

/// Linux tells CPU time in hundredths of a second, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Binds this process to a core, where there are two and `taskset` is installed; else it runs
/// anywhere.
pub(super) fn pin(core: usize) {
    if cores() < 2 {
        return;
    }
    let me = std::process::id().to_string();
    let _best_effort = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &me])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// CPU time that a process has used, its own and the kernel's for it.
pub(super) fn cpu(process: u32) -> Outcome<Duration> {
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
