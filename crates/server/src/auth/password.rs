//! Argon2id for what people choose or type: passwords and enrollment keys. Machine keys and tokens are random
//! and are digested instead (`keys`).
//!
//! Every call is counted, so that a test can show that each way to refuse someone costs the same, and at most as
//! many run at once as there are cores: a flood of attempts waits here and not on the whole server. Their memory is
//! kept and used again, so that the flood leaves nothing behind.

use crate::error::{Code, Error};
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::RngExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters of a password.
pub const MIN_CHARACTERS: usize = 12;
/// Most characters of a password.
pub const MAX_CHARACTERS: usize = 200;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// How long an attempt waits for its turn before the server says that it is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// What [`verify_dummy`] is salted with; nothing is ever compared with its result.
const DUMMY_SALT: &[u8] = b"gururmm dummy salt";

/// The memory of runs that are over. Given back to the allocator it would stay, in part, with every thread that ever
/// ran one: hundreds of megabytes after a flood of attempts.
static MEMORY: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());
static CALLS: AtomicU64 = AtomicU64::new(0);
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// The PHC string of a secret, with a fresh salt.
pub async fn hash(secret: &str) -> Result<String, Error> {
    let salt = Salt::new(&rand::rng().random::<[u8; SALT_BYTES]>()).map_err(Error::internal)?;
    slow(secret, move |secret| {
        let params = params()?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(Error::internal)?,
            salt: Some(salt),
            hash: Some(argon2id(params, secret, &salt)?),
        };
        Ok(hash.to_string())
    })
    .await
}

/// Whether the secret is the one behind the PHC string.
pub async fn verify(secret: &str, phc: &str) -> Result<bool, Error> {
    let phc = phc.to_owned();
    slow(secret, move |secret| {
        let stored = PasswordHash::new(&phc).map_err(Error::internal)?;
        let params = Params::try_from(&stored).map_err(Error::internal)?;
        match (&stored.salt, &stored.hash) {
            // The comparison takes the same time wherever they differ.
            (Some(salt), Some(hash)) if stored.algorithm == Algorithm::Argon2id.ident() => {
                Ok(argon2id(params, secret, salt)? == *hash)
            }
            _ => Err(Error::internal(anyhow::anyhow!("a stored hash is not one of Argon2id"))),
        }
    })
    .await
}

/// The same work as [`verify`] where there is nothing to compare with: an unknown account or site.
pub async fn verify_dummy(secret: &str) -> Result<(), Error> {
    slow(secret, |secret| argon2id(params()?, secret, DUMMY_SALT).map(|_unused| ())).await
}

/// The rules for a new password. Length counts characters; what matters is that it is long and not guessable from
/// the account.
///
/// # Errors
/// A field error for `password_field`.
pub fn check_rules(
    password_field: &'static str,
    password: &str,
    email: &str,
    name: &str,
) -> Result<(), Error> {
    let refuse = |code, message| Err(Error::field(password_field, code, message));
    let characters = password.chars().count();
    if characters < MIN_CHARACTERS {
        return refuse("TOO_SHORT", "must have at least 12 characters");
    }
    if characters > MAX_CHARACTERS {
        return refuse("TOO_LONG", "must have at most 200 characters");
    }
    let folded = password.to_lowercase();
    if folded.trim() == email.trim().to_lowercase() || folded.trim() == name.trim().to_lowercase() {
        return refuse("INVALID", "must not be the e-mail address or the name");
    }
    let mut characters = folded.chars();
    let first = characters.next();
    if COMMON.contains(&folded.as_str()) || characters.all(|character| Some(character) == first) {
        return refuse("INVALID", "is one of the most common passwords");
    }
    Ok(())
}

/// The most common passwords of twelve characters and more, in lower case.
const COMMON: &[&str] = &[
    "000000000000",
    "012345678910",
    "0123456789012",
    "0987654321098",
    "111222333444",
    "112233445566",
    "121212121212",
    "123123123123",
    "123321123321",
    "123456123456",
    "123456654321",
    "1234567890-=",
    "1234567890123",
    "12345678901234",
    "123456789012345",
    "1234567890123456",
    "1234567890ab",
    "1234567890abc",
    "1234567890qwerty",
    "1234567891011",
    "123456789012",
    "12345678910",
    "123456789123",
    "123456789abc",
    "123456789qwe",
    "123456qwerty",
    "123qweasdzxc",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u",
    "1q2w3e4r5t6y7u8i",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "1qazxsw23edc",
    "abc123456789",
    "abcabcabcabc",
    "abcd12345678",
    "abcdef123456",
    "abcdefghijkl",
    "administrator",
    "administrator1",
    "admin1234567",
    "admin123456789",
    "adminadminadmin",
    "asdfasdfasdf",
    "asdfghjkl123",
    "asdfghjklzxcvbnm",
    "changeme1234",
    "changemechangeme",
    "correcthorsebatterystaple",
    "iloveyou1234",
    "iloveyou12345",
    "letmeinletmein",
    "minecraft123",
    "password!123",
    "password@123",
    "password0000",
    "password1234",
    "password12345",
    "password123456",
    "password123456789",
    "passwordpassword",
    "passw0rd1234",
    "p@ssw0rd1234",
    "p@ssword1234",
    "qazwsxedcrfv",
    "qazwsxedc123",
    "qwerty123456",
    "qwerty12345678",
    "qwerty123456789",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop[]",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiopas",
    "secretsecret",
    "superman1234",
    "sunshine1234",
    "trustno1trustno1",
    "welcome12345",
    "welcome123456",
    "welcomewelcome",
    "zaq12wsxcde3",
    "zaq1zaq1zaq1",
    "zxcvbnm12345",
    "zxcvbnmasdfghjkl",
];

/// How often Argon2 ran in this process.
pub fn argon2_calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// Runs `work` off the async threads when its turn comes. 503 when that takes too long.
async fn slow<T, F>(secret: &str, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&[u8]) -> Result<T, Error> + Send + 'static,
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
        work(&secret)
    });
    done.await.map_err(Error::internal)?
}

fn params() -> Result<Params, Error> {
    Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)
}

/// One run, in memory of an earlier one where there is some.
fn argon2id(params: Params, secret: &[u8], salt: &[u8]) -> Result<Output, Error> {
    let mut out = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let out = out.get_mut(..length).ok_or_else(|| Error::internal(anyhow::anyhow!("too long a hash")))?;
    let mut memory = kept_memory().pop().unwrap_or_default();
    memory.resize(params.block_count(), Block::new());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let done = argon.hash_password_into_with_memory(secret, salt, out, memory.as_mut_slice());
    kept_memory().push(memory);
    done.map_err(Error::internal)?;
    Output::new(out).map_err(Error::internal)
}

/// As many as ran at once so far; [`TURNS`] bounds that.
fn kept_memory() -> MutexGuard<'static, Vec<Vec<Block>>> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn hashes_of_any_argon2id_are_read_and_others_are_not() {
        // Of the reference implementation: argon2 "password" -t 2 -m 16 -p 1, with another memory than ours.
        let other = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify("password", other).await.unwrap());
        assert!(!verify("passwore", other).await.unwrap());
        let own = hash("password").await.unwrap();
        assert!(verify("password", &own).await.unwrap(), "after memory of another size");
        assert!(verify("password", &other.replace("argon2id", "argon2d")).await.is_err());
    }

    #[tokio::test]
    async fn many_attempts_leave_no_more_memory_than_may_run_at_once() {
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..20 {
            attempts.spawn(verify_dummy("anything"));
        }
        while let Some(done) = attempts.join_next().await {
            done.unwrap().unwrap();
        }
        let kept: usize = kept_memory().iter().map(Vec::len).sum();
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        assert!((1..=at_once).contains(&kept_memory().len()));
        assert!(kept * Block::SIZE <= at_once * 64 * 1024 * 1024, "{kept}");
    }

    #[test]
    fn rules_refuse_short_long_common_and_personal_passwords() {
        let check =
            |password: &str| check_rules("password", password, "ada@example.com", "Ada Lovelace King");
        let too_long = "x1".repeat(101);
        for refused in [
            "elevenchars",
            &too_long,
            "Password1234",
            "aaaaaaaaaaaaaaaa",
            "ADA@example.com",
            "ada lovelace king",
        ] {
            assert!(check(refused).is_err(), "{refused}");
        }
        for taken in ["twelve chars", "p\u{e4}ssw\u{f6}rter 17", &"x1".repeat(100)] {
            assert!(check(taken).is_ok(), "{taken}");
        }
    }
}
