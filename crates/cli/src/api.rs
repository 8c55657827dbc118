//! The server's HTTP API, and whom it is believed to be.

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use ureq::RequestBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::WithBody;
use url::Url;

/// Longest wait for an answer; commands are waited for in shorter pieces.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// What the server said instead of doing it.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{}", .detail.as_deref().unwrap_or(.title))]
pub struct Problem {
    /// Stable, `NOT_FOUND`.
    pub code: String,
    title: String,
    #[serde(default)]
    detail: Option<String>,
    /// HTTP status.
    #[serde(default)]
    pub status: u16,
}

/// A client of one server.
#[derive(Clone)]
pub struct Api {
    http: ureq::Agent,
    base: Url,
    tls: Arc<ClientConfig>,
    token: Option<Arc<str>>,
}

impl Api {
    /// Not signed in. `ca`: trust this one certificate (PEM) instead of the system's.
    pub fn new(base: &Url, ca: Option<&str>) -> anyhow::Result<Self> {
        let is_loopback = match base.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match base.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            "http" => anyhow::bail!("plain http is for this machine only: use https"),
            _ => anyhow::bail!("{base} is no address of a server"),
        }
        let roots = match ca {
            Some(pem) => CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .ok()
                .filter(|roots| !roots.is_empty())
                .context("the file holds no certificate in PEM")?,
            None if base.scheme() == "http" => Vec::new(),
            None => rustls_native_certs::load_native_certs().certs,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let http_tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .tls_config(http_tls)
            .build();
        Ok(Self { http: config.new_agent(), base: base.clone(), tls: Arc::new(tls), token: None })
    }

    /// The same client, signed in.
    pub fn with_token(self, token: String) -> anyhow::Result<Self> {
        anyhow::ensure!(token.bytes().all(|byte| byte.is_ascii_graphic()), "that is no token");
        Ok(Self { token: Some(token.into()), ..self })
    }

    /// The server.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Whom a TLS connection to it is believed to reach.
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// What says who this is.
    pub fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (this, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let request = this.http.get(this.address(&path)?);
            let request = match this.authorization() {
                Some(authorization) => request.header("authorization", authorization),
                None => request,
            };
            this.read(request.call())
        })
        .await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let (this, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let request = this.http.post(this.address(&path)?);
            this.read(this.authorized(request).send_json(body))
        })
        .await
    }

    fn authorized(&self, request: RequestBuilder<WithBody>) -> RequestBuilder<WithBody> {
        match self.authorization() {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn address(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.base.join(path)?.into())
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let mut answer = answer.with_context(|| format!("{} does not answer", self.base))?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string()?;
        if !status.is_success() {
            return Err(match serde_json::from_str::<Problem>(&text) {
                Ok(problem) => problem.into(),
                Err(_) => anyhow::anyhow!("{} answered {status}", self.base),
            });
        }
        match text.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str(&text)
                .with_context(|| format!("what {} answered is not understood", self.base)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the request was given up")?
}
