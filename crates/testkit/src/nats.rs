//! A NATS server of a test's own, which can be taken away and come back.

use crate::PATIENCE;
use crate::logs;
use gururmm_server::bus::{NatsLogin, NatsOptions, NatsTls};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// A running `nats-server`, killed when dropped.
pub struct NatsServer {
    process: Option<Child>,
    folder: tempfile::TempDir,
    address: SocketAddr,
    token: String,
}

impl NatsServer {
    /// On a free port of this machine, for whoever knows its token.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more in its configuration; `FOLDER` in it is its folder.
    pub async fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let token = format!("nats-{}", Uuid::new_v4());
        logs::keep_secret(&token);
        let more = more.replace("FOLDER", &folder.path().display().to_string());
        let config = format!("listen: {address}\nauthorization {{ token: \"{token}\" }}\n{more}\n");
        let path = folder.path().join("nats.conf");
        std::fs::write(&path, config).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let mut server = Self { process: None, folder, address, token };
        server.come_back().await;
        server
    }

    /// Where a file of its configuration may lie before it starts.
    pub fn options(&self) -> NatsOptions {
        self.options_with_token(&self.token)
    }

    /// A login with this token.
    pub fn options_with_token(&self, token: &str) -> NatsOptions {
        NatsOptions {
            servers: vec![format!("nats://{}", self.address).parse().unwrap()],
            login: NatsLogin::Token(token.to_owned().into()),
            tls: NatsTls::default(),
            name: "gururmm-test".to_owned(),
        }
    }

    /// Its address, as a server is told it.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// What lets a node in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Kills it at once.
    pub fn go_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again at the same address; it remembers nothing.
    pub async fn come_back(&mut self) {
        let process = Command::new(program())
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < deadline, "nats-server did not start");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// `./dev test` installs it beside what is built.
fn program() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let found = exe.ancestors().map(|folder| folder.join("tools/nats-server/bin/nats-server"));
    found.into_iter().find(|path| path.exists()).expect("nats-server is not installed: ./dev test does that")
}
