//! How a server meets the others of its installation, as its starter says it. Secrets come from files or from the
//! environment: arguments and URLs are seen by others.

use crate::bus::{NatsLogin, NatsOptions, NatsTls};
use anyhow::{Context as _, bail, ensure};
use async_nats::ServerAddr;
use clap::Args;
use std::path::{Path, PathBuf};
use url::Url;
use zeroize::Zeroizing;

const TOKEN: &str = "GURURMM_NATS_TOKEN";
const USER: &str = "GURURMM_NATS_USER";
const PASSWORD: &str = "GURURMM_NATS_PASSWORD";
/// No secret for NATS is larger.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

#[derive(Debug, Clone, Default, Args)]
pub(super) struct NatsArgs {
    /// NATS (2.10 or newer), where the servers of one database meet: nats://HOST:PORT or tls://HOST:PORT, several with
    /// commas between them. A token comes from GURURMM_NATS_TOKEN, a password from GURURMM_NATS_USER and _PASSWORD.
    #[arg(long, env = "GURURMM_NATS_URL", hide_env_values = true, value_delimiter = ',', value_name = "URL")]
    nats: Vec<String>,
    /// A file that holds NATS' token.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_token_file: Option<PathBuf>,
    /// A file that holds the seed of an nkey.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_nkey_file: Option<PathBuf>,
    /// A credentials file of NATS, with a JWT and its seed.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_credentials: Option<PathBuf>,
    /// Authorities that NATS' certificate is checked against instead of the system's, PEM.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,
    /// This server's certificate for NATS, PEM.
    #[arg(long, value_name = "FILE", requires = "nats_key")]
    nats_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "nats_cert")]
    nats_key: Option<PathBuf>,
}

impl NatsArgs {
    /// `None` without NATS.
    pub(super) fn options(
        self,
        node_name: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<NatsOptions>> {
        if self.nats.is_empty() {
            return Ok(None);
        }
        let servers = self.nats.iter().map(|url| address(url)).collect::<anyhow::Result<_>>()?;
        let mut logins = Vec::new();
        if let Some(path) = &self.nats_token_file {
            logins.push(NatsLogin::Token(secret(path)?));
        }
        if let Some(path) = &self.nats_nkey_file {
            logins.push(NatsLogin::Nkey(secret(path)?));
        }
        if let Some(path) = &self.nats_credentials {
            logins.push(NatsLogin::Credentials(secret(path)?));
        }
        if let Some(token) = environment(TOKEN) {
            logins.push(NatsLogin::Token(token.into()));
        }
        match (environment(USER), environment(PASSWORD)) {
            (Some(user), Some(password)) => {
                logins.push(NatsLogin::Password { user, password: password.into() });
            }
            (None, None) => {}
            _ => bail!("{USER} and {PASSWORD} go together"),
        }
        ensure!(logins.len() <= 1, "there is more than one login for NATS: give the one that counts");
        Ok(Some(NatsOptions {
            servers,
            login: logins.pop().unwrap_or(NatsLogin::Nobody),
            tls: NatsTls { ca: self.nats_ca, client: self.nats_cert.zip(self.nats_key) },
            name: format!("gururmm-server {node_name}"),
        }))
    }
}

/// The text of a URL is never shown: someone may have put a password into it.
fn address(url: &str) -> anyhow::Result<ServerAddr> {
    let no_address = || anyhow::anyhow!("--nats: that is no address of NATS");
    let url = url.trim();
    let url = if url.contains("://") { url.to_owned() } else { format!("nats://{url}") };
    let url = Url::parse(&url).ok().filter(Url::has_host).ok_or_else(no_address)?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    ensure!(
        is_plain,
        "--nats: a login does not belong into the address: use {TOKEN}, {USER} and {PASSWORD}, or a file"
    );
    ensure!(matches!(url.scheme(), "nats" | "tls"), "--nats: the address begins with nats:// or tls://");
    ServerAddr::from_url(url).map_err(|_| no_address())
}

fn secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let unreadable = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(unreadable)?.len();
    ensure!(size <= MAX_SECRET_BYTES, "{} is no file with a secret for NATS", path.display());
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(unreadable)?);
    ensure!(!text.trim().is_empty(), "{} is empty", path.display());
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(urls: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Option<NatsOptions>> {
        let args = NatsArgs { nats: urls.iter().map(ToString::to_string).collect(), ..NatsArgs::default() };
        args.options("one", |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_login_comes_from_the_environment_and_never_from_an_address() {
        assert!(options(&[], &[]).unwrap().is_none());
        let with_token = options(&["nats://one:4222", "tls://two"], &[(TOKEN, "a-secret")]).unwrap().unwrap();
        assert_eq!(with_token.servers.len(), 2);
        assert!(matches!(&with_token.login, NatsLogin::Token(token) if token.as_str() == "a-secret"));
        assert!(!format!("{with_token:?}").contains("a-secret"));
        let password = options(&["one"], &[(USER, "node"), (PASSWORD, "a-secret")]).unwrap().unwrap();
        assert!(matches!(password.login, NatsLogin::Password { .. }));
        for wrong in ["nats://node:a-secret@one", "nats://a-secret@one", "ws://one", "http://one", "nats://"]
        {
            let error = options(&[wrong], &[]).unwrap_err().to_string();
            assert!(!error.contains("a-secret"), "{error}");
        }
        assert!(options(&["one"], &[(USER, "node")]).is_err());
        assert!(options(&["one"], &[(TOKEN, "a"), (USER, "node"), (PASSWORD, "b")]).is_err());
    }

    #[test]
    fn a_secret_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "a-secret\n").unwrap();
        let args =
            NatsArgs { nats: vec!["one".into()], nats_token_file: Some(path.clone()), ..NatsArgs::default() };
        let login = args.clone().options("one", |_| None).unwrap().unwrap().login;
        assert!(matches!(login, NatsLogin::Token(token) if token.as_str() == "a-secret"));
        std::fs::write(&path, " \n").unwrap();
        assert!(args.clone().options("one", |_| None).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(args.options("one", |_| None).is_err());
    }
}
