//! The bus between nodes: core NATS, publish and subscribe. It remembers nothing, and need not: what must not be lost
//! is a row in the database, and who missed something is told so and looks there.

use super::wire::{self, Body, Happened, Heads, Meaning, Message};
use super::{Event, Heard, MAX_NOTE_BYTES, Note};
use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use zeroize::Zeroizing;

/// What may wait to be sent. Beyond it the others notice a gap, and look into the database.
const OUTBOX: usize = 8_192;
/// Sealed frames that may wait to be sent.
const FRAMES: usize = 1_024;
/// What may wait to be heard, per subscription.
const INBOX: usize = 16_384;
/// What no message of ours comes near.
const MAX_MESSAGE_BYTES: usize = 2 * MAX_NOTE_BYTES;
/// A node says at least this often that it is there, so that a lost last word is noticed.
const BEACON_EVERY: Duration = Duration::from_secs(1);
/// How long the first connection is waited for before the server goes on without.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Two of these without an answer and the connection is given up.
const PING_EVERY: Duration = Duration::from_secs(2);
const RETRY_AT_MOST: Duration = Duration::from_secs(2);

/// Where NATS is, and how this node proves itself.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// `nats://host:port` or `tls://host:port`; several are one cluster.
    pub servers: Vec<ServerAddr>,
    pub login: NatsLogin,
    pub tls: NatsTls,
    /// Shown by NATS.
    pub name: String,
}

/// How this node proves itself. Read when it is needed and never shown.
#[derive(Clone)]
pub enum NatsLogin {
    Nobody,
    Token(Zeroizing<String>),
    Password {
        user: String,
        password: Zeroizing<String>,
    },
    /// An nkey's seed.
    Nkey(Zeroizing<String>),
    /// A credentials file's content: a JWT with its seed.
    Credentials(Zeroizing<String>),
}

impl std::fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody",
            Self::Token(_) => "a token",
            Self::Password { .. } => "a password",
            Self::Nkey(_) => "an nkey",
            Self::Credentials(_) => "a credentials file",
        })
    }
}

/// TLS to NATS, where a `tls://` address or NATS itself asks for it.
#[derive(Debug, Clone, Default)]
pub struct NatsTls {
    /// Authorities that are trusted instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key of this node, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why there is no way to other nodes, where waiting does not help.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    #[error(
        "NATS does not let this node in: its token, password, nkey or credentials are not what NATS expects"
    )]
    Refused,
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} holds no {what} in PEM", path.display())]
    Unusable { path: PathBuf, what: &'static str },
    #[error("the credentials for NATS are not usable")]
    Credentials(#[source] std::io::Error),
    #[error("TLS to NATS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("NATS cannot be used")]
    Unexpected(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An open way to NATS, looked after in the background until it is dropped.
pub(super) struct Link {
    client: Client,
    outbox: Arc<Outbox>,
    frames: mpsc::Sender<(String, Bytes)>,
    node_id: Uuid,
    _until_dropped: DropGuard,
}

impl Link {
    pub async fn open(
        node_id: Uuid,
        options: &NatsOptions,
        heard: broadcast::Sender<Heard>,
        carried: broadcast::Sender<(Uuid, Bytes)>,
    ) -> Result<Self, NatsError> {
        let client = connect(options, &heard).await?;
        let unexpected = |error: async_nats::SubscribeError| NatsError::Unexpected(error.into());
        let for_all = client.subscribe(wire::FOR_ALL).await.map_err(unexpected)?;
        let for_this = client.subscribe(wire::own_subjects(node_id)).await.map_err(unexpected)?;
        let own_frames = client.subscribe(wire::own_frames(node_id)).await.map_err(unexpected)?;
        let (outbox, waiting) = Outbox::new(node_id);
        let (frames, waiting_frames) = mpsc::channel(FRAMES);
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(hear(for_all, node_id, heard.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(hear(for_this, node_id, heard)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(beacon(Arc::clone(&outbox))));
        tokio::spawn(stop.clone().run_until_cancelled_owned(carry(client.clone(), waiting)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(take_up(own_frames, node_id, carried)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(carry_frames(client.clone(), waiting_frames)));
        Ok(Self { client, outbox, frames, node_id, _until_dropped: stop.drop_guard() })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub fn publish(&self, event: &Event) {
        self.outbox.put_for_all(event.tenant_id, Body::Event(Happened::from(event)));
    }

    pub fn carry(&self, to: Uuid, tenant_id: Uuid, frame: Bytes) {
        let _full = self.frames.try_send((wire::subject_of_frames(to, tenant_id), frame));
    }

    pub fn tell(&self, note: Note) {
        if note.text.len() > MAX_NOTE_BYTES {
            tracing::error!(bytes = note.text.len(), "too much to say to other nodes");
            return;
        }
        let Note { to, tenant_id, text, .. } = note;
        match to {
            None => self.outbox.put_for_all(tenant_id, Body::Note { text }),
            Some(to) if to != self.node_id => self.outbox.put_for(to, tenant_id, Body::Note { text }),
            Some(_) => {}
        }
    }
}

/// Passes on sealed frames. What is none is found out by who opens it.
async fn take_up(mut frames: Subscriber, here: Uuid, carried: broadcast::Sender<(Uuid, Bytes)>) {
    while let Some(frame) = frames.next().await {
        if frame.payload.len() <= MAX_MESSAGE_BYTES {
            let _nobody_listens = carried.send((here, frame.payload));
        }
    }
}

/// Takes sealed frames to NATS. While it is away they are thrown away: their numbers show it.
async fn carry_frames(client: Client, mut waiting: mpsc::Receiver<(String, Bytes)>) {
    while let Some((subject, frame)) = waiting.recv().await {
        if client.connection_state() == State::Connected
            && let Err(error) = client.publish(subject, frame).await
        {
            tracing::debug!(%error, "a frame to another node was not sent");
        }
    }
}

/// What is on its way out. What finds no room has a number all the same, so that the others notice.
struct Outbox {
    from: Uuid,
    run: u64,
    number: Mutex<u64>,
    queue: mpsc::Sender<(String, Message)>,
}

impl Outbox {
    fn new(from: Uuid) -> (Arc<Self>, mpsc::Receiver<(String, Message)>) {
        let (queue, waiting) = mpsc::channel(OUTBOX);
        let run = rand::random::<u64>() >> 12;
        (Arc::new(Self { from, run, number: Mutex::new(0), queue }), waiting)
    }

    fn put_for_all(&self, tenant_id: Uuid, body: Body) {
        // Numbered and queued in one step: they leave in their order.
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        let message = Message { from: self.from, run: self.run, number: Some(*number), body };
        let _full = self.queue.try_send((wire::subject_for_all(tenant_id), message));
    }

    fn put_for(&self, to: Uuid, tenant_id: Uuid, body: Body) {
        let message = Message { from: self.from, run: self.run, number: None, body };
        let _full = self.queue.try_send((wire::subject_for(to, tenant_id), message));
    }
}

async fn beacon(outbox: Arc<Outbox>) {
    let mut tick = interval(BEACON_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        outbox.put_for_all(Uuid::nil(), Body::Beacon);
    }
}

/// Takes messages to NATS. While it is away they are thrown away: what they told is in the database, and a flood of old
/// news would help nobody when it is back.
async fn carry(client: Client, mut waiting: mpsc::Receiver<(String, Message)>) {
    while let Some((subject, message)) = waiting.recv().await {
        if client.connection_state() != State::Connected {
            continue;
        }
        match serde_json::to_vec(&message) {
            Ok(payload) => {
                if let Err(error) = client.publish(subject, payload.into()).await {
                    tracing::debug!(%error, "a message to other nodes was not sent");
                }
            }
            Err(error) => tracing::error!(%error, "a message to other nodes could not be written"),
        }
    }
}

/// Passes on what other nodes say, and that some of it is missing.
async fn hear(mut messages: Subscriber, here: Uuid, heard: broadcast::Sender<Heard>) {
    let mut heads = Heads::default();
    while let Some(message) = messages.next().await {
        if message.payload.len() > MAX_MESSAGE_BYTES {
            tracing::warn!(bytes = message.payload.len(), "a message from NATS is too large to be a node's");
            continue;
        }
        let Some(read) = Message::read(&message.payload) else {
            tracing::warn!("a message from NATS is not a node's");
            continue;
        };
        if read.from == here {
            continue;
        }
        if read.number.is_some_and(|number| heads.is_behind_a_gap(read.from, read.run, number)) {
            tracing::debug!(from = %read.from, "something that another node said is missing");
            let _nobody_listens = heard.send(Heard::Missed);
        }
        let _nobody_listens = match read.meaning(message.subject.as_str(), here) {
            Meaning::Event(event) => heard.send(Heard::Event(event)),
            Meaning::Note(note) => heard.send(Heard::Note(Arc::new(note))),
            Meaning::Nothing => continue,
        };
    }
}

/// Connects, in the background where NATS is away.
async fn connect(options: &NatsOptions, heard: &broadcast::Sender<Heard>) -> Result<Client, NatsError> {
    let servers = options.servers.clone();
    let first = connect_options(options, heard)?.connect(servers.clone());
    let error = match timeout(FIRST_WITHIN, first).await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(error)) => match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                return Err(NatsError::Refused);
            }
            ConnectErrorKind::ServerParse => return Err(NatsError::Unexpected(error.into())),
            _ => Some(error),
        },
        Err(_) => None,
    };
    let error = error.map(|error| error.to_string());
    tracing::warn!(error, "NATS is away: this server works by itself until it is back");
    let later = connect_options(options, heard)?.retry_on_initial_connect();
    later.connect(servers).await.map_err(|error| NatsError::Unexpected(error.into()))
}

fn connect_options(
    options: &NatsOptions,
    heard: &broadcast::Sender<Heard>,
) -> Result<ConnectOptions, NatsError> {
    let heard = heard.clone();
    let connect = match &options.login {
        NatsLogin::Nobody => ConnectOptions::new(),
        NatsLogin::Token(token) => ConnectOptions::with_token(token.to_string()),
        NatsLogin::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.to_string())
        }
        NatsLogin::Nkey(seed) => ConnectOptions::with_nkey(seed.to_string()),
        NatsLogin::Credentials(text) => {
            ConnectOptions::with_credentials(text).map_err(NatsError::Credentials)?
        }
    };
    Ok(connect
        .name(&options.name)
        .no_echo()
        .tls_client_config(tls(&options.tls)?)
        .ping_interval(PING_EVERY)
        .connection_timeout(CONNECT_WITHIN)
        .subscription_capacity(INBOX)
        .client_capacity(1_024)
        .ignore_discovered_servers()
        .reconnect_delay_callback(|attempts| {
            let doubled = 50_u64.saturating_mul(1 << attempts.min(10));
            let most = RETRY_AT_MOST.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            Duration::from_millis(doubled).min(most)
        })
        .event_callback(move |event| {
            let heard = heard.clone();
            async move {
                match event {
                    async_nats::Event::Connected => {
                        tracing::info!("connected to NATS");
                        // Whatever was said meanwhile was not heard here.
                        let _nobody_listens = heard.send(Heard::Missed);
                    }
                    async_nats::Event::Disconnected => {
                        tracing::warn!("NATS is away: this server works by itself until it is back");
                    }
                    other => tracing::info!(event = %other, "NATS"),
                }
            }
        }))
}

/// With a provider that is named: which one rustls takes by itself depends on what else is built in.
fn tls(options: &NatsTls) -> Result<rustls::ClientConfig, NatsError> {
    let mut roots = RootCertStore::empty();
    match &options.ca {
        Some(path) => {
            roots.add_parsable_certificates(certificates(path)?);
        }
        None => {
            // Without any, TLS fails when it is used, and says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(NatsError::Tls)?
        .with_root_certificates(roots);
    match &options.client {
        Some((chain, key)) => {
            let key_pem = read(key)?;
            let private = PrivateKeyDer::from_pem_slice(&key_pem)
                .map_err(|_| NatsError::Unusable { path: key.clone(), what: "private key" })?;
            config.with_client_auth_cert(certificates(chain)?, private).map_err(NatsError::Tls)
        }
        None => Ok(config.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NatsError> {
    let unusable = || NatsError::Unusable { path: path.to_owned(), what: "certificate" };
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(unusable)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, NatsError> {
    let read = std::fs::read(path).map(Zeroizing::new);
    read.map_err(|source| NatsError::Unreadable { path: path.to_owned(), source })
}
