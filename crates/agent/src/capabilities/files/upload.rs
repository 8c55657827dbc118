//! To the machine: one file, which comes into its place whole or not at all.

use super::confined::{Reach, Spot};
use super::download::gone;
use super::fault::{Fault, Result};
use super::folder::{FILE_MODE, PRIVATE_FILE, keep, read_at, set_file_mode, write_at};
use super::partial::{self, Claim};
use super::path::Absolute;
use super::work::aside;
use crate::tunnel::channel::{Channel, Incoming, unseen};
use gururmm_protocol::tunnel::files::{EntryKind, OpenUpload, UploadMessage};
use gururmm_protocol::tunnel::{ChannelEnd, ErrorCode, Opened};
use ring::digest::{Context, SHA256};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Longest key of a transfer, in characters.
const MAX_KEY_CHARS: usize = 64;
/// Bytes that are written at a time, when so many came.
const WRITE_BYTES: usize = 512 * 1024;
/// Bytes of what came before that are read for the checksum in one step.
const HASH_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn run(open: OpenUpload, reach: Arc<Reach>, mut channel: Channel) -> Result<ChannelEnd> {
    check_key(&open.resume_key)?;
    let place = {
        let (open, reach) = (open.clone(), Arc::clone(&reach));
        aside(move || Place::find(&open, &reach)).await??
    };
    let claim = Arc::new(Claim::take(place.folder, &place.partial).await);
    let arriving = {
        let claim = Arc::clone(&claim);
        Arc::new(Mutex::new(aside(move || Arriving::open(place, claim)).await??))
    };
    channel.sender.opened(opened(&arriving, &open).await?).await.map_err(gone)?;
    let mut waiting = None;
    // What was there before is in the checksum before anything is added to it.
    let mut is_hashed = false;
    loop {
        let incoming = match waiting.take() {
            Some(incoming) => Some(incoming),
            None => tokio::select! {
                incoming = channel.incoming.recv() => incoming,
                () = claim.asked_for() => {
                    return Err(Fault::new(ErrorCode::Closed, "The transfer goes on in another channel."));
                }
            },
        };
        match incoming {
            None => return Err(gone(())),
            Some(Incoming::Attach(_)) => {
                channel.sender.opened(opened(&arriving, &open).await?).await.map_err(gone)?;
            }
            Some(first @ Incoming::Data { .. }) => {
                let mut cost = first.cost();
                let mut pieces = vec![first];
                // What has come meanwhile is written with it.
                while (cost as usize) < WRITE_BYTES {
                    match channel.incoming.try_recv() {
                        Ok(piece @ Incoming::Data { .. }) => {
                            cost = cost.saturating_add(piece.cost());
                            pieces.push(piece);
                        }
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                if !std::mem::replace(&mut is_hashed, true) {
                    hash_what_was_there(&arriving, &channel).await?;
                }
                let arriving = Arc::clone(&arriving);
                aside(move || lock(&arriving).write(&pieces)).await??;
                channel.sender.grant(cost).await.map_err(gone)?;
            }
            Some(Incoming::Message(body)) => match serde_json::from_slice(&body) {
                Ok(UploadMessage::Finish { sha256 }) => {
                    if !std::mem::replace(&mut is_hashed, true) {
                        hash_what_was_there(&arriving, &channel).await?;
                    }
                    return aside(move || lock(&arriving).finish(&sha256)).await?;
                }
                Ok(UploadMessage::Discard {}) => {
                    return aside(move || lock(&arriving).discard().map(|()| ChannelEnd::default())).await?;
                }
                Ok(UploadMessage::Unknown) => {
                    channel.sender.grant(u32::try_from(body.len()).unwrap_or(0)).await.map_err(gone)?;
                }
                Err(_) => return Err(Fault::new(ErrorCode::Invalid, "The message makes no sense here.")),
            },
        }
    }
}

fn check_key(key: &str) -> Result<()> {
    let is_key = !key.is_empty()
        && key.len() <= MAX_KEY_CHARS
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_key { Ok(()) } else { Err(Fault::new(ErrorCode::Invalid, "The transfer's key makes no sense.")) }
}

async fn opened(arriving: &Arc<Mutex<Arriving>>, open: &OpenUpload) -> Result<Opened> {
    let arriving = Arc::clone(arriving);
    // Not here: a write may hold it.
    let received = aside(move || lock(&arriving).received).await?;
    Ok(Opened { received, size: Some(open.size), ..Opened::default() })
}

/// Of a transfer that goes on: reads what is there for the checksum, in steps.
async fn hash_what_was_there(arriving: &Arc<Mutex<Arriving>>, channel: &Channel) -> Result<()> {
    loop {
        let arriving = Arc::clone(arriving);
        if aside(move || lock(&arriving).hash()).await?? {
            return Ok(());
        }
        if channel.incoming.is_closed() {
            return Err(gone(()));
        }
    }
}

fn lock(arriving: &Mutex<Arriving>) -> MutexGuard<'_, Arriving> {
    arriving.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the file goes, and where it is until then.
struct Place {
    reach: Arc<Reach>,
    spot: Spot,
    folder: super::folder::Identity,
    partial: OsString,
    size: u64,
    replace: bool,
}

impl Place {
    fn find(open: &OpenUpload, reach: &Arc<Reach>) -> Result<Self> {
        let spot = reach.real_spot(&Absolute::parse(&open.path)?)?;
        if let Some(facts) = spot.look_if_there()? {
            if facts.kind == EntryKind::Folder {
                return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
            }
            if !open.replace {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
            }
            reach.check_content(&facts)?;
        }
        // Nobody waits longer for a transfer because of it.
        if let Err(error) = partial::sweep(&spot.folder, SystemTime::now()) {
            tracing::debug!(%error, "left-over transfers were not looked for");
        }
        let folder = spot.folder.facts()?.identity;
        let partial = partial::name_for(&open.resume_key, &spot.name);
        let reach = Arc::clone(reach);
        Ok(Self { reach, spot, folder, partial, size: open.size, replace: open.replace })
    }
}

/// A file that arrives.
struct Arriving {
    place: Place,
    file: File,
    /// Bytes that are in the file.
    received: u64,
    /// Bytes that are in the checksum.
    hashed: u64,
    digest: Context,
    /// Nobody else goes on with it before the last write is through, whether somebody waits for that or not.
    _claim: Arc<Claim>,
}

impl Arriving {
    fn open(place: Place, claim: Arc<Claim>) -> Result<Self> {
        let Place { spot, partial, size, .. } = &place;
        let mut found = match spot.folder.reopen_file(partial) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Not one that was left here by this agent.
            Err(_) => {
                spot.folder.remove_file(partial)?;
                None
            }
        };
        if let Some(file) = &found
            && file.metadata()?.len() > *size
        {
            found = None;
            spot.folder.remove_file(partial)?;
        }
        let file = match found {
            Some(file) => file,
            None => spot.folder.make_file(partial, PRIVATE_FILE)?,
        };
        let received = file.metadata()?.len();
        if spot.folder.free_bytes().is_some_and(|free| free < size - received) {
            if received == 0 {
                spot.folder.remove_file(partial)?;
            }
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        Ok(Self { place, file, received, hashed: 0, digest: Context::new(&SHA256), _claim: claim })
    }

    /// Reads a bit of what is there and not in the checksum. Returns whether nothing is left of that.
    fn hash(&mut self) -> Result<bool> {
        let mut bytes = Vec::new();
        let mut left = HASH_BYTES;
        while self.hashed < self.received && left > 0 {
            let most = usize::try_from(self.received - self.hashed).unwrap_or(usize::MAX).min(256 * 1024);
            bytes.resize(most, 0);
            let read = read_at(&self.file, &mut bytes, self.hashed)?;
            let Some(new) = bytes.get(..read).filter(|new| !new.is_empty()) else {
                return Err(Fault::new(ErrorCode::Failed, "What had arrived was cut meanwhile."));
            };
            self.digest.update(new);
            self.hashed += read as u64;
            left = left.saturating_sub(read);
        }
        Ok(self.hashed == self.received)
    }

    fn write(&mut self, pieces: &[Incoming]) -> Result<()> {
        for piece in pieces {
            let Incoming::Data { offset, bytes, .. } = piece else { continue };
            let new = unseen(self.received, *offset, bytes)?;
            if new.len() as u64 > self.place.size - self.received {
                return Err(Fault::new(ErrorCode::Invalid, "More arrived than the file was said to have."));
            }
            if let Err(error) = write_at(&self.file, new, self.received) {
                // What is in the file is what arrived; the rest comes again.
                self.file.set_len(self.received)?;
                return Err(error.into());
            }
            self.digest.update(new);
            self.received += new.len() as u64;
            self.hashed = self.received;
        }
        Ok(())
    }

    fn finish(&mut self, sha256: &str) -> Result<ChannelEnd> {
        let Place { reach, spot, partial, size, replace, .. } = &self.place;
        if self.received != *size {
            return Err(Fault::new(ErrorCode::Invalid, "The file has not arrived whole."));
        }
        let digest = hex::encode(self.digest.clone().finish());
        if !digest.eq_ignore_ascii_case(sha256) {
            self.discard()?;
            return Err(Fault::new(ErrorCode::ChecksumMismatch, "What arrived is not what was sent."));
        }
        match spot.look_if_there()?.filter(|_| *replace) {
            Some(facts) => {
                reach.check_content(&facts)?;
                keep(&spot.folder.open_file(&spot.name)?, &self.file)?;
            }
            None => set_file_mode(&self.file, FILE_MODE)?,
        }
        self.file.sync_all()?;
        spot.folder.rename(partial, &spot.folder, &spot.name, *replace)?;
        spot.folder.sync()?;
        Ok(ChannelEnd { sha256: Some(digest), size: Some(*size), ..ChannelEnd::default() })
    }

    fn discard(&self) -> Result<()> {
        Ok(self.place.spot.folder.remove_file(&self.place.partial)?)
    }
}
