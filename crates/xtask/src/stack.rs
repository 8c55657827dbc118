//! Real processes: a server with its private PostgreSQL, or several on one, and agents. For chaos and bench. Whatever is
//! still running when a [`Stack`] is dropped is killed.

use crate::api::Api;
use crate::cluster::Cluster;
use anyhow::{Context as _, bail};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use ureq::tls::Certificate;

/// Whom the stack's owner signs in as.
pub const EMAIL: &str = "owner@example.com";
/// For a server that lives for minutes on loopback.
pub const PASSWORD: &str = "correct horse battery staple";

/// The name of the database that several servers share.
const SHARED_DATABASE: &str = "gururmm";

/// How long a server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A server, or several, and agents in a folder of their own.
pub struct Stack {
    folder: PathBuf,
    server_binary: PathBuf,
    agent_binary: PathBuf,
    nodes: Vec<Node>,
    transport: Transport,
    shared: Option<Shared>,
    agents: Vec<AgentProcess>,
    site_code: String,
    key_file: PathBuf,
}

/// One server, running or not.
struct Node {
    listen: SocketAddr,
    /// Where it finds NATS.
    nats: Option<SocketAddr>,
    child: Option<Child>,
}

/// What several servers have in common.
struct Shared {
    database: Cluster,
    nats_token: String,
}

/// Where several servers meet.
pub struct Peers<'a> {
    /// NATS, as each of them reaches it.
    pub nats: &'a [SocketAddr],
    pub token: &'a str,
}

/// How a stack's server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP, on loopback.
    Plain,
    /// HTTPS by the server's own authority.
    Tls,
}

/// One agent, running or not.
pub struct AgentProcess {
    pub id: String,
    state_dir: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    child: Option<Child>,
}

/// What an agent lives in.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Where it finds the server; at the server's own address when absent.
    pub server: Option<SocketAddr>,
    /// Its folder; one in the stack's when absent.
    pub state_dir: Option<PathBuf>,
    /// Variables of its process, besides those of this one.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Stack {
    /// Sets a server up in `folder` (made anew) and starts it. Needs the binaries in `bin_dir`.
    pub fn start(bin_dir: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::start_over(Transport::Plain, bin_dir, folder)
    }

    /// [`Stack::start`], with a choice of transport.
    pub fn start_over(transport: Transport, bin_dir: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut stack = Self::new(transport, bin_dir, folder)?;
        stack.nodes.push(Node::new(None)?);
        stack.set_up()?;
        stack.start_server()?;
        Ok(stack)
    }

    /// Several servers on one PostgreSQL, one for each way to NATS, that keeps what is committed.
    pub fn start_nodes(
        transport: Transport,
        peers: &Peers,
        bin_dir: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut stack = Self::new(transport, bin_dir, folder)?;
        let database = Cluster::start_durable(&folder.join("postgres"))?;
        let shared = stack.shared.insert(Shared { database, nats_token: peers.token.to_owned() });
        shared.database.recreate_database(SHARED_DATABASE)?;
        for nats in peers.nats {
            stack.nodes.push(Node::new(Some(*nats))?);
        }
        stack.set_up()?;
        // The first one makes the keys, and all have the same.
        stack.start_server()?;
        for node in 1..stack.nodes.len() {
            let (from, to) = (stack.data_dir().join("keys"), stack.data_dir_of(node).join("keys"));
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(&from)?.flatten().filter(|entry| entry.file_name() != "tls.pem") {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
            for private in [stack.data_dir_of(node), to] {
                fs::set_permissions(private, fs::Permissions::from_mode(0o700))?;
            }
            stack.start_node(node)?;
        }
        Ok(stack)
    }

    fn new(transport: Transport, bin_dir: &Path, folder: &Path) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let binary = |name: &str| {
            let path = bin_dir.join(name);
            path.is_file()
                .then_some(path)
                .with_context(|| format!("{name} is not built in {}", bin_dir.display()))
        };
        Ok(Self {
            folder: folder.to_owned(),
            server_binary: binary("gururmm-server")?,
            agent_binary: binary("gururmm-agent")?,
            nodes: Vec::new(),
            transport,
            shared: None,
            agents: Vec::new(),
            site_code: String::new(),
            key_file: folder.join("enrollment-key"),
        })
    }

    /// Base URL of the server; of the first one of several.
    pub fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// Base URLs of all servers.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| self.url_at(node.listen)).collect()
    }

    fn url_at(&self, address: SocketAddr) -> String {
        match self.transport {
            Transport::Plain => format!("http://{address}"),
            Transport::Tls => format!("https://{address}"),
        }
    }

    /// The API, for someone who has not signed in.
    pub fn api(&self) -> anyhow::Result<Api> {
        Ok(Api::new(&self.url(), self.ca()?.as_ref()))
    }

    /// The file with the certificate of the server's authority, where it has one.
    pub fn ca_file(&self) -> Option<PathBuf> {
        (self.transport == Transport::Tls).then(|| self.data_dir().join("keys/ca.pem"))
    }

    fn ca(&self) -> anyhow::Result<Option<Certificate<'static>>> {
        let Some(path) = self.ca_file() else { return Ok(None) };
        let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(Certificate::from_pem(&pem)?))
    }

    /// Where the server listens; the first one of several.
    pub fn address(&self) -> SocketAddr {
        self.nodes[0].listen
    }

    /// Where all servers listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.listen).collect()
    }

    /// Site code and enrollment key of its one site.
    pub fn enrollment(&self) -> anyhow::Result<(String, String)> {
        Ok((self.site_code.clone(), fs::read_to_string(&self.key_file)?))
    }

    /// URL of the server's database as its owner. It may hold a password.
    pub fn database_url(&self) -> anyhow::Result<String> {
        if let Some(shared) = &self.shared {
            return Ok(shared.database.url(SHARED_DATABASE));
        }
        let output = Command::new(&self.server_binary)
            .args(["admin", "db-url", "--data-dir"])
            .arg(self.data_dir())
            .stderr(self.log("db-url")?)
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "admin db-url failed; see {}",
            self.folder.join("db-url.log").display()
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The stack's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What one statement answers in the database that several servers share.
    pub fn query(&self, statement: &str) -> anyhow::Result<String> {
        let shared = self.shared.as_ref().context("the server has a database of its own")?;
        shared.database.query(SHARED_DATABASE, statement)
    }

    /// Starts the server and waits until it is ready. Answers how long that took.
    pub fn start_server(&mut self) -> anyhow::Result<Duration> {
        self.start_node(0)
    }

    /// [`Stack::start_server`], for any of them.
    pub fn start_node(&mut self, index: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.spawn_node(index)?;
        self.wait_node_ready(index, READY_WITHIN)?;
        Ok(started.elapsed())
    }

    /// Starts all servers at once and waits until each is ready.
    pub fn start_servers(&mut self) -> anyhow::Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.spawn_node(index))?;
        self.wait_ready(READY_WITHIN)
    }

    fn spawn_node(&mut self, index: usize) -> anyhow::Result<()> {
        let log = log_name(index);
        let node = &self.nodes[index];
        let mut command = self.server_command(&["serve", "--listen", &node.listen.to_string()], index);
        if let Some(nats) = node.nats {
            command.args(["--nats", &format!("nats://{nats}"), "--node-name", &format!("node-{index}")]);
        }
        let child = command
            .args((self.transport == Transport::Tls).then_some("--tls-self-signed"))
            .stdin(Stdio::null())
            .stdout(self.log(&log)?)
            .stderr(self.log(&log)?)
            .spawn()?;
        self.nodes[index].child = Some(child);
        Ok(())
    }

    /// A command of the server's, for the data folder of one of them.
    fn server_command(&self, arguments: &[&str], index: usize) -> Command {
        let mut command = Command::new(&self.server_binary);
        command.args(arguments).arg("--data-dir").arg(self.data_dir_of(index));
        if let Some(shared) = &self.shared {
            command
                .env("GURURMM_DATABASE_URL", shared.database.url(SHARED_DATABASE))
                .env("GURURMM_NATS_TOKEN", &shared.nats_token);
        }
        command
    }

    /// Waits until every server says it is ready.
    pub fn wait_ready(&self, longest: Duration) -> anyhow::Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.wait_node_ready(index, longest))
    }

    fn wait_node_ready(&self, index: usize, longest: Duration) -> anyhow::Result<()> {
        let url = self.url_at(self.nodes[index].listen);
        // Its authority is made by its first start.
        wait_for("the server", longest, || self.api().ok()?.at(&url).get("/ready").is_ok().then_some(()))
    }

    /// Process id of the server; of the first one of several.
    pub fn server_pid(&self) -> Option<u32> {
        self.node_pid(0)
    }

    /// Process id of one of the servers, while it runs.
    pub fn node_pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].child.as_ref().map(Child::id)
    }

    /// Process ids of all servers that run.
    pub fn node_pids(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().filter_map(|node| node.child.as_ref().map(Child::id))
    }

    /// Process id of PostgreSQL's postmaster.
    pub fn postmaster_pid(&self) -> Option<u32> {
        if let Some(shared) = &self.shared {
            return shared.database.postmaster_pid();
        }
        let file = find_file(&self.data_dir(), "postmaster.pid", 4)?;
        fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
    }

    /// Stops the server the polite way.
    pub fn stop_server(&mut self) -> anyhow::Result<()> {
        self.stop_node(0)
    }

    /// [`Stack::stop_server`], for any of them.
    pub fn stop_node(&mut self, index: usize) -> anyhow::Result<()> {
        terminate(&mut self.nodes[index].child)
    }

    /// kill -9 of all servers.
    pub fn kill_servers(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(|node| kill(&mut node.child))
    }

    /// How often the servers' logs say something.
    pub fn said(&self, what: &str) -> anyhow::Result<usize> {
        let mut times = 0;
        for index in 0..self.nodes.len() {
            let log = fs::read_to_string(self.folder.join(format!("{}.log", log_name(index))))?;
            times += log.lines().filter(|line| line.contains(what)).count();
        }
        Ok(times)
    }

    /// kill -9 of one server.
    pub fn kill_node(&mut self, index: usize) -> anyhow::Result<()> {
        kill(&mut self.nodes[index].child)
    }

    /// kill -9 of the postmaster; its children end with it.
    pub fn kill_postgres(&self) -> anyhow::Result<()> {
        match self.postmaster_pid() {
            Some(pid) => signal(pid, "KILL"),
            None => Ok(()),
        }
    }

    /// Starts the PostgreSQL that several servers share, where it does not run; one's own is its server's business.
    pub fn start_postgres(&mut self) -> anyhow::Result<()> {
        let Some(shared) = &mut self.shared else { return Ok(()) };
        let folder = self.folder.join("postgres");
        // Children of one that was killed may be there for a moment.
        shared.database =
            wait_for("PostgreSQL", Duration::from_secs(60), || Cluster::start_durable(&folder).ok())?;
        Ok(())
    }

    /// Enrolls one more agent and starts it. All agents here stand on one machine, so from the second on each is
    /// set aside as a collision and approved as a machine of its own, the way a person would.
    pub fn add_agent(&mut self, api: &Api) -> anyhow::Result<usize> {
        self.add_agent_in(api, Surroundings::default())
    }

    /// [`Stack::add_agent`], in surroundings of its own.
    pub fn add_agent_in(&mut self, api: &Api, surroundings: Surroundings) -> anyhow::Result<usize> {
        let Surroundings { server, state_dir, environment } = surroundings;
        let own_dir = self.folder.join(format!("agent-{}", self.agents.len()));
        let state_dir = state_dir.unwrap_or(own_dir);
        let fingerprint = self.ca()?.map(|ca| format!("sha256:{}", hex::encode(digest(&SHA256, ca.der()))));
        let mut enroll = Command::new(&self.agent_binary);
        enroll
            .args(["enroll", "--server", &self.url_at(server.unwrap_or(self.address()))])
            .args(["--site", &self.site_code, "--key-file"])
            .arg(&self.key_file)
            .args(fingerprint.map(|fingerprint| format!("--ca-fingerprint={fingerprint}")))
            .arg("--state-dir")
            .arg(&state_dir);
        let deadline = Instant::now() + Duration::from_secs(120);
        while !enroll.stderr(self.log("enroll")?).status()?.success() {
            // Many from one address are too many at a time.
            let refused = fs::read_to_string(self.folder.join("enroll.log"))?;
            if !refused.trim_end().ends_with("(429 RATE_LIMITED)") || Instant::now() > deadline {
                bail!("the agent did not enroll; see {}", self.folder.join("enroll.log").display());
            }
            thread::sleep(Duration::from_secs(5));
        }
        let known: Vec<&str> = self.agents.iter().map(|agent| agent.id.as_str()).collect();
        let all = api.get("/api/agents")?;
        let newcomer = all
            .as_array()
            .into_iter()
            .flatten()
            .find(|agent| agent["id"].as_str().is_some_and(|id| !known.contains(&id)))
            .context("the enrolled agent is not in the list")?;
        let id = newcomer["id"].as_str().context("an agent has no id")?.to_owned();
        if newcomer["status"] == "pending" {
            api.post(&format!("/api/v1/agents/{id}/approve"), &serde_json::json!({ "as": "new" }))?;
        }
        self.agents.push(AgentProcess { id: id.clone(), state_dir, environment, child: None });
        let index = self.agents.len() - 1;
        self.start_agent(index)?;
        // The next one on this machine would come back as this one, were it not connected.
        wait_for("the new agent", Duration::from_secs(60), || {
            (api.get(&format!("/api/agents/{id}")).ok()?["status"] == "online").then_some(())
        })?;
        Ok(index)
    }

    /// The agents, in the order they were added.
    pub fn agents(&self) -> &[AgentProcess] {
        &self.agents
    }

    /// Starts an agent that does not run.
    pub fn start_agent(&mut self, index: usize) -> anyhow::Result<()> {
        let log = self.log(&format!("agent-{index}"))?;
        let agent = self.agents.get_mut(index).context("no such agent")?;
        let child = Command::new(&self.agent_binary)
            .args(["run", "--state-dir"])
            .arg(&agent.state_dir)
            .envs(agent.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        agent.child = Some(child);
        Ok(())
    }

    /// kill -9 of an agent.
    pub fn kill_agent(&mut self, index: usize) -> anyhow::Result<()> {
        kill(&mut self.agents.get_mut(index).context("no such agent")?.child)
    }

    /// Ends agents and server the polite way.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for agent in &mut self.agents {
            terminate(&mut agent.child)?;
        }
        for node in &mut self.nodes {
            terminate(&mut node.child)?;
        }
        // What several servers shared is stopped with this.
        Ok(())
    }

    fn set_up(&mut self) -> anyhow::Result<()> {
        let mut child = self
            .server_command(&["admin", "setup", "--email", EMAIL, "--password-stdin"], 0)
            .args(["--partner", "Acme MSP", "--client", "Acme", "--site", "Head office"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log("setup")?)
            .spawn()?;
        child.stdin.take().context("no standard input")?.write_all(PASSWORD.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("admin setup failed; see {}", self.folder.join("setup.log").display());
        }
        let ids: Value = serde_json::from_slice(&output.stdout).context("admin setup did not print JSON")?;
        self.site_code = ids["site_code"].as_str().context("admin setup gave no site_code")?.to_owned();
        let key = ids["enrollment_key"].as_str().context("admin setup gave no enrollment_key")?;
        fs::write(&self.key_file, key)?;
        Ok(())
    }

    /// The data folder of the server; of the first one of several.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir_of(0)
    }

    fn data_dir_of(&self, index: usize) -> PathBuf {
        self.folder.join(if index == 0 { "data".to_owned() } else { format!("data-{index}") })
    }

    fn log(&self, name: &str) -> anyhow::Result<File> {
        let path = self.folder.join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(path)?)
    }
}

impl AgentProcess {
    /// Where it keeps what it keeps.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let postmaster = self.postmaster_pid();
        for agent in &mut self.agents {
            let _ = kill(&mut agent.child);
        }
        let mut is_stuck = false;
        for node in &mut self.nodes {
            if terminate(&mut node.child).is_err() {
                let _ = kill(&mut node.child);
                is_stuck = true;
            }
        }
        match (&self.shared, postmaster) {
            (Some(shared), _) => {
                if let Err(error) = shared.database.stop_if_running() {
                    eprintln!("[WARNING] PostgreSQL: {error:#}");
                }
            }
            (None, Some(pid)) if is_stuck => drop(signal(pid, "INT")),
            _ => {}
        }
    }
}

impl Node {
    fn new(nats: Option<SocketAddr>) -> anyhow::Result<Self> {
        Ok(Self { listen: free_address()?, nats, child: None })
    }
}

/// An address of loopback where nobody listens. Below the ports that systems give to whoever connects: whoever listened
/// there finds it free when coming back.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let mut tried = (0..100).map(|_| rand::random_range(20_000..32_000_u16));
    tried
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok())
        .context("no port is free on loopback")
}

/// Calls `check` until it answers something.
pub fn wait_for<T>(what: &str, longest: Duration, mut check: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + longest;
    loop {
        if let Some(found) = check() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not come within {} s", longest.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log_name(index: usize) -> String {
    if index == 0 { "server".to_owned() } else { format!("server-{index}") }
}

fn kill(child: &mut Option<Child>) -> anyhow::Result<()> {
    if let Some(mut child) = child.take() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Ends a process the polite way, and waits for it.
pub fn terminate(child: &mut Option<Child>) -> anyhow::Result<()> {
    let Some(mut running) = child.take() else { return Ok(()) };
    signal(running.id(), "TERM")?;
    let ended =
        wait_for("the end of a process", Duration::from_secs(60), || running.try_wait().ok().flatten());
    if ended.is_err() {
        running.kill()?;
        running.wait()?;
    }
    ended.map(|_| ())
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status =
        Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status()?;
    // A process that is gone already is what was wanted.
    let _ = status;
    Ok(())
}

fn find_file(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().collect();
    if let Some(found) = entries.iter().find(|entry| entry.file_name() == name) {
        return Some(found.path());
    }
    let folders = entries.iter().filter(|entry| depth > 0 && entry.path().is_dir());
    folders.map(|entry| entry.path()).find_map(|path| find_file(&path, name, depth - 1))
}
