//! Argon2id for what people choose or type: passwords and enrollment keys. Machine keys and tokens are random
//! and are digested instead (`keys`).
//!
//! Every call is counted, so that a test can show that each way to refuse someone costs the same, and at most as
//! many run at once as there are cores: a flood of attempts waits here and not on the whole server.

use crate::error::{Code, Error};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How long an attempt waits for its turn before the server says that it is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What [`verify_dummy`] is salted with; nothing is ever compared with its result.
const DUMMY_SALT: &[u8] = b"gururmm dummy salt";

static CALLS: AtomicU64 = AtomicU64::new(0);
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// The PHC string of a secret, with a fresh salt.
pub async fn hash(secret: &str) -> Result<String, Error> {
    slow(secret, |argon, secret| {
        let hash: PasswordHash = argon.hash_password(secret).map_err(internal)?;
        Ok(hash.to_string())
    })
    .await
}

/// Whether the secret is the one behind the PHC string.
pub async fn verify(secret: &str, phc: &str) -> Result<bool, Error> {
    let phc = phc.to_owned();
    slow(secret, move |argon, secret| {
        let hash = PasswordHash::new(&phc).map_err(|error| internal(error.into()))?;
        Ok(argon.verify_password(secret, &hash).is_ok())
    })
    .await
}

/// The same work as [`verify`] where there is nothing to compare with: an unknown account or site.
pub async fn verify_dummy(secret: &str) -> Result<(), Error> {
    slow(secret, |argon, secret| {
        let _unused: PasswordHash = argon.hash_password_with_salt(secret, DUMMY_SALT).map_err(internal)?;
        Ok(())
    })
    .await
}

/// How often Argon2 ran in this process.
pub fn argon2_calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Runs `work` off the async threads when its turn comes. 503 when that takes too long.
async fn slow<T, F>(secret: &str, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Argon2<'_>, &[u8]) -> Result<T, Error> + Send + 'static,
{
    let secret = Zeroizing::new(secret.as_bytes().to_vec());
    let turn = tokio::time::timeout(LONGEST_WAIT, TURNS.acquire())
        .await
        .map_err(|_| Error::new(Code::Unavailable))?
        .map_err(Error::internal)?;
    CALLS.fetch_add(1, Ordering::Relaxed);
    // The turn ends with the work, also when the caller has gone away meanwhile.
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&argon()?, &secret)
    });
    done.await.map_err(Error::internal)?
}

fn argon() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn internal(error: argon2::password_hash::Error) -> Error {
    Error::internal(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_verifies_against_its_own_hash_only_and_each_check_runs_once() {
        let phc = hash("correct horse").await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        let before = argon2_calls();
        assert!(verify("correct horse", &phc).await.unwrap());
        assert!(!verify("wrong horse", &phc).await.unwrap());
        verify_dummy("anything").await.unwrap();
        assert_eq!(argon2_calls() - before, 3);
    }
}
