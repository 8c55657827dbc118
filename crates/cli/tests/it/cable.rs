//! The way from the tech to the server, which can be cut.

use gururmm_testkit::eventually;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Connections here lead to the server, while it is whole.
pub struct Cable {
    pub address: SocketAddr,
    is_whole: watch::Sender<bool>,
    /// Bytes that went through, both ways.
    carried: Arc<AtomicU64>,
    /// How often it fell silent.
    silences: Arc<AtomicU64>,
}

impl Cable {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_whole, whole) = watch::channel(true);
        let carried = Arc::new(AtomicU64::new(0));
        let silences = Arc::new(AtomicU64::new(0));
        let (counter, fallen) = (Arc::clone(&carried), Arc::clone(&silences));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Who comes while it is cut finds nobody there.
                if *whole.borrow() {
                    let end = End { carried: Arc::clone(&counter), silences: Arc::clone(&fallen) };
                    tokio::spawn(connect(near, server, whole.clone(), end));
                }
            }
        });
        Self { address, is_whole, carried, silences }
    }

    /// Everything that goes through ends; what was on its way is lost.
    pub async fn cut(&self) {
        self.is_whole.send_replace(false);
        // The one that is left is who listens.
        eventually("all connections to end", async || (self.is_whole.receiver_count() == 1).then_some(()))
            .await;
    }

    /// What is connected now stays so, and nothing goes through any more. Who comes later is carried.
    #[cfg(unix)]
    pub fn silence(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }

    /// Bytes that went through, both ways.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Waits until so many went through.
    pub async fn has_carried(&self, bytes: u64) {
        eventually("bytes to go through", async || (self.carried() >= bytes).then_some(())).await;
    }
}

/// What one connection knows of its cable.
struct End {
    carried: Arc<AtomicU64>,
    silences: Arc<AtomicU64>,
}

async fn connect(near: TcpStream, server: SocketAddr, mut whole: watch::Receiver<bool>, end: End) {
    let far = TcpStream::connect(server).await.unwrap();
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let both = async { tokio::join!(carry(from_near, to_far, &end), carry(from_far, to_near, &end)) };
    tokio::select! {
        _ = both => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, end: &End) {
    let silences = end.silences.load(Ordering::Relaxed);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes) = from.read(&mut buffer).await {
        if end.silences.load(Ordering::Relaxed) != silences {
            std::future::pending::<()>().await;
        }
        if bytes == 0 || to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
        end.carried.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
