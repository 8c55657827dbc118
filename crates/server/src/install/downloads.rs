//! What `/install/` hands out to Linux: the agent's program, and the installer that knows its checksum. The program is
//! the one named on the command line, or comes from the folder of packages.

use super::dist::{Arch, Dist, PackageKind};
use crate::error::Error;
use gururmm_protocol::system::OsType;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::time::SystemTime;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

const SCRIPT: &str = include_str!("linux.sh");
/// Stand in the script where the checksums belong; where there is no program for a processor, nothing takes its place.
const CHECKSUM_MARKS: [(Arch, &str); 2] =
    [(Arch::X86_64, "@AGENT_SHA256_X86_64@"), (Arch::Aarch64, "@AGENT_SHA256_AARCH64@")];

/// The files for machines.
pub struct Downloads {
    /// For x86_64.
    agent_binary: Option<PathBuf>,
    /// The packages that `./dev dist` built.
    pub dist: Dist,
    /// The checksum of the binary as it was when last looked at.
    checksum: Mutex<Option<Checksum>>,
}

struct Checksum {
    modified: SystemTime,
    length: u64,
    sha256: String,
}

impl Downloads {
    /// Hands out this binary, if any, and the packages of a folder.
    pub fn new(agent_binary: Option<PathBuf>, dist: PathBuf) -> Self {
        Self { agent_binary, dist: Dist::new(dist), checksum: Mutex::new(None) }
    }

    /// Whether there is an agent for Linux to hand out.
    pub async fn has_agent(&self) -> bool {
        for (arch, _) in CHECKSUM_MARKS {
            if self.named_binary(arch).is_some() || self.packaged(arch).await.is_some() {
                return true;
            }
        }
        false
    }

    /// The agent's program for Linux on a processor, open, and its length in bytes.
    pub async fn open_agent(&self, arch: Arch) -> Result<Option<(File, u64)>, Error> {
        if let Some(path) = self.named_binary(arch) {
            let file = File::open(path).await.map_err(Error::internal)?;
            let length = file.metadata().await.map_err(Error::internal)?.len();
            return Ok(Some((file, length)));
        }
        let Some((name, _)) = self.packaged(arch).await else { return Ok(None) };
        let opened = self.dist.open(&name).await?.ok();
        Ok(opened.map(|opened| (opened.file, opened.package.size)))
    }

    /// The installer for Linux, with the checksums of the programs it may fetch.
    pub async fn linux_script(&self) -> Result<Option<String>, Error> {
        let (mut script, mut has_any) = (SCRIPT.to_owned(), false);
        for (arch, mark) in CHECKSUM_MARKS {
            let sha256 = match self.named_binary(arch) {
                Some(_) => self.named_checksum(arch).await?,
                None => self.packaged(arch).await.map(|(_, sha256)| sha256),
            };
            has_any |= sha256.is_some();
            script = script.replace(mark, &sha256.unwrap_or_default());
        }
        Ok(has_any.then_some(script))
    }

    fn named_binary(&self, arch: Arch) -> Option<&PathBuf> {
        self.agent_binary.as_ref().filter(|path| arch == Arch::X86_64 && path.is_file())
    }

    /// File and checksum of the program among the packages.
    async fn packaged(&self, arch: Arch) -> Option<(String, String)> {
        let packages = self.dist.packages().await;
        let is_it = |kind, os| kind == PackageKind::Agent && os == OsType::Linux;
        let package =
            packages.iter().find(|package| is_it(package.kind, package.os) && package.arch == arch)?;
        Some((package.file.clone(), package.sha256.clone()))
    }

    async fn named_checksum(&self, arch: Arch) -> Result<Option<String>, Error> {
        // The lock is held while the file is read: many askers cost one reading.
        let mut known = self.checksum.lock().await;
        let Some((mut file, length)) = self.open_agent(arch).await? else { return Ok(None) };
        let metadata = file.metadata().await.map_err(Error::internal)?;
        let modified = metadata.modified().map_err(Error::internal)?;
        let sha256 = match known.take().filter(|known| known.modified == modified && known.length == length) {
            Some(known) => known.sha256,
            None => checksum_of(&mut file).await?,
        };
        *known = Some(Checksum { modified, length, sha256: sha256.clone() });
        Ok(Some(sha256))
    }
}

/// The SHA-256 of some bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The same of an open file, from where it stands to its end.
pub(super) async fn checksum_of(file: &mut File) -> Result<String, Error> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer).await.map_err(Error::internal)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_script_carries_the_checksum_of_the_binary_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gururmm-agent");
        let downloads = Downloads::new(Some(path.clone()), folder.path().join("dist"));
        assert!(!downloads.has_agent().await && downloads.linux_script().await.unwrap().is_none());
        for content in ["one", "another"] {
            std::fs::write(&path, content).unwrap();
            let script = downloads.linux_script().await.unwrap().unwrap();
            assert!(script.contains(&format!("SHA256_X86_64={}\n", sha256_hex(content.as_bytes()))));
            assert!(script.contains("SHA256_AARCH64=\n") && !script.contains("=@"));
        }
    }

    #[test]
    fn sha256_is_the_one_of_the_standard() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
    }
}
