//! A folder as a tar archive, compressed with gzip, made while it is sent.
//!
//! Links stay links. What could not be read is named in the last member, so that an archive that lacks something says so.

use super::confined::Reach;
use super::fault::{Fault, Result};
use super::folder::{Accounts, Entries, Facts, Folder, of_file};
use super::tree::{MAX_DEPTH, other_volume, too_deep};
use flate2::Compression;
use flate2::write::GzEncoder;
use gururmm_protocol::tunnel::files::EntryKind;
use gururmm_protocol::tunnel::{BULK_WINDOW_BYTES, ErrorCode};
use ring::digest::{Context, Digest, SHA256};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{Builder, EntryType, Header};

/// The last member, where something is missing.
pub(super) const MISSING: &str = "GURURMM-MISSING.txt";
/// Bytes of that at most.
const MAX_MISSING_BYTES: usize = 1024 * 1024;
/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 128 * 1024;
/// Entries, or reads, in one step.
const STEP_ENTRIES: usize = 64;
/// What was sent and is kept for who comes back: nobody can be further behind.
const KEPT_BYTES: usize = BULK_WINDOW_BYTES as usize + 512 * 1024;
const BLOCK: u64 = 512;

/// An archive that is being made.
pub(super) struct Archive {
    reach: Arc<Reach>,
    tar: Option<Builder<GzEncoder<Vec<u8>>>>,
    levels: Vec<Level>,
    file: Option<Member>,
    volume: u64,
    missing: Missing,
    accounts: Accounts,
    digest: Context,
    /// The last bytes of the archive, and the offset of their first.
    kept: VecDeque<u8>,
    kept_from: u64,
}

struct Level {
    path: PathBuf,
    folder: Folder,
    entries: Entries,
}

/// A file whose content is being added.
struct Member {
    path: PathBuf,
    /// Absent: it can be read no further, and zeros fill it up. The header said how much follows.
    file: Option<File>,
    size: u64,
    left: u64,
}

#[derive(Default)]
struct Missing {
    text: String,
    unnamed: u64,
}

impl Missing {
    fn add(&mut self, path: &Path, fault: &Fault) {
        if self.text.len() < MAX_MISSING_BYTES {
            self.text += &format!("{}: {fault}\n", path.display());
        } else {
            self.unnamed += 1;
        }
    }
}

impl Archive {
    /// Of that folder, which is called `name` in it.
    pub fn new(folder: Folder, name: &str, reach: Arc<Reach>) -> Result<Self> {
        let facts = folder.facts()?;
        let compressed = GzEncoder::new(Vec::new(), Compression::fast());
        let mut archive = Self {
            reach,
            tar: Some(Builder::new(compressed)),
            levels: Vec::new(),
            file: None,
            volume: facts.volume(),
            missing: Missing::default(),
            accounts: Accounts::default(),
            digest: Context::new(&SHA256),
            kept: VecDeque::new(),
            kept_from: 0,
        };
        archive.enter(folder, PathBuf::from(name), &facts)?;
        Ok(archive)
    }

    /// Whether bytes from there on can be had.
    pub fn has(&self, at: u64) -> bool {
        (self.kept_from..=self.made()).contains(&at)
    }

    /// Bytes from there on, none at the end; `None`: not yet.
    pub fn read(&mut self, at: u64, most: usize) -> Result<Option<Vec<u8>>> {
        while self.made() == at && self.tar.is_some() {
            if !self.step()? {
                return Ok(None);
            }
        }
        let begin =
            usize::try_from(at.saturating_sub(self.kept_from)).unwrap_or(usize::MAX).min(self.kept.len());
        let end = begin.saturating_add(most).min(self.kept.len());
        Ok(Some(self.kept.range(begin..end).copied().collect()))
    }

    /// Of all that was made.
    pub fn digest(&self) -> Digest {
        self.digest.clone().finish()
    }

    fn made(&self) -> u64 {
        self.kept_from + self.kept.len() as u64
    }

    /// Adds something. Returns whether there is something to send now.
    fn step(&mut self) -> Result<bool> {
        for _ in 0..STEP_ENTRIES {
            if self.file.is_some() {
                self.add_content()?;
            } else if self.levels.is_empty() {
                self.finish()?;
                return Ok(true);
            } else {
                self.add_entry()?;
            }
            if self.take_made() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add_entry(&mut self) -> Result<()> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Some(name) = level.entries.next() else {
            self.levels.pop();
            return Ok(());
        };
        let path = level.path.clone();
        let folder = level.folder.clone();
        let added = match name {
            Ok(name) => {
                self.begin(&folder, &name, path.join(&name)).map_err(|fault| (path.join(name), fault))
            }
            Err(error) => {
                self.levels.pop();
                Err((path, error.into()))
            }
        };
        if let Err((path, fault)) = added {
            self.missing.add(&path, &fault);
        }
        Ok(())
    }

    fn begin(&mut self, folder: &Folder, name: &OsString, path: PathBuf) -> Result<()> {
        let facts = folder.look(name)?;
        match facts.kind {
            EntryKind::Folder => {
                if self.levels.len() >= MAX_DEPTH {
                    return Err(too_deep());
                }
                let folder = folder.open_folder(name)?;
                let facts = folder.facts()?;
                if facts.volume() != self.volume {
                    return Err(other_volume());
                }
                self.enter(folder, path, &facts)
            }
            EntryKind::File => {
                let file = folder.open_file(name)?;
                let facts = of_file(&file)?;
                self.reach.check_content(&facts)?;
                let mut header = self.header(&facts, EntryType::Regular);
                header.set_size(facts.size);
                self.tar()?.append_data(&mut header, &path, io::empty())?;
                self.file = Some(Member { path, file: Some(file), size: facts.size, left: facts.size });
                Ok(())
            }
            EntryKind::Link => {
                let target = folder.read_link(name)?;
                let mut header = self.header(&facts, EntryType::Symlink);
                self.tar()?.append_link(&mut header, &path, &target)?;
                Ok(())
            }
            EntryKind::Other => {
                Err(Fault::new(ErrorCode::Unsupported, "It is a device, a pipe or a socket."))
            }
        }
    }

    fn enter(&mut self, folder: Folder, path: PathBuf, facts: &Facts) -> Result<()> {
        let entries = folder.entries()?;
        let mut header = self.header(facts, EntryType::Directory);
        self.tar()?.append_data(&mut header, &path, io::empty())?;
        self.levels.push(Level { path, folder, entries });
        Ok(())
    }

    fn header(&mut self, facts: &Facts, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mtime(facts.modified.map_or(0, |since| since.as_secs()));
        let usual = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        header.set_mode(facts.mode.unwrap_or(usual));
        let (user, group) = facts.owner.unwrap_or_default();
        header.set_uid(user.into());
        header.set_gid(group.into());
        let (user, group) = self.accounts.names(facts);
        // Only names that are too long are refused; the numbers stay.
        let _ = header.set_username(&user);
        let _ = header.set_groupname(&group);
        header
    }

    /// Adds a bit of the file's content.
    fn add_content(&mut self) -> Result<()> {
        let Some(mut member) = self.file.take() else { return Ok(()) };
        let mut bytes = vec![0; READ_BYTES.min(usize::try_from(member.left).unwrap_or(READ_BYTES))];
        if let Some(file) = member.file.as_mut().filter(|_| member.left > 0) {
            let fault = match file.read(&mut bytes) {
                Ok(0) => Some(Fault::new(ErrorCode::Conflict, "It became shorter while it was read.")),
                Ok(read) => {
                    bytes.truncate(read);
                    None
                }
                Err(error) => Some(error.into()),
            };
            if let Some(fault) = fault {
                self.missing.add(&member.path, &fault.at("zeros stand for its end"));
                member.file = None;
            }
        }
        self.write(&bytes)?;
        member.left -= bytes.len() as u64;
        if member.left == 0 {
            let padding = member.size.next_multiple_of(BLOCK) - member.size;
            return self.write(&vec![0; usize::try_from(padding).unwrap_or(0)]);
        }
        self.file = Some(member);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.tar()?.get_mut().write_all(bytes).map_err(broken)
    }

    fn finish(&mut self) -> Result<()> {
        let mut missing = std::mem::take(&mut self.missing);
        if missing.unnamed > 0 {
            missing.text += &format!("and {} more\n", missing.unnamed);
        }
        let Some(mut tar) = self.tar.take() else { return Ok(()) };
        if !missing.text.is_empty() {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_size(missing.text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, MISSING, missing.text.as_bytes()).map_err(broken)?;
        }
        let made = tar.into_inner().and_then(GzEncoder::finish).map_err(broken)?;
        self.keep(&made);
        Ok(())
    }

    /// Takes what the compressor gave out. Returns whether that was something.
    fn take_made(&mut self) -> bool {
        let Some(tar) = &mut self.tar else { return false };
        let made = std::mem::take(tar.get_mut().get_mut());
        self.keep(&made);
        !made.is_empty()
    }

    fn keep(&mut self, made: &[u8]) {
        self.digest.update(made);
        self.kept.extend(made);
        let over = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..over);
        self.kept_from += over as u64;
    }

    fn tar(&mut self) -> Result<&mut Builder<GzEncoder<Vec<u8>>>> {
        self.tar.as_mut().ok_or_else(|| broken(io::Error::from(io::ErrorKind::BrokenPipe)))
    }
}

/// The archive itself is no longer what it should be: the end of the transfer.
fn broken(error: io::Error) -> Fault {
    tracing::warn!(%error, "an archive could not be made");
    Fault::new(ErrorCode::Failed, "The archive could not be made.")
}
