//! Where the private PostgreSQL lives, and with which rights.
//!
//! ```text
//! DATA/server.lock             held while a server uses the data folder; holds its pid
//! DATA/postgres/gururmm        marks the folder as ours
//! DATA/postgres/cluster/       the cluster; owned by the user PostgreSQL runs as
//! DATA/postgres/postgres.log   what PostgreSQL says; postgres.log.1 is the part before
//! RUNTIME/*.conf               settings, written anew at every start
//! RUNTIME/socket/              the unix socket
//! ```
//!
//! `RUNTIME` is `DATA/postgres/run`. It lies outside the data folder where that would make the socket's path too
//! long, and for root, since PostgreSQL's user may not be able to walk to the data folder at all (`/root` is closed).

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::path::{Path, PathBuf};

use super::account::{self, Account};
use super::error::EmbeddedError;

/// The port's only use here is to name the socket's file.
pub(super) const SOCKET_FILE: &str = ".s.PGSQL.5432";
/// `sockaddr_un.sun_path` without its closing NUL.
const SOCKET_PATH_MAX_BYTES: usize = 107;
const MARKER: &str = "gururmm";

/// The paths of one data folder's PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    data: PathBuf,
    pub folder: PathBuf,
    pub cluster: PathBuf,
    /// Where `initdb` works; becomes `cluster` when it is done.
    pub cluster_new: PathBuf,
    pub log: PathBuf,
    pub runtime: PathBuf,
    pub socket: PathBuf,
    own_uid: u32,
}

impl Layout {
    /// Names the places of `data`, which exists.
    pub fn of(data: &Path) -> Result<Self, EmbeddedError> {
        let data = data.canonicalize().map_err(|e| EmbeddedError::writing(data, e))?;
        let own_uid = account::own_uid();
        let folder = data.join("postgres");
        let runtime = runtime_folder(&data, &folder, own_uid);
        Ok(Self {
            cluster: folder.join("cluster"),
            cluster_new: folder.join("cluster.new"),
            log: folder.join("postgres.log"),
            socket: runtime.join("socket"),
            data,
            folder,
            runtime,
            own_uid,
        })
    }

    /// Makes the folders that PostgreSQL does not make itself, and refuses those that are not ours.
    pub fn prepare(&self) -> Result<(), EmbeddedError> {
        self.make_private(&self.folder, 0o700)?;
        let marker = self.folder.join(MARKER);
        if !marker.exists() {
            let mut entries = self.folder.read_dir().map_err(|e| EmbeddedError::writing(&self.folder, e))?;
            if entries.next().is_some() {
                return Err(EmbeddedError::Foreign { folder: self.folder.clone() });
            }
            File::create_new(&marker).map_err(|e| EmbeddedError::writing(&self.folder, e))?;
        }
        Ok(())
    }

    /// Makes the folders of settings and socket, for PostgreSQL running as `postgres`.
    pub fn prepare_runtime(&self, postgres: &Account) -> Result<(), EmbeddedError> {
        // Root's settings are read by another user, who walks through without listing.
        self.make_private(&self.runtime, if self.own_uid == 0 { 0o711 } else { 0o700 })?;
        self.make_for(&self.socket, postgres)
    }

    /// Makes `folder` where it is missing and gives it to `postgres`. Its parent must be ours alone.
    pub fn make_for(&self, folder: &Path, postgres: &Account) -> Result<(), EmbeddedError> {
        let failed = |e| EmbeddedError::writing(folder, e);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        if self.own_uid == 0 {
            chown(folder, Some(postgres.uid), Some(postgres.gid)).map_err(failed)?;
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)
    }

    /// Makes or checks a folder that only this process's user may write. A folder or link that someone else put in
    /// its place is refused.
    fn make_private(&self, folder: &Path, mode: u32) -> Result<(), EmbeddedError> {
        let failed = |e| EmbeddedError::writing(folder, e);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        let found = std::fs::symlink_metadata(folder).map_err(failed)?;
        if !found.is_dir() {
            return Err(EmbeddedError::Foreign { folder: folder.to_owned() });
        }
        if found.uid() != self.own_uid {
            let owner = account::name_of(found.uid());
            return Err(EmbeddedError::NotOwned { folder: folder.to_owned(), owner });
        }
        std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(failed)
    }

    /// Refuses a disk with too little room for a cluster and its log.
    pub fn check_room(&self) -> Result<(), EmbeddedError> {
        const NEEDED_BYTES: u64 = 128 * 1024 * 1024;
        let disk = rustix::fs::statvfs(&self.data).map_err(|e| {
            EmbeddedError::io(format!("ask for the room in {}", self.data.display()), e.into())
        })?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < NEEDED_BYTES {
            return Err(EmbeddedError::NoDisk { folder: self.data.clone() });
        }
        Ok(())
    }
}

fn runtime_folder(data: &Path, folder: &Path, own_uid: u32) -> PathBuf {
    let digest = blake3::hash(data.as_os_str().as_encoded_bytes()).to_hex();
    let short = digest.get(..16).unwrap_or_default();
    if own_uid == 0 {
        return format!("/run/gururmm-{short}").into();
    }
    let beside = folder.join("run");
    let socket_bytes = beside.join("socket").join(SOCKET_FILE).as_os_str().len();
    // A path that is not UTF-8 does not fit into a connection URL.
    if socket_bytes <= SOCKET_PATH_MAX_BYTES && beside.to_str().is_some() {
        return beside;
    }
    format!("/tmp/gururmm-{own_uid}-{short}").into()
}

/// Keeps every other server away from a data folder for as long as it lives. The kernel lets go of it with the
/// process, however that ends.
#[derive(Debug)]
pub struct DataLock {
    folder: PathBuf,
    _file: File,
}

impl DataLock {
    /// Takes the data folder, made where it is missing, readable by its owner only.
    ///
    /// # Errors
    /// When another server has it, or it cannot be written.
    pub fn take(data: &Path) -> Result<Self, EmbeddedError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.map_err(|e| EmbeddedError::writing(data, e))?;
        let path = data.join("server.lock");
        let failed = |e| EmbeddedError::writing(data, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Between taking the lock and writing the pid the file is empty or old: then the number is unknown.
                let read = file.take(16).read_to_string(&mut pid);
                let pid = read.ok().and_then(|_| pid.trim().parse::<u32>().ok());
                return Err(EmbeddedError::InUse {
                    pid: pid.map_or("unknown".into(), |pid| pid.to_string()),
                });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { folder: data.to_owned(), _file: file })
    }

    /// The data folder that it holds.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_of(data: &str, uid: u32) -> PathBuf {
        let data = Path::new(data);
        runtime_folder(data, &data.join("postgres"), uid).join("socket").join(SOCKET_FILE)
    }

    #[test]
    fn the_socket_lies_in_the_data_folder_where_it_can() {
        assert_eq!(socket_of("/srv/rmm", 1000), Path::new("/srv/rmm/postgres/run/socket/.s.PGSQL.5432"));
    }

    #[test]
    fn a_long_data_folder_gets_a_short_socket_of_its_own() {
        let (one, two) = ("/srv/".to_owned() + &"a".repeat(80), "/srv/".to_owned() + &"b".repeat(80));
        assert!(socket_of(&one, 1000).as_os_str().len() <= SOCKET_PATH_MAX_BYTES);
        assert_ne!(socket_of(&one, 1000), socket_of(&two, 1000));
        assert_ne!(socket_of(&one, 1000), socket_of(&one, 1001));
    }

    #[test]
    fn the_longest_path_that_fits_stays_in_the_data_folder() {
        let data = |bytes: usize| "/".to_owned() + &"d".repeat(bytes - 1);
        let inside = "/postgres/run/socket/.s.PGSQL.5432".len();
        let fits = socket_of(&data(SOCKET_PATH_MAX_BYTES - inside), 1000);
        assert_eq!(fits.as_os_str().len(), SOCKET_PATH_MAX_BYTES);
        assert!(socket_of(&data(SOCKET_PATH_MAX_BYTES - inside + 1), 1000).starts_with("/tmp"));
    }
}
