//! MeshCentral of the npm registry, installed into a scratch folder and driven on this machine: what the benches compare
//! with. It listens on loopback only; all its processes are counted.

use crate::bench::process;
use crate::reporter::Reporter;
use crate::stack::{terminate, wait_for};
use anyhow::Context as _;
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What is compared with.
pub const VERSION: &str = "1.1.55";
const ADMIN: &str = "admin";

/// A MeshCentral server with one group of devices. It ends when it is dropped.
pub struct MeshCentral {
    folder: PathBuf,
    tools: PathBuf,
    listen: SocketAddr,
    password: String,
    group: String,
    launcher: Option<Child>,
}

impl MeshCentral {
    /// Installs it below `root`'s target folder, unless it is there, sets it up anew, and starts it.
    ///
    /// # Errors
    /// When npm or node is missing or fails.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        let folder = root.join(format!("target/meshcentral-{VERSION}"));
        install(&folder)?;
        for left in ["meshcentral-data", "meshcentral-files"] {
            let left = folder.join(left);
            if left.exists() {
                fs::remove_dir_all(left)?;
            }
        }
        let tools = root.join("tools/meshcentral");
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = fs::read_to_string(tools.join("config.json"))?;
        let mut config: serde_json::Value = serde_json::from_str(&config)?;
        config["settings"]["port"] = listen.port().into();
        fs::create_dir_all(folder.join("meshcentral-data"))?;
        fs::write(folder.join("meshcentral-data/config.json"), config.to_string())?;
        let password: [u8; 16] = rand::rng().random();
        let password = format!("Aa1-{}", hex::encode(password));
        let mut server = Self { folder, tools, listen, password, group: String::new(), launcher: None };
        server.run(&[
            "--createaccount",
            ADMIN,
            "--pass",
            &server.password,
            "--email",
            "admin@example.com",
        ])?;
        server.run(&["--adminaccount", ADMIN])?;
        server.start_server()?;
        server.group = server.add_group()?;
        Ok(server)
    }

    /// Starts the server again, on the data that it has.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_server(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("server.log"))?;
        let launcher = self
            .node("node_modules/meshcentral/meshcentral.js")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.launcher = Some(launcher);
        // The first time it makes its certificates.
        wait_for("MeshCentral", Duration::from_secs(180), || TcpStream::connect(self.listen).ok())?;
        Ok(())
    }

    /// Stops it and all that it started.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_server(&mut self) -> anyhow::Result<()> {
        // Its launcher starts the server again when that ends; so it goes first, and takes it along.
        let all = self.processes();
        terminate(&mut self.launcher)?;
        for pid in all {
            crate::stack::signal(pid, "TERM")?;
        }
        wait_for("the end of MeshCentral", Duration::from_secs(30), || {
            TcpStream::connect(self.listen).is_err().then_some(())
        })
    }

    /// Its processes: launcher, server, and those that sign.
    pub fn processes(&self) -> BTreeSet<u32> {
        self.launcher.as_ref().map(|launcher| process::tree(launcher.id())).unwrap_or_default()
    }

    /// Connects as many simulated agents; they stay until the answer is dropped.
    ///
    /// # Errors
    /// When they do not all connect in time.
    pub fn agents(&self, count: usize) -> anyhow::Result<Reporter> {
        let mut command = Command::new("node");
        command
            .arg(self.tools.join("agents.mjs"))
            .arg("--dir")
            .arg(&self.folder)
            .args(["--url", &format!("wss://{}/agent.ashx", self.listen)])
            .args(["--group", &self.group, "--agents", &count.to_string()]);
        Reporter::start(command)
    }

    /// Starts one of its own agents for this kind of machine, in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn real_agent(&self, folder: &Path) -> anyhow::Result<Child> {
        fs::create_dir_all(folder)?;
        let program = folder.join("meshagent");
        fs::copy(self.folder.join("node_modules/meshcentral/agents/meshagent_x86-64"), &program)?;
        make_executable(&program)?;
        let settings = Command::new("node")
            .arg(self.tools.join("settings.mjs"))
            .args(["--url", &format!("https://{}", self.listen), "--group", &self.group])
            .output()?;
        anyhow::ensure!(settings.status.success(), "MeshCentral gives no settings for an agent");
        fs::write(folder.join("meshagent.msh"), settings.stdout)?;
        let log = File::create(folder.join("agent.log"))?;
        Ok(Command::new(&program)
            .arg("connect")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?)
    }

    /// Round trips of a command that a shell runs, in milliseconds, to as many connected agents in turns.
    ///
    /// # Errors
    /// When one does not come back.
    pub fn round_trips(&self, agents: usize, count: usize) -> anyhow::Result<Vec<f64>> {
        let output = Command::new("node")
            .arg(self.tools.join("commands.mjs"))
            .arg("--dir")
            .arg(&self.folder)
            .args(["--url", &format!("wss://{}/control.ashx", self.listen), "--user", ADMIN])
            .args(["--agents", &agents.to_string(), "--count", &count.to_string()])
            .env("MESHCENTRAL_PASSWORD", &self.password)
            .stderr(Stdio::inherit())
            .output()?;
        anyhow::ensure!(output.status.success(), "MeshCentral's round trips failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn add_group(&self) -> anyhow::Result<String> {
        let output = self
            .node("node_modules/meshcentral/meshctrl.js")
            .args(["AddDeviceGroup", "--name", "bench", "--url", &format!("wss://{}", self.listen)])
            .args(["--loginuser", ADMIN, "--loginpass", &self.password])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let group = said.trim().strip_prefix("ok mesh//").with_context(|| format!("no group: {said}"))?;
        Ok(group.to_owned())
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.node("node_modules/meshcentral/meshcentral.js").args(arguments).output()?;
        anyhow::ensure!(output.status.success(), "MeshCentral: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join(script)).current_dir(&self.folder).env("NODE_ENV", "production");
        command
    }
}

impl Drop for MeshCentral {
    fn drop(&mut self) {
        if self.launcher.is_some() {
            let _ = self.stop_server();
        }
    }
}

fn install(folder: &Path) -> anyhow::Result<()> {
    if folder.join("node_modules/meshcentral/package.json").exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", &format!("meshcentral@{VERSION}")])
        .current_dir(folder)
        .output()
        .context("cannot run npm")?;
    anyhow::ensure!(
        output.status.success(),
        "MeshCentral could not be installed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
