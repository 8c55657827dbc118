//! The accept loop, and one task per connection.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service as _;

use super::abandoned::{Abandoned, Change};
use super::body::PacedBody;
use super::limits::{Admission, Budget, ConnectionGauge, ConnectionTicket, Limits};
use super::peer::{self, Scheme};
use super::tls::{self, Tls};
use super::{ListenConfig, ListenError};
use crate::http::request::PeerAddr;

const BACKLOG: u32 = 4096;
/// Descriptors kept for everything that is not a client: database, files, the listener.
const RESERVED_DESCRIPTORS: u64 = 256;
/// Bytes that the kernel takes for a peer before it has sent them.
const UNSENT_MAX_BYTES: u32 = 128 * 1024;
/// Bytes that the kernel keeps of what a peer has sent and nobody has read; it takes twice that, half of it for itself.
const RECEIVED_MAX_BYTES: usize = 256 * 1024;
/// A peer that acknowledges nothing for so long is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// An open port.
pub struct Listener {
    tcp: TcpListener,
    addr: SocketAddr,
    tls: Option<Tls>,
    budget: Arc<Budget>,
    proxies: Vec<IpNet>,
    limits: Limits,
}

impl Listener {
    /// Opens the port. Call it in a tokio runtime.
    ///
    /// # Errors
    /// Where the address cannot be had, the certificate is no good, or plain HTTP would go over a network.
    pub fn bind(config: ListenConfig) -> Result<Self, ListenError> {
        let addr = config.addr;
        if config.tls.is_none()
            && !addr.ip().to_canonical().is_loopback()
            && config.trusted_proxies.is_empty()
        {
            return Err(ListenError::PlainHttp { addr });
        }
        let names = tls::own_names(addr, &config.public_url);
        let tls = config.tls.as_ref().map(|mode| Tls::new(mode, names, SystemTime::now())).transpose()?;
        let tcp = open(addr).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::AddressInUse { addr },
            io::ErrorKind::PermissionDenied => ListenError::NotPermitted { addr },
            io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { addr },
            _ => ListenError::Bind { addr, source },
        })?;
        let addr = tcp.local_addr().map_err(|source| ListenError::Bind { addr, source })?;
        let limits = config.limits.within(descriptors());
        let budget = Budget::new(&limits);
        Ok(Self { tcp, addr, tls, budget, proxies: config.trusted_proxies, limits })
    }

    /// The address with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many of its connections agents may take.
    pub fn room_for_agents(&self) -> usize {
        self.limits.room_for_agents()
    }

    /// `sha256:<hex>` of the server's own CA, which agents pin; `None` with certificate files or plain HTTP.
    pub fn ca_fingerprint(&self) -> Option<String> {
        self.tls.as_ref().and_then(Tls::authority).map(tls::fingerprint)
    }

    /// The server's own CA in PEM, for those who install it.
    pub fn ca_pem(&self) -> Option<String> {
        self.tls.as_ref().and_then(Tls::authority).map(tls::to_pem)
    }

    /// Counts its connections for as long as it lives.
    pub fn gauge(&self) -> ConnectionGauge {
        ConnectionGauge(Arc::clone(&self.budget))
    }

    /// Serves `router` until `shutdown`. Plain HTTP is answered to this machine and to trusted proxies only. At
    /// `shutdown` it takes no more connections, lets open requests and sockets end within
    /// [`Limits::drain`], those whose caller has gone among them, and cuts off the rest of the requests.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let Self { tcp, tls, budget, proxies, limits, .. } = self;
        let drain = limits.drain;
        let tracker = TaskTracker::new();
        let cut_off = CancellationToken::new();
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let transport = if acceptor.is_some() { Scheme::Https } else { Scheme::Http };
        let abandoned = Abandoned::new(tracker.clone(), cut_off.clone());
        let server =
            Server { router, acceptor, transport, proxies, limits, shutdown, tracker, cut_off, abandoned };
        let server = Arc::new(server);
        let maintenance = tls.map(|tls| tokio::spawn(tls.maintain()));
        loop {
            let accepted = tokio::select! {
                biased;
                () = server.shutdown.cancelled() => break,
                accepted = tcp.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let from = from.ip().to_canonical();
                    let is_proxy = peer::is_trusted(from, &server.proxies);
                    if !server.transport.is_tls() && !peer::may_speak_plainly(from, &server.proxies) {
                        tracing::debug!(peer = %from, "plain HTTP around the proxy, turned away");
                        continue;
                    }
                    let counted = Some(from).filter(|_| !is_proxy);
                    let since = Instant::now();
                    let Some(admission) = budget.admit(counted, since.into_std()) else {
                        tracing::debug!(peer = %from, "too many connections, turned one away");
                        continue;
                    };
                    let connection = Connection { admission, peer: PeerAddr(from), since };
                    server.tracker.spawn(connection.run(stream, Arc::clone(&server)));
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(tcp);
        server.tracker.close();
        if timeout(drain, server.tracker.wait()).await.is_err() {
            server.cut_off.cancel();
        }
        if let Some(maintenance) = maintenance {
            maintenance.abort();
        }
    }
}

/// What all connections share.
struct Server {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    transport: Scheme,
    proxies: Vec<IpNet>,
    limits: Limits,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    cut_off: CancellationToken,
    abandoned: Arc<Abandoned>,
}

struct Connection {
    admission: Arc<Admission>,
    peer: PeerAddr,
    since: Instant,
}

impl Connection {
    async fn run(self, stream: TcpStream, server: Arc<Server>) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "cannot tune a socket");
        }
        let (shutdown, leave) = (server.shutdown.clone(), self.admission.leave());
        let Some(acceptor) = &server.acceptor else { return self.serve(stream, &server).await };
        let handshake = timeout_at(self.since + server.limits.handshake, acceptor.accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = shutdown.cancelled() => return,
            () = leave.notified() => return,
        };
        match handshake {
            Ok(Ok(stream)) => self.serve(stream, &server).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer.0, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer.0, "TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, server: &Arc<Server>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { admission, peer, since } = self;
        let asking = Arc::clone(&admission);
        let place = Arc::downgrade(&admission);
        let is_stranger = move || place.upgrade().is_some_and(|admission| !admission.is_authenticated());
        let leave = admission.leave();
        let limits = &server.limits;
        let stream = Counted { stream, _admission: admission, _tracked: server.tracker.token() };
        let service =
            service_fn(move |request| answer(Arc::clone(server), request, peer, Arc::clone(&asking)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(
                limits.header.saturating_sub(since.elapsed()).max(Duration::from_millis(100)),
            )
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(8192))
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut too_old = pin!(sleep_until(since + limits.unauthenticated_age));
        let mut is_ending = false;
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = server.cut_off.cancelled() => return,
                // Whatever it is in: the place is wanted by someone who may have more to say.
                () = leave.notified(), if is_stranger() => return,
                () = server.shutdown.cancelled(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut too_old, if !is_ending => {
                    if is_stranger() {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                    } else {
                        too_old.as_mut().reset(Instant::now() + limits.unauthenticated_age);
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %peer.0, %error, "connection ended");
        }
    }
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
    connection_peer: PeerAddr,
    admission: Arc<Admission>,
) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    let (peer, scheme) =
        peer::resolve(&mut parts.headers, connection_peer.0, server.transport, &server.proxies);
    parts.extensions.insert(PeerAddr(peer));
    parts.extensions.insert(scheme);
    parts.extensions.insert(ConnectionTicket::of(&admission));
    let is_change = !parts.method.is_safe();
    let request = Request::from_parts(parts, PacedBody::wrap(body));
    // A router is always ready.
    let answer = server.router.clone().call(request);
    if is_change {
        return Change::new(answer, admission, Arc::clone(&server.abandoned)).await;
    }
    answer.await
}

/// A client's stream. It gives its place back when it is closed, however far from here that is: an upgraded one
/// outlives the task that accepted it.
struct Counted<S> {
    stream: S,
    _admission: Arc<Admission>,
    _tracked: TaskTrackerToken,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Lets a restart have the port while connections of before are still winding down.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Small messages go at once, a peer that vanished is noticed, and the kernel keeps little for one that does not read or is
/// not read from: by default up to ten megabytes, and what is urgent would wait behind it.
fn tune(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
    socket.set_recv_buffer_size(RECEIVED_MAX_BYTES)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    let milliseconds = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    Ok(())
}

/// Raises the limit of open files as far as this user may, and says how many connections that allows.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where raising fails the old limit holds.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX)
}

/// Errors of a connection that was gone before it was accepted; the listener itself is well.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
