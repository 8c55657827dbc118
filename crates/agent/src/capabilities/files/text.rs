//! Small files as text, for an editor.

use super::confined::Reach;
use super::fault::{Fault, Result};
use super::folder::{FILE_MODE, Facts, PRIVATE_FILE, keep, of_file, set_file_mode};
use super::partial;
use super::path::Absolute;
use gururmm_protocol::tunnel::ErrorCode;
use gururmm_protocol::tunnel::files::{FileAnswer, MAX_TEXT_BYTES};
use gururmm_protocol::tunnel::frame::MAX_BODY_BYTES;
use std::fs::File;
use std::io::{self, Read, Write};

/// Bytes of an answer besides the text.
const REST_BYTES: usize = 1_024;

pub(super) fn read(reach: &Reach, path: &str) -> Result<FileAnswer> {
    let (file, facts) = reach.file(&Absolute::parse(path)?)?;
    let bytes = read_small(&file)?;
    let version = version(&facts, &bytes);
    let text = String::from_utf8(bytes).map_err(|_| {
        Fault::new(ErrorCode::Invalid, "It is not text, or not in UTF-8; it can be downloaded.")
    })?;
    answer(text, version).ok_or_else(too_large)
}

/// Puts `text` in the place of a file's content in one step. Whoever has the file open goes on with the one before.
pub(super) fn write(reach: &Reach, path: &str, text: String, version: Option<&str>) -> Result<FileAnswer> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(too_large());
    }
    let spot = reach.real_spot(&Absolute::parse(path)?)?;
    let old = match (spot.look_if_there()?, version) {
        (None, None) => None,
        (Some(_), None) => return Err(io::Error::from(io::ErrorKind::AlreadyExists).into()),
        (None, Some(_)) => return Err(changed()),
        (Some(facts), Some(version)) => {
            reach.check_content(&facts)?;
            let file = spot.folder.open_file(&spot.name)?;
            let facts = of_file(&file)?;
            reach.check_content(&facts)?;
            if self::version(&facts, &read_small(&file)?) != version {
                return Err(changed());
            }
            Some(file)
        }
    };
    let name = partial::new_name();
    let new = spot.folder.make_file(&name, PRIVATE_FILE)?;
    let replace = old.is_some();
    // With the old one closed, which Windows would not let go else.
    let written = fill(&new, text.as_bytes(), old)
        .and_then(|()| spot.folder.rename(&name, &spot.folder, &spot.name, replace));
    if let Err(error) = written {
        drop(new);
        spot.folder.remove_file(&name)?;
        return Err(error.into());
    }
    spot.folder.sync()?;
    let version = self::version(&of_file(&new)?, text.as_bytes());
    Ok(answer(text, version).unwrap_or(FileAnswer::Done {}))
}

fn fill(mut new: &File, bytes: &[u8], old: Option<File>) -> io::Result<()> {
    new.write_all(bytes)?;
    match old {
        Some(old) => keep(&old, new)?,
        None => set_file_mode(new, FILE_MODE)?,
    }
    new.sync_all()
}

fn read_small(file: &File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TEXT_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// Text with many characters that JSON writes in six may be too long for a message all the same.
fn answer(text: String, version: String) -> Option<FileAnswer> {
    let answer = FileAnswer::Text { text, version };
    let bytes = serde_json::to_vec(&answer).map_or(usize::MAX, |json| json.len());
    (bytes + REST_BYTES <= MAX_BODY_BYTES).then_some(answer)
}

fn too_large() -> Fault {
    let detail =
        format!("Text is edited up to {} KiB; larger files can be downloaded.", MAX_TEXT_BYTES / 1024);
    Fault::new(ErrorCode::TooLarge, detail)
}

fn changed() -> Fault {
    Fault::new(ErrorCode::Conflict, "The file was changed since it was read.")
}

/// Tells a file as it was read from every later one.
fn version(facts: &Facts, bytes: &[u8]) -> String {
    let modified = facts.modified.map_or(0, |since| since.as_nanos());
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digest = hex::encode(digest.as_ref().get(..8).unwrap_or_default());
    format!("{modified:x}-{:x}-{digest}", bytes.len())
}
