//! From the machine: one file from any place on, or a folder as an archive.

use super::archive::Archive;
use super::confined::Reach;
use super::fault::{Fault, Result};
use super::folder::{Facts, read_at};
use super::path::Absolute;
use super::work::aside;
use crate::tunnel::channel::{Channel, Incoming};
use gururmm_protocol::tunnel::files::OpenDownload;
use gururmm_protocol::tunnel::frame::PIECE_BYTES;
use gururmm_protocol::tunnel::{Attach, ChannelEnd, ErrorCode, Flags, Opened};
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes read at a time, while those before are sent.
const READ_BYTES: usize = 8 * PIECE_BYTES;

pub(super) async fn run(open: OpenDownload, reach: Arc<Reach>, mut channel: Channel) -> Result<ChannelEnd> {
    let offset = open.offset;
    let source = aside(move || Source::open(&open, &reach)).await??;
    let source = Arc::new(Mutex::new(source));
    let mut at = offset;
    channel.sender.opened(opened(&source, at).await?).await.map_err(gone)?;
    let mut chunk = Vec::new();
    loop {
        let next = at + chunk.len() as u64;
        match send_and_read(&mut channel, &source, at, &chunk).await? {
            Ok(read) if read.is_empty() => return aside(move || lock(&source).end(next)).await,
            Ok(read) => (at, chunk) = (next, read),
            // Whoever is back says from where it goes on.
            Err(attach) => {
                (at, chunk) = (attach.have, Vec::new());
                channel.sender.opened(opened(&source, at).await?).await.map_err(gone)?;
            }
        }
    }
}

/// Sends a chunk, and meanwhile reads what follows it, unless somebody comes back.
async fn send_and_read(
    channel: &mut Channel,
    source: &Arc<Mutex<Source>>,
    at: u64,
    chunk: &[u8],
) -> Result<std::result::Result<Vec<u8>, Attach>> {
    let Channel { incoming, sender, .. } = channel;
    let send = async { if chunk.is_empty() { Ok(()) } else { sender.data(at, chunk, Flags::BULK).await } };
    let mut both = pin!(async { tokio::join!(send, read(source, at + chunk.len() as u64)) });
    loop {
        tokio::select! {
            biased;
            incoming = incoming.recv() => match incoming {
                Some(Incoming::Attach(attach)) => return Ok(Err(attach)),
                // Nothing is to be said here; it is granted again, so that nobody waits.
                Some(other) => sender.grant(other.cost()).await.map_err(gone)?,
                None => return Err(gone(())),
            },
            (sent, read) = &mut both => {
                sent.map_err(gone)?;
                return read.map(Ok);
            }
        }
    }
}

async fn opened(source: &Arc<Mutex<Source>>, from: u64) -> Result<Opened> {
    let source = Arc::clone(source);
    // Not here: a read that was given up may still hold it.
    aside(move || lock(&source).opened(from)).await?
}

/// Bytes from there on, none at the end. What is before them and was not read yet is read for the checksum first, in steps.
async fn read(source: &Arc<Mutex<Source>>, at: u64) -> Result<Vec<u8>> {
    loop {
        let source = Arc::clone(source);
        if let Some(bytes) = aside(move || lock(&source).read(at)).await?? {
            return Ok(bytes);
        }
    }
}

fn lock(source: &Mutex<Source>) -> std::sync::MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn gone<E>(_: E) -> Fault {
    Fault::new(ErrorCode::Closed, "The channel is over.")
}

/// Where the bytes come from.
enum Source {
    File(Box<Reading>),
    Archive(Box<Archive>),
}

/// A file that is read for a transfer.
struct Reading {
    file: File,
    facts: Facts,
    /// Absent for the kernel's own files, which have none and are read to their end.
    size: Option<u64>,
    /// Of the first bytes, so many.
    digest: Context,
    hashed: u64,
}

impl Source {
    fn open(open: &OpenDownload, reach: &Arc<Reach>) -> Result<Self> {
        let path = Absolute::parse(&open.path)?;
        if open.archive {
            if open.offset > 0 {
                let detail = "An archive is made anew each time, and begins at its beginning.";
                return Err(Fault::new(ErrorCode::Invalid, detail));
            }
            let name = path.parts().last().cloned().unwrap_or_else(crate::os::hostname);
            return Ok(Self::Archive(Box::new(Archive::new(
                reach.folder(&path)?,
                &name,
                Arc::clone(reach),
            )?)));
        }
        let (file, facts) = reach.file(&path)?;
        if open.offset > 0 && open.modified_ms.is_some_and(|then| Some(then) != facts.modified_ms()) {
            return Err(Fault::new(ErrorCode::Conflict, "The file was changed since the transfer began."));
        }
        let size = (facts.size > 0).then_some(facts.size);
        if size.is_some_and(|size| open.offset > size) {
            return Err(Fault::new(ErrorCode::Conflict, "The file is shorter than that."));
        }
        Ok(Self::File(Box::new(Reading { file, facts, size, digest: Context::new(&SHA256), hashed: 0 })))
    }

    /// What is said of it to who opens it, or comes back, if bytes from there on can be had.
    fn opened(&self, from: u64) -> Result<Opened> {
        match self {
            Self::File(reading) if from <= reading.size.unwrap_or(u64::MAX) => Ok(Opened {
                from,
                size: reading.size,
                modified_ms: reading.facts.modified_ms(),
                ..Opened::default()
            }),
            Self::Archive(archive) if archive.has(from) => Ok(Opened { from, ..Opened::default() }),
            _ => Err(Fault::new(
                ErrorCode::Closed,
                "The transfer cannot go on from there; it has to begin anew.",
            )),
        }
    }

    /// `None`: not yet.
    fn read(&mut self, at: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::File(reading) => reading.read(at),
            Self::Archive(archive) => archive.read(at, READ_BYTES),
        }
    }

    fn end(&mut self, size: u64) -> ChannelEnd {
        let (digest, size) = match self {
            Self::Archive(archive) => (archive.digest(), size),
            Self::File(reading) => (reading.digest.clone().finish(), reading.hashed),
        };
        ChannelEnd { sha256: Some(hex::encode(digest)), size: Some(size), ..ChannelEnd::default() }
    }
}

impl Reading {
    fn read(&mut self, at: u64) -> Result<Option<Vec<u8>>> {
        // What comes before and was not read yet is part of the checksum, and has its turn first.
        let from = at.min(self.hashed);
        let left = self.size.map_or(u64::MAX, |size| size.saturating_sub(from));
        let mut bytes = vec![0; READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES))];
        let mut read = 0;
        while let Some(room) = bytes.get_mut(read..).filter(|room| !room.is_empty()) {
            match read_at(&self.file, room, from + read as u64)? {
                0 => break,
                count => read += count,
            }
        }
        if read < bytes.len() && self.size.is_some() {
            return Err(Fault::new(ErrorCode::Conflict, "The file became shorter while it was read."));
        }
        bytes.truncate(read);
        let seen = usize::try_from(self.hashed - from).unwrap_or(usize::MAX);
        if let Some(new) = bytes.get(seen..) {
            self.digest.update(new);
            self.hashed += new.len() as u64;
        }
        // Without a size, the place may lie behind the end.
        if from == at || read == 0 { Ok(Some(bytes)) } else { Ok(None) }
    }
}
