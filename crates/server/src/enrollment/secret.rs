//! The secret of an enrollment key: `gek_<version>_<43 characters of URL-safe base64>`, 256 random bits. It carries
//! its version, so that one Argon2 is enough to check it, and shows a fingerprint, so that people can tell which
//! key they hold.

use crate::keys::random_token;
use zeroize::Zeroizing;

const PREFIX: &str = "gek_";
/// Longer than any key; what is longer is not looked at.
const MAX_CHARS: usize = 128;

/// A fresh secret of a version.
pub fn generate(version: i32) -> Zeroizing<String> {
    random_token(&format!("{PREFIX}{version}_"))
}

/// The version a secret says it is of; `None` when it is not a secret of ours at all.
pub fn version_of(secret: &str) -> Option<i32> {
    let (version, random) = secret.strip_prefix(PREFIX)?.split_once('_')?;
    let is_plain = secret.len() <= MAX_CHARS
        && random.len() >= 32
        && random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && version.bytes().all(|b| b.is_ascii_digit());
    version.parse().ok().filter(|version| is_plain && *version > 0)
}

/// Four upper-case hex digits people recognise a key by. Of 256 random bits they give 16 away.
pub fn fingerprint(secret: &str) -> String {
    let hash = blake3::hash(secret.as_bytes());
    hash.as_bytes()[..2].iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `v3 (7F2A)`.
pub fn label(version: i32, fingerprint: &str) -> String {
    format!("v{version} ({fingerprint})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_generated_secret_says_its_version_and_keeps_its_fingerprint() {
        let secret = generate(37);
        assert_eq!(version_of(&secret), Some(37));
        assert_eq!(fingerprint(&secret), fingerprint(&secret.clone()));
        assert_eq!(fingerprint(&secret).len(), 4);
        assert_eq!(label(3, "7F2A"), "v3 (7F2A)");
    }

    #[test]
    fn what_is_not_a_secret_has_no_version() {
        let random = "a".repeat(43);
        for bad in [
            String::new(),
            "gek_".to_owned(),
            "gek_1".to_owned(),
            "gek_1_short".to_owned(),
            format!("gek_0_{random}"),
            format!("gek_-1_{random}"),
            format!("gek_+1_{random}"),
            format!("gek_99999999999_{random}"),
            format!("cak_1_{random}"),
            format!("gek_1_{random}\n"),
            format!("gek_1_{}", "a".repeat(200)),
        ] {
            assert_eq!(version_of(&bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            let _whatever = version_of(&text);
        }
    }
}
