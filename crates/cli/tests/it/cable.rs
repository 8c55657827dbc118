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
}

impl Cable {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_whole, whole) = watch::channel(true);
        let carried = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&carried);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Who comes while it is cut finds nobody there.
                if *whole.borrow() {
                    tokio::spawn(connect(near, server, whole.clone(), Arc::clone(&counter)));
                }
            }
        });
        Self { address, is_whole, carried }
    }

    /// Everything that goes through ends; what was on its way is lost.
    pub async fn cut(&self) {
        self.is_whole.send_replace(false);
        // The one that is left is who listens.
        eventually("all connections to end", async || (self.is_whole.receiver_count() == 1).then_some(()))
            .await;
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

async fn connect(
    near: TcpStream,
    server: SocketAddr,
    mut whole: watch::Receiver<bool>,
    carried: Arc<AtomicU64>,
) {
    let far = TcpStream::connect(server).await.unwrap();
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let both = async { tokio::join!(carry(from_near, to_far, &carried), carry(from_far, to_near, &carried)) };
    tokio::select! {
        _ = both => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, carried: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes) = from.read(&mut buffer).await {
        if bytes == 0 || to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
        carried.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
