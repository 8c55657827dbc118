//! Reads `/proc`; signals through pidfds, so that a reused process number is never hit.

mod cgroup;

pub use cgroup::Enclosure;

use super::{MARK, ProcessTree, Severity};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use std::fs::{self, File};
use std::io::{self, Read};

/// Longest environment that is searched; a larger one belongs to no command of ours.
const MAX_ENVIRON_BYTES: u64 = 4 * 1024 * 1024;

pub(super) fn signal(tree: &ProcessTree, severity: Severity) -> io::Result<usize> {
    let signal = match severity {
        Severity::Terminate => Signal::TERM,
        Severity::Kill => Signal::KILL,
    };
    if severity == Severity::Kill {
        cgroup::kill(tree.command_id);
    }
    let members = members(tree)?;
    for member in &members {
        let Some(pid) = i32::try_from(member.pid).ok().and_then(Pid::from_raw) else { continue };
        // Gone already is as good as signalled; so is one we may not signal: the caller counts what is left.
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if Process::read(member.pid).is_some_and(|now| now.start_time == member.start_time) {
            let _ = pidfd_send_signal(&fd, signal);
        }
    }
    Ok(members.len())
}

pub(super) fn count(tree: &ProcessTree) -> io::Result<usize> {
    members(tree).map(|members| members.len())
}

/// When that process began, in ticks since the machine did.
pub fn started(pid: u32) -> Option<u64> {
    Process::read(pid).map(|process| process.start_time)
}

/// Processes of the session that this one leads or led, but those that ended and were not waited for.
pub fn in_session(leader: u32) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let processes = pids.filter_map(Process::read);
    let members = processes.filter(|process| process.session == leader && !process.is_zombie);
    Ok(members.map(|process| process.pid).collect())
}

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
    start_time: u64,
    is_zombie: bool,
}

fn members(tree: &ProcessTree) -> io::Result<Vec<Process>> {
    let own_pid = getpid().as_raw_nonzero().get() as u32;
    let enclosed = cgroup::pids(tree.command_id);
    let mark = format!("{MARK}={}", tree.command_id);
    let mut environ = Vec::new();
    let mut others = Vec::new();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(process) = Process::read(pid) else { continue };
        if pid == own_pid || process.is_zombie {
            continue;
        }
        let is_member = tree.leader == Some(process.group)
            || enclosed.contains(&pid)
            || is_marked(pid, mark.as_bytes(), &mut environ);
        if is_member {
            found.push(process);
        } else {
            others.push(process);
        }
    }
    // A child that cleared its environment is still its parent's child.
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid) {
        others.retain(|process| {
            let is_child = process.parent == parent;
            if is_child {
                found.push(*process);
            }
            !is_child
        });
        next += 1;
    }
    Ok(found)
}

fn is_marked(pid: u32, mark: &[u8], buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return false };
    // A read that fails half way leaves what was read; the process is ending.
    let _ = file.take(MAX_ENVIRON_BYTES).read_to_end(buffer);
    buffer.split(|byte| *byte == 0).any(|variable| variable == mark)
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &stat)
    }

    /// `proc_pid_stat(5)`: fields 3 (state), 4 (ppid), 5 (pgrp), 6 (session) and 22 (starttime). The name in field 2 may hold
    /// anything, so the line is cut at its last bracket.
    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let rest = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
        let rest = std::str::from_utf8(rest).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        Some(Self {
            pid,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            session: fields.next()?.parse().ok()?,
            start_time: fields.nth(15)?.parse().ok()?,
            is_zombie: matches!(state, "Z" | "X"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = b"42 (a) b) (c) S 7 40 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2";
        let process = Process::parse(42, stat).unwrap();
        assert_eq!((process.parent, process.group, process.session), (7, 40, 41));
        assert_eq!(process.start_time, 98765);
        assert!(!process.is_zombie);
        assert!(Process::parse(42, b"42 (x").is_none());
    }
}
