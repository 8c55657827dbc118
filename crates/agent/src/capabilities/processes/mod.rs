//! The machine's processes, as a tech sees and ends them.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(not(target_os = "linux"))]
use portable as platform;

use crate::tunnel::channel::Channel;
use crate::tunnel::requests::{self, Asker};
use gururmm_protocol::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
#[cfg(any(unix, test))]
use gururmm_protocol::tunnel::processes::Priority;
use gururmm_protocol::tunnel::processes::{
    PROCESSES_PER_PART, Process, ProcessAnswer, ProcessKey, ProcessRequest,
};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode};
use platform::Table;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What may be asked for as an interval, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 1_000..=60_000;

/// What is the same for all requests of one channel.
#[derive(Clone)]
struct Desk {
    /// As it was at the last look.
    table: Arc<Mutex<Table>>,
    /// Counts what was asked to be watched: the last is, and no other.
    watched: Arc<watch::Sender<u64>>,
}

/// Answers until the channel ends.
pub async fn run(channel: Channel) -> ChannelEnd {
    let desk = Desk { table: Arc::default(), watched: Arc::new(watch::channel(0).0) };
    requests::serve(channel, move |request, asker| desk.clone().answer(request, asker)).await
}

impl Desk {
    async fn answer(
        self,
        request: ProcessRequest,
        asker: Asker<ProcessAnswer>,
    ) -> Result<ProcessAnswer, ChannelError> {
        match request {
            ProcessRequest::List {} => self.list(&asker).await,
            ProcessRequest::Watch { interval_ms } => self.watch(interval_ms, &asker).await,
            ProcessRequest::Kill { process, tree, force } => {
                tracing::info!(pid = process.pid, tree, force, "a tech ends a process");
                let processes = on_a_thread(move || kill(process, tree, force)).await?;
                Ok(ProcessAnswer::Killed { processes })
            }
            ProcessRequest::SetPriority { process, priority } => {
                tracing::info!(pid = process.pid, ?priority, "a tech changes a process's priority");
                on_a_thread(move || platform::set_priority(process, priority)).await?;
                Ok(ProcessAnswer::Done {})
            }
            ProcessRequest::Unknown => {
                Err(ChannelError::new(ErrorCode::Unsupported, "this agent does not know that"))
            }
        }
    }

    /// Sends one list; what ends it is given back.
    async fn list(&self, asker: &Asker<ProcessAnswer>) -> Result<ProcessAnswer, ChannelError> {
        let table = Arc::clone(&self.table);
        let (mut processes, figures) = on_a_thread(move || {
            // A panic in a look leaves an older look.
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.look().map_err(|error| ChannelError::new(ErrorCode::Failed, error.to_string()))
        })
        .await?;
        processes.iter_mut().for_each(bring_within_limits);
        asker
            .parts(processes, PROCESSES_PER_PART, |processes| ProcessAnswer::Processes { processes })
            .await?;
        Ok(figures)
    }

    async fn watch(
        &self,
        interval_ms: u32,
        asker: &Asker<ProcessAnswer>,
    ) -> Result<ProcessAnswer, ChannelError> {
        let mut newest = self.watched.subscribe();
        self.watched.send_modify(|count| *count += 1);
        newest.mark_unchanged();
        if interval_ms == 0 {
            return Ok(ProcessAnswer::Done {});
        }
        let interval_ms = interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
        let mut interval = tokio::time::interval(Duration::from_millis(interval_ms.into()));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = newest.changed() => return Ok(ProcessAnswer::Done {}),
                _ = interval.tick() => {}
            }
            let figures = self.list(asker).await?;
            asker.part(figures).await?;
        }
    }
}

fn bring_within_limits(process: &mut Process) {
    clean(&mut process.name, MAX_NAME_CHARS);
    clean_optional(&mut process.user, MAX_NAME_CHARS);
    clean_optional(&mut process.command_line, MAX_TEXT_CHARS);
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ChannelError> + Send + 'static,
) -> Result<T, ChannelError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ChannelError::new(ErrorCode::Failed, "the agent could not do it")))
}

/// A process and whose child it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    key: ProcessKey,
    parent: Option<u32>,
}

/// Says how many were ended, or asked to end.
fn kill(process: ProcessKey, tree: bool, force: bool) -> Result<u32, ChannelError> {
    let all = platform::nodes().map_err(|error| failed(&error))?;
    if !all.iter().any(|node| node.key == process) {
        return Err(gone());
    }
    let doomed = if tree { descendants(&all, process) } else { vec![process] };
    let own = std::process::id();
    if doomed.iter().any(|doomed| doomed.pid == own) {
        let detail = "that is this agent: its service can be stopped, or the agent removed";
        return Err(ChannelError::new(ErrorCode::Invalid, detail));
    }
    platform::end(process, force)?;
    let others = doomed.iter().filter(|doomed| **doomed != process);
    let ended = others.filter(|doomed| platform::end(**doomed, force).is_ok()).count();
    Ok(u32::try_from(ended).unwrap_or(u32::MAX).saturating_add(1))
}

/// The process and all that stem from it. A number that was given again later makes nobody a child.
fn descendants(all: &[Node], first: ProcessKey) -> Vec<ProcessKey> {
    let mut found = vec![first];
    let mut known = HashSet::from([first.pid]);
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        for node in all {
            let is_child = node.parent == Some(parent.pid) && node.key.started_ms >= parent.started_ms;
            if is_child && known.insert(node.key.pid) {
                found.push(node.key);
            }
        }
        next += 1;
    }
    found
}

fn gone() -> ChannelError {
    ChannelError::new(ErrorCode::NotFound, "that process has ended")
}

fn failed(error: &io::Error) -> ChannelError {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        _ => ErrorCode::Failed,
    };
    ChannelError::new(code, error.to_string())
}

/// What a nice value is called.
#[cfg(unix)]
fn priority_of(nice: i32) -> Priority {
    match nice {
        15.. => Priority::Lowest,
        5..15 => Priority::Low,
        -4..5 => Priority::Normal,
        -10..-4 => Priority::High,
        ..-10 => Priority::Highest,
    }
}

#[cfg(unix)]
fn nice_of(priority: Priority) -> i32 {
    match priority {
        Priority::Lowest => 19,
        Priority::Low => 10,
        Priority::Normal => 0,
        Priority::High => -5,
        Priority::Highest => -15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(pid: u32, parent: u32, started_ms: i64) -> Node {
        Node { key: ProcessKey { pid, started_ms }, parent: Some(parent) }
    }

    #[test]
    fn a_tree_is_who_stems_from_it_and_no_later_owner_of_a_number() {
        let all = [
            node(1, 0, 1),
            node(20, 1, 50),
            node(21, 20, 60),
            // Its parent of that number was another one, long gone.
            node(22, 20, 10),
            node(23, 21, 70),
            node(24, 1, 80),
            // Whoever has such a table has no tree.
            node(20, 23, 90),
        ];
        let pids: Vec<_> = descendants(&all, all[1].key).iter().map(|key| key.pid).collect();
        assert_eq!(pids, [20, 21, 23]);
    }

    #[cfg(unix)]
    #[test]
    fn what_was_set_is_listed() {
        use Priority::{High, Highest, Low, Lowest, Normal};
        for priority in [Lowest, Low, Normal, High, Highest] {
            assert_eq!(priority_of(nice_of(priority)), priority);
        }
    }

    #[test]
    fn the_list_has_this_process_and_its_share_from_the_second_look_on() {
        let mut table = Table::default();
        let own = std::process::id();
        let mut find = || {
            let (processes, figures) = table.look().unwrap();
            let own = processes.into_iter().find(|process| process.key.pid == own).unwrap();
            (own, figures)
        };
        let (first, _) = find();
        assert_eq!(first.cpu_percent, None);
        assert!(first.memory_bytes > 100_000 && !first.name.is_empty(), "{first:?}");
        let (second, figures) = find();
        assert_eq!(second.key, first.key);
        assert!(second.cpu_percent.is_some(), "{second:?}");
        let ProcessAnswer::Figures { processes, memory_used_bytes, memory_bytes, .. } = figures else {
            panic!("{figures:?}")
        };
        assert!(processes > 1 && memory_used_bytes > 0 && memory_used_bytes < memory_bytes, "{figures:?}");
        assert!(platform::nodes().unwrap().iter().any(|node| node.key == first.key));
    }

    #[test]
    fn nobody_else_is_ended_under_a_number_that_was_given_again() {
        let own = platform::nodes().unwrap().into_iter().find(|node| node.key.pid == std::process::id());
        let own = own.unwrap().key;
        let other = ProcessKey { started_ms: own.started_ms - 1, ..own };
        assert_eq!(kill(other, false, true).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(platform::end(other, true).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(platform::set_priority(other, Priority::Low).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(kill(own, false, true).unwrap_err().code, ErrorCode::Invalid, "it is the agent");
    }
}
