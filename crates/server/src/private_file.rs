//! Files of the server alone, in its data folder: 0600, and there whole or not at all. Several processes may write the
//! same one at the same moment: each works on a draft of its own, which a writer that is killed leaves behind unread.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Makes a folder that only this account enters (0700), where it is missing, for good.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    sync_folder_of(folder)
}

/// Writes a file, or replaces it: whoever reads it meanwhile finds the one before.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::write(path, bytes)?;
    std::fs::rename(&draft.0, path)?;
    sync_folder_of(path)
}

/// Writes a file that is made once and never replaced. One that is there already stays, so that of all who make it at
/// the same moment one succeeds: read it afterwards to know what it holds.
///
/// # Errors
/// It cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = Draft::write(path, bytes)?;
    match std::fs::hard_link(&draft.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // For a file that someone else made just now, too: what is built on it must not outlive it.
    sync_folder_of(path)
}

/// A whole file beside the place it is meant for; its own name goes with this.
struct Draft(PathBuf);

impl Draft {
    fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let partial = path.with_added_extension(format!("{:016x}.partial", rand::random::<u64>()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let draft = Self(partial);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; else a draft that stays is never read.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Brings the name of `path` to the disk.
///
/// # Errors
/// Its folder cannot be written.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        // Some file systems of networks cannot.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Barrier;
    use tempfile::TempDir;

    const WRITERS: u8 = 8;

    /// What each of many writers finds in `path` after it has done `work` with bytes of its own.
    fn found_by_all(path: &Path, work: impl Fn(&[u8]) -> io::Result<()> + Sync) -> Vec<Vec<u8>> {
        let start = Barrier::new(usize::from(WRITERS));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (start, work) = (&start, &work);
                    scope.spawn(move || {
                        start.wait();
                        work(&[writer; 4096]).unwrap();
                        std::fs::read(path).unwrap()
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn all_who_make_a_file_at_the_same_moment_find_the_same() {
        for _ in 0..50 {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("key");
            let found = found_by_all(&path, |bytes| create(&path, bytes));
            assert!(found.iter().all(|bytes| *bytes == found[0]), "each has a key of its own");
            assert_eq!(found[0], vec![found[0][0]; 4096], "parts of several");
            assert_eq!(names(folder.path()), ["key"]);
        }
    }

    #[test]
    fn all_who_replace_a_file_at_the_same_moment_find_a_whole_one() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("note");
        for _ in 0..50 {
            for bytes in found_by_all(&path, |bytes| write(&path, bytes)) {
                assert_eq!(bytes, vec![bytes[0]; 4096]);
            }
        }
        assert_eq!(names(folder.path()), ["note"]);
    }

    #[test]
    fn what_a_killed_writer_left_is_neither_read_nor_in_the_way() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("key");
        let draft = Draft::write(&path, b"half").unwrap();
        std::fs::write(path.with_added_extension("partial"), "of an earlier version").unwrap();
        std::mem::forget(draft);
        create(&path, b"whole").unwrap();
        create(&path, b"too late").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_put_in_its_place_leaves_no_draft() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        write(&path, b"note").unwrap_err();
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
