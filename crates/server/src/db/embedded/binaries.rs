//! The system's PostgreSQL programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedError;

/// The oldest major version the server works with.
pub(super) const MINIMUM_MAJOR: u32 = 15;
/// Names a folder of PostgreSQL programs that is used instead of searching for one.
pub(super) const BIN_VARIABLE: &str = "GURURMM_PG_BIN";

/// One installation of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub major: u32,
    folder: PathBuf,
}

impl Binaries {
    /// The newest installation, or for a cluster that exists the one of its major version.
    pub fn find(cluster_major: Option<u32>, cluster: &Path) -> Result<Self, EmbeddedError> {
        let found = candidate_folders("postgres").into_iter().filter_map(Self::probe).collect();
        Self::choose(found, cluster_major, cluster)
    }

    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    fn choose(
        mut found: Vec<Self>,
        cluster_major: Option<u32>,
        cluster: &Path,
    ) -> Result<Self, EmbeddedError> {
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        let Some(newest) = found.first() else {
            return Err(EmbeddedError::NoBinaries { minimum: MINIMUM_MAJOR, variable: BIN_VARIABLE });
        };
        if newest.major < MINIMUM_MAJOR {
            return Err(EmbeddedError::TooOld { found: newest.major, minimum: MINIMUM_MAJOR });
        }
        let Some(cluster_major) = cluster_major else { return Ok(newest.clone()) };
        found.iter().find(|binaries| binaries.major == cluster_major).cloned().ok_or_else(|| {
            let mut majors: Vec<String> = found.iter().map(|binaries| binaries.major.to_string()).collect();
            majors.dedup();
            EmbeddedError::VersionMismatch {
                folder: cluster.to_owned(),
                cluster: cluster_major,
                found: majors.join(", "),
            }
        })
    }

    fn probe(folder: PathBuf) -> Option<Self> {
        let major = major_of(&folder.join("postgres"))?;
        folder.join("initdb").is_file().then_some(Self { major, folder })
    }
}

/// Folders that hold `program`, those of PostgreSQL's versions first.
pub(super) fn candidate_folders(program: &str) -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(BIN_VARIABLE) {
        return vec![named.into()];
    }
    let versioned = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versioned.map(|entry| entry.path().join("bin")).collect();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders.retain(|folder| folder.is_absolute() && folder.join(program).is_file());
    folders
}

/// The major version of one of PostgreSQL's programs, if it runs.
pub(super) fn major_of(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0)` or `postgres (PostgreSQL) 18beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> Vec<Binaries> {
        majors
            .iter()
            .map(|major| Binaries { major: *major, folder: format!("/opt/pg{major}").into() })
            .collect()
    }

    fn choose(majors: &[u32], cluster: Option<u32>) -> Result<u32, EmbeddedError> {
        Binaries::choose(installed(majors), cluster, Path::new("/data/cluster"))
            .map(|binaries| binaries.major)
    }

    #[test]
    fn versions_of_distributions_and_betas_are_read() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 17"), Some(17));
        assert_eq!(parse_major("mysqld  Ver 8.0"), None);
        assert_eq!(parse_major("postgres (PostgreSQL) "), None);
    }

    #[test]
    fn a_new_cluster_takes_the_newest_and_an_old_one_its_own_version() {
        assert_eq!(choose(&[15, 17, 16], None).unwrap(), 17);
        assert_eq!(choose(&[15, 17, 16], Some(15)).unwrap(), 15);
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(choose(&[], None).unwrap_err().to_string().contains("apt-get install postgresql"));
        assert_eq!(
            choose(&[13, 14], None).unwrap_err().to_string(),
            "PostgreSQL 14 is too old, 15 or newer is needed: install a newer one or pass --database-url"
        );
        let mismatch = choose(&[17, 16], Some(15)).unwrap_err().to_string();
        assert!(mismatch.contains("made by PostgreSQL 15, and only 17, 16 is installed"), "{mismatch}");
        assert!(mismatch.contains("pg_upgrade"), "{mismatch}");
    }
}
