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

/// Fewest characters of a password.
pub const MIN_CHARACTERS: usize = 12;
/// Most characters of a password.
pub const MAX_CHARACTERS: usize = 200;

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
