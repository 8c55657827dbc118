//! The server as a process of its own, beside a test server that has made the database and the keys.

use gururmm_testkit::{ApiClient, Endpoint, TestServer};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::ConnectOptions as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// What any step of it may take on a busy machine.
pub const STEP: Duration = Duration::from_secs(40);

/// One server process.
pub struct ServerProcess {
    process: Child,
    pub address: SocketAddr,
    data_dir: tempfile::TempDir,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl ServerProcess {
    /// Starts one with these arguments and variables.
    pub fn launch(beside: &TestServer, arguments: &[&str], environment: &[(&'static str, &str)]) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        copy_folder(&beside.keys_dir(), &data_dir.path().join("keys"));
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let database = beside.database.owner_options().to_url_lossy();
        let mut variables =
            vec![("GURURMM_DATABASE_URL", database.to_string()), ("RUST_LOG", "warn".to_owned())];
        variables.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let process = serve(data_dir.path(), address, &arguments, &variables);
        Self { process, address, data_dir, arguments, environment: variables }
    }

    /// Waits until it serves.
    pub async fn serves(&self) {
        until("the server to serve", async || {
            let ready = self.anonymous().request(axum::http::Method::GET, "/ready").try_send().await?;
            ready.status.is_success().then_some(())
        })
        .await;
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Stops it as its service manager does.
    pub async fn stop(&mut self) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), Signal::TERM).unwrap();
        let ended = timeout(STEP, self.process.wait()).await.expect("it does not stop").unwrap();
        assert!(ended.success(), "{ended}");
    }

    /// Starts it again once it has ended.
    pub async fn start_again(&mut self) {
        self.process = serve(self.data_dir.path(), self.address, &self.arguments, &self.environment);
        self.serves().await;
    }

    /// Runs an administrator's command on its data.
    pub async fn admin(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
        command.arg("admin").args(arguments).arg("--data-dir").arg(self.data_dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).output().await.unwrap()
    }

    /// Memory that it has.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }
}

impl Endpoint for ServerProcess {
    fn anonymous(&self) -> ApiClient {
        ApiClient::anonymous(self.address)
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(
    data_dir: &Path,
    address: SocketAddr,
    arguments: &[String],
    environment: &[(&'static str, String)],
) -> Child {
    Command::new(env!("CARGO_BIN_EXE_gururmm-server"))
        .args(["serve", "--listen", &address.to_string(), "--data-dir"])
        .arg(data_dir)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Asks again and again until `check` has an answer, as long as a step may take.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + STEP;
    loop {
        if let Some(answer) = check().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
