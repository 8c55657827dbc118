//! Folders on Windows: what takes the handle of a folder and one name.

use super::super::path::Absolute;
use super::{Facts, Folder};
use crate::os::held::{self, As, Known, Names};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gururmm_protocol::tunnel::files::{Entry, EntryKind, Place};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DEVICE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_HIDDEN,
};

/// Seconds from 1601, where Windows' time begins, to 1970.
const SECONDS_TO_1970: u64 = 11_644_473_600;

impl Folder {
    /// Opens what has that name; the folder itself where it is empty.
    fn open(&self, name: &OsStr, how: As) -> io::Result<File> {
        held::open(self.dir(), name, how)
    }

    /// What the folder itself is.
    pub fn facts(&self) -> io::Result<Facts> {
        facts(self.dir())
    }

    pub fn look(&self, name: &OsStr) -> io::Result<Facts> {
        of_file(&self.open(name, As::Looked)?)
    }

    pub fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let folder = self.open(name, As::Folder)?;
        if held::known(&folder)?.is_link {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self::new(Dir::from_std_file(folder)))
    }

    /// For reading. A link is opened itself: `look` comes first, and [`of_file`] after.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        self.open(name, As::Read)
    }

    /// A file that was not there. Who may do what with it, it inherits.
    pub fn make_file(&self, name: &OsStr, _mode: u32) -> io::Result<File> {
        self.open(name, As::NewFile)
    }

    /// A file that this process made before, to go on with it. Refuses what others have a hand on.
    pub fn reopen_file(&self, name: &OsStr) -> io::Result<File> {
        let file = self.open(name, As::Written)?;
        let facts = of_file(&file)?;
        if facts.kind == EntryKind::File && facts.names == 1 {
            Ok(file)
        } else {
            Err(io::Error::from(io::ErrorKind::AlreadyExists))
        }
    }

    pub fn make_folder(&self, name: &OsStr, _mode: u32) -> io::Result<()> {
        self.open(name, As::NewFolder).map(drop)
    }

    /// Where a link points to, as it is written there.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        held::target(&self.open(name, As::Looked)?)
    }

    /// The same link as `name` in `from`.
    pub fn copy_link(&self, from: &Self, name: &OsStr, to: &OsStr) -> io::Result<()> {
        let link = from.open(name, As::Looked)?;
        let is_of_folder = held::known(&link)?.attributes & FILE_ATTRIBUTE_DIRECTORY != 0;
        let copy = self.open(to, if is_of_folder { As::NewFolder } else { As::NewFile })?;
        held::set_reparse_point(&copy, &held::reparse_point(&link)?)
    }

    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        held::remove(&self.open(name, As::Moved)?)
    }

    pub fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        held::remove(&self.open(name, As::Moved)?)
    }

    /// In one step. Without `replace` it fails where something is already.
    pub fn rename(&self, name: &OsStr, to: &Self, to_name: &OsStr, replace: bool) -> io::Result<()> {
        let file = self.open(name, As::Moved)?;
        held::rename(&file, to.dir(), to_name, replace)
    }

    /// Nothing is to be done: NTFS journals names itself.
    pub fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Bytes that may still be written here.
    pub fn free_bytes(&self) -> Option<u64> {
        held::free_bytes(self.dir())
    }

    /// The names in it, as they come.
    pub fn entries(&self) -> io::Result<Entries> {
        Ok(Names::new(self.open(OsStr::new(""), As::Folder)?))
    }

    /// Nothing is to be done: a folder has no mode here, and its time is when something in it last changed.
    pub fn keep_of(&self, _of: &Facts) -> io::Result<()> {
        Ok(())
    }
}

/// The names in a folder.
pub(in super::super) type Entries = Names;

/// Opens a file for reading, links followed.
pub(in super::super) fn open_path(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens a file for reading, links followed that stay below the folder.
pub(in super::super) fn open_below(dir: &Dir, path: &Path) -> io::Result<File> {
    Ok(dir.open(path)?.into_std())
}

/// Reads at a place of a file.
pub(in super::super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    file.seek_read(bytes, at)
}

/// Writes all at a place of a file.
pub(in super::super) fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, at)?;
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        bytes = bytes.get(written..).unwrap_or_default();
        at += written as u64;
    }
    Ok(())
}

/// Nothing is to be done: a file inherits who may do what with it.
pub(in super::super) fn set_file_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// What an opened file is.
pub(in super::super) fn of_file(file: &File) -> io::Result<Facts> {
    facts(file)
}

fn facts(file: &impl AsRawHandle) -> io::Result<Facts> {
    let Known { attributes, is_link, modified, size, volume, index, names } = held::known(file)?;
    let kind = if is_link {
        EntryKind::Link
    } else if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        EntryKind::Folder
    } else if attributes & FILE_ATTRIBUTE_DEVICE != 0 {
        EntryKind::Other
    } else {
        EntryKind::File
    };
    let since_1601 = Duration::new(modified / 10_000_000, (modified % 10_000_000) as u32 * 100);
    Ok(Facts {
        kind,
        size: if kind == EntryKind::File { size } else { 0 },
        modified: since_1601.checked_sub(Duration::from_secs(SECONDS_TO_1970)),
        identity: (volume.into(), index),
        names: names.into(),
        mode: None,
        owner: None,
        is_hidden: attributes & FILE_ATTRIBUTE_HIDDEN != 0,
    })
}

/// Gives a file the time of another.
pub(in super::super) fn keep_facts(file: &File, of: &Facts) -> io::Result<()> {
    match of.modified {
        Some(modified) => file.set_modified(UNIX_EPOCH + modified),
        None => Ok(()),
    }
}

pub(in super::super) use held::keep;

/// Accounts have no numbers here.
pub(super) fn own_account() -> u32 {
    0
}

/// Owners are not told here.
#[derive(Debug, Default)]
pub(in super::super) struct Accounts;

impl Accounts {
    /// Names of owner and group: none.
    pub fn names(&mut self, _facts: &Facts) -> (String, String) {
        Default::default()
    }

    /// Nothing is filled in.
    pub fn fill(&mut self, _entry: &mut Entry, _facts: &Facts) {}
}

/// Opens a folder that a policy names. The way there is gone by handles, and no link on it is followed: who can put one
/// there could choose the folder.
pub(in super::super) fn open_root(path: &Absolute) -> io::Result<Folder> {
    let mut folder = Folder::new(Dir::open_ambient_dir(path.root(), ambient_authority())?);
    for name in path.parts() {
        folder = folder.open_folder(name.as_ref())?;
    }
    Ok(folder)
}

/// Where a tech can begin: the disks, and the profiles of those who signed in here.
pub(in super::super) fn places() -> Vec<Place> {
    const MOST: usize = 64;
    let disk = |letter: char| Place { path: format!(r"{letter}:\"), label: format!("Disk {letter}") };
    let mut places: Vec<Place> = held::disks().into_iter().map(disk).collect();
    // Beside this account's own.
    let own = std::env::var_os("PUBLIC").unwrap_or_else(|| r"C:\Users\Public".into());
    let Some(users) = Path::new(&own).parent() else { return places };
    let profiles = std::fs::read_dir(users).into_iter().flatten().take(MOST).flatten();
    let mut homes: Vec<Place> = profiles
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.path().to_str()?.to_owned(), entry.file_name().into_string().ok()?)))
        .filter(|(_, name)| !matches!(name.as_str(), "Public" | "Default"))
        .map(|(path, name)| Place { path, label: format!("Home of {name}") })
        .collect();
    homes.sort_by(|one, other| one.path.cmp(&other.path));
    places.append(&mut homes);
    places
}
