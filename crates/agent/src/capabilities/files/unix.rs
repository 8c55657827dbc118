//! Folders on Linux and macOS: the calls that end in `at`.

use super::super::path::Absolute;
use super::{Facts, Folder};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use gururmm_protocol::tunnel::files::{Entry, EntryKind, Place};
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Opening does not wait where a pipe was put, and makes no terminal the agent's own.
const PROMPT: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits() as i32;
const ONLY_READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// Links that are followed on the way to a folder of the policy's.
const MAX_LINKS: usize = 40;

impl Folder {
    /// What the folder itself is.
    pub fn facts(&self) -> io::Result<Facts> {
        Ok(facts(&fs::fstat(self.dir())?, OsStr::new("")))
    }

    pub fn look(&self, name: &OsStr) -> io::Result<Facts> {
        Ok(facts(&fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW)?, name))
    }

    pub fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let opened = fs::openat(self.dir(), name, FOLDER, Mode::empty());
        Ok(Self::new(Dir::from_std_file(File::from(opened.map_err(link_is_no_folder)?))))
    }

    /// For reading. A pipe or a device is opened as well: `look` comes first, and [`of_file`] after.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        Ok(File::from(fs::openat(self.dir(), name, ONLY_READ, Mode::empty())?))
    }

    /// A file that was not there.
    pub fn make_file(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(self.dir(), name, flags, Mode::from_raw_mode(0o600))?);
        // Not by the mode of the opening, from which the process's mask is taken.
        fs::fchmod(&file, Mode::from_raw_mode(mode as _))?;
        Ok(file)
    }

    /// A file that this process made before, to go on with it. Refuses what others have a hand on.
    pub fn reopen_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(self.dir(), name, flags, Mode::empty())?);
        let stat = fs::fstat(&file)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_mode & 0o077 == 0
            && stat.st_nlink == 1;
        if is_ours { Ok(file) } else { Err(Errno::EXIST.into()) }
    }

    pub fn make_folder(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(fs::mkdirat(self.dir(), name, Mode::from_raw_mode(mode as _))?)
    }

    /// Where a link points to, as it is written there.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = fs::readlinkat(self.dir(), name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// The same link as `name` in `from`.
    pub fn copy_link(&self, from: &Self, name: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::symlinkat(from.read_link(name)?.as_os_str(), self.dir(), to)?)
    }

    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(self.dir(), name, AtFlags::empty())?)
    }

    pub fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(self.dir(), name, AtFlags::REMOVEDIR)?)
    }

    /// In one step. Without `replace` it fails where something is already.
    pub fn rename(&self, name: &OsStr, to: &Self, to_name: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            return Ok(fs::renameat(self.dir(), name, to.dir(), to_name)?);
        }
        match fs::renameat_with(self.dir(), name, to.dir(), to_name, RenameFlags::NOREPLACE) {
            // The file system does not have it; or a folder is to go into itself, which fails again.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.rename_without_flag(name, to, to_name),
            renamed => Ok(renamed?),
        }
    }

    /// A second name that must not be there yet, then the first is taken away. Folders have one name only: theirs may
    /// take the place of an empty folder that appears in this very moment.
    fn rename_without_flag(&self, name: &OsStr, to: &Self, to_name: &OsStr) -> io::Result<()> {
        if self.look(name)?.kind != EntryKind::Folder {
            fs::linkat(self.dir(), name, to.dir(), to_name, AtFlags::empty())?;
            return self.remove_file(name);
        }
        match to.look(to_name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(fs::renameat(self.dir(), name, to.dir(), to_name)?)
            }
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EXIST.into()),
        }
    }

    /// Makes the names in it survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(self.readable()?)?)
    }

    /// Makes all of the file system survive a power cut, for what was written without that.
    #[cfg(target_os = "linux")]
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(fs::syncfs(self.readable()?)?)
    }

    /// Bytes that may still be written here.
    pub fn free_bytes(&self) -> Option<u64> {
        let stat = fs::fstatvfs(self.dir()).ok()?;
        stat.f_frsize.checked_mul(if rustix::process::geteuid().is_root() {
            stat.f_bfree
        } else {
            stat.f_bavail
        })
    }

    /// The names in it, as they come.
    pub fn entries(&self) -> io::Result<Entries> {
        Ok(Entries(fs::Dir::new(self.readable()?)?))
    }

    fn readable(&self) -> io::Result<rustix::fd::OwnedFd> {
        Ok(fs::openat(self.dir(), c".", FOLDER, Mode::empty())?)
    }

    /// Sets permission bits of what `check` lets pass; a link has none.
    #[cfg(target_os = "linux")]
    pub fn set_mode<E: From<io::Error>>(
        &self,
        name: &OsStr,
        mode: u32,
        check: impl FnOnce(&Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        use std::os::fd::AsRawFd;
        let held = self.hold(name)?;
        check(&facts(&fs::fstat(&held).map_err(io::Error::from)?, name))?;
        // The only way to the bits of something that is held without being opened.
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        fs::chmod(path, Mode::from_raw_mode(mode)).map_err(|error| io::Error::from(error).into())
    }

    /// Sets permission bits of what `check` lets pass; a link has none.
    #[cfg(not(target_os = "linux"))]
    pub fn set_mode<E: From<io::Error>>(
        &self,
        name: &OsStr,
        mode: u32,
        check: impl FnOnce(&Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        check(&self.look(name)?)?;
        fs::chmodat(self.dir(), name, Mode::from_raw_mode(mode as _), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| io::Error::from(error).into())
    }

    /// Sets owner and group of what `check` lets pass, be it a link.
    pub fn set_owner<E: From<io::Error>>(
        &self,
        name: &OsStr,
        owner: Option<u32>,
        group: Option<u32>,
        check: impl FnOnce(&Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        let (owner, group) = (owner.map(fs::Uid::from_raw), group.map(fs::Gid::from_raw));
        #[cfg(target_os = "linux")]
        let changed = {
            let held = self.hold(name)?;
            check(&facts(&fs::fstat(&held).map_err(io::Error::from)?, name))?;
            fs::chownat(&held, c"", owner, group, AtFlags::EMPTY_PATH)
        };
        #[cfg(not(target_os = "linux"))]
        let changed = {
            check(&self.look(name)?)?;
            fs::chownat(self.dir(), name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
        };
        changed.map_err(|error| io::Error::from(error).into())
    }

    /// Holds an entry itself, without opening it.
    #[cfg(target_os = "linux")]
    fn hold(&self, name: &OsStr) -> io::Result<rustix::fd::OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(self.dir(), name, flags, Mode::empty())?)
    }

    /// Gives a folder that this process just made the mode, owner and time of another.
    pub fn keep_of(&self, of: &Facts) -> io::Result<()> {
        keep_facts(&File::from(self.readable()?), of)
    }
}

/// Opens a file for reading, links followed.
pub(in super::super) fn open_path(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().read(true).custom_flags(PROMPT).open(path)
}

/// Opens a file for reading, links followed that stay below the folder.
pub(in super::super) fn open_below(dir: &Dir, path: &Path) -> io::Result<File> {
    use cap_std::fs::{OpenOptions, OpenOptionsExt};
    Ok(dir.open_with(path, OpenOptions::new().read(true).custom_flags(PROMPT))?.into_std())
}

/// Reads at a place of a file.
pub(in super::super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

/// Writes all at a place of a file.
pub(in super::super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Sets a file's permission bits, whatever the process's mask is.
pub(in super::super) fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(fs::fchmod(file, Mode::from_raw_mode(mode as _))?)
}

/// What an opened file is.
pub(in super::super) fn of_file(file: &File) -> io::Result<Facts> {
    Ok(facts(&fs::fstat(file)?, OsStr::new("")))
}

/// Gives a file mode, owner and time of another. Where the owner cannot be kept, no bits are that would run it as one.
pub(in super::super) fn keep_facts(file: &File, of: &Facts) -> io::Result<()> {
    let mut mode = of.mode.unwrap_or(super::PRIVATE_FILE);
    if let Some((owner, group)) = of.owner
        && fs::fchown(file, Some(fs::Uid::from_raw(owner)), Some(fs::Gid::from_raw(group))).is_err()
    {
        mode &= !super::SETS_ID;
    }
    fs::fchmod(file, Mode::from_raw_mode(mode as _))?;
    if let Some(modified) = of.modified {
        file.set_modified(std::time::UNIX_EPOCH + modified)?;
    }
    Ok(())
}

/// Gives `new` what a file has besides its content, as it takes `old`'s place: mode, owner, access list, label.
pub(in super::super) fn keep(old: &File, new: &File) -> io::Result<()> {
    let (had, has) = (fs::fstat(old)?, fs::fstat(new)?);
    if (had.st_uid, had.st_gid) != (has.st_uid, has.st_gid) {
        fs::fchown(new, Some(fs::Uid::from_raw(had.st_uid)), Some(fs::Gid::from_raw(had.st_gid)))?;
    }
    fs::fchmod(new, Mode::from_raw_mode(had.st_mode & 0o7777))?;
    #[cfg(target_os = "linux")]
    keep_attributes(old, new)?;
    Ok(())
}

/// Access lists, labels and the user's own attributes. Not what vouches for the content or gives it power: the content is
/// another.
#[cfg(target_os = "linux")]
fn keep_attributes(old: &File, new: &File) -> io::Result<()> {
    const MOST: usize = 64 * 1024;
    let mut names = Vec::with_capacity(MOST);
    match fs::flistxattr(old, rustix::buffer::spare_capacity(&mut names)) {
        Err(Errno::NOTSUP) => return Ok(()),
        listed => listed?,
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let is_kept = name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl")
            || name == b"security.selinux";
        if !is_kept {
            continue;
        }
        let mut value = Vec::with_capacity(MOST);
        match fs::fgetxattr(old, name, rustix::buffer::spare_capacity(&mut value)) {
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            got => got?,
        };
        match fs::fsetxattr(new, name, &value, fs::XattrFlags::empty()) {
            Err(Errno::NOTSUP) => {}
            set => set?,
        }
    }
    Ok(())
}

fn facts(stat: &Stat, name: &OsStr) -> Facts {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Other,
    };
    let size = if kind == EntryKind::Folder { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
    let seconds = u64::try_from(stat.st_mtime).ok();
    #[expect(clippy::unnecessary_cast, reason = "the types differ between the systems")]
    Facts {
        kind,
        size,
        modified: seconds.map(|seconds| Duration::new(seconds, stat.st_mtime_nsec as u32)),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
        names: stat.st_nlink as u64,
        mode: Some(stat.st_mode as u32 & 0o7777),
        owner: Some((stat.st_uid, stat.st_gid)),
        is_hidden: name.as_bytes().starts_with(b"."),
    }
}

/// A link where a folder is asked for is no folder; macOS and Linux say so in different ways.
fn link_is_no_folder(error: Errno) -> Errno {
    if error == Errno::LOOP { Errno::NOTDIR } else { error }
}

/// The names in a folder.
pub(in super::super) struct Entries(fs::Dir);

impl Iterator for Entries {
    type Item = io::Result<OsString>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            // A damaged disk may hold what is no name.
            if !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') {
                return Some(Ok(OsStr::from_bytes(name).to_owned()));
            }
        }
    }
}

/// The number of the account that this process works as.
pub(super) fn own_account() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Names of accounts, each looked up once.
#[derive(Debug, Default)]
pub(in super::super) struct Accounts {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Accounts {
    /// Names of owner and group; empty where there is none.
    pub fn names(&mut self, facts: &Facts) -> (String, String) {
        let Some((user, group)) = facts.owner else { return Default::default() };
        let find = || User::from_uid(Uid::from_raw(user)).ok().flatten().map(|user| user.name);
        let user = self.users.entry(user).or_insert_with(|| find().unwrap_or_default()).clone();
        let find = || Group::from_gid(Gid::from_raw(group)).ok().flatten().map(|group| group.name);
        let group = self.groups.entry(group).or_insert_with(|| find().unwrap_or_default()).clone();
        (user, group)
    }

    /// Fills in owner and group, by number where they have no name.
    pub fn fill(&mut self, entry: &mut Entry, facts: &Facts) {
        let Some((user, group)) = facts.owner else { return };
        let named = |name: String, number: u32| if name.is_empty() { number.to_string() } else { name };
        let (user_name, group_name) = self.names(facts);
        entry.owner = Some(named(user_name, user));
        entry.group = Some(named(group_name, group));
    }

    /// A user's number, by name or number.
    pub fn user(name: &str) -> Option<u32> {
        name.parse().ok().or_else(|| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()))
    }

    /// A group's number, by name or number.
    pub fn group(name: &str) -> Option<u32> {
        name.parse().ok().or_else(|| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()))
    }
}

/// Opens a folder that a policy names. The way there is gone by handles; a link on it is followed only where it belongs
/// to the administrator or this account, for who can put one there could choose the folder.
pub(in super::super) fn open_root(path: &Absolute) -> io::Result<Folder> {
    let root = || Dir::open_ambient_dir("/", ambient_authority()).map(Folder::new);
    let mut way = vec![root()?];
    let mut ahead: Vec<OsString> = path.parts().iter().rev().map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            // Of the root it is the root.
            if way.len() > 1 {
                way.pop();
            }
            continue;
        }
        let Some(folder) = way.last() else { break };
        match folder.open_folder(&name) {
            Ok(folder) => way.push(folder),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                links += 1;
                let target = folder.read_trusted_link(&name)?;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if target.is_absolute() {
                    way.truncate(1);
                }
                let names = target.components().rev().filter_map(|component| match component {
                    std::path::Component::Normal(name) => Some(name.to_owned()),
                    std::path::Component::ParentDir => Some("..".into()),
                    _ => None,
                });
                ahead.extend(names);
            }
            Err(error) => return Err(error),
        }
    }
    way.pop().ok_or_else(|| Errno::NOENT.into())
}

impl Folder {
    fn read_trusted_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        #[cfg(target_os = "linux")]
        let (found, target) = {
            let held = self.hold(name)?;
            let found = facts(&fs::fstat(&held)?, name);
            let target = if found.kind == EntryKind::Link {
                fs::readlinkat(&held, c"", Vec::new())?.into_bytes()
            } else {
                Vec::new()
            };
            (found, OsString::from_vec(target))
        };
        // Without a way to hold a link: what was looked at has to be what was read.
        #[cfg(not(target_os = "linux"))]
        let (found, target) = {
            let before = self.look(name)?;
            let target = self.read_link(name)?;
            if self.look(name)?.identity != before.identity {
                return Err(Errno::NOTDIR.into());
            }
            (before, target)
        };
        if found.kind != EntryKind::Link {
            return Err(Errno::NOTDIR.into());
        }
        let own = rustix::process::geteuid().as_raw();
        if !found.owner.is_some_and(|(owner, _)| owner == 0 || owner == own) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a link of another account's on the way",
            ));
        }
        Ok(target.into())
    }
}

/// Where a tech can begin: the root, and the homes of who may sign in.
pub(in super::super) fn places() -> Vec<Place> {
    let mut places = vec![Place { path: "/".to_owned(), label: "Whole machine".to_owned() }];
    places.extend(homes());
    #[cfg(target_os = "macos")]
    places.extend(children("/Volumes", "Volume"));
    places
}

/// From the list of accounts, which a directory service's accounts are not in: their homes are found below `/home`.
#[cfg(not(target_os = "macos"))]
fn homes() -> Vec<Place> {
    const MOST: usize = 64;
    const FIRST_PERSON: u32 = 1_000;
    const NOBODY: u32 = 65_534;
    let mut homes: Vec<Place> = Vec::new();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    for line in accounts.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        let Some(home) = fields.nth(2) else { continue };
        let is_person = number
            .parse()
            .is_ok_and(|number: u32| number == 0 || (number >= FIRST_PERSON && number != NOBODY));
        if is_person && home.starts_with('/') && home != "/" && Path::new(home).is_dir() {
            homes.push(Place { path: home.to_owned(), label: format!("Home of {name}") });
        }
    }
    for place in children("/home", "Home of") {
        if !homes.iter().any(|home| home.path == place.path) {
            homes.push(place);
        }
    }
    homes.truncate(MOST);
    homes
}

#[cfg(target_os = "macos")]
fn homes() -> Vec<Place> {
    let mut homes = vec![Place { path: "/var/root".to_owned(), label: "Home of root".to_owned() }];
    homes.extend(children("/Users", "Home of").into_iter().filter(|home| home.path != "/Users/Shared"));
    homes
}

fn children(folder: &str, label: &str) -> Vec<Place> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<Place> = entries
        .take(64)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && name != "lost+found")
        .map(|name| Place { path: format!("{folder}/{name}"), label: format!("{label} {name}") })
        .collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}
