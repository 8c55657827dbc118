//! What `/install/` hands out: the agent's binary as it lies on disk, and the installer that knows its checksum.

use crate::error::Error;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

const SCRIPT: &str = include_str!("linux.sh");
/// Stands in the script where the checksum belongs.
const CHECKSUM_MARK: &str = "@AGENT_SHA256@";

/// The files for machines.
pub struct Downloads {
    agent_binary: Option<PathBuf>,
    /// The checksum of the binary as it was when last looked at.
    checksum: Mutex<Option<Checksum>>,
}

struct Checksum {
    modified: SystemTime,
    length: u64,
    sha256: String,
}

impl Downloads {
    /// Hands out this binary, if any.
    pub fn new(agent_binary: Option<PathBuf>) -> Self {
        Self { agent_binary, checksum: Mutex::new(None) }
    }

    /// Whether there is an agent to hand out.
    pub fn has_agent(&self) -> bool {
        self.agent_binary.as_deref().is_some_and(Path::is_file)
    }

    /// The agent's binary, open, and its length in bytes.
    pub async fn open_agent(&self) -> Result<Option<(tokio::fs::File, u64)>, Error> {
        let Some(path) = self.agent_binary.as_deref().filter(|path| path.is_file()) else { return Ok(None) };
        let file = tokio::fs::File::open(path).await.map_err(Error::internal)?;
        let length = file.metadata().await.map_err(Error::internal)?.len();
        Ok(Some((file, length)))
    }

    /// The installer for Linux, with the checksum of the binary it will fetch.
    pub async fn linux_script(&self) -> Result<Option<String>, Error> {
        // The lock is held while the file is read: many askers cost one reading.
        let mut known = self.checksum.lock().await;
        let Some((mut file, length)) = self.open_agent().await? else { return Ok(None) };
        let metadata = file.metadata().await.map_err(Error::internal)?;
        let modified = metadata.modified().map_err(Error::internal)?;
        let sha256 = match known.take().filter(|known| known.modified == modified && known.length == length) {
            Some(known) => known.sha256,
            None => checksum_of(&mut file).await?,
        };
        let script = SCRIPT.replace(CHECKSUM_MARK, &sha256);
        *known = Some(Checksum { modified, length, sha256 });
        Ok(Some(script))
    }
}

/// The SHA-256 of some bytes, in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

async fn checksum_of(file: &mut tokio::fs::File) -> Result<String, Error> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer).await.map_err(Error::internal)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_script_carries_the_checksum_of_the_binary_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gururmm-agent");
        let downloads = Downloads::new(Some(path.clone()));
        assert!(!downloads.has_agent() && downloads.linux_script().await.unwrap().is_none());
        for content in ["one", "another"] {
            std::fs::write(&path, content).unwrap();
            let script = downloads.linux_script().await.unwrap().unwrap();
            assert!(script.contains(&sha256_hex(content.as_bytes())) && !script.contains(CHECKSUM_MARK));
        }
    }

    #[test]
    fn sha256_is_the_one_of_the_standard() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
    }
}
