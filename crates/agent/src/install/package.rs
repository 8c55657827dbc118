//! What the systems' packages ask of the agent: their scripts hand over what they were told about where this machine
//! belongs, on standard input, since a key on a command line is everybody's to read.
//!
//!     server=https://rmm.example.com
//!     sitekey=K7Q2M9XD.gek_3_…
//!     package=C:\Users\somebody\Downloads\GuruRMM-….msi
//!
//! Server and site key count; without them, the name of the package.

use gururmm_protocol::installer::{InstallerName, InvalidInstallerName, InvalidSiteKey, NAME_PREFIX};
use std::io::{self, Read};
use zeroize::Zeroizing;

/// More than paths and keys fill.
const MAX_BYTES: u64 = 16 * 1024;

/// Why a machine is not enrolled by its package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Which is no failure: someone enrolls it later.
    #[error("nothing says where this machine belongs; it can be enrolled later, with `gururmm-agent enroll`")]
    NothingToEnrollWith,
    /// One of the two that belong together.
    #[error("server and site key belong together; the {0} is missing")]
    HalfTold(&'static str),
    /// The site key.
    #[error(transparent)]
    SiteKey(#[from] InvalidSiteKey),
    /// The package's name.
    #[error(transparent)]
    Name(#[from] InvalidInstallerName),
    /// Standard input.
    #[error("what the package was told cannot be read")]
    Input(#[from] io::Error),
}

/// Where this machine belongs, as its package was told.
pub fn read(input: impl Read) -> Result<InstallerName, PackageError> {
    let mut text = Zeroizing::new(String::new());
    input.take(MAX_BYTES).read_to_string(&mut text)?;
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let mut values = lines.filter(|(key, _)| key.trim_end() == name).map(|(_, value)| value.trim());
        values.rfind(|value| !value.is_empty())
    };
    match (value("server"), value("sitekey")) {
        (Some(server), Some(site_key)) => {
            Ok(InstallerName { server: server.trim_end_matches('/').to_owned(), site_key: site_key.parse()? })
        }
        (Some(_), None) => Err(PackageError::HalfTold("site key")),
        (None, Some(_)) => Err(PackageError::HalfTold("server")),
        (None, None) => {
            let path = value("package").ok_or(PackageError::NothingToEnrollWith)?;
            let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
            // A name that was meant to say it and does not is a mistake that somebody has to hear about.
            match InstallerName::of_file_name(name) {
                Err(_) if !(name.starts_with(NAME_PREFIX) && name.contains('@')) => {
                    Err(PackageError::NothingToEnrollWith)
                }
                read => Ok(read?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ACME-1.gek_3_0123456789012345678901234567890123456789012";

    fn read_text(text: &str) -> Result<InstallerName, PackageError> {
        read(text.as_bytes())
    }

    #[test]
    fn properties_count_before_the_name_of_the_package() {
        let named = format!("package=C:\\Users\\olive\\Downloads\\GuruRMM-other.example.com@{KEY} (1).msi");
        let told = read_text(&named).unwrap();
        assert_eq!(
            (told.server.as_str(), told.site_key.to_text().as_str()),
            ("https://other.example.com", KEY)
        );
        let text = format!("server=https://rmm.example.com/\r\nsitekey={KEY}\r\n{named}\r\n");
        let told = read_text(&text).unwrap();
        assert_eq!(
            (told.server.as_str(), told.site_key.site_code.as_str()),
            ("https://rmm.example.com", "ACME-1")
        );
        // A file written by hand.
        let told =
            read_text(&format!("# our site\n\n server = https://rmm.example.com\n sitekey = {KEY} \n"));
        assert_eq!(told.unwrap().site_key.to_text(), KEY);
    }

    #[test]
    fn an_installation_that_was_told_nothing_is_no_mistake() {
        for text in
            ["", "server=\nsitekey=\npackage=C:\\Temp\\GuruRMM.msi\n", "package=/tmp/gururmm-agent-1.0.pkg"]
        {
            assert!(matches!(read_text(text), Err(PackageError::NothingToEnrollWith)), "{text}");
        }
    }

    #[test]
    fn half_or_broken_directions_are_said_and_not_repeated() {
        let key = &KEY[..KEY.len() - 1];
        for text in [
            "server=https://rmm.example.com".to_owned(),
            format!("sitekey={KEY}"),
            format!("server=https://rmm.example.com\nsitekey={key}"),
            format!("package=/tmp/GuruRMM-rmm.example.com@{key}.msi"),
        ] {
            let error = read_text(&text).unwrap_err();
            assert!(!matches!(error, PackageError::NothingToEnrollWith), "{text}");
            assert!(!error.to_string().contains("gek_"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(server=|sitekey=|package=|[^=]|\n){0,40}") {
            let _whatever = read_text(&text);
        }
    }
}
