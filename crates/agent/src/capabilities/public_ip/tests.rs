//! Against providers of the test's own, on real sockets.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PUBLIC: &str = "1.1.1.1";
const SOON: Duration = Duration::from_secs(20);

/// Answers every request with the same bytes, and counts them.
struct Provider {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, requests }
    }

    async fn text(status: u16, text: &str) -> Self {
        let length = text.len();
        Self::start(format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{text}")).await
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn asking(now: Instant, providers: &[&Provider]) -> PublicIp {
    PublicIp::with_providers(now, providers.iter().map(|provider| provider.url.clone()).collect())
}

/// Runs until the question that is on its way is answered.
async fn answered(public: &mut PublicIp, now: Instant) -> Option<IpAddr> {
    let settled = async {
        loop {
            public.run(now);
            if public.asking.is_none() {
                return public.current();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, settled).await.expect("no answer")
}

fn public() -> Option<IpAddr> {
    Some(PUBLIC.parse().unwrap())
}

#[tokio::test]
async fn the_first_provider_that_tells_a_public_address_is_believed() {
    let broken = Provider::start("nonsense".into()).await;
    let refusing = Provider::text(503, PUBLIC).await;
    let page = Provider::text(200, "<html>8.8.8.8</html>").await;
    let inside = Provider::text(200, "192.168.1.7").await;
    let endless = Provider::text(200, &" ".repeat(MAX_ANSWER_BYTES + 1)).await;
    let right = Provider::text(200, "1.1.1.1\n").await;
    let never = Provider::text(200, "8.8.8.8").await;
    let now = Instant::now();
    let mut asked = asking(now, &[&broken, &refusing, &page, &inside, &endless, &right, &never]);
    asked.want(now, true);
    assert_eq!(answered(&mut asked, now).await, public());
    let counts = [&broken, &refusing, &page, &inside, &endless, &right, &never].map(Provider::requests);
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn nobody_is_asked_unless_policy_wants_it() {
    let provider = Provider::text(200, PUBLIC).await;
    let mut now = Instant::now();
    let mut asked = asking(now, &[&provider]);
    asked.observed(now, Some("8.8.8.8".parse().unwrap()));
    asked.observed(now, None);
    now += HOLDS;
    assert_eq!((answered(&mut asked, now).await, asked.next()), (None, None));
    assert_eq!(provider.requests(), 0);
    // It does ask, and forgets, when policy changes its mind.
    asked.want(now, true);
    assert_eq!(answered(&mut asked, now).await, public());
    asked.want(now, false);
    now += HOLDS;
    assert_eq!(answered(&mut asked, now).await, None);
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn an_answer_holds_for_an_hour_unless_the_network_changes() {
    let provider = Provider::text(200, PUBLIC).await;
    let mut now = Instant::now();
    let mut asked = asking(now, &[&provider]);
    asked.want(now, true);
    assert_eq!(answered(&mut asked, now).await, public());
    assert_eq!(answered(&mut asked, now + HOLDS - Duration::from_secs(1)).await, public());
    assert_eq!(provider.requests(), 1);
    now += HOLDS;
    assert_eq!(answered(&mut asked, now).await, public());
    assert_eq!(provider.requests(), 2);
    // A change right afterwards waits its turn, so that a flapping link is no flood.
    asked.changed(now);
    assert_eq!((answered(&mut asked, now).await, provider.requests()), (None, 2));
    now += ASK_AT_MOST_EVERY;
    assert_eq!((answered(&mut asked, now).await, provider.requests()), (public(), 3));
}

#[tokio::test]
async fn when_nobody_knows_it_is_asked_again_sooner() {
    let provider = Provider::text(500, "").await;
    let mut now = Instant::now();
    let mut asked = asking(now, &[&provider]);
    asked.want(now, true);
    assert_eq!(answered(&mut asked, now).await, None);
    assert_eq!(asked.next(), Some(now + RETRY));
    now += RETRY;
    assert_eq!((answered(&mut asked, now).await, provider.requests()), (None, 2));
}

#[tokio::test]
async fn what_our_own_server_sees_comes_first_when_it_is_public() {
    let provider = Provider::text(200, "8.8.8.8").await;
    let now = Instant::now();
    let mut asked = asking(now, &[&provider]);
    asked.observed(now, public());
    asked.want(now, true);
    assert_eq!(answered(&mut asked, now).await, public());
    assert_eq!(provider.requests(), 0);
    // In the same network as the server: somebody outside must tell.
    asked.observed(now, Some("192.168.1.7".parse().unwrap()));
    assert_eq!(answered(&mut asked, now).await, Some("8.8.8.8".parse().unwrap()));
}
