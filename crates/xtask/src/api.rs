//! The server's HTTP API, as a script would use it. For chaos and bench.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use ureq::RequestBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::WithBody;

/// Largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 128 * 1024 * 1024;

/// A client of one server, signed in or not.
#[derive(Clone)]
pub struct Api {
    http: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Api {
    /// A client that has not signed in. Where the server is https, `ca` is the one certificate that it trusts.
    pub fn new(base: &str, ca: Option<&Certificate<'static>>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(ca.map(std::slice::from_ref).unwrap_or_default()))
            .build();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(15)))
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Self { http: config.new_agent(), base: base.to_owned(), token: None }
    }

    /// Signs in; the answer is a client with the token.
    pub fn sign_in(&self, email: &str, password: &str) -> anyhow::Result<Self> {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.post("/api/auth/login", &body)?;
        let token = answer["token"].as_str().context("the sign-in has no token")?;
        Ok(Self { token: Some(token.to_owned()), ..self.clone() })
    }

    /// The same client at another server of the installation.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The header that says who this is; empty for someone who has not signed in.
    pub fn authorization(&self) -> String {
        self.token.as_ref().map_or_else(String::new, |token| format!("Bearer {token}"))
    }

    /// GET, expecting 2xx and JSON.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base));
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        answer(request.call()?, path)
    }

    /// GET, expecting 2xx; whatever comes.
    pub fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request = self.http.get(format!("{}{path}", self.base));
        let mut response = request.header("authorization", self.authorization()).call()?;
        if !response.status().is_success() {
            answer(response, path)?;
            bail!("{path} was refused");
        }
        Ok(response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?)
    }

    /// PUT of bytes, expecting 2xx and JSON.
    pub fn put_bytes(&self, path: &str, bytes: &[u8]) -> anyhow::Result<Value> {
        let request = self.http.put(format!("{}{path}", self.base));
        answer(request.header("authorization", self.authorization()).send(bytes)?, path)
    }

    /// POST of JSON, expecting 2xx and JSON (or nothing).
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(format!("{}{path}", self.base)), path, body)
    }

    /// PUT of JSON, expecting 2xx and JSON (or nothing).
    pub fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.put(format!("{}{path}", self.base)), path, body)
    }

    fn send(&self, request: RequestBuilder<WithBody>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        answer(request.send_json(body)?, path)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>, path: &str) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string()?;
    if !status.is_success() {
        bail!("{path} answered {status}: {text}");
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).or_else(|_| Ok(Value::String(text)))
}
