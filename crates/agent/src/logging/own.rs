//! The log an agent keeps of itself.

use super::file::LogFile;
use super::tail::{self, Tail};
use super::{LOG_DIR, line};
use crate::state::StateDir;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Lines that are kept until it is known where they belong, in bytes.
const MAX_EARLY_BYTES: usize = 16 * 1024;

/// Takes every line as long as the agent runs. Whatever the disk does, whoever logs is not disturbed: what cannot be
/// written is counted.
#[derive(Debug, Default)]
pub struct OwnLog {
    target: Mutex<Target>,
    lost_lines: AtomicU64,
}

#[derive(Debug)]
enum Target {
    /// The state folder is not opened yet, or another agent's.
    Early(String),
    File(LogFile),
    /// The folder cannot be used.
    None,
}

impl Default for Target {
    fn default() -> Self {
        Self::Early(String::new())
    }
}

impl OwnLog {
    /// From here on the log is kept in `state`, beginning with what was logged before. To be called by the agent that
    /// holds the folder's lock: two never write the same log.
    pub fn keep_in(&self, state: &StateDir) {
        // Not while the log is locked: this may log itself.
        let dir = state.sub_dir(LOG_DIR);
        if let Err(error) = &dir {
            tracing::warn!(%error, "the agent's own log cannot be kept");
        }
        let target = dir.map_or(Target::None, |dir| Target::File(LogFile::new(dir)));
        let mut current = self.lock();
        if let Target::Early(lines) = std::mem::replace(&mut *current, target) {
            lines.split_inclusive('\n').for_each(|line| self.append(&mut current, line));
        }
    }

    /// Its newest bytes, as they are now.
    pub fn tail(&self, max_bytes: u64) -> io::Result<Tail> {
        // The lock keeps the files from changing their names in between.
        match &*self.lock() {
            Target::File(file) => tail::open(file.dir(), max_bytes),
            Target::Early(_) | Target::None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Lines that could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines.load(Ordering::Relaxed)
    }

    /// Writes a line unless that would mean to wait: who panics may hold the log itself.
    pub(crate) fn try_write(&self, text: &str) {
        let mut target = match self.target.try_lock() {
            Ok(target) => target,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.lost_lines.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        self.append(&mut target, &line::of(text));
    }

    fn append(&self, target: &mut Target, line: &str) {
        let is_written = match target {
            Target::Early(lines) if lines.len() + line.len() <= MAX_EARLY_BYTES => {
                lines.push_str(line);
                true
            }
            Target::File(file) => file.append(line).is_ok(),
            Target::Early(_) | Target::None => false,
        };
        if !is_written {
            self.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        // A panic while it was held leaves files of whole lines, or half a line that is found when they are opened.
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `tracing_subscriber` writes each event at once.
impl io::Write for &OwnLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = line::of(&String::from_utf8_lossy(event));
        self.append(&mut self.lock(), &line);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_panics_while_it_holds_the_log_does_not_wait_for_it() {
        let log = OwnLog::default();
        let held = log.lock();
        log.try_write("never");
        assert_eq!(log.lost_lines(), 1);
        drop(held);
        log.try_write("written");
        assert!(matches!(&*log.lock(), Target::Early(lines) if lines == "written\n"));
    }
}
