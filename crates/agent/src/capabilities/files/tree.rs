//! Whole folders: removed, copied. One level is held open at a time for each folder on the way, and no link is followed.

use super::confined::{Reach, Spot};
use super::fault::{Fault, Result};
use super::folder::{self, Entries, Facts, Folder, Identity, PRIVATE_FILE, PRIVATE_FOLDER, of_file};
use super::partial::Claim;
use super::path::shown;
use super::work::Job;
use gururmm_protocol::tunnel::ErrorCode;
use gururmm_protocol::tunnel::files::EntryKind;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Deepest folder that is gone into: each holds a few handles open.
pub(super) const MAX_DEPTH: usize = 256;
/// Entries dealt with in one step.
const STEP_ENTRIES: usize = 128;
/// Bytes copied in one step.
const STEP_BYTES: u64 = 8 * 1024 * 1024;
/// How often a folder is read again in which something appeared while it was emptied.
const MAX_ROUNDS: usize = 8;

pub(super) fn too_deep() -> Fault {
    Fault::new(ErrorCode::TooLarge, format!("Folders lie in each other more than {MAX_DEPTH} deep."))
}

pub(super) fn other_volume() -> Fault {
    Fault::new(ErrorCode::NotAllowed, "Another file system is mounted there.")
}

/// Removes a file, a link, or a folder with all in it.
pub(super) struct Removal {
    top: Spot,
    /// Knows what must stay.
    reach: Option<Arc<Reach>>,
    is_recursive: bool,
    /// The folders on the way to where it is, none before it began.
    levels: Vec<Emptied>,
    has_begun: bool,
    volume: u64,
}

/// A folder that is being emptied.
struct Emptied {
    name: OsString,
    folder: Folder,
    entries: Entries,
    rounds: usize,
}

impl Removal {
    pub fn new(top: Spot, reach: Arc<Reach>, is_recursive: bool) -> Self {
        Self { top, reach: Some(reach), is_recursive, levels: Vec::new(), has_begun: false, volume: 0 }
    }

    /// At once and with all in it: for what this process made itself.
    pub fn all(folder: Folder, name: OsString) -> Result<()> {
        let top = Spot { folder, name };
        let mut removal =
            Self { top, reach: None, is_recursive: true, levels: Vec::new(), has_begun: false, volume: 0 };
        while removal.step()?.is_none() {}
        Ok(())
    }

    fn begin(&mut self) -> Result<bool> {
        self.has_begun = true;
        let facts = self.top.look()?;
        if facts.kind != EntryKind::Folder {
            self.top.folder.remove_file(&self.top.name)?;
            return Ok(true);
        }
        self.volume = self.top.folder.facts()?.volume();
        if !self.is_recursive {
            self.check(&facts)?;
            self.top.folder.remove_folder(&self.top.name)?;
            return Ok(true);
        }
        self.enter(self.top.name.clone(), 0)?;
        Ok(false)
    }

    fn check(&self, facts: &Facts) -> Result<()> {
        if facts.volume() != self.volume {
            return Err(other_volume());
        }
        if self.reach.as_ref().is_some_and(|reach| reach.is_a_root(facts.identity)) {
            return Err(Fault::new(
                ErrorCode::NotAllowed,
                "It is a folder that the policy names, and stays.",
            ));
        }
        Ok(())
    }

    fn enter(&mut self, name: OsString, rounds: usize) -> Result<()> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        let parent = self.levels.last().map_or(&self.top.folder, |level| &level.folder);
        let folder = parent.open_folder(&name)?;
        self.check(&folder.facts()?)?;
        let entries = folder.entries()?;
        self.levels.push(Emptied { name, folder, entries, rounds });
        Ok(())
    }

    /// Deals with one entry. Returns whether all is done.
    fn one(&mut self) -> Result<bool> {
        let Some(level) = self.levels.last_mut() else { return Ok(true) };
        if let Some(name) = level.entries.next() {
            let name = name?;
            let removed = match level.folder.look(&name) {
                Ok(facts) if facts.kind == EntryKind::Folder => {
                    return self
                        .enter(name.clone(), 0)
                        .map(|()| false)
                        .map_err(|fault| fault.at(&shown(&name)));
                }
                Ok(_) => level.folder.remove_file(&name),
                Err(error) => Err(error),
            };
            return match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(Fault::from(error).at(&shown(&name))),
                Ok(()) => Ok(false),
            };
        }
        let Some(Emptied { name, folder, entries, rounds }) = self.levels.pop() else { return Ok(true) };
        // Closed first: Windows keeps a folder until then.
        drop((folder, entries));
        let parent = self.levels.last().map_or(&self.top.folder, |level| &level.folder);
        match parent.remove_folder(&name) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && rounds < MAX_ROUNDS => {
                self.enter(name, rounds + 1)?;
                Ok(false)
            }
            Err(error) => Err(Fault::from(error).at(&shown(&name))),
            Ok(()) => Ok(self.levels.is_empty()),
        }
    }
}

impl Job for Removal {
    type Output = ();

    fn step(&mut self) -> Result<Option<()>> {
        if !self.has_begun && self.begin()? {
            return Ok(Some(()));
        }
        for _ in 0..STEP_ENTRIES {
            if self.one()? {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }
}

/// Copies a file, a link, or a folder with all in it: first beside its place, then there in one step. When it fails,
/// nothing is left of it.
pub(super) struct Copying {
    from: Spot,
    to: Spot,
    /// Its name until all is there.
    partial: OsString,
    reach: Arc<Reach>,
    levels: Vec<Copied>,
    file: Option<FileCopy>,
    has_begun: bool,
    volume: u64,
    /// The copy itself, which may lie within what is copied.
    own: Option<Identity>,
    /// Whether the original is going to be removed: then the copy has to survive a power cut.
    is_move: bool,
    /// Whether it is in its place, or gone again.
    is_over: bool,
    _claim: Claim,
}

struct Copied {
    from: Folder,
    entries: Entries,
    facts: Facts,
    to: Folder,
}

struct FileCopy {
    from: File,
    to: File,
    facts: Facts,
    is_synced: bool,
}

impl Copying {
    /// `partial` is a new name, and claimed.
    pub fn new(from: Spot, to: Spot, partial: (OsString, Claim), reach: Arc<Reach>, is_move: bool) -> Self {
        let (partial, claim) = partial;
        Self {
            from,
            to,
            partial,
            reach,
            levels: Vec::new(),
            file: None,
            has_begun: false,
            volume: 0,
            own: None,
            is_move,
            is_over: false,
            _claim: claim,
        }
    }

    fn go_on(&mut self) -> Result<bool> {
        if !self.has_begun {
            self.has_begun = true;
            if self.to.look_if_there()?.is_some() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
            }
            self.volume = self.from.look()?.volume();
            let (from, to) = (self.from.folder.clone(), self.to.folder.clone());
            let (name, partial) = (self.from.name.clone(), self.partial.clone());
            self.begin(&from, &name, &to, &partial)?;
        }
        for _ in 0..STEP_ENTRIES {
            if let Some(file) = &mut self.file {
                if !file.copy()? {
                    return Ok(false);
                }
                self.file = None;
            } else if let Some(level) = self.levels.last_mut() {
                let Some(name) = level.entries.next() else {
                    level.to.keep_of(&level.facts)?;
                    self.levels.pop();
                    continue;
                };
                let name = name?;
                let (from, to) = (level.from.clone(), level.to.clone());
                self.begin(&from, &name, &to, &name).map_err(|fault| fault.at(&shown(&name)))?;
            } else {
                #[cfg(target_os = "linux")]
                if self.is_move {
                    self.to.folder.sync_all()?;
                }
                self.to.folder.rename(&self.partial, &self.to.folder, &self.to.name, false)?;
                self.to.folder.sync()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies an entry, or begins to.
    fn begin(&mut self, from: &Folder, name: &OsStr, to: &Folder, to_name: &OsStr) -> Result<()> {
        let facts = from.look(name)?;
        match facts.kind {
            EntryKind::Folder => {
                if self.levels.len() >= MAX_DEPTH {
                    return Err(too_deep());
                }
                let from = from.open_folder(name)?;
                let facts = from.facts()?;
                if Some(facts.identity) == self.own {
                    return Err(Fault::new(ErrorCode::Invalid, "A folder cannot be copied into itself."));
                }
                if facts.volume() != self.volume {
                    return Err(other_volume());
                }
                to.make_folder(to_name, PRIVATE_FOLDER)?;
                let to = to.open_folder(to_name)?;
                if self.own.is_none() {
                    self.own = Some(to.facts()?.identity);
                }
                let entries = from.entries()?;
                self.levels.push(Copied { from, entries, facts, to });
            }
            EntryKind::File => {
                let from = from.open_file(name)?;
                let facts = of_file(&from)?;
                self.reach.check_content(&facts)?;
                let to = to.make_file(to_name, PRIVATE_FILE)?;
                // On Linux one call does it for all of them.
                let is_synced = self.is_move && cfg!(not(target_os = "linux"));
                self.file = Some(FileCopy { from, to, facts, is_synced });
            }
            EntryKind::Link => to.copy_link(from, name, to_name)?,
            EntryKind::Other => {
                return Err(Fault::new(ErrorCode::Unsupported, "It is a device, a pipe or a socket."));
            }
        }
        Ok(())
    }
}

impl FileCopy {
    /// Returns whether the end is reached.
    fn copy(&mut self) -> Result<bool> {
        let copied = io::copy(&mut (&self.from).take(STEP_BYTES), &mut &self.to)?;
        if copied == STEP_BYTES {
            return Ok(false);
        }
        folder::keep_facts(&self.to, &self.facts)?;
        if self.is_synced {
            self.to.sync_all()?;
        }
        Ok(true)
    }
}

impl Job for Copying {
    type Output = ();

    fn step(&mut self) -> Result<Option<()>> {
        let done = self.go_on();
        match done {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(_) => {
                self.levels.clear();
                self.file = None;
                remove_partial(&self.to.folder, &self.partial);
            }
        }
        self.is_over = true;
        done.map(|_| Some(()))
    }
}

impl Drop for Copying {
    /// Nobody waits for it any more, the session is over: what there is of it goes.
    fn drop(&mut self) {
        if !self.has_begun || self.is_over {
            return;
        }
        self.levels.clear();
        self.file = None;
        let (folder, partial) = (self.to.folder.clone(), self.partial.clone());
        // Not here, for it may be much. Should there be no thread, it goes when the folder is used again.
        let removing = std::thread::Builder::new().name("unfinished copy".to_owned());
        if let Err(error) = removing.spawn(move || remove_partial(&folder, &partial)) {
            tracing::warn!(%error, "a part of a copy stays for a day");
        }
    }
}

fn remove_partial(folder: &Folder, partial: &OsStr) {
    match Removal::all(folder.clone(), partial.to_owned()) {
        Err(left) if left.code() != ErrorCode::NotFound => {
            tracing::warn!(error = %left, "a part of a copy stays for a day");
        }
        _ => {}
    }
}
