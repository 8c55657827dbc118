//! What `gururmm login` leaves: server and token, readable by their owner alone.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{env, fs, io};
use url::Url;

/// A server, and who one is there.
#[derive(Serialize, Deserialize)]
pub struct Credentials {
    pub url: Url,
    pub token: String,
    /// The certificate that the server's own must come from, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Credentials {
    /// What the last sign-in left, if anything.
    pub fn load() -> anyhow::Result<Option<Self>> {
        let path = path()?;
        match fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                Ok(Some(read.with_context(|| format!("{} is damaged: sign in again", path.display()))?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps this instead of what was there.
    pub fn store(&self) -> anyhow::Result<PathBuf> {
        let path = path()?;
        let written = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let draft = path.with_extension("new");
            // One that a killed sign-in left may have other rights.
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&draft)?;
            serde_json::to_writer(&file, self)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        written().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Forgets what the last sign-in left.
    pub fn forget() -> anyhow::Result<()> {
        let path = path()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// A certificate in PEM.
pub fn read_ca(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `gururmm/credentials.json` where this system keeps a person's settings.
fn path() -> anyhow::Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = match cfg!(windows) {
        true => set("APPDATA"),
        false => set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config"))),
    };
    let settings = settings.context("this account has no folder for settings")?;
    Ok(settings.join("gururmm").join("credentials.json"))
}
