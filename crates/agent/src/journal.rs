//! Which commands this machine started, how they ended, and what they printed: on disk, so that nothing is ever
//! started twice and no result is lost.
//!
//! `journal.log` is a list of lines `<digest> <json>`, appended to. A start is on disk before its process exists.
//! Each command's output stands in a spool file of its own, which is also a second witness of the start. Results of
//! commands have their home here and not in the outbox, whose samples may be dropped for want of room.

mod log;
mod spool;
#[cfg(test)]
mod tests;

pub use spool::{SpoolReader, SpoolState, SpoolWriter};

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::CommandId;
use gururmm_protocol::command::{CommandEnd, Outcome};
use log::{Log, Record};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The journal's folder in the state folder.
pub const JOURNAL_DIR: &str = "journal";
/// How long a finished command's id is remembered.
const REMEMBER: TimeDelta = TimeDelta::days(7);
/// How many finished ids are remembered at most; the newest stay.
const MAX_FINISHED: usize = 10_000;
/// All spooled output together; beyond it output is counted and dropped.
const MAX_SPOOLED_BYTES: u64 = 512 * 1024 * 1024;
/// How much the log may grow before it is written anew.
const COMPACT_AFTER_BYTES: u64 = 512 * 1024;

/// The journal of one state folder.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    log: Mutex<Log>,
    spooled_bytes: Arc<AtomicU64>,
}

/// What the journal knew when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Commands whose end is known and not acknowledged.
    pub ended: Vec<CommandEnd>,
    /// Commands that were started and have no end: the agent died in between. Each entry is an end with outcome
    /// `interrupted`, to be recorded once the leftover processes are gone.
    pub interrupted: Vec<CommandEnd>,
    /// Finished and acknowledged commands, with the time of that.
    pub finished: HashMap<CommandId, DateTime<Utc>>,
    /// Damaged lines that were set aside.
    pub damaged: usize,
}

impl Journal {
    /// Opens the journal in `dir`, setting aside what is damaged. Fails only when the folder cannot be used.
    pub fn open(dir: &Path) -> io::Result<(Self, Recovered)> {
        let (log, lines) = Log::open(&dir.join("journal.log"))?;
        let mut fold = Fold::default();
        lines.records.into_iter().for_each(|record| fold.add(record));
        let mut recovered = Recovered { damaged: lines.damaged, ..Recovered::default() };
        let spooled_bytes = Arc::new(AtomicU64::new(0));
        fold.add_witnesses(dir)?;
        for (command_id, entry) in &fold.open {
            let measured = spool::measure(&spool_path(dir, *command_id));
            // One output that cannot be read must not keep the machine out of reach: it is lost, and its end says so.
            let is_lost = measured.is_err();
            let spool = measured.unwrap_or_else(|error| {
                tracing::error!(%command_id, %error, "a command's output cannot be read and is lost");
                spool::Measure::default()
            });
            spooled_bytes.fetch_add(spool.file_bytes, Ordering::Relaxed);
            match &entry.end {
                Some(end) => {
                    let mut end = end.clone();
                    if spool.last_seq < end.last_seq {
                        end.last_seq = spool.last_seq;
                        end.truncated = true;
                    }
                    recovered.ended.push(end);
                }
                None => recovered.interrupted.push(CommandEnd {
                    command_id: *command_id,
                    outcome: Outcome::Interrupted,
                    exit_code: None,
                    error: Some("the agent stopped while the command ran".into()),
                    error_code: None,
                    stdout_bytes: spool.stdout_bytes,
                    stderr_bytes: spool.stderr_bytes,
                    truncated: is_lost,
                    last_seq: spool.last_seq,
                    started_at: entry.started_at,
                    ended_at: Utc::now(),
                }),
            }
        }
        let journal = Self { dir: dir.to_owned(), log: Mutex::new(log), spooled_bytes };
        for command_id in fold.finished.keys() {
            journal.remove_spool(*command_id);
        }
        recovered.finished = std::mem::take(&mut fold.finished);
        Ok((journal, recovered))
    }

    /// Records a start; when this returns `Ok` it is on disk. The spool takes the command's output, of which
    /// `output_limit_bytes` are kept.
    pub fn begin(
        &self,
        command_id: CommandId,
        started_at: DateTime<Utc>,
        output_limit_bytes: u64,
    ) -> io::Result<SpoolWriter> {
        let path = spool_path(&self.dir, command_id);
        let spool = SpoolWriter::create(
            &path,
            output_limit_bytes,
            Arc::clone(&self.spooled_bytes),
            MAX_SPOOLED_BYTES,
        )?;
        if let Err(error) = self.append(&Record::Start { command_id, started_at }, Durability::OnDisk) {
            self.remove_spool(command_id);
            return Err(error);
        }
        Ok(spool)
    }

    /// Records an end. It need not be on disk before it is sent: without it the command is `interrupted`, which a
    /// server that stored the end ignores.
    pub fn end(&self, end: &CommandEnd) -> io::Result<()> {
        self.append(&Record::End { end: end.clone() }, Durability::Written)
    }

    /// Reads a command's output.
    pub fn reader(&self, command_id: CommandId) -> SpoolReader {
        SpoolReader::new(spool_path(&self.dir, command_id))
    }

    /// The server has the end for good: keeps only that the command ran.
    pub fn forget(&self, command_id: CommandId, at: DateTime<Utc>) -> io::Result<()> {
        let appended = self.append(&Record::Finished { command_id, at }, Durability::Written);
        // Without the record the spool stays as the witness of the start.
        if appended.is_ok() {
            self.remove_spool(command_id);
        }
        appended
    }

    /// Writes everything that was appended so far to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.log().sync()
    }

    fn append(&self, record: &Record, durability: Durability) -> io::Result<()> {
        let mut log = self.log();
        log.append(record)?;
        if durability == Durability::OnDisk {
            log.sync_or_undo()?;
        }
        if log.grown_bytes() > COMPACT_AFTER_BYTES {
            let compacted = log.rewrite(|records| {
                let mut fold = Fold::default();
                records.into_iter().for_each(|record| fold.add(record));
                fold.into_records()
            });
            if let Err(error) = compacted {
                tracing::warn!(%error, "the journal cannot be written anew and keeps growing");
            }
        }
        Ok(())
    }

    fn remove_spool(&self, command_id: CommandId) {
        let path = spool_path(&self.dir, command_id);
        let bytes = fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or_default();
        if fs::remove_file(&path).is_ok() {
            let subtract = |total: u64| Some(total.saturating_sub(bytes));
            let _ = self.spooled_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        // A panic while it was held leaves a log that is still a list of whole lines.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what need not be remembered any longer at `now`, the server's time.
pub fn prune_finished(finished: &mut HashMap<CommandId, DateTime<Utc>>, now: DateTime<Utc>) {
    finished.retain(|_, at| now.signed_duration_since(*at) < REMEMBER);
    if finished.len() > MAX_FINISHED {
        let mut times: Vec<_> = finished.values().copied().collect();
        let cut = times.len() - MAX_FINISHED;
        let (_, oldest_kept, _) = times.select_nth_unstable(cut);
        let oldest_kept = *oldest_kept;
        finished.retain(|_, at| *at >= oldest_kept);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Survives the agent.
    Written,
    /// Survives a power cut.
    OnDisk,
}

#[derive(Debug, Default)]
struct Entry {
    started_at: Option<DateTime<Utc>>,
    end: Option<CommandEnd>,
}

/// The log's lines brought together.
#[derive(Debug, Default)]
struct Fold {
    open: BTreeMap<CommandId, Entry>,
    finished: HashMap<CommandId, DateTime<Utc>>,
}

impl Fold {
    fn add(&mut self, record: Record) {
        match record {
            Record::Start { command_id, started_at } => {
                if !self.finished.contains_key(&command_id) {
                    self.open.entry(command_id).or_default().started_at = Some(started_at);
                }
            }
            Record::End { end } => {
                let command_id = end.command_id;
                if !self.finished.contains_key(&command_id) {
                    self.open.entry(command_id).or_default().end = Some(end);
                }
            }
            Record::Finished { command_id, at } => {
                self.open.remove(&command_id);
                self.finished.insert(command_id, at);
            }
        }
    }

    /// A spool without a line: the start's line is damaged, but the command was about to run.
    fn add_witnesses(&mut self, dir: &Path) -> io::Result<()> {
        for file in fs::read_dir(dir)? {
            let name = file?.file_name();
            let command_id =
                name.to_str().and_then(|name| name.strip_suffix(".out")).and_then(|id| id.parse().ok());
            if let Some(command_id) = command_id
                && !self.finished.contains_key(&command_id)
            {
                self.open.entry(command_id).or_default();
            }
        }
        Ok(())
    }

    fn into_records(mut self) -> Vec<Record> {
        // Only the count is bounded here: how old an entry is, is known when the server told the time.
        prune_finished(&mut self.finished, DateTime::<Utc>::MIN_UTC);
        let finished = self.finished.into_iter().map(|(command_id, at)| Record::Finished { command_id, at });
        let open = self.open.into_iter().flat_map(|(command_id, entry)| {
            let start = entry.started_at.map(|started_at| Record::Start { command_id, started_at });
            start.into_iter().chain(entry.end.map(|end| Record::End { end }))
        });
        finished.chain(open).collect()
    }
}

fn spool_path(dir: &Path, command_id: CommandId) -> PathBuf {
    dir.join(format!("{command_id}.out"))
}
