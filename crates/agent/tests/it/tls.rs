//! Whom an agent trusts.

use crate::harness::*;
use gururmm_agent::enroll::{EnrollError, EnrollOptions, Enrolled, Key, enroll};
use gururmm_agent::identity::CA_FILE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.der());
        format!("sha256:{}", hex::encode(digest))
    }

    /// A server with a leaf of this CA, which sends `chain` behind it.
    pub fn acceptor(&self, host: &str, chain: &[&Ca]) -> TlsAcceptor {
        self.acceptor_of(CertificateParams::new(vec![host.to_owned()]).unwrap(), chain)
    }

    /// A server for `localhost` whose leaf is valid from and to these times.
    pub fn acceptor_valid(&self, not_before: SystemTime, not_after: SystemTime) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (not_before.into(), not_after.into());
        self.acceptor_of(params, &[self])
    }

    fn acceptor_of(&self, params: CertificateParams, chain: &[&Ca]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let mut certificates = vec![leaf.der().clone()];
        certificates.extend(chain.iter().map(|ca| ca.0.der().clone()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key.serialize_der().try_into().unwrap())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

pub fn options(server: &TestServer, dir: &Path, ca_fingerprint: Option<String>) -> EnrollOptions {
    let key_file = dir.join("key");
    std::fs::write(&key_file, "gek_1_test\n").unwrap();
    let server = server.url.clone();
    EnrollOptions { server, site: "ACME-1".into(), key: Key::File(key_file), ca_fingerprint, replace: false }
}

#[tokio::test]
async fn a_machine_enrolls_over_the_pinned_ca_and_connects_with_it_ever_after() {
    let ca = Ca::new("pinned");
    let mut server = TestServer::start_with(Some(ca.acceptor("localhost", &[&ca]))).await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let enrolled = enroll(&state, &options(&server, dir.path(), Some(ca.fingerprint()))).await.unwrap();
    assert!(matches!(enrolled, Enrolled::Active(_)));
    assert_eq!(std::fs::read(state.join(CA_FILE)).unwrap(), ca.0.der().as_ref());
    let (path, body) = server.requests.lock().unwrap()[0].clone();
    assert_eq!(path, "/api/enroll");
    let body: gururmm_protocol::bootstrap::EnrollRequest = serde_json::from_str(&body).unwrap();
    assert_eq!((body.site_code.as_str(), body.enrollment_key.as_str()), ("ACME-1", "gek_1_test"));
    let again = enroll(&state, &options(&server, dir.path(), Some(ca.fingerprint()))).await.unwrap();
    assert!(matches!(again, Enrolled::Already(_)));
    let _agent = TestAgent::start_on(dir);
    server.welcome().await;
}

#[tokio::test]
async fn an_enrolled_agent_does_not_talk_to_a_server_of_another_ca() {
    let (ca, other) = (Ca::new("pinned"), Ca::new("other"));
    let server = TestServer::start_with(Some(ca.acceptor("localhost", &[&ca]))).await;
    let dir = tempfile::tempdir().unwrap();
    enroll(&dir.path().join("state"), &options(&server, dir.path(), Some(ca.fingerprint()))).await.unwrap();
    let impostor = TestServer::start_with(Some(other.acceptor("localhost", &[&other, &ca]))).await;
    let identity = dir.path().join("state/identity.json");
    let text = std::fs::read_to_string(&identity).unwrap().replace(&server.url, &impostor.url);
    std::fs::write(&identity, text).unwrap();
    let agent = TestAgent::start_on(dir);
    eventually("the certificate is refused", || {
        let status = gururmm_agent::status::read(&agent.state_dir()).unwrap();
        status.runtime.last_error.is_some_and(|error| error.contains("TLS"))
    })
    .await;
    assert!(impostor.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_does_not_prove_the_pinned_ca() {
    let (ca, other) = (Ca::new("pinned"), Ca::new("other"));
    let cases = [
        ("another CA's leaf", other.acceptor("localhost", &[&other]), Some(ca.fingerprint())),
        (
            "another CA's leaf with the pinned CA beside it",
            other.acceptor("localhost", &[&ca]),
            Some(ca.fingerprint()),
        ),
        ("the leaf without its CA", ca.acceptor("localhost", &[]), Some(ca.fingerprint())),
        ("another host's leaf", ca.acceptor("rmm.example.com", &[&ca]), Some(ca.fingerprint())),
        ("an unknown CA, without a pin", ca.acceptor("localhost", &[&ca]), None),
    ];
    for (what, acceptor, fingerprint) in cases {
        let server = TestServer::start_with(Some(acceptor)).await;
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let result = enroll(&state, &options(&server, dir.path(), fingerprint)).await;
        assert!(result.is_err(), "{what}");
        assert!(server.requests.lock().unwrap().is_empty(), "{what}");
        assert!(!state.join("identity.json").exists() && !state.join(CA_FILE).exists(), "{what}");
    }
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let options =
        EnrollOptions { server: "http://192.0.2.1:3001".into(), ..options(&server, dir.path(), None) };
    assert!(matches!(enroll(&dir.path().join("s"), &options).await, Err(EnrollError::Url(_))));
}
