//! The log file: whole lines, each with a digest of its own; what is damaged is set aside.

use crate::os;
use crate::state::{sync_parent, write_atomic};
use chrono::{DateTime, Utc};
use gururmm_protocol::CommandId;
use gururmm_protocol::command::CommandEnd;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    Start { command_id: CommandId, started_at: DateTime<Utc> },
    End { end: CommandEnd },
    Finished { command_id: CommandId, at: DateTime<Utc> },
}

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Opened anew when it is needed and absent.
    file: Option<File>,
    /// Where the last whole line ends.
    length: u64,
    /// The length at which it was opened or written anew.
    base: u64,
    /// A failed write may have left half a line that could not be cut off.
    is_torn: bool,
}

pub(super) struct Lines {
    pub records: Vec<Record>,
    pub damaged: usize,
}

impl Log {
    /// Opens or makes the log. Damaged lines are copied to `<log>.damaged` and the log is written without them. One that
    /// cannot be read at all is moved to `<log>.unreadable`: what was started and is not over has its spool as a witness.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Lines)> {
        let Read { records, damaged, is_torn } = match read(path) {
            Err(error) if os::is_unreadable(&error) => {
                let aside = path.with_extension("log.unreadable");
                tracing::error!(%error, aside = %aside.display(), "the journal cannot be read; it is set aside");
                fs::rename(path, aside)?;
                Read::default()
            }
            read => read?,
        };
        let file = open_for_append(path)?;
        sync_parent(path)?;
        let length = file.metadata()?.len();
        let mut log = Self { path: path.to_owned(), file: Some(file), length, base: length, is_torn };
        if !damaged.is_empty() {
            let aside = path.with_extension("log.damaged");
            tracing::error!(
                lines = damaged.len(),
                aside = %aside.display(),
                "the journal holds damaged lines; they are set aside"
            );
            // A full disk must not keep the agent from starting: the damage is found again next time.
            if let Err(error) = write_atomic(&aside, &damaged.join(&b'\n')).and_then(|()| log.rewrite(|r| r))
            {
                log.is_torn = true;
                tracing::warn!(%error, "the damaged lines stay in the journal for now");
            }
        }
        Ok((log, Lines { records, damaged: damaged.len() }))
    }

    /// Appends a line; on failure nothing of it counts.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = encode(record)?;
        if self.is_torn {
            line.insert(0, b'\n');
        }
        match self.file().and_then(|file| file.write_all(&line)) {
            Ok(()) => {
                self.length += line.len() as u64;
                self.is_torn = false;
                Ok(())
            }
            Err(error) => {
                self.cut_to(self.length);
                Err(error)
            }
        }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    /// Brings the last line to disk, or takes it back.
    pub(super) fn sync_or_undo(&mut self) -> io::Result<()> {
        let synced = self.sync();
        if synced.is_err() {
            // What of it reached the disk is unknown; half a line would be found damaged.
            self.is_torn = true;
        }
        synced
    }

    pub(super) fn grown_bytes(&self) -> u64 {
        self.length.saturating_sub(self.base)
    }

    /// Replaces the log by what `change` makes of its records.
    pub(super) fn rewrite(&mut self, change: impl FnOnce(Vec<Record>) -> Vec<Record>) -> io::Result<()> {
        let Read { records, .. } = read(&self.path)?;
        let mut bytes = Vec::new();
        for record in change(records) {
            bytes.extend(encode(&record)?);
        }
        // A file that is open cannot be replaced on every system.
        self.file = None;
        write_atomic(&self.path, &bytes)?;
        self.length = bytes.len() as u64;
        self.base = self.length;
        self.is_torn = false;
        Ok(())
    }

    fn cut_to(&mut self, length: u64) {
        self.is_torn = self.file().and_then(|file| file.set_len(length)).is_err();
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(open_for_append(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    os::private_mode(&mut options);
    options.open(path)
}

#[derive(Default)]
struct Read {
    records: Vec<Record>,
    damaged: Vec<Vec<u8>>,
    /// Whether the last line lacks its end, so that the next one must not follow it directly.
    is_torn: bool,
}

fn read(path: &Path) -> io::Result<Read> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    let mut damaged = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match decode(line) {
            Some(record) => records.push(record),
            None => damaged.push(line.to_vec()),
        }
    }
    Ok(Read { records, damaged, is_torn: bytes.last().is_some_and(|byte| *byte != b'\n') })
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = digest(&json).into_bytes();
    line.push(b' ');
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

fn decode(line: &[u8]) -> Option<Record> {
    let (told, json) = line.split_at_checked(DIGEST_CHARS)?;
    let json = json.strip_prefix(b" ")?;
    if digest(json).as_bytes() != told {
        return None;
    }
    serde_json::from_slice(json).ok()
}

const DIGEST_CHARS: usize = 16;

/// The first half of a line's SHA-256, in hex: against damage, not against people.
fn digest(json: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, json);
    digest.as_ref().iter().take(DIGEST_CHARS / 2).map(|byte| format!("{byte:02x}")).collect()
}
