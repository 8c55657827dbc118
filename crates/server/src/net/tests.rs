//! Over real sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::Request;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::request::PeerAddr;

const PATIENCE: Duration = Duration::from_secs(20);

/// A listener on a free port of loopback that serves [`router`].
struct Server {
    addr: SocketAddr,
    gauge: ConnectionGauge,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

fn config() -> ListenConfig {
    ListenConfig {
        addr: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        trusted_proxies: Vec::new(),
        public_url: Url::parse("https://rmm.example.com").unwrap(),
        limits: Limits::default(),
    }
}

fn limited(limits: Limits) -> ListenConfig {
    ListenConfig { limits, ..config() }
}

impl Server {
    fn start(config: ListenConfig) -> Self {
        Self::run(Listener::bind(config).unwrap())
    }

    fn run(listener: Listener) -> Self {
        Self::run_with(listener, router())
    }

    fn run_with(listener: Listener, router: Router) -> Self {
        let (addr, gauge, shutdown) = (listener.local_addr(), listener.gauge(), CancellationToken::new());
        let serving = tokio::spawn(listener.serve(router, shutdown.clone()));
        Self { addr, gauge, shutdown, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn until_counts(&self, what: &str, condition: impl Fn(ConnectionCounts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self.gauge.counts()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.gauge.counts());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn router() -> Router {
    async fn who(
        Extension(peer): Extension<PeerAddr>,
        Extension(scheme): Extension<Scheme>,
        request: Request,
    ) -> String {
        format!("{} {scheme} {}", peer.0, request.headers().contains_key("x-forwarded-for"))
    }
    async fn sign_in(Extension(ticket): Extension<ConnectionTicket>) {
        ticket.authenticated();
    }
    async fn socket(Extension(ticket): Extension<ConnectionTicket>, upgrade: WebSocketUpgrade) -> Response {
        ticket.authenticated();
        upgrade.on_upgrade(|mut socket: WebSocket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    }
    async fn slow() -> &'static str {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "done"
    }
    Router::new()
        .route("/who", get(who))
        .route("/sign-in", post(sign_in))
        .route("/echo", post(|body: String| async { body }))
        .route("/slow", get(slow))
        .route("/never", get(|| async { std::future::pending::<()>().await }))
        .route("/socket", any(socket))
}

/// Sends one request and reads the answer's head and as much of its body as is announced.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    line: &str,
    headers: &[&str],
    body: &str,
) -> String {
    let mut request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    if !body.is_empty() {
        request += &format!("content-length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = timeout(PATIENCE, stream.read(&mut chunk)).await.unwrap().unwrap();
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(read, 0, "closed within an answer: {text:?}");
            continue;
        };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if head.starts_with("HTTP/1.1 101")
            || announced.is_none_or(|length| body.len() >= length.parse().unwrap())
        {
            return text;
        }
        assert_ne!(read, 0, "closed within an answer: {text:?}");
    }
}

/// How long the other side takes to close, and what it says until then.
async fn closed<S: AsyncRead + Unpin>(stream: &mut S, since: Instant) -> (Duration, String) {
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    // A reset is a close too: what we sent was not read to its end.
    while let Ok(read @ 1..) = timeout(PATIENCE, stream.read(&mut chunk)).await.expect("is closed in time") {
        said.extend_from_slice(&chunk[..read]);
    }
    (since.elapsed(), String::from_utf8_lossy(&said).into_owned())
}

fn short() -> Limits {
    Limits { handshake: Duration::from_millis(250), header: Duration::from_millis(500), ..Limits::default() }
}

/// What a request gets that claims to be forwarded for another address by HTTPS.
async fn forwarded(server: &Server) -> String {
    ask(
        &mut server.connect().await,
        "GET /who",
        &["x-forwarded-for: 198.51.100.7", "x-forwarded-proto: https"],
        "",
    )
    .await
}

#[tokio::test]
async fn a_stranger_cannot_forge_peer_and_scheme() {
    let answer = forwarded(&Server::start(config())).await;
    assert!(answer.ends_with("127.0.0.1 http false"), "{answer}");
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_clients() {
    let proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let answer = forwarded(&Server::start(ListenConfig { trusted_proxies: proxies, ..config() })).await;
    assert!(answer.ends_with("198.51.100.7 https false"), "{answer}");
}

#[tokio::test]
async fn plain_http_over_a_network_is_refused() {
    let open = |proxies: Vec<IpNet>| {
        Listener::bind(ListenConfig {
            addr: "0.0.0.0:0".parse().unwrap(),
            trusted_proxies: proxies,
            ..config()
        })
    };
    let error = open(Vec::new()).map(|_| ()).unwrap_err();
    assert!(matches!(error, ListenError::PlainHttp { .. }));
    assert!(error.to_string().contains("--tls-self-signed"), "{error}");
    assert!(open(vec!["192.0.2.0/24".parse().unwrap()]).is_ok());
}

#[tokio::test]
async fn a_taken_port_and_a_foreign_address_are_named() {
    let first = Listener::bind(config()).unwrap();
    let taken =
        Listener::bind(ListenConfig { addr: first.local_addr(), ..config() }).map(|_| ()).unwrap_err();
    assert!(matches!(taken, ListenError::AddressInUse { .. }), "{taken}");
    let foreign = ListenConfig {
        addr: "192.0.2.1:0".parse().unwrap(),
        tls: config().tls,
        trusted_proxies: vec!["192.0.2.2/32".parse().unwrap()],
        ..config()
    };
    let foreign = Listener::bind(foreign).map(|_| ()).unwrap_err();
    assert!(matches!(foreign, ListenError::NotOurs { .. }), "{foreign}");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_drips_is_closed_in_time() {
    let server = Server::start(limited(short()));
    let since = Instant::now();
    let (elapsed, _) = closed(&mut server.connect().await, since).await;
    assert!(elapsed >= Duration::from_millis(400) && elapsed < Duration::from_secs(3), "{elapsed:?}");

    let (mut read, mut write) = server.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        let mut drops = b"GET /who HTTP/1.1\r\nhost: localhost\r\nx: ".iter().chain(b"a".iter().cycle());
        while write.write_all(&[*drops.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (elapsed, _) = closed(&mut read, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    timeout(PATIENCE, dripping).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_request_too() {
    let server = Server::start(limited(short()));
    let mut stream = server.connect().await;
    assert!(ask(&mut stream, "GET /who", &[], "").await.contains("200 OK"));
    let (elapsed, _) = closed(&mut stream, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[tokio::test]
async fn twenty_megabytes_of_header_are_cut_off_at_once() {
    let server = Server::start(config());
    let (mut read, mut write) = server.connect().await.into_split();
    let sending = tokio::spawn(async move {
        let mut sent = 0_usize;
        let _ = write.write_all(b"GET /who HTTP/1.1\r\nhost: localhost\r\nx: ").await;
        while sent < 20_000_000 && write.write_all(&[b'a'; 16 * 1024]).await.is_ok() {
            sent += 16 * 1024;
        }
        sent
    });
    let (elapsed, said) = closed(&mut read, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    assert!(said.is_empty() || said.contains("431"), "{said}");
    let sent = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert!(sent < 20_000_000, "all of it was taken");
}

#[tokio::test(start_paused = true)]
async fn a_dripping_body_is_given_up() {
    let server = Server::start(config());
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nab")
        .await
        .unwrap();
    let since = tokio::time::Instant::now();
    let mut answer = [0; 1024];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).contains("400 Bad Request"));
    assert!(since.elapsed() <= Duration::from_secs(9), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_large_body_that_keeps_coming_is_taken() {
    let server = Server::start(config());
    let body = "b".repeat(1_000_000);
    let answer = ask(&mut server.connect().await, "POST /echo", &[], &body).await;
    assert!(answer.ends_with(&body));
}

#[tokio::test]
async fn one_address_cannot_take_the_places_of_others() {
    let server = Server::start(limited(Limits { unauthenticated_per_peer: 3, ..Limits::default() }));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.connect().await);
    }
    server.until_counts("three are in", |counts| counts.open == 3).await;
    let (elapsed, _) = closed(&mut server.connect().await, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(server.gauge.counts().refused, 1);

    let mut other = from(Ipv4Addr::new(127, 0, 0, 9), server.addr).await;
    assert!(ask(&mut other, "GET /who", &[], "").await.ends_with("127.0.0.9 http false"));
}

#[tokio::test]
async fn those_who_only_hold_places_do_not_keep_others_out() {
    let limits = Limits { unauthenticated: 2, fair_chance: Duration::from_millis(200), ..Limits::default() };
    let server = Server::start(limited(limits));
    // One that says nothing, and one that drips the body of a request.
    let (mut silent, mut dripping) = (server.connect().await, server.connect().await);
    dripping.write_all(b"POST /echo HTTP/1.1\r\nhost: rmm\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
    server.until_counts("both are in", |counts| counts.open == 2).await;
    let (elapsed, _) = closed(&mut server.connect().await, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(2), "nobody gives way at once: {elapsed:?}");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut newcomers = Vec::new();
    for holder in [&mut silent, &mut dripping] {
        newcomers.push(server.connect().await);
        let newcomer = newcomers.last_mut().unwrap();
        assert!(ask(newcomer, "GET /who", &[], "").await.contains("200 OK"));
        let (elapsed, said) = closed(holder, Instant::now()).await;
        assert!(elapsed < Duration::from_secs(2) && said.is_empty(), "{elapsed:?} {said}");
    }
    assert_eq!(server.gauge.counts().refused, 1);
}

#[tokio::test]
async fn who_authenticates_makes_room_and_may_stay() {
    let limits = Limits {
        unauthenticated: 1,
        header: Duration::from_secs(5),
        unauthenticated_age: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::start(limited(limits));
    let mut known = server.connect().await;
    assert!(ask(&mut known, "POST /sign-in", &[], "").await.contains("200 OK"));
    let mut stranger = server.connect().await;
    assert!(ask(&mut stranger, "GET /who", &[], "").await.contains("200 OK"));
    let (elapsed, _) = closed(&mut stranger, Instant::now()).await;
    assert!(elapsed < Duration::from_secs(2), "strangers do not stay: {elapsed:?}");
    assert!(ask(&mut known, "GET /who", &[], "").await.contains("200 OK"));
    assert_eq!(server.gauge.counts().unauthenticated, 0);
}

#[tokio::test]
async fn an_upgraded_socket_is_counted_until_it_is_closed() {
    let server = Server::start(config());
    let mut stream = server.connect().await;
    let headers = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    assert!(ask(&mut stream, "GET /socket", &headers, "").await.starts_with("HTTP/1.1 101"));
    let mut answer = [0; 16];
    // A masked text frame `hi` with a mask of zeros, and its echo.
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[..read], [0x81, 2, b'h', b'i']);
    server
        .until_counts("it is open and known", |counts| (counts.open, counts.unauthenticated) == (1, 0))
        .await;
    drop(stream);
    server.until_counts("it is gone", |counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_takes_no_new_ones() {
    let server = Server::start(config());
    let mut stream = server.connect().await;
    let asking = tokio::spawn(async move { ask(&mut stream, "GET /slow", &[], "").await });
    server.until_counts("the request is in", |counts| counts.open == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.shutdown.cancel();
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
    assert!(asking.await.unwrap().ends_with("done"));
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let server = Server::start(limited(Limits { drain: Duration::from_millis(200), ..Limits::default() }));
    let mut stream = server.connect().await;
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    server.until_counts("the request is in", |counts| counts.open == 1).await;
    let since = Instant::now();
    server.shutdown.cancel();
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
    assert!(since.elapsed() < Duration::from_secs(3));
    closed(&mut stream, since).await;
}

/// A handler that waits at a gate, and what became of those who came.
#[derive(Clone, Default)]
struct Gate {
    open: CancellationToken,
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Gate {
    fn serve(&self, limits: Limits) -> Server {
        let gate = self.clone();
        let pass = any(move || gate.clone().pass());
        let router = router().route("/gate", pass);
        Server::run_with(Listener::bind(limited(limits)).unwrap(), router)
    }

    async fn pass(self) {
        struct Ended(Arc<AtomicUsize>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _ended = Ended(Arc::clone(&self.ended));
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.open.cancelled().await;
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Comes to the gate, hangs up there, and sees the server close too.
    async fn hang_up(&self, mut stream: TcpStream, method: &str) {
        let before = self.begun.load(Ordering::SeqCst);
        let request = format!("{method} /gate HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until("it is at the gate", || self.begun.load(Ordering::SeqCst) > before).await;
        stream.shutdown().await.unwrap();
        closed(&mut stream, Instant::now()).await;
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_change_goes_on_without_its_caller_and_a_question_does_not() {
    let gate = Gate::default();
    let server = gate.serve(Limits::default());
    gate.hang_up(server.connect().await, "GET").await;
    until("the question is dropped", || gate.ended() == 1).await;
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        gate.hang_up(server.connect().await, method).await;
    }
    server.until_counts("nobody is in any more", |counts| counts.open == 0).await;
    assert_eq!((gate.ended(), gate.done()), (1, 0));
    gate.open.cancel();
    until("the changes are done", || gate.done() == 4).await;
}

#[tokio::test]
async fn strangers_who_hang_up_leave_little_behind_and_take_no_room_from_others() {
    let gate = Gate::default();
    let server = gate.serve(Limits::default());
    for _ in 0..100 {
        gate.hang_up(server.connect().await, "POST").await;
    }
    until("what is too much is dropped", || gate.ended() == 36).await;
    let mut known = server.connect().await;
    assert!(ask(&mut known, "POST /sign-in", &[], "").await.contains("200 OK"));
    gate.hang_up(known, "POST").await;
    server.until_counts("nobody is in any more", |counts| counts.open == 0).await;
    gate.open.cancel();
    until("the rest is done", || gate.done() == 65).await;
    assert_eq!(gate.ended(), 101);
}

#[tokio::test]
async fn a_stop_waits_for_changes_without_their_callers_but_not_for_ever() {
    let gate = Gate::default();
    let mut server = gate.serve(Limits::default());
    gate.hang_up(server.connect().await, "POST").await;
    server.shutdown.cancel();
    assert!(timeout(Duration::from_millis(200), &mut server.serving).await.is_err(), "it waits");
    gate.open.cancel();
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
    assert_eq!(gate.done(), 1);

    let gate = Gate::default();
    let server = gate.serve(Limits { drain: Duration::from_millis(200), ..Limits::default() });
    gate.hang_up(server.connect().await, "POST").await;
    let since = Instant::now();
    server.shutdown.cancel();
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
    assert!(since.elapsed() < Duration::from_secs(3));
    until("it is cut off", || gate.ended() == 1).await;
    assert_eq!(gate.done(), 0);
}

/// Row 15 of the threats: ten thousand sockets of strangers, from many addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_strangers_are_bounded_in_time_and_memory() {
    const STRANGERS: usize = 10_000;
    let server = Server::start(limited(Limits { header: Duration::from_secs(3), ..Limits::default() }));
    // Both ends of a socket are this process's.
    let strangers = STRANGERS.min(
        rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .map_or(STRANGERS, |limit| limit as usize / 2 - 200),
    );
    let before = resident_bytes();
    let mut held = Vec::with_capacity(strangers);
    let mut most = 0;
    for number in 0..strangers {
        let source = Ipv4Addr::new(127, 1, (number % 100) as u8, 1);
        let mut stream = from(source, server.addr).await;
        // One that was turned away at once may already refuse this.
        let _ = stream.write_all(b"GET /who HTTP/1.1\r\nx: ").await;
        held.push(stream);
        most = most.max(server.gauge.counts().open);
    }
    let grown = resident_bytes().saturating_sub(before);
    let places = Limits::default().unauthenticated;
    assert!(most <= places + places / 8, "{most} were in at a time");
    assert!(grown <= 64 * 1024 * 1024, "memory grew by {grown} bytes");
    let since = Instant::now();
    for stream in &mut held {
        closed(stream, since).await;
    }
    assert!(since.elapsed() <= Duration::from_secs(10), "{:?}", since.elapsed());
    let mut later = server.connect().await;
    assert!(ask(&mut later, "GET /who", &[], "").await.contains("200 OK"), "others are served again");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

fn self_signed(folder: &Path) -> ListenConfig {
    ListenConfig { tls: Some(TlsMode::SelfSigned { keys_dir: folder.to_owned() }), ..config() }
}

/// A client that trusts `authority` only.
fn pinning(authority: &CertificateDer<'static>) -> TlsConnector {
    pinning_at(authority, SystemTime::now())
}

/// The same with a clock of its own.
fn pinning_at(authority: &CertificateDer<'static>, now: SystemTime) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::new(Clock(now)));
    let config = config.with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[derive(Debug)]
struct Clock(SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap()))
    }
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

#[tokio::test]
async fn an_agent_that_pins_the_authority_connects_by_every_name() {
    let folder = TempDir::new().unwrap();
    let listener = Listener::bind(self_signed(folder.path())).unwrap();
    let pinned = listener.ca_fingerprint().unwrap();
    let authority =
        tls::load(&folder.path().join("ca.pem"), &folder.path().join("ca.pem")).unwrap().cert[0].clone();
    assert_eq!(pinned, tls::fingerprint(&authority));
    assert!(listener.ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    let server = Server::run(listener);
    for host in ["localhost", "127.0.0.1", "::1", "rmm.example.com"] {
        let mut stream = pinning(&authority).connect(name(host), server.connect().await).await.unwrap();
        assert!(ask(&mut stream, "GET /who", &[], "").await.ends_with("127.0.0.1 https false"));
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(tls::fingerprint(chain.last().unwrap()), pinned, "the authority is sent along");
    }
    pinning(&authority).connect(name("evil.example.org"), server.connect().await).await.unwrap_err();
}

#[tokio::test]
async fn the_pin_survives_a_restart_and_other_authorities_do_not_pass() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = Listener::bind(self_signed(folder.path())).unwrap().ca_fingerprint();
    let listener = Listener::bind(self_signed(folder.path())).unwrap();
    assert_eq!(listener.ca_fingerprint(), first);
    assert_ne!(Listener::bind(self_signed(other.path())).unwrap().ca_fingerprint(), first);
    let server = Server::run(listener);
    let foreign =
        tls::load(&other.path().join("ca.pem"), &other.path().join("ca.pem")).unwrap().cert[0].clone();
    pinning(&foreign).connect(name("localhost"), server.connect().await).await.unwrap_err();
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_closed_in_time() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(ListenConfig { limits: short(), ..self_signed(folder.path()) });
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(&[0x16, 3, 1, 1, 0, 1]).await.unwrap();
    let since = Instant::now();
    for stream in [&mut silent, &mut half] {
        let (elapsed, _) = closed(stream, since).await;
        assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    }
}

#[tokio::test]
async fn certificate_files_are_served_and_read_again_when_they_change() {
    let (one, two, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let install = |from: &TempDir| {
        drop(Listener::bind(self_signed(from.path())).unwrap());
        std::fs::copy(from.path().join("tls.pem"), &certificate).unwrap();
        std::fs::copy(from.path().join("tls.pem"), &key).unwrap();
        tls::load(&certificate, &key).unwrap().cert[1].clone()
    };
    let first = install(&one);
    let mode = TlsMode::Files { certificate: certificate.clone(), key: key.clone() };
    let mut served = tls::Tls::new(&mode, Vec::new(), SystemTime::now()).unwrap();
    assert_eq!(served.authority(), None);

    handshake(&served, &first, SystemTime::now()).await.unwrap();
    let second = install(&two);
    served.refresh(false, SystemTime::now());
    handshake(&served, &second, SystemTime::now()).await.unwrap();
    handshake(&served, &first, SystemTime::now()).await.unwrap_err();

    std::fs::write(&key, "half written").unwrap();
    served.refresh(true, SystemTime::now());
    handshake(&served, &second, SystemTime::now()).await.expect("what cannot be read changes nothing");
}

#[tokio::test]
async fn the_servers_own_certificate_renews_itself_while_it_runs() {
    let folder = TempDir::new().unwrap();
    let mode = TlsMode::SelfSigned { keys_dir: folder.path().to_owned() };
    let mut served = tls::Tls::new(&mode, vec!["localhost".into()], SystemTime::now()).unwrap();
    let authority = served.authority().unwrap().clone();
    let after = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
    let first = handshake(&served, &authority, after(0)).await.unwrap();
    served.refresh(false, after(50));
    assert_eq!(handshake(&served, &authority, after(50)).await.unwrap(), first);
    served.refresh(false, after(80));
    assert_ne!(handshake(&served, &authority, after(80)).await.unwrap(), first);
    handshake(&served, &authority, after(160)).await.unwrap();
    handshake(&served, &authority, after(180)).await.unwrap_err();
}

/// A machine whose clock was behind when the server started, or that slept for months.
#[tokio::test(start_paused = true)]
async fn a_certificate_of_the_past_is_replaced_soon_after_the_clock_was_set() {
    let folder = TempDir::new().unwrap();
    let mode = TlsMode::SelfSigned { keys_dir: folder.path().to_owned() };
    let now = SystemTime::now();
    let behind = now - Duration::from_secs(91 * 24 * 60 * 60);
    let served = tls::Tls::new(&mode, vec!["localhost".into()], behind).unwrap();
    let (acceptor, authority) = (served.acceptor(), served.authority().unwrap().clone());
    handshake_with(&acceptor, &authority, now).await.unwrap_err();

    let maintenance = tokio::spawn(served.maintain());
    tokio::time::sleep(Duration::from_secs(61)).await;
    let renewed =
        handshake_with(&acceptor, &authority, now).await.expect("the certificate is still of the past");
    let written = std::fs::metadata(folder.path().join("tls.pem")).unwrap().modified().unwrap();
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(handshake_with(&acceptor, &authority, now).await.unwrap(), renewed);
    let last = std::fs::metadata(folder.path().join("tls.pem")).unwrap().modified().unwrap();
    assert_eq!(last, written, "nothing is written while it is good");
    maintenance.abort();
}

/// The certificate that `served` shows to a client that trusts `authority`.
async fn handshake(
    served: &tls::Tls,
    authority: &CertificateDer<'static>,
    now: SystemTime,
) -> io::Result<Vec<u8>> {
    handshake_with(&served.acceptor(), authority, now).await
}

async fn handshake_with(
    acceptor: &TlsAcceptor,
    authority: &CertificateDer<'static>,
    now: SystemTime,
) -> io::Result<Vec<u8>> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let accepting = tokio::spawn(acceptor.accept(server));
    let stream = pinning_at(authority, now).connect(name("localhost"), client).await?;
    let _ = accepting.await.unwrap();
    Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

#[tokio::test]
async fn unusable_certificate_files_are_named() {
    let (one, two, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for from in [&one, &two] {
        drop(Listener::bind(self_signed(from.path())).unwrap());
    }
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (mine, theirs) = (one.path().join("tls.pem"), two.path().join("tls.pem"));
    let missing = folder.path().join("missing.pem");
    let error = |certificate: &Path, key: &Path| tls::load(certificate, key).map(|_| ()).unwrap_err();
    assert!(matches!(error(&missing, &mine), TlsError::Unreadable { .. }));
    assert!(matches!(error(&empty, &mine), TlsError::NoCertificate { .. }));
    assert!(matches!(error(&mine, &empty), TlsError::NoKey { .. }));
    let mismatch = error(&mine, &theirs);
    assert!(matches!(mismatch, TlsError::Mismatch { .. }));
    assert!(mismatch.to_string().contains("does not belong to the certificate"));
}
