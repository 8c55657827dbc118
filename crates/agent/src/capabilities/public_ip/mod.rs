//! The machine's public address, when policy asks for it: as our own server sees it, else as a public service does.

mod global;
#[cfg(test)]
mod tests;

use crate::aside::Aside;
use crate::http::{CallError, InvalidServerUrl, get_text};
use crate::transport::{Connector, TlsSetupError};
use global::global;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Services that answer `GET /` with the caller's address and nothing else, of three houses, in the order asked.
const PROVIDERS: [&str; 3] =
    ["https://checkip.amazonaws.com", "https://api.ipify.org", "https://icanhazip.com"];
/// How long one of them may take.
const WITHIN: Duration = Duration::from_secs(5);
/// An address with a line's end is far shorter.
const MAX_ANSWER_BYTES: usize = 256;
/// How long an answer holds while nothing changes.
const HOLDS: Duration = Duration::from_secs(3600);
/// When to ask again after nobody knew.
const RETRY: Duration = Duration::from_secs(15 * 60);
/// A network that changes all the time does not make the agent a nuisance.
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// What is known, and when to ask again. Nothing here waits: questions run beside the loop.
#[derive(Debug)]
pub struct PublicIp {
    providers: Vec<String>,
    is_wanted: bool,
    observed: Option<IpAddr>,
    known: Option<IpAddr>,
    asked_at: Option<Instant>,
    next: Instant,
    asking: Option<Aside<Option<IpAddr>>>,
}

impl PublicIp {
    /// Asks nobody until it is wanted.
    pub fn new(now: Instant) -> Self {
        Self::with_providers(now, PROVIDERS.map(str::to_owned).into())
    }

    fn with_providers(now: Instant, providers: Vec<String>) -> Self {
        Self {
            providers,
            is_wanted: false,
            observed: None,
            known: None,
            asked_at: None,
            next: now,
            asking: None,
        }
    }

    /// Policy asks for the address, or does not: then what is known is forgotten and nobody is asked.
    pub fn want(&mut self, now: Instant, is_wanted: bool) {
        if self.is_wanted != is_wanted {
            let providers = std::mem::take(&mut self.providers);
            let (observed, asked_at) = (self.observed, self.asked_at);
            *self = Self { is_wanted, observed, asked_at, ..Self::with_providers(now, providers) };
            self.ask_again(now);
        }
    }

    /// Whence the server sees this machine. Within one network, or behind a proxy it was not told of, that says
    /// nothing about the Internet.
    pub fn observed(&mut self, now: Instant, address: Option<IpAddr>) {
        let observed = address.and_then(global);
        if self.observed != observed {
            self.observed = observed;
            self.changed(now);
        }
    }

    /// The machine's network is another: what was known may be wrong.
    pub fn changed(&mut self, now: Instant) {
        self.known = None;
        self.asking = None;
        self.ask_again(now);
    }

    fn ask_again(&mut self, now: Instant) {
        self.next = self.asked_at.map_or(now, |at| now.max(at + ASK_AT_MOST_EVERY));
    }

    /// The address as known now; `None` while it is not wanted.
    pub fn current(&self) -> Option<IpAddr> {
        if self.is_wanted { self.observed.or(self.known) } else { None }
    }

    /// When [`PublicIp::run`] is to be called at the latest.
    pub fn next(&self) -> Option<Instant> {
        (self.is_wanted && self.observed.is_none()).then_some(self.next)
    }

    /// Does what is due.
    pub fn run(&mut self, now: Instant) {
        if let Some(answer) = Aside::take(&mut self.asking) {
            self.known = answer.flatten();
            if self.known.is_none() {
                self.next = now + RETRY;
            }
        }
        if self.next().is_some_and(|due| due <= now) {
            self.next = now + HOLDS;
            self.asked_at = Some(now);
            self.asking = Some(Aside::start(ask(self.providers.clone())));
        }
    }
}

/// One after the other, until one knows.
async fn ask(providers: Vec<String>) -> Option<IpAddr> {
    for provider in &providers {
        match tokio::time::timeout(WITHIN, ask_one(provider)).await {
            Ok(Ok(address)) => return Some(address),
            Ok(Err(error)) => tracing::debug!(provider, %error, "no public address from here"),
            Err(_) => tracing::debug!(provider, "no public address from here within the time"),
        }
    }
    tracing::info!("nobody who was asked knows this machine's public address");
    None
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Url(#[from] InvalidServerUrl),
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error("the system's root certificates are not read")]
    Roots(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer is no public address")]
    NoAddress,
}

/// The system's roots, whatever our own server is trusted by. They are read for the question and given back, since
/// they are large and it is asked once an hour.
async fn ask_one(provider: &str) -> Result<IpAddr, AskError> {
    let url = provider.parse()?;
    let connector = tokio::task::spawn_blocking(|| Connector::new(url, None, Arc::default())).await??;
    let answer = get_text(&connector, "/", MAX_ANSWER_BYTES).await?;
    answer.trim().parse().ok().and_then(global).ok_or(AskError::NoAddress)
}
