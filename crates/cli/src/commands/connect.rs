//! Forwarded ports: addresses behind a machine, reached through this one's loopback.

use super::{SessionOptions, say};
use crate::api::Api;
use crate::tunnel::{Gone, Incoming, Session, State};
use anyhow::Context as _;
use clap::Args;
use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::{ChannelEnd, Flags, OpenChannel};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections at a time; a session has so many channels at most.
const MOST_CONNECTIONS: usize = 48;
const READ_BYTES: usize = 32 * 1024;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    session: SessionOptions,
    /// PORT:HOST:PORT — the port here (0: a free one), and what the machine connects to. Several times for several.
    /// ADDRESS:PORT:HOST:PORT listens elsewhere than on loopback, where everybody who reaches this machine gets through
    #[arg(long = "forward", short = 'L', required = true)]
    forwards: Vec<Forward>,
}

/// One address that is reached through the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Forward {
    listen: SocketAddr,
    host: String,
    port: u16,
}

impl FromStr for Forward {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "PORT:HOST:PORT, for example 13389:localhost:3389";
        let mut parts = split(text).ok_or(SHAPE)?;
        let port = |part: Option<String>| part.and_then(|part| part.parse().ok()).ok_or(SHAPE);
        let (to, host) = (port(parts.pop())?, parts.pop().filter(|host| !host.is_empty()).ok_or(SHAPE)?);
        let local = port(parts.pop())?;
        let address = match (parts.pop(), parts.pop()) {
            (None, None) => IpAddr::from([127, 0, 0, 1]),
            (Some(address), None) => address.parse().map_err(|_| SHAPE)?,
            _ => return Err(SHAPE),
        };
        match to {
            0 => Err("the machine cannot connect to port 0"),
            _ => Ok(Self { listen: SocketAddr::new(address, local), host, port: to }),
        }
    }
}

/// At colons, but for those within brackets.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut part, mut is_bracketed) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '[' if part.is_empty() && !is_bracketed => is_bracketed = true,
            ']' if is_bracketed => is_bracketed = false,
            ':' if !is_bracketed => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    (!is_bracketed).then_some(parts)
}

pub async fn run(api: &Api, options: Options) -> anyhow::Result<ExitCode> {
    // Before the session: what is not free here is said at once, and opens nothing there.
    let mut listeners = Vec::new();
    for forward in options.forwards {
        let listener = TcpListener::bind(forward.listen)
            .await
            .with_context(|| format!("cannot listen on {}", forward.listen))?;
        listeners.push((listener, forward));
    }
    let session = Arc::new(options.session.open(api).await?);
    let mut state = session.state();
    let mut tasks = JoinSet::new();
    for (listener, forward) in listeners {
        let at = listener.local_addr()?;
        say(format_args!(
            "[OK] {at} reaches {}:{} through the machine; Ctrl-C ends it",
            forward.host, forward.port
        ));
        tasks.spawn(serve(Arc::clone(&session), listener, forward));
    }
    let over = tokio::select! {
        over = state.wait_for(|state| matches!(state, State::Over(_))) => match over.as_deref() {
            Ok(State::Over(why)) => Some(why.clone()),
            _ => Some("the session is gone".to_owned()),
        },
        _ = tokio::signal::ctrl_c() => None,
    };
    tasks.shutdown().await;
    match over {
        Some(why) => anyhow::bail!("{why}"),
        None => {
            if let Some(session) = Arc::into_inner(session) {
                session.close().await?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn serve(session: Arc<Session>, listener: TcpListener, forward: Forward) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of files: those that are open end, and then there is room.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (session, forward) = (Arc::clone(&session), forward.clone());
        connections.spawn(async move {
            if let Err(error) = carry(&session, stream, &forward).await {
                let Forward { host, port, .. } = forward;
                let _nobody_listens = io::Write::write_all(
                    &mut io::stderr(),
                    format!("[WARNING] {peer} to {host}:{port}: {error:#}\n").as_bytes(),
                );
            }
        });
    }
}

/// One connection, until both directions are over.
async fn carry(session: &Session, stream: TcpStream, forward: &Forward) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let open = OpenForward { host: forward.host.clone(), port: forward.port };
    let mut channel = session.channel(OpenChannel::Forward(open), false).await?;
    match channel.next().await {
        Some(Incoming::Opened(_)) => {}
        Some(Incoming::End(end)) => return finished(end),
        _ => return Err(Gone.into()),
    }
    let (mut read, mut write) = stream.into_split();
    let sender = channel.sender();
    let up = async {
        let (mut offset, mut buffer) = (0, vec![0; READ_BYTES]);
        loop {
            let bytes = read.read(&mut buffer).await?;
            let flags = if bytes == 0 { Flags::FIN } else { Flags::default() };
            sender.data(offset, &buffer[..bytes], flags).await?;
            offset += bytes as u64;
            if bytes == 0 {
                // The other direction goes on; its end is the end.
                std::future::pending::<()>().await;
            }
        }
    };
    let down = async {
        loop {
            match channel.next().await {
                Some(Incoming::Data { bytes, is_last, .. }) => {
                    write.write_all(&bytes).await?;
                    if is_last {
                        write.shutdown().await?;
                    }
                }
                Some(Incoming::End(end)) => {
                    let _gone_already = write.shutdown().await;
                    return finished(end);
                }
                Some(Incoming::Opened(_) | Incoming::Message(_)) => {}
                None => return Err(Gone.into()),
            }
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

fn finished(end: ChannelEnd) -> anyhow::Result<()> {
    end.error.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_ssh_writes_them() {
        let forward = |listen: &str, host: &str, port| {
            Ok(Forward { listen: listen.parse().unwrap(), host: host.to_owned(), port })
        };
        assert_eq!("13389:localhost:3389".parse(), forward("127.0.0.1:13389", "localhost", 3389));
        assert_eq!("0:192.0.2.7:80".parse(), forward("127.0.0.1:0", "192.0.2.7", 80));
        assert_eq!("192.0.2.1:8080:example.com:80".parse(), forward("192.0.2.1:8080", "example.com", 80));
        assert_eq!("[::1]:8080:[2001:db8::7]:443".parse(), forward("[::1]:8080", "2001:db8::7", 443));
        for bad in [
            "",
            "80",
            "80:localhost",
            "x:localhost:80",
            "80::80",
            "80:localhost:0",
            "80:localhost:65536",
            "[::1:80:a:80",
        ] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }
}
