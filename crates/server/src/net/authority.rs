//! The server's own certificate authority: made once, pinned by the agents, signer of the server's certificate.
//!
//! Both files are PEM with certificate and private key, 0600: `ca.pem` stays for ever, `tls.pem` is replaced.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use super::tls::{self, TlsError};
use crate::private_file;

const LEAF_VALIDITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A certificate is replaced when it has less than this left.
const LEAF_RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Machines whose clock is behind accept a new certificate all the same.
const LEAF_BACKDATING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) struct Authority {
    leaf_path: PathBuf,
    names: Vec<String>,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Loads the authority in `folder`, made now if it is not there. It signs for `names`: host names and addresses.
    pub fn load_or_create(folder: &Path, names: Vec<String>) -> Result<Self, TlsError> {
        private_file::make_folder(folder)
            .map_err(|source| TlsError::Unwritable { path: folder.to_owned(), source })?;
        let path = folder.join("ca.pem");
        if !path.exists() {
            let key = KeyPair::generate().map_err(TlsError::Issue)?;
            let certificate = authority_params(&key).self_signed(&key).map_err(TlsError::Issue)?;
            let pem = certificate.pem() + &key.serialize_pem();
            private_file::create(&path, pem.as_bytes())
                .map_err(|source| TlsError::Unwritable { path: path.clone(), source })?;
        }
        let pem = tls::read(&path)?;
        let certificate = CertificateDer::from_pem_slice(&pem);
        let certificate = certificate.map_err(|_| TlsError::NoCertificate { path: path.clone() })?;
        let key = String::from_utf8_lossy(&pem);
        let key = key.find("-----BEGIN PRIVATE KEY").and_then(|start| key.get(start..));
        let key = key.and_then(|key| KeyPair::from_pem(key).ok()).ok_or(TlsError::NoKey { path })?;
        let issuer = Issuer::new(authority_params(&key), key);
        Ok(Self { leaf_path: folder.join("tls.pem"), names, certificate, issuer })
    }

    /// The authority's own certificate, which agents pin.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The server's certificate with the authority's behind it: the one on disk where it is still good at `now`, else
    /// a new one.
    pub fn leaf(&self, now: SystemTime) -> Result<CertifiedKey, TlsError> {
        if let Ok(leaf) = tls::load(&self.leaf_path, &self.leaf_path)
            && self.is_good(&leaf, now)
        {
            return Ok(leaf);
        }
        let key = KeyPair::generate().map_err(TlsError::Issue)?;
        let leaf = self.leaf_params(now).signed_by(&key, &self.issuer).map_err(TlsError::Issue)?;
        let authority = tls::to_pem(&self.certificate);
        let pem = leaf.pem() + &authority + &key.serialize_pem();
        private_file::write(&self.leaf_path, pem.as_bytes())
            .map_err(|source| TlsError::Unwritable { path: self.leaf_path.clone(), source })?;
        tracing::info!(names = ?self.names, "made a new TLS certificate");
        tls::load(&self.leaf_path, &self.leaf_path)
    }

    /// Whether who pins the authority accepts `leaf` for each of our names, now and until its renewal is due.
    pub fn is_good(&self, leaf: &CertifiedKey, now: SystemTime) -> bool {
        let check = || {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).ok()?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
            let certificate = leaf.end_entity_cert().ok()?;
            for moment in [now, now + LEAF_RENEWAL] {
                let moment = UnixTime::since_unix_epoch(moment.duration_since(SystemTime::UNIX_EPOCH).ok()?);
                for name in &self.names {
                    let name = ServerName::try_from(name.as_str()).ok()?;
                    verifier.verify_server_cert(certificate, &[], &name, &[], moment).ok()?;
                }
            }
            Some(())
        };
        check().is_some()
    }

    fn leaf_params(&self, now: SystemTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gururmm-server");
        params.not_before = (now - LEAF_BACKDATING).into();
        params.not_after = (now + LEAF_VALIDITY).into();
        params.subject_alt_names = self.names.iter().filter_map(|name| alt_name(name)).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }
}

/// How often [`Authority::leaf`] is to be asked for. Often, for the clock may be set at any time: a certificate of the
/// past, made before the time was known, must not be served for long.
pub(super) const RENEWAL_CHECK: Duration = Duration::from_secs(60);

/// Whether a certificate can be made out to `name`.
pub(super) fn is_certifiable(name: &str) -> bool {
    ServerName::try_from(name).is_ok() && alt_name(name).is_some()
}

fn alt_name(name: &str) -> Option<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    }
}

/// The same key always gives the same name, so that it need not be read back from the certificate. The dates are
/// fixed: a clock that is wrong on the first start must not end the authority early.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let digest = blake3::hash(&key.subject_public_key_info()).to_hex();
    let name = format!("GuruRMM CA {}", digest.get(..8).unwrap_or_default());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2075, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn authority(folder: &Path, names: &[&str]) -> Authority {
        Authority::load_or_create(folder, names.iter().map(ToString::to_string).collect()).unwrap()
    }

    fn der(leaf: &CertifiedKey) -> Vec<u8> {
        leaf.end_entity_cert().unwrap().to_vec()
    }

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let folder = TempDir::new().unwrap();
        let keys = folder.path().join("keys");
        let first = authority(&keys, &["localhost"]);
        first.leaf(SystemTime::now()).unwrap();
        assert_eq!(first.certificate(), authority(&keys, &["localhost"]).certificate());
        assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        for file in ["ca.pem", "tls.pem"] {
            assert_eq!(
                std::fs::metadata(keys.join(file)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file}"
            );
        }
    }

    #[test]
    fn all_who_make_the_authority_at_the_same_moment_have_the_same() {
        for _ in 0..10 {
            let folder = TempDir::new().unwrap();
            let start = std::sync::Barrier::new(4);
            let made: Vec<_> = std::thread::scope(|scope| {
                let makers: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            authority(folder.path(), &["localhost"]).certificate().clone()
                        })
                    })
                    .collect();
                makers.into_iter().map(|maker| maker.join().unwrap()).collect()
            });
            let kept = authority(folder.path(), &["localhost"]);
            assert!(made.iter().all(|certificate| certificate == kept.certificate()));
        }
    }

    #[test]
    fn the_certificate_stays_until_its_renewal_is_due() {
        let folder = TempDir::new().unwrap();
        let authority = authority(folder.path(), &["rmm.example.com", "192.0.2.7", "2001:db8::7"]);
        let now = SystemTime::now();
        let first = authority.leaf(now).unwrap();
        assert_eq!(first.cert.len(), 2);
        assert_eq!(first.cert[1], *authority.certificate());
        assert_eq!(der(&first), der(&authority.leaf(now + 59 * DAY).unwrap()));
        let second = authority.leaf(now + 61 * DAY).unwrap();
        assert_ne!(der(&first), der(&second));
        assert!(authority.is_good(&second, now + 61 * DAY));
        assert!(!authority.is_good(&second, now + 152 * DAY));
    }

    #[test]
    fn a_new_name_or_a_damaged_file_gets_a_new_certificate() {
        let folder = TempDir::new().unwrap();
        let now = SystemTime::now();
        let first = authority(folder.path(), &["localhost"]).leaf(now).unwrap();
        let renamed = authority(folder.path(), &["localhost", "rmm.example.com"]);
        let second = renamed.leaf(now).unwrap();
        assert_ne!(der(&first), der(&second));
        std::fs::write(folder.path().join("tls.pem"), "nothing").unwrap();
        assert_ne!(der(&second), der(&renamed.leaf(now).unwrap()));
    }

    #[test]
    fn a_certificate_of_another_authority_is_not_used() {
        let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let now = SystemTime::now();
        let foreign = authority(theirs.path(), &["localhost"]).leaf(now).unwrap();
        let authority = authority(ours.path(), &["localhost"]);
        assert!(!authority.is_good(&foreign, now));
        std::fs::copy(theirs.path().join("tls.pem"), ours.path().join("tls.pem")).unwrap();
        assert_ne!(der(&authority.leaf(now).unwrap()), der(&foreign));
    }

    #[test]
    fn a_damaged_authority_is_an_error_and_not_replaced() {
        let folder = TempDir::new().unwrap();
        authority(folder.path(), &["localhost"]);
        std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
        assert!(Authority::load_or_create(folder.path(), vec!["localhost".into()]).is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join("ca.pem")).unwrap(), "nothing");
    }
}
