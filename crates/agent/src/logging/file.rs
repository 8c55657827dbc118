//! The log's two files: the one that is written, and the one before it.

use crate::os;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub(super) const NEW: &str = "agent.log";
pub(super) const OLD: &str = "agent.log.1";
/// Largest file; there are two.
pub(super) const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Takes lines. Each line is in the file when it is taken, but not on the disk: a power cut may cost some.
#[derive(Debug)]
pub(super) struct LogFile {
    dir: PathBuf,
    file: Option<File>,
    /// Where the last whole line ends.
    length: u64,
    /// Whether half a line stands there that could not be cut off.
    is_torn: bool,
}

impl LogFile {
    /// The file is opened, and made, with its first line.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, file: None, length: 0, is_torn: false }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends a line, in the next file if this one is full. On failure nothing of it counts, and the next line
    /// tries again.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let mut file = self.file.take().map_or_else(|| self.open(), Ok)?;
        if self.length + 1 + line.len() as u64 > MAX_FILE_BYTES {
            match fs::rename(self.dir.join(NEW), self.dir.join(OLD)) {
                // Somebody removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            file = self.open()?;
        }
        let written = if self.is_torn {
            file.write_all(&[b"\n", line.as_bytes()].concat())
        } else {
            file.write_all(line.as_bytes())
        };
        match written {
            Ok(()) => {
                self.length += u64::from(self.is_torn) + line.len() as u64;
                self.is_torn = false;
            }
            // Half a line must not stand before a whole one.
            Err(_) => self.is_torn |= file.set_len(self.length).is_err(),
        }
        self.file = Some(file);
        written
    }

    fn open(&mut self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        os::private_mode(&mut options);
        let mut file = options.open(self.dir.join(NEW))?;
        self.length = file.metadata()?.len();
        // An agent that died may have left half a line.
        let mut last = [b'\n'];
        if self.length > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        self.is_torn = last != *b"\n";
        Ok(file)
    }
}
