//! Sockets of nobody in particular, from many addresses of this machine, that want to be held open.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Sockets from one address.
const PER_ADDRESS: usize = 50;
/// The first address; 127.0.0.0/8 is this machine.
const FIRST_ADDRESS: u32 = 0x7f42_0001;
/// Addresses of those who guess passwords, and how many each of them tries: less than its limit allows.
const FIRST_GUESSER: u32 = 0x7f43_0001;
const GUESSES_PER_ADDRESS: usize = 20;
const GUESSES_AT_A_TIME: usize = 32;
/// Connections that are being opened at a time.
const OPENING: usize = 512;
/// Who is still there after this time is counted with it.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// Between two bytes of someone who drips.
const DRIP: Duration = Duration::from_millis(900);

/// What a stranger does to be kept.
#[derive(Debug, Clone, Copy)]
enum Trick {
    /// Says nothing.
    Silent,
    /// A header that never ends, a byte at a time.
    DrippingHeader,
    /// A body that never ends, a byte at a time.
    DrippingBody,
    /// Asks for a WebSocket and goes on with fragments of a message, allowed or not.
    Fragments,
    /// 20 MB of header.
    HugeHeader,
}

impl Trick {
    /// Of stranger number `number`: mostly the cheap ones.
    fn of(number: usize) -> Self {
        match number % 100 {
            0 => Self::HugeHeader,
            1..40 => Self::Silent,
            40..60 => Self::DrippingHeader,
            60..80 => Self::DrippingBody,
            _ => Self::Fragments,
        }
    }

    fn opening(self) -> &'static [u8] {
        match self {
            Self::Silent => b"",
            Self::DrippingHeader | Self::HugeHeader => b"GET / HTTP/1.1\r\nhost: rmm\r\nx-a: ",
            Self::DrippingBody => {
                b"POST /api/auth/login HTTP/1.1\r\nhost: rmm\r\ncontent-type: application/json\r\n\
                  content-length: 1000\r\n\r\n{"
            }
            Self::Fragments => {
                b"GET /api/v1/agent/socket HTTP/1.1\r\nhost: rmm\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            }
        }
    }

    /// What follows again and again, where anything does.
    fn more(self) -> Option<&'static [u8]> {
        match self {
            Self::Silent | Self::HugeHeader => None,
            Self::DrippingHeader | Self::DrippingBody => Some(b"a"),
            // A masked fragment of one byte that is not the last of its message.
            Self::Fragments => Some(&[0x01, 0x81, 0, 0, 0, 0, b'a']),
        }
    }
}

/// `count` strangers at once. Answers how long each of them was kept, in seconds.
pub fn come(address: SocketAddr, count: usize) -> anyhow::Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let opening = Arc::new(Semaphore::new(OPENING));
        let mut all = JoinSet::new();
        for number in 0..count {
            let opening = Arc::clone(&opening);
            all.spawn(async move {
                let turn = opening.acquire_owned().await?;
                let from = FIRST_ADDRESS + u32::try_from(number / PER_ADDRESS)?;
                let stream = connect(address, from).await?;
                drop(turn);
                let came = Instant::now();
                // An error is the server's way to close, too.
                let _kept_to_the_end = timeout(GIVEN_UP_AFTER, stay(stream, Trick::of(number))).await;
                anyhow::Ok(came.elapsed().as_secs_f64())
            });
        }
        all.join_all().await.into_iter().collect()
    })
}

/// `count` passwords are tried, for as many accounts that do not exist, as many at a time as a small botnet would.
/// From so many addresses that no limit stops them: each try costs the server its Argon2.
pub fn guess(address: SocketAddr, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let at_a_time = Arc::new(Semaphore::new(GUESSES_AT_A_TIME));
        let mut all = JoinSet::new();
        for number in 0..count {
            let turn = Arc::clone(&at_a_time).acquire_owned().await?;
            all.spawn(async move {
                let _turn = turn;
                let from = FIRST_GUESSER + u32::try_from(number / GUESSES_PER_ADDRESS)?;
                let mut stream = connect(address, from).await?;
                let body =
                    format!("{{\"email\":\"guess{number}@example.com\",\"password\":\"not the password\"}}");
                let head = "POST /api/auth/login HTTP/1.1\r\nhost: rmm\r\nconnection: close\r\n\
                            content-type: application/json";
                let length = body.len();
                stream
                    .write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
                    .await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                anyhow::ensure!(
                    answer.starts_with("HTTP/1.1 401"),
                    "a guess was answered otherwise: {answer}"
                );
                Ok(())
            });
        }
        all.join_all().await.into_iter().collect()
    })
}

async fn connect(address: SocketAddr, from: u32) -> anyhow::Result<TcpStream> {
    let from = Ipv4Addr::from_bits(from);
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(address).await?)
}

/// Until the server closes.
async fn stay(mut stream: TcpStream, trick: Trick) -> std::io::Result<()> {
    stream.write_all(trick.opening()).await?;
    if let Trick::HugeHeader = trick {
        for _ in 0..20 {
            stream.write_all(&[b'a'; 1_000_000]).await?;
        }
    }
    let mut answer = [0; 4096];
    loop {
        match (timeout(DRIP, stream.read(&mut answer)).await, trick.more()) {
            (Ok(read), _) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            (Err(_), Some(more)) => stream.write_all(more).await?,
            (Err(_), None) => {}
        }
    }
}
