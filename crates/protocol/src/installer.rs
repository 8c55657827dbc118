//! What a generic installer is told about where it belongs. Its bytes are the same for everyone, since they are signed
//! (decision 10): the site travels beside them, as `SITEKEY` and `SERVER`, or in the name of the file.

use std::fmt;
use std::str::FromStr;

/// What every named installer is called by: `GuruRMM-<host>@<site code>.<key>.msi`.
pub const NAME_PREFIX: &str = "GuruRMM-";
/// Characters of an enrollment key behind its version: 256 bits as URL-safe base64.
const RANDOM_CHARS: usize = 43;
/// Digits of a SHA-256.
const HEX_CHARS: usize = 64;
const MAX_CODE_CHARS: usize = 64;
const MAX_AUTHORITY_CHARS: usize = 255;
/// Longest tail that a browser or a person may have put behind a name: ` (1)`, ` - Copy`.
const MAX_TAIL_CHARS: usize = 40;
const FINGERPRINT_PREFIX: &str = "sha256:";

/// `CODE.gek_3_…`, and `.HEX` of the server's own CA where it has one: all that a machine needs to enroll at a site,
/// but for the server's address.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteKey {
    /// The site's code.
    pub site_code: String,
    /// The site's enrollment key or a deployment token; a secret.
    pub enrollment_key: String,
    /// `sha256:HEX` of the server's own CA.
    pub ca_fingerprint: Option<String>,
}

/// Where a machine enrolls, as the name of an installer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallerName {
    /// `https://host[:port]`.
    pub server: String,
    /// What it enrolls with.
    pub site_key: SiteKey,
}

/// What was wrong with a site key. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a site key: copy it again from the dashboard")]
pub struct InvalidSiteKey;

/// What was wrong with an installer's name. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the installer's name does not say where this machine belongs: download it again, or give SITEKEY and SERVER"
)]
pub struct InvalidInstallerName;

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiteKey").field("site_code", &self.site_code).finish_non_exhaustive()
    }
}

impl SiteKey {
    /// The text for `SITEKEY`. Holds the secret.
    pub fn to_text(&self) -> String {
        let pin = self.ca_fingerprint.as_deref().and_then(|pin| pin.strip_prefix(FINGERPRINT_PREFIX));
        let pin = pin.map(|hex| format!(".{hex}")).unwrap_or_default();
        format!("{}.{}{pin}", self.site_code, self.enrollment_key)
    }

    /// A site key at the start of a text, and what follows it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let (site_code, rest) = text.split_once('.')?;
        let is_code = (1..=MAX_CODE_CHARS).contains(&site_code.len())
            && site_code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let (version, random) = rest.strip_prefix("gek_")?.split_once('_')?;
        let is_version = (1..=10).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit());
        let is_random =
            |random: &str| random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let (random, rest) = random.split_at_checked(RANDOM_CHARS)?;
        if !is_code || !is_version || !is_random(random) {
            return None;
        }
        let pin = rest.strip_prefix('.').and_then(|rest| rest.split_at_checked(HEX_CHARS));
        let pin = pin.filter(|(hex, _)| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let key = Self {
            site_code: site_code.to_owned(),
            enrollment_key: format!("gek_{version}_{random}"),
            ca_fingerprint: pin.map(|(hex, _)| format!("{FINGERPRINT_PREFIX}{hex}")),
        };
        Some((key, pin.map_or(rest, |(_, rest)| rest)))
    }
}

impl FromStr for SiteKey {
    type Err = InvalidSiteKey;

    fn from_str(text: &str) -> Result<Self, InvalidSiteKey> {
        match Self::read(text.trim()) {
            Some((key, "")) => Ok(key),
            _ => Err(InvalidSiteKey),
        }
    }
}

impl InstallerName {
    /// The name of a file that carries it. `None` where the server's address or the key does not fit into a name.
    pub fn file_name(&self, extension: &str) -> Option<String> {
        let authority = match self.server.split_once("://")? {
            ("https", authority) => authority.to_owned(),
            ("http", authority) => format!("http:{authority}"),
            _ => return None,
        };
        // No colon in a name of Windows; no plus in a name of a host.
        let authority = authority.replace(':', "+");
        let name = format!("{NAME_PREFIX}{authority}@{}.{extension}", self.site_key.to_text());
        Self::of_file_name(&name).is_ok_and(|read| read == *self).then_some(name)
    }

    /// Reads the name of a file, without folders. A browser's ` (1)` behind it is no part of it.
    pub fn of_file_name(name: &str) -> Result<Self, InvalidInstallerName> {
        Self::read(name).ok_or(InvalidInstallerName)
    }

    fn read(name: &str) -> Option<Self> {
        let (stem, _extension) = name.rsplit_once('.')?;
        let (authority, rest) = stem.strip_prefix(NAME_PREFIX)?.split_once('@')?;
        let is_plain = (1..=MAX_AUTHORITY_CHARS).contains(&authority.len())
            && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+[]".contains(&b));
        let (site_key, tail) = SiteKey::read(rest)?;
        if !is_plain || tail.chars().count() > MAX_TAIL_CHARS {
            return None;
        }
        let authority = authority.replace('+', ":");
        let server = match authority.strip_prefix("http:") {
            Some(authority) if !authority.is_empty() => format!("http://{authority}"),
            _ => format!("https://{authority}"),
        };
        Some(Self { server, site_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(server: &str, ca: bool) -> InstallerName {
        InstallerName {
            server: server.to_owned(),
            site_key: SiteKey {
                site_code: "7K3MPQ2X".to_owned(),
                enrollment_key: format!("gek_12_{}", "aB3-_".repeat(9).split_at(RANDOM_CHARS).0),
                ca_fingerprint: ca.then(|| format!("sha256:{}", "0f".repeat(32))),
            },
        }
    }

    #[test]
    fn a_name_brings_server_and_site_back() {
        for server in [
            "https://rmm.example.com",
            "https://rmm.example.com:8443",
            "http://127.0.0.1:3001",
            "https://[2001:db8::1]:3001",
            "https://http.example.com",
        ] {
            for ca in [false, true] {
                let expected = name(server, ca);
                let file = expected.file_name("msi").unwrap();
                assert!(!file.contains([':', '/', '\\', '"', '*', '?', '<', '>', '|', ' ']), "{file}");
                assert_eq!(InstallerName::of_file_name(&file), Ok(expected.clone()), "{file}");
                assert_eq!(expected.site_key.to_text().parse(), Ok(expected.site_key));
            }
        }
    }

    #[test]
    fn what_a_browser_or_a_person_puts_behind_a_name_is_no_part_of_it() {
        for ca in [false, true] {
            let expected = name("https://rmm.example.com", ca);
            let file = expected.file_name("pkg").unwrap();
            let stem = file.strip_suffix(".pkg").unwrap();
            for tail in [" (1)", "(2)", "-1", " - Copy", " copy 2"] {
                let renamed = format!("{stem}{tail}.pkg");
                assert_eq!(InstallerName::of_file_name(&renamed), Ok(expected.clone()), "{renamed}");
            }
            assert!(InstallerName::of_file_name(&format!("{stem}{}.pkg", "x".repeat(41))).is_err());
        }
    }

    #[test]
    fn what_fits_into_no_name_makes_none() {
        let with_path = name("https://rmm.example.com/rmm", false);
        let other_scheme = name("ftp://rmm.example.com", false);
        let mut odd_code = name("https://rmm.example.com", false);
        odd_code.site_key.site_code = "A.B".to_owned();
        for unfit in [with_path, other_scheme, odd_code] {
            assert_eq!(unfit.file_name("msi"), None, "{unfit:?}");
        }
    }

    #[test]
    fn other_names_and_keys_say_nothing_and_are_not_repeated() {
        for other in ["GuruRMM.msi", "GuruRMM-.msi", "setup.exe", "GuruRMM-@A.gek_1_x.msi", ""] {
            let error = InstallerName::of_file_name(other).unwrap_err();
            assert!(other.is_empty() || !error.to_string().contains(other));
        }
        let text = name("https://rmm.example.com", false).site_key.to_text();
        for broken in [&text[..text.len() - 1], &format!("{text}x"), &text[1..].replace('.', "")] {
            assert_eq!(broken.parse::<SiteKey>(), Err(InvalidSiteKey), "{broken}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", name("https://rmm.example.com", true)).contains("gek_"));
    }

    proptest! {
        #[test]
        fn any_name_is_read_without_a_panic(name in "(GuruRMM-)?[^@]{0,20}@?.{0,120}") {
            let _whatever = InstallerName::of_file_name(&name);
            let _whatever = name.parse::<SiteKey>();
        }
    }
}
