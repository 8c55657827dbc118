//! Whom the agent trusts: the system's roots, or one CA and nothing else.

use super::dates::PlausibleTime;
use crate::clock::ServerClock;
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsConnector;

/// The one CA an agent trusts.
#[derive(Clone, Debug)]
pub enum CaPin {
    /// Known by its fingerprint only, as the enrollment command carries it.
    Fingerprint(Fingerprint, CapturedCa),
    /// Known, DER.
    Certificate(Vec<u8>),
}

impl CaPin {
    /// A fingerprint pin, and where the certificate stands once a server proved it.
    pub fn fingerprint(text: &str) -> Result<(Self, CapturedCa), InvalidPin> {
        let captured = CapturedCa::default();
        Ok((Self::Fingerprint(text.parse()?, captured.clone()), captured))
    }
}

/// The certificate behind a fingerprint, after the first verified handshake.
#[derive(Clone, Debug, Default)]
pub struct CapturedCa(Arc<Mutex<Option<Vec<u8>>>>);

impl CapturedCa {
    /// Its DER bytes.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().ok()?.take()
    }
}

/// SHA-256 over a certificate's DER bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is not `sha256:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a CA fingerprint is sha256: and 64 hex digits")]
pub struct InvalidPin;

impl FromStr for Fingerprint {
    type Err = InvalidPin;

    /// Colons between the bytes, as other tools print them, are accepted.
    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let hex: Vec<u8> =
            text.strip_prefix("sha256:").ok_or(InvalidPin)?.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return Err(InvalidPin);
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(InvalidPin);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// Why no TLS client can be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The system has no usable root certificates.
    #[error(
        "the system's root certificates cannot be read; give --ca-fingerprint for a server with its own CA"
    )]
    NoRoots,
    /// The stored CA is damaged.
    #[error("the pinned CA certificate is not usable")]
    BadCa(#[source] rustls::Error),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Library(#[from] rustls::Error),
}

pub(super) fn connector(pin: Option<CaPin>, clock: Arc<ServerClock>) -> Result<TlsConnector, TlsSetupError> {
    let provider = Arc::new(provider::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let inner: Arc<dyn ServerCertVerifier> = match pin {
        Some(CaPin::Fingerprint(fingerprint, captured)) => {
            let algorithms = provider.signature_verification_algorithms;
            Arc::new(PinVerifier { fingerprint, captured, provider, algorithms })
        }
        Some(CaPin::Certificate(der)) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(der)).map_err(TlsSetupError::BadCa)?;
            verifier(roots, provider)?
        }
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsSetupError::NoRoots);
            }
            verifier(roots, provider)?
        }
    };
    let verifier = Arc::new(PlausibleTime { inner, clock });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // One connection at a time needs no more than its own ticket.
    config.resumption = rustls::client::Resumption::in_memory_sessions(1);
    Ok(TlsConnector::from(Arc::new(config)))
}

fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Accepts a chain only if the certificate with the fingerprint is in it, and then verifies the leaf against that
/// one as the only root: name, dates, signatures and all.
#[derive(Debug)]
struct PinVerifier {
    fingerprint: Fingerprint,
    captured: CapturedCa,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_pinned = |certificate: &&CertificateDer<'_>| {
            digest(&SHA256, certificate.as_ref()).as_ref() == self.fingerprint.0
        };
        let ca = intermediates
            .iter()
            .find(is_pinned)
            .ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = verifier(roots, Arc::clone(&self.provider))?;
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if let Ok(mut captured) = self.captured.0.lock() {
            *captured = Some(ca.to_vec());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_sha256_is_a_fingerprint() {
        let hex = "ab".repeat(32);
        assert!(format!("sha256:{hex}").parse::<Fingerprint>().is_ok());
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(format!("sha256:{colons}").parse::<Fingerprint>(), Ok(Fingerprint([0xab; 32])));
        for bad in
            ["", &hex, "sha256:", &format!("sha256:{}", &hex[1..]), &format!("sha256:{hex}0"), "sha256:+f"]
        {
            assert_eq!(bad.parse::<Fingerprint>(), Err(InvalidPin), "{bad}");
        }
    }
}
