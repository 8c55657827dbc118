//! Reads the process table by the `sysinfo` library. A process number could be reused between the look and the signal; its
//! start is compared right before. Built here, not run.

use super::{MARK, ProcessTree, Severity};
use gururmm_protocol::CommandId;
use rustix::process::{Pid, Signal, getpid, getsid, kill_process};
use std::collections::HashSet;
use std::io;
use std::process::Command;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};
use tokio::process::Child;

/// What holds a command's processes together; macOS has nothing like it.
#[derive(Debug)]
pub enum Enclosure {}

impl Enclosure {
    /// None here.
    pub fn around(_command_id: CommandId, _command: &mut Command) -> Option<Self> {
        None
    }

    /// Nothing is to be done: there is none.
    pub fn take_in(&self, _child: &Child) -> io::Result<()> {
        match *self {}
    }
}

pub(super) fn signal(tree: &ProcessTree, severity: Severity) -> io::Result<usize> {
    let signal = match severity {
        Severity::Terminate => Signal::TERM,
        Severity::Kill => Signal::KILL,
    };
    let mut system = table()?;
    let members = members(&system, tree);
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&pids(&members)),
        true,
        ProcessRefreshKind::nothing(),
    );
    for (pid, started) in &members {
        let is_same = system.process(*pid).is_some_and(|process| process.start_time() == *started);
        let pid = i32::try_from(pid.as_u32()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| is_same) {
            // Gone already is as good as signalled; so is one we may not signal: the caller counts what is left.
            let _ = kill_process(pid, signal);
        }
    }
    Ok(members.len())
}

pub(super) fn count(tree: &ProcessTree) -> io::Result<usize> {
    Ok(members(&table()?, tree).len())
}

/// When that process began, in seconds since 1970.
pub fn started(pid: u32) -> Option<u64> {
    let pid = sysinfo::Pid::from_u32(pid);
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    system.process(pid).map(|process| process.start_time())
}

/// Processes of the session that this one leads or led.
pub fn in_session(leader: u32) -> io::Result<Vec<u32>> {
    let is_in = |pid: u32| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let session = getsid(Some(pid)).ok()?;
        u32::try_from(session.as_raw_nonzero().get()).ok().filter(|session| *session == leader)
    };
    let system = table()?;
    let alive = system.processes().iter().filter(|(_, process)| process.status() != ProcessStatus::Zombie);
    Ok(alive.map(|(pid, _)| pid.as_u32()).filter(|pid| is_in(*pid).is_some()).collect())
}

fn table() -> io::Result<System> {
    let mut system = System::new().map_err(io::Error::other)?;
    let what = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    Ok(system)
}

fn pids(members: &[(sysinfo::Pid, u64)]) -> Vec<sysinfo::Pid> {
    members.iter().map(|(pid, _)| *pid).collect()
}

/// Those that carry the mark, the first process, and the children of all these, each with its start.
fn members(system: &System, tree: &ProcessTree) -> Vec<(sysinfo::Pid, u64)> {
    let own = getpid().as_raw_nonzero().get() as u32;
    let mark = format!("{MARK}={}", tree.command_id);
    let alive = || {
        let processes = system.processes().iter();
        processes.filter(|(pid, process)| pid.as_u32() != own && process.status() != ProcessStatus::Zombie)
    };
    let is_first = |pid: &sysinfo::Pid| tree.leader == Some(pid.as_u32());
    let mut found: HashSet<sysinfo::Pid> = alive()
        .filter(|(pid, process)| is_first(pid) || process.environ().iter().any(|variable| *variable == *mark))
        .map(|(pid, _)| *pid)
        .collect();
    // A child that cleared its environment is still its parent's child.
    loop {
        let children: Vec<_> = alive()
            .filter(|(pid, process)| {
                !found.contains(*pid) && process.parent().is_some_and(|parent| found.contains(&parent))
            })
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    alive()
        .filter(|(pid, _)| found.contains(*pid))
        .map(|(pid, process)| (*pid, process.start_time()))
        .collect()
}
