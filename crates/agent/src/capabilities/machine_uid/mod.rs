//! Which machine this is: an id that survives a fresh installation of the operating system where the hardware allows.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

use crate::os::{self, Unsupported};
use crate::state::{StateDir, StateError, write_atomic};
use gururmm_protocol::system::{MachineIdentity, UidSource};
use std::fs;
use std::io;

/// Where the id of a machine that has none of its own is kept.
const MADE_UP_FILE: &str = "machine-id";
/// As long as systemd's.
const MADE_UP_DIGITS: usize = 32;

/// What a system knows of its hardware and itself. A source that needs more rights than the agent has is absent.
#[derive(Debug, Default, Clone)]
struct Sources {
    smbios_uuid: Option<String>,
    board_serial: Option<String>,
    disk_serial: Option<String>,
    os_id: Option<String>,
}

/// Why a machine has no id.
#[derive(Debug, thiserror::Error)]
pub enum NoMachineUid {
    /// There was none, and one could not be made and kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Not built for this platform.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Reads the machine's identity, best source first. A container may have neither hardware nor an id of its system: it
/// gets one that is kept in the state folder.
pub fn read(state: &StateDir) -> Result<MachineIdentity, NoMachineUid> {
    let sources = platform::read()?;
    let (source, value) = match best(&sources) {
        Some(found) => found,
        None => (UidSource::OsId, made_up(state)?),
    };
    let Sources { board_serial, disk_serial, .. } = sources;
    let machine_uid = digest(source, &value);
    let mut identity = MachineIdentity { machine_uid, machine_uid_source: source, board_serial, disk_serial };
    identity.clean();
    Ok(identity)
}

fn best(sources: &Sources) -> Option<(UidSource, String)> {
    let Sources { smbios_uuid, board_serial, disk_serial, os_id } = sources;
    let smbios = smbios_uuid.as_ref().map(|uuid| uuid.to_ascii_lowercase()).filter(|uuid| is_unique(uuid));
    let board_and_disk =
        board_serial.as_ref().zip(disk_serial.as_ref()).map(|(board, disk)| format!("{board}\0{disk}"));
    smbios
        .map(|uuid| (UidSource::SmbiosUuid, uuid))
        .or(board_and_disk.map(|serials| (UidSource::BoardAndDisk, serials)))
        .or(os_id.as_ref().map(|id| (UidSource::OsId, id.clone())))
}

/// The id that was made here, made now if there is none. A damaged one is made again.
fn made_up(state: &StateDir) -> Result<String, StateError> {
    let path = state.file(MADE_UP_FILE);
    let is_whole = |id: &str| id.len() == MADE_UP_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    match fs::read_to_string(&path) {
        Ok(id) if is_whole(id.trim()) => {
            os::check_private(&path)?;
            return Ok(id.trim().to_owned());
        }
        Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            return Err(StateError::Io { path, source });
        }
        _ => {}
    }
    tracing::warn!("this machine has no id of its own; one is made and kept in the state folder");
    let id = format!("{:032x}", rand::random::<u128>());
    write_atomic(&path, id.as_bytes()).map_err(|source| StateError::Io { path, source })?;
    Ok(id)
}

/// Frozen: a change makes every machine a new one. The source is part of the digest, so that a serial never equals
/// somebody else's uuid.
fn digest(source: UidSource, value: &str) -> String {
    let text = format!("gururmm machine uid 1\0{}\0{value}", source.as_str());
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hex::encode(digest)
}

/// Uuids that makers ship on many boards, in both byte orders where they are known in both.
fn is_unique(uuid: &str) -> bool {
    const SHARED: &[&str] = &[
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "78563412-3412-7856-90ab-cddeefaabbcc",
        "01234567-8910-1112-1314-151617181920",
        "4c4c4544-0000-2010-8020-80c04f202020",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "deadbeef-dead-beef-dead-beefdeadbeef",
    ];
    let digits: Vec<char> = uuid.chars().filter(|c| *c != '-').collect();
    let is_uuid = uuid.len() == 36 && digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit);
    // All zeros, all Fs, all of anything.
    let is_uniform = digits.windows(2).all(|pair| pair[0] == pair[1]);
    is_uuid && !is_uniform && !SHARED.contains(&uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(sources: Sources) -> (UidSource, String) {
        let (source, value) = best(&sources).unwrap();
        (source, digest(source, &value))
    }

    fn sources() -> Sources {
        Sources {
            smbios_uuid: Some("4C4C4544-0042-3510-8052-B4C04F313233".into()),
            board_serial: Some("BOARD-1".into()),
            disk_serial: Some("DISK-1".into()),
            os_id: Some("0123456789abcdef0123456789abcdef".into()),
        }
    }

    #[test]
    fn the_uid_is_frozen() {
        let identity = identify(sources());
        assert_eq!(identity.0, UidSource::SmbiosUuid);
        assert_eq!(identity.1, "4ef1732e98b79da026401c6cbbdf0094c4d70fc96879b345bd0379c7afda5e6b");
    }

    #[test]
    fn hardware_comes_before_the_operating_system() {
        let reimaged = Sources { os_id: Some("ffffffffffffffffffffffffffffffff".into()), ..sources() };
        assert_eq!(identify(reimaged), identify(sources()));
        let no_uuid = identify(Sources { smbios_uuid: None, ..sources() });
        assert_eq!(no_uuid.0, UidSource::BoardAndDisk);
        let one_serial = identify(Sources { smbios_uuid: None, board_serial: None, ..sources() });
        assert_eq!(one_serial.0, UidSource::OsId);
        assert_eq!(best(&Sources::default()), None);
    }

    #[test]
    fn uuids_that_many_boards_share_are_not_taken() {
        for junk in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "Not Settable",
            "",
        ] {
            let identity = identify(Sources { smbios_uuid: Some(junk.into()), ..sources() });
            assert_eq!(identity.0, UidSource::BoardAndDisk, "{junk}");
        }
    }

    #[test]
    fn letters_case_of_the_uuid_does_not_matter() {
        let lower = sources().smbios_uuid.map(|uuid| uuid.to_ascii_lowercase());
        assert_eq!(identify(Sources { smbios_uuid: lower, ..sources() }), identify(sources()));
    }

    #[test]
    fn a_machine_without_any_id_keeps_the_one_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(&folder.path().join("state")).unwrap();
        let id = made_up(&state).unwrap();
        assert_eq!(id.len(), MADE_UP_DIGITS);
        assert_eq!(made_up(&state).unwrap(), id, "the second start");
        fs::write(state.file(MADE_UP_FILE), "half").unwrap();
        let another = made_up(&state).unwrap();
        assert_ne!(another, id);
        assert_eq!(made_up(&state).unwrap(), another);
    }
}
