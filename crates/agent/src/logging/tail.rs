//! The newest part of a log, read piece by piece.

use super::file::{NEW, OLD};
use super::line::MAX_LINE_BYTES;
use crate::os;
use chrono::{DateTime, Utc};
use gururmm_protocol::limits::MAX_LOG_PART_BYTES;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The log as it was at one moment: lines that are written later do not belong to it, and files that get another name
/// or none stay open.
pub struct Tail {
    reader: BufReader<Box<dyn Read + Send>>,
    total_bytes: u64,
}

impl Tail {
    /// Bytes the log had in all.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The next piece; an empty one is the end.
    pub fn next_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        self.reader.by_ref().take(MAX_LOG_PART_BYTES as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("total_bytes", &self.total_bytes).finish_non_exhaustive()
    }
}

/// The newest whole lines of the log in `dir`, `max_bytes` at most.
pub(super) fn open(dir: &Path, max_bytes: u64) -> io::Result<Tail> {
    let mut files = Vec::new();
    for name in [OLD, NEW] {
        let mut options = OpenOptions::new();
        options.read(true);
        os::private_mode(&mut options);
        match options.open(dir.join(name)) {
            Ok(file) => files.push((file.metadata()?.len(), file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let total_bytes = files.iter().map(|(length, _)| *length).sum::<u64>();
    let first = total_bytes.saturating_sub(max_bytes);
    // With the byte before: it tells whether a line begins here.
    let mut skip = first.saturating_sub(1);
    let mut reader: Box<dyn Read + Send> = Box::new(io::empty());
    for (length, mut file) in files {
        let skipped = skip.min(length);
        skip -= skipped;
        file.seek(SeekFrom::Start(skipped))?;
        reader = Box::new(reader.chain(file.take(length - skipped)));
    }
    let mut reader = BufReader::with_capacity(MAX_LINE_BYTES, reader);
    if first > 0 {
        reader.by_ref().take(MAX_LINE_BYTES as u64 + 1).skip_until(b'\n')?;
    }
    Ok(Tail { reader, total_bytes })
}

/// What a crash report carries of the log in `dir`; whole lines.
pub fn newest(dir: &Path) -> io::Result<Vec<u8>> {
    open(dir, MAX_LOG_PART_BYTES as u64)?.next_piece()
}

/// When the log in `dir` was last written, by the machine's clock.
pub fn last_written(dir: &Path) -> Option<DateTime<Utc>> {
    let modified = fs::metadata(dir.join(NEW)).and_then(|metadata| metadata.modified()).ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    DateTime::from_timestamp(i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())
}
