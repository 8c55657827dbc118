//! Where versions stand on the disk: a folder each, below the folder the agent is installed in. Nobody but the account
//! that runs the agent may write there, and what is started is what was hashed, not what has its name by then.

use super::UpdateError;
use super::ledger::Build;
use crate::os;
use crate::state::remove_all;
use ring::digest;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Their folder, beside the installed program.
pub const VERSIONS: &str = "versions";
const INCOMING: &str = ".incoming";
/// Name of the program in every folder.
pub const PROGRAM: &str = if cfg!(windows) { "gururmm-agent.exe" } else { "gururmm-agent" };

/// The program folder of the installation that a program's folder belongs to: itself, or the one its version stands in.
pub fn installation_of(folder: &Path) -> &Path {
    match (folder.parent(), folder.parent().and_then(Path::parent)) {
        (Some(versions), Some(installation)) if versions.ends_with(VERSIONS) => installation,
        _ => folder,
    }
}

/// The versions of one installation.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

/// A program that was fetched and verified; only [`super::fetch`] makes one.
#[derive(Debug)]
pub struct Verified {
    pub(super) build: Build,
    pub(super) incoming: PathBuf,
}

/// A program that was opened and hashed: what is started through it is what was hashed.
#[derive(Debug)]
pub struct Opened {
    /// The program's bytes, open.
    pub file: File,
    /// Its place, for people and for systems that start by name.
    pub path: PathBuf,
}

impl Programs {
    /// Below the folder of the installed program; made if needed.
    pub fn open(program_folder: &Path) -> io::Result<Self> {
        let folder = program_folder.join(VERSIONS);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for folder in [program_folder, &folder] {
            os::check_only_ours(folder)?;
        }
        Ok(Self { folder })
    }

    /// Where a version's program stands.
    pub fn path(&self, version: &str) -> PathBuf {
        self.folder.join(version).join(PROGRAM)
    }

    /// A new file for what is being fetched, in a folder nobody else enters.
    pub(super) fn incoming(&self) -> io::Result<(File, PathBuf)> {
        os::check_only_ours(&self.folder)?;
        let folder = self.folder.join(INCOMING);
        remove_all(&folder)?;
        os::create_private_dir(&folder)?;
        let path = folder.join(PROGRAM);
        Ok((create(&path)?, path))
    }

    /// Gives a verified program its place. The same version with other bytes is replaced.
    pub fn keep(&self, verified: Verified) -> io::Result<Build> {
        let folder = self.folder.join(&verified.build.version);
        if self.open_verified(&verified.build).is_err() {
            remove_all(&folder)?;
            fs::create_dir(&folder)?;
            fs::rename(&verified.incoming, folder.join(PROGRAM))?;
            os::sync_dir(&folder)?;
            os::sync_dir(&self.folder)?;
        }
        remove_all(&self.folder.join(INCOMING))?;
        Ok(verified.build)
    }

    /// Keeps a copy of the installed program, so that a package that replaces it does not take away what to go back to.
    pub fn keep_own(&self, own: &Path, version: &str) -> io::Result<Build> {
        let (sha256, length) = digest_of_file(own)?;
        let build = Build { version: version.to_owned(), sha256, length };
        if self.open_verified(&build).is_ok() {
            return Ok(build);
        }
        let (mut file, incoming) = self.incoming()?;
        let mut source = File::open(own)?;
        io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        self.keep(Verified { build, incoming })
    }

    /// The folder of the installed program.
    pub fn installation(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Opens a version's program and hashes what was opened.
    pub fn open_verified(&self, build: &Build) -> Result<Opened, UpdateError> {
        let path = self.path(&build.version);
        let failed = |error: io::Error| {
            UpdateError::new("PROGRAM_UNREADABLE", format_args!("{}: {error}", path.display()))
        };
        super::parse_version(&build.version)?;
        os::check_only_ours(&self.folder).map_err(failed)?;
        os::check_only_ours(&self.folder.join(&build.version)).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true);
        os::no_links(&mut options);
        let mut file = options.open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let differs =
            || UpdateError::new("PROGRAM_DIFFERS", format_args!("{} is not what was kept", path.display()));
        if !metadata.is_file() || metadata.len() != build.length {
            return Err(differs());
        }
        os::check_only_ours(&path).map_err(failed)?;
        let (sha256, length) = digest_of(&mut file, build.length).map_err(failed)?;
        if sha256 != build.sha256 || length != build.length {
            return Err(differs());
        }
        file.rewind().map_err(failed)?;
        Ok(Opened { file, path })
    }

    /// Removes all versions but these, and the one whose program is `running`. What is being fetched is the agent's, and
    /// stays.
    pub fn prune(&self, keep: &[&str], running: &Path) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_kept = |name: &OsStr| name == INCOMING || keep.iter().any(|kept| *kept == name);
        let is_unused = |entry: &DirEntry| !is_kept(&entry.file_name()) && !running.starts_with(entry.path());
        for entry in entries.filter(is_unused) {
            if let Err(error) = remove_all(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "an old version cannot be removed");
            }
        }
    }
}

/// A file that only its owner writes and everyone may run, as installed programs are.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    os::program_mode(&mut options);
    options.open(path)
}

/// SHA-256 in hex of at most `most` bytes, and how many there were.
fn digest_of(file: &mut File, most: u64) -> io::Result<(String, u64)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut buffer, mut length) = (vec![0; 64 * 1024], 0);
    // One byte more than allowed tells that there is more.
    let mut source = file.take(most.saturating_add(1));
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok((hex::encode(context.finish().as_ref()), length)),
            read => {
                context.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// The same of a whole file.
pub(super) fn digest_of_file(path: &Path) -> io::Result<(String, u64)> {
    digest_of(&mut File::open(path)?, u64::MAX)
}
