//! A segment as it lies in the object store: compressed, then encrypted and bound to its place.
//!
//! | bytes | |
//! |---|---|
//! | 0–3 | `GRR1` |
//! | 4 | length of the key's id |
//! | … | the key's id |
//! | 12 | nonce, random |
//! | … | ChaCha20-Poly1305 of the records, compressed with zstd |
//!
//! The key is derived from the installation's for this one recording. Bound to the ciphertext are the bytes before the
//! nonce, the partner, the session and the segment's number: moved anywhere else, it does not open.

use crate::keys::{Keys, PEPPER_KEY_ID, Purpose};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;

const MAGIC: &[u8; 4] = b"GRR1";
const COMPRESSION: i32 = 3;
/// More than any segment holds.
const MAX_RECORDS_BYTES: usize = 8 * 1024 * 1024;

/// Where a segment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub tenant: Uuid,
    pub recording: Uuid,
    pub number: i32,
}

/// It could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a segment of a recording could not be encrypted")]
pub struct Unsealable;

/// It is not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a segment of a recording is not what was written there")]
pub struct Broken;

/// The id of the key that segments are written with.
pub const KEY_ID: &str = PEPPER_KEY_ID;

/// Compresses and encrypts.
pub fn seal(keys: &Keys, place: Place, records: &[u8]) -> Result<Vec<u8>, Unsealable> {
    let mut sealed = zstd::bulk::compress(records, COMPRESSION).map_err(|_| Unsealable)?;
    let nonce = rand::random::<[u8; NONCE_LEN]>();
    let mut object = header(KEY_ID);
    key(keys, place)
        .ok_or(Unsealable)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(&object, place)),
            &mut sealed,
        )
        .map_err(|_| Unsealable)?;
    object.extend_from_slice(&nonce);
    object.extend_from_slice(&sealed);
    Ok(object)
}

/// Decrypts and unpacks.
pub fn unseal(keys: &Keys, place: Place, object: &[u8]) -> Result<Vec<u8>, Broken> {
    let header = header(KEY_ID);
    let sealed = object.strip_prefix(header.as_slice()).ok_or(Broken)?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Broken)?;
    let mut sealed = sealed.to_vec();
    let packed = key(keys, place)
        .ok_or(Broken)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound(&header, place)), &mut sealed)
        .map_err(|_| Broken)?;
    zstd::bulk::decompress(packed, MAX_RECORDS_BYTES).map_err(|_| Broken)
}

fn header(key_id: &str) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.push(u8::try_from(key_id.len()).unwrap_or(u8::MAX));
    header.extend_from_slice(key_id.as_bytes());
    header
}

/// A nonce is random and of 96 bits; a key of its own for each recording keeps far from the number of segments at which
/// two could meet.
fn key(keys: &Keys, place: Place) -> Option<LessSafeKey> {
    let about = [*place.tenant.as_bytes(), *place.recording.as_bytes()].concat();
    let key = keys.key_for(Purpose::Recording, &about);
    UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).ok().map(LessSafeKey::new)
}

fn bound(header: &[u8], place: Place) -> Vec<u8> {
    let mut bound = header.to_vec();
    bound.extend_from_slice(place.tenant.as_bytes());
    bound.extend_from_slice(place.recording.as_bytes());
    bound.extend_from_slice(&place.number.to_be_bytes());
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { tenant: Uuid::from_u128(1), recording: Uuid::from_u128(2), number: 3 }
    }

    fn keys() -> (tempfile::TempDir, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(folder.path()).unwrap();
        (folder, keys)
    }

    #[test]
    fn a_segment_opens_in_its_place_alone() {
        let (_folder, keys) = keys();
        let records = b"ls -l\n".repeat(1_000);
        let object = seal(&keys, place(), &records).unwrap();
        assert!(object.len() < records.len() / 2, "it is compressed");
        assert_eq!(unseal(&keys, place(), &object).unwrap(), records);
        let elsewhere = [
            Place { tenant: Uuid::from_u128(9), ..place() },
            Place { recording: Uuid::from_u128(9), ..place() },
            Place { number: 4, ..place() },
        ];
        for elsewhere in elsewhere {
            assert_eq!(unseal(&keys, elsewhere, &object), Err(Broken), "{elsewhere:?}");
        }
        let (_other, others) = self::keys();
        assert_eq!(unseal(&others, place(), &object), Err(Broken));
        assert_ne!(seal(&keys, place(), &records).unwrap(), object, "a nonce is used once");
    }

    #[test]
    fn no_changed_bit_goes_unseen() {
        let (_folder, keys) = keys();
        let object = seal(&keys, place(), b"whoami").unwrap();
        for bit in 0..object.len() * 8 {
            let mut changed = object.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&keys, place(), &changed), Err(Broken), "bit {bit}");
        }
        for cut in 0..object.len() {
            assert_eq!(unseal(&keys, place(), &object[..cut]), Err(Broken));
        }
    }
}
