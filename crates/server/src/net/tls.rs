//! TLS: the certificate that is served right now, and where the next one comes from.

use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::TlsMode;
use super::authority::{self, Authority};

/// How often certificate files are looked at.
const FILE_CHECK: Duration = Duration::from_secs(30);
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// What is wrong with the certificate or its key. `Display` is meant for the operator's terminal.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: check that it is there and that this user may read it", path.display())]
    Unreadable { path: PathBuf, source: io::Error },

    #[error("{} holds no certificate: it must be PEM, the server's certificate first", path.display())]
    NoCertificate { path: PathBuf },

    #[error("{} holds no private key: it must be PEM and not encrypted", path.display())]
    NoKey { path: PathBuf },

    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },

    #[error("the certificate in {} or its key cannot be used", certificate.display())]
    Unusable { certificate: PathBuf, source: rustls::Error },

    #[error("cannot write {}: give the user who runs gururmm-server the rights", path.display())]
    Unwritable { path: PathBuf, source: io::Error },

    #[error("cannot make a certificate")]
    Issue(#[source] rcgen::Error),

    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// `sha256:` and 64 hexadecimal digits over the certificate's DER, as agents pin it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    format!("sha256:{}", hex::encode(digest))
}

/// The listener's TLS.
pub(super) struct Tls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    source: Source,
}

enum Source {
    Files { certificate: PathBuf, key: PathBuf, seen: Option<[Stamp; 2]> },
    Own(Box<Authority>),
}

/// Tells two states of a file apart.
type Stamp = (u64, u64, i64, i64);

impl Tls {
    /// Loads or makes the certificate; `names` are those of the server's own, which is good at `now`.
    pub fn new(mode: &TlsMode, names: Vec<String>, now: SystemTime) -> Result<Self, TlsError> {
        let (source, first) = match mode {
            TlsMode::Files { certificate, key } => {
                let seen = stamps(certificate, key);
                let first = load(certificate, key)?;
                (Source::Files { certificate: certificate.clone(), key: key.clone(), seen }, first)
            }
            TlsMode::SelfSigned { keys_dir } => {
                let authority = Authority::load_or_create(keys_dir, names)?;
                let first = authority.leaf(now)?;
                (Source::Own(Box::new(authority)), first)
            }
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(first))));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let mut config = config.map_err(TlsError::Setup)?.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), current, source })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The server's own authority, where it signs the certificate.
    pub fn authority(&self) -> Option<&CertificateDer<'static>> {
        match &self.source {
            Source::Own(authority) => Some(authority.certificate()),
            Source::Files { .. } => None,
        }
    }

    /// Keeps the certificate fresh for ever. What cannot be loaded is logged, and the one before stays.
    pub async fn maintain(mut self) {
        let interval = match self.source {
            Source::Files { .. } => FILE_CHECK,
            Source::Own(_) => authority::RENEWAL_CHECK,
        };
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let is_asked = tokio::select! {
                _ = asked => true,
                () = tokio::time::sleep(interval) => false,
            };
            self.refresh(is_asked, SystemTime::now());
        }
    }

    /// Takes up changed files (all files where `is_asked`), or renews the server's own certificate when it is due.
    pub fn refresh(&mut self, is_asked: bool, now: SystemTime) {
        let next = match &mut self.source {
            Source::Own(authority) => {
                if authority.is_good(&self.current.get(), now) {
                    return;
                }
                authority.leaf(now)
            }
            Source::Files { certificate, key, seen } => {
                let found = stamps(certificate, key);
                if !is_asked && found == *seen {
                    return;
                }
                *seen = found;
                load(certificate, key)
            }
        };
        match next {
            Ok(next) => {
                self.current.set(next);
                tracing::info!("took up a new TLS certificate");
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = format!("{error:#}"), "keeping the TLS certificate of before");
            }
        }
    }
}

/// The certificate of new connections.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, next: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

/// The names under which this server is reached: its public URL's host, where it listens, the machine, loopback.
pub(super) fn own_names(listen: SocketAddr, public_url: &Url) -> Vec<String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let public = match public_url.host() {
        Some(url::Host::Domain(name)) => Some(name.trim_end_matches('.').to_owned()),
        Some(url::Host::Ipv4(address)) => Some(address.to_string()),
        Some(url::Host::Ipv6(address)) => Some(address.to_string()),
        None => None,
    };
    let listen =
        Some(listen.ip()).filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    let fixed = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> =
        public.into_iter().chain(listen).chain([machine.trim().to_lowercase()]).chain(fixed).collect();
    names.retain(|name| authority::is_certifiable(name));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Reads a chain and its key, which may be in the same file, and checks that they belong together.
pub(super) fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let no_certificate = || TlsError::NoCertificate { path: certificate.to_owned() };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|_| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| TlsError::NoKey { path: key.to_owned() })?;
    let loaded = CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider());
    loaded.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        source => TlsError::Unusable { certificate: certificate.to_owned(), source },
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// A certificate as PEM.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn stamps(certificate: &Path, key: &Path) -> Option<[Stamp; 2]> {
    let stamp = |found: Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
    Some([stamp(std::fs::metadata(certificate).ok()?), stamp(std::fs::metadata(key).ok()?)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_sha_256_in_lower_case_hex() {
        let certificate = CertificateDer::from(b"abc".to_vec());
        assert_eq!(
            fingerprint(&certificate),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_names_are_those_under_which_the_server_is_reached() {
        let names = |listen: &str, url: &str| own_names(listen.parse().unwrap(), &Url::parse(url).unwrap());
        let all = names("192.0.2.7:443", "https://RMM.example.com:8443");
        for name in ["rmm.example.com", "192.0.2.7", "localhost", "127.0.0.1", "::1"] {
            assert!(all.iter().any(|found| found == name), "{name} in {all:?}");
        }
        let all = names("[::]:443", "https://[2001:db8::1]");
        assert!(all.contains(&"2001:db8::1".to_owned()) && !all.contains(&"::".to_owned()), "{all:?}");
        let all = names("127.0.0.1:443", "https://localhost");
        assert_eq!(all.iter().filter(|name| *name == "localhost" || *name == "127.0.0.1").count(), 2);
    }
}
