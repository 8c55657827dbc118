//! SHA-256 of a file while it comes.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces that wait to be hashed.
const WAITING: usize = 32;
const READ_BYTES: usize = 256 * 1024;

/// A digest that grows beside everything else, on a thread of its own.
pub struct Hashing {
    pieces: mpsc::Sender<Bytes>,
    digest: JoinHandle<io::Result<String>>,
}

impl Hashing {
    /// Begins with so many bytes of `file`, from where it stands.
    pub fn of(file: File, bytes: u64) -> Self {
        let (pieces, mut coming) = mpsc::channel::<Bytes>(WAITING);
        let digest = tokio::task::spawn_blocking(move || {
            let (mut file, mut hash, mut buffer) = (file.take(bytes), Sha256::new(), vec![0; READ_BYTES]);
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    bytes => hash.update(&buffer[..bytes]),
                }
            }
            while let Some(piece) = coming.blocking_recv() {
                hash.update(piece);
            }
            Ok(hex::encode(hash.finalize()))
        });
        Self { pieces, digest }
    }

    /// Adds a piece. Waits while many wait. What could not be read is said at the end.
    pub async fn add(&self, piece: Bytes) {
        let _ended = self.pieces.send(piece).await;
    }

    /// All of it, in hexadecimal.
    ///
    /// # Errors
    /// The file could not be read.
    pub async fn finish(self) -> io::Result<String> {
        drop(self.pieces);
        self.digest.await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_there_and_what_came_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        std::fs::write(&path, "what was there, and what is written meanwhile").unwrap();
        let hashing = Hashing::of(File::open(&path).unwrap(), 14);
        for piece in [&b", and"[..], b"", b" what came"] {
            hashing.add(Bytes::from_static(piece)).await;
        }
        let whole = hex::encode(Sha256::digest("what was there, and what came"));
        assert_eq!(hashing.finish().await.unwrap(), whole);
    }
}
