//! A TCP connection from this machine to where the policy allows, on behalf of a tech.

mod allowed;

use crate::tunnel::channel::{Channel, ChannelSender, Gone, Incoming, unseen};
use allowed::Allowed;
use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, Flags, Opened, TunnelRules};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long it may take to find out where that is.
const RESOLVED_WITHIN: Duration = Duration::from_secs(10);
/// How long each address may take to answer.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Read at once.
const READ_BYTES: usize = 32 * 1024;

/// Connects and carries bytes both ways, until both sides have said all.
pub async fn run(open: OpenForward, rules: &TunnelRules, mut channel: Channel) -> ChannelEnd {
    let stream = match connect(&open, rules).await {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    tracing::info!(host = %open.host, port = open.port, "a tech's connection goes through this machine");
    let (from_there, to_there) = stream.into_split();
    let mut carrying = Carrying {
        sender: channel.sender.clone(),
        from_there: Some(from_there),
        to_there: Some(to_there),
        sent: 0,
        received: 0,
        is_attached: true,
    };
    let error = carrying.carry(&mut channel).await.err();
    let Carrying { sent, received, .. } = carrying;
    tracing::info!(host = %open.host, port = open.port, from_there = sent, to_there = received, "it ended");
    ChannelEnd { error, size: Some(sent), ..ChannelEnd::default() }
}

/// To the first address that answers, of those that are allowed now.
async fn connect(open: &OpenForward, rules: &TunnelRules) -> Result<TcpStream, ChannelError> {
    let OpenForward { host, port } = open;
    let refused = |code, detail: String| Err(ChannelError::new(code, detail));
    let allowed = Allowed::read(&rules.forwards);
    if *port == 0 || host.is_empty() {
        return refused(ErrorCode::Invalid, "there is no such address".into());
    }
    if !allowed.may_be_asked_for(host, *port) {
        return refused(ErrorCode::NotAllowed, format!("the policy does not allow {host}:{port}"));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let looking = timeout(RESOLVED_WITHIN, tokio::net::lookup_host((host, *port)));
    let found: Vec<SocketAddr> = match looking.await.map_err(io::Error::from).flatten() {
        Ok(found) => found.take(MAX_ADDRESSES).collect(),
        Err(error) => {
            return refused(ErrorCode::Unreachable, format!("{host} is not found: {error}"));
        }
    };
    let mut last = None;
    for address in found.into_iter().filter(|address| allowed.lets(host, *address)) {
        match timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await.map_err(io::Error::from).flatten()
        {
            Ok(stream) => {
                // Somebody may type over it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => refused(ErrorCode::Unreachable, format!("{host}:{port} does not answer: {error}")),
        None => refused(ErrorCode::NotAllowed, format!("the policy does not allow the address of {host}")),
    }
}

/// Both directions of one connection.
struct Carrying {
    sender: ChannelSender,
    /// Gone when the other side has said all.
    from_there: Option<OwnedReadHalf>,
    /// Gone when the tech's side has.
    to_there: Option<OwnedWriteHalf>,
    sent: u64,
    received: u64,
    is_attached: bool,
}

/// A piece that was read and is not sent whole.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    done: usize,
}

impl Piece {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) {
        self.done += count;
        if self.rest().is_empty() {
            *self = Self::default();
        }
    }
}

enum Next {
    Incoming(Option<Incoming>),
    Detached,
    Read(io::Result<usize>),
    Sent(Result<usize, Gone>),
    Written(io::Result<usize>),
}

impl Carrying {
    async fn carry(&mut self, channel: &mut Channel) -> Result<(), ChannelError> {
        self.sender.opened(Opened::default()).await.map_err(over)?;
        let mut buffer = vec![0; READ_BYTES].into_boxed_slice();
        let (mut to_send, mut to_write) = (Piece::default(), Piece::default());
        // The tech's side has said all; the other side is told when it has all of it.
        let mut is_last = false;
        // What is to be said of the other side's end.
        let mut fin_due = false;
        loop {
            if is_last
                && to_write.rest().is_empty()
                && let Some(mut to_there) = self.to_there.take()
            {
                // Who is gone already hears nothing.
                let _ = to_there.shutdown().await;
            }
            if self.from_there.is_none() && self.to_there.is_none() && to_send.rest().is_empty() && !fin_due {
                return Ok(());
            }
            let Self { sender, from_there, to_there, sent, is_attached, .. } = self;
            let is_sending = !to_send.rest().is_empty() || fin_due;
            let flags = if fin_due { Flags::FIN } else { Flags::default() };
            let next = tokio::select! {
                incoming = channel.incoming.recv() => Next::Incoming(incoming),
                () = sender.detached(), if *is_attached => Next::Detached,
                read = read(from_there, &mut buffer), if !is_sending => Next::Read(read),
                sent = sender.piece(*sent, to_send.rest(), flags), if is_sending => Next::Sent(sent),
                written = write(to_there, to_write.rest()), if !to_write.rest().is_empty() => Next::Written(written),
            };
            match next {
                Next::Incoming(None) => return Err(over(Gone)),
                Next::Incoming(Some(Incoming::Data { offset, bytes, is_last: last })) => {
                    let new = unseen(self.received, offset, &bytes)?;
                    self.received += new.len() as u64;
                    is_last |= last;
                    let is_taken = self.to_there.is_some();
                    let new = if is_taken { new } else { &[] };
                    to_write.bytes.extend_from_slice(new);
                    let told = bytes.len() - new.len() + gururmm_protocol::tunnel::frame::OFFSET_BYTES;
                    self.grant(told).await?;
                }
                Next::Incoming(Some(Incoming::Message(_))) => {
                    return Err(ChannelError::new(
                        ErrorCode::Invalid,
                        "there are no messages in this channel",
                    ));
                }
                // What was on its way is lost, and nothing of it is kept: a connection with a gap is none.
                Next::Incoming(Some(Incoming::Attach(attach))) => {
                    if attach.have != self.sent {
                        return Err(ChannelError::new(
                            ErrorCode::Closed,
                            "bytes of the connection were lost",
                        ));
                    }
                    self.is_attached = true;
                    let opened = Opened { from: self.sent, received: self.received, ..Opened::default() };
                    self.sender.opened(opened).await.map_err(over)?;
                }
                Next::Detached => self.is_attached = false,
                Next::Read(Ok(count)) if count > 0 => {
                    to_send = Piece { bytes: buffer.get(..count).unwrap_or_default().to_vec(), done: 0 };
                }
                Next::Read(Ok(_)) => {
                    self.from_there = None;
                    fin_due = true;
                }
                Next::Read(Err(error)) | Next::Written(Err(error)) => {
                    let detail = format!("the connection broke: {error}");
                    return Err(ChannelError::new(ErrorCode::Unreachable, detail));
                }
                Next::Sent(count) => {
                    let count = count.map_err(over)?;
                    self.sent += count as u64;
                    to_send.take(count);
                    fin_due &= !to_send.rest().is_empty() || self.from_there.is_some();
                }
                Next::Written(Ok(count)) => {
                    to_write.take(count);
                    self.grant(count).await?;
                }
            }
        }
    }

    async fn grant(&self, bytes: usize) -> Result<(), ChannelError> {
        self.sender.grant(u32::try_from(bytes).unwrap_or(u32::MAX)).await.map_err(over)
    }
}

async fn read(from: &mut Option<OwnedReadHalf>, buffer: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn write(to: &mut Option<OwnedWriteHalf>, bytes: &[u8]) -> io::Result<usize> {
    match to {
        Some(to) => to.write(bytes).await,
        None => std::future::pending().await,
    }
}

fn over(_: Gone) -> ChannelError {
    ChannelError::new(ErrorCode::Closed, "the connection is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// This machine and what clouds have at fixed addresses, by all the names that a system takes.
    const FORBIDDEN: [&str; 22] = [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.1",
        "127.0.0.2",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "::1",
        "[::1]",
        "::",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
        "::127.0.0.1",
        "0:0:0:0:0:0:0:1",
        "localhost%00.example.com",
        "127.0.0.1\0.example.com",
        "127.0.0.1 ",
        "http://127.0.0.1",
    ];

    #[tokio::test]
    async fn nothing_is_connected_to_that_the_policy_does_not_name() {
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = canary.local_addr().unwrap().port();
        // Taken where there is one: then the other name of this machine leads to it.
        let other = TcpListener::bind(("::1", port)).await.ok();
        for forwards in
            [vec!["192.0.2.0/24:*", "2001:db8::/32:*"], vec!["db.example.com:*"], vec!["*:1"], vec![]]
        {
            let forwards = forwards.into_iter().map(str::to_owned).collect();
            let rules = TunnelRules { forwards, ..TunnelRules::default() };
            for host in FORBIDDEN {
                let open = OpenForward { host: host.to_owned(), port };
                let error = connect(&open, &rules).await.expect_err(host);
                let codes = [ErrorCode::NotAllowed, ErrorCode::Unreachable];
                assert!(codes.contains(&error.code), "{host}: {error:?}");
            }
        }
        let canaries = async {
            match &other {
                Some(other) => tokio::select! { got = canary.accept() => got, got = other.accept() => got },
                None => canary.accept().await,
            }
        };
        let nobody = timeout(Duration::from_millis(100), canaries).await;
        assert!(nobody.is_err(), "{nobody:?}");
        // It is not that nothing is ever let through.
        let rules = TunnelRules { forwards: vec!["127.0.0.0/8:*".to_owned()], ..TunnelRules::default() };
        connect(&OpenForward { host: "localhost".to_owned(), port }, &rules).await.unwrap();
    }
}
