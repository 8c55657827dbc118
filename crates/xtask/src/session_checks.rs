//! What a tech does in a session with a machine, by the API and by channels: the same list for the agent under Wine and for
//! one of this system (`xtask sessions`). What a system does not have, it has to say.

use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD, Stack, wait_for};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gururmm_cli::tunnel::{Channel, Incoming, Session, State};
use gururmm_protocol::command::RunContext;
use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalSize};
use gururmm_protocol::tunnel::{ChannelEnd, Flags, OpenChannel, Opened};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the file that goes there and back.
const FILE_BYTES: usize = 3_000_000;

/// One of the checks.
type Check = fn(&Visit) -> anyhow::Result<()>;

const CHECKS: [(&str, Check); 7] = [
    ("processes are listed and ended", Visit::processes),
    ("services are listed, started, stopped and set", Visit::services),
    ("the registry is written, read and cleared", Visit::registry),
    ("files go there and back with their checksums", Visit::files),
    ("the system's log is read", Visit::events),
    ("a shell is typed into and says how it ended", Visit::terminal),
    ("an address is reached through the machine", Visit::forward),
];

/// What the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    /// As Wine has it.
    Windows,
}

/// A tech with a machine.
pub struct Visit {
    api: Api,
    agent_id: String,
    system: System,
    /// A folder of the machine's that is there, in its own notation.
    folder: String,
    runtime: Runtime,
    session: Session,
}

#[derive(Args)]
pub struct Options {
    /// Where gururmm-server and gururmm-agent are
    #[arg(long, default_value = "target/debug")]
    bin_dir: PathBuf,
}

/// Asks all of it of an agent of this system.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let folder = root.join(format!("target/sessions-{}", std::process::id()));
    let mut stack = Stack::start(&root.join(&options.bin_dir), &folder)?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    stack.add_agent(&api)?;
    let agent_id = stack.agents()[0].id.clone();
    Visit::begin(&stack, api, &agent_id, System::Linux, &folder.display().to_string())?.check_all()?;
    stack.stop()?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

impl Visit {
    /// Opens a session.
    pub fn begin(
        stack: &Stack,
        api: Api,
        agent_id: &str,
        system: System,
        folder: &str,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let token = api.authorization().trim_start_matches("Bearer ").to_owned();
        let cli = gururmm_cli::api::Api::new(&stack.url().parse()?, None)?.with_token(token)?;
        let session = runtime.block_on(Session::open(&cli, agent_id.parse()?, Some("trial"), None))?;
        let (agent_id, folder) = (agent_id.to_owned(), folder.to_owned());
        Ok(Self { api, agent_id, system, folder, runtime, session })
    }

    /// Goes through the list; the first that fails ends it. Then the session is closed.
    pub fn check_all(self) -> anyhow::Result<()> {
        for (what, check) in CHECKS {
            let begun = Instant::now();
            check(&self).with_context(|| format!("in a session, {what}"))?;
            println!("[OK] in a session, {what} ({:.1} s)", begun.elapsed().as_secs_f32());
        }
        let Self { api, runtime, session, .. } = self;
        let path = format!("/api/v1/tunnel/status/{}", session.id());
        runtime.block_on(session.close())?;
        let session = api.get(&path)?;
        ensure!(session["closed_reason"] == "closed_by_tech", "it is not closed: {session}");
        Ok(())
    }

    fn processes(&self) -> anyhow::Result<()> {
        let (command, name) = match self.system {
            System::Linux => ("sleep 4330 >/dev/null 2>&1 &", "sleep"),
            System::Windows => ("start /b ping -n 4330 127.0.0.1 >nul 2>nul", "ping"),
        };
        let body = json!({ "command_type": "shell", "command": command, "timeout_seconds": 60 });
        self.api.post(&format!("/api/agents/{}/command", self.agent_id), &body)?;
        let found = |name: &str| -> anyhow::Result<Vec<Value>> {
            let list = self.get("processes")?;
            ensure!(list["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "no figures: {list}");
            let all = list["processes"].as_array().context("no list")?;
            let is_it =
                |one: &&Value| one["name"].as_str().is_some_and(|its| its.to_lowercase().contains(name));
            Ok(all.iter().filter(is_it).cloned().collect())
        };
        ensure!(!found("gururmm-agent")?.is_empty(), "the agent itself is not among them");
        let process = wait_for("a process", PATIENCE, || found(name).ok()?.into_iter().next_back())?;
        ensure!(process["memory_bytes"].is_u64(), "{process}");
        // One that has its number and started at another time is another one.
        let other = json!({ "pid": process["pid"], "started_ms": 1, "force": true });
        self.refuses("processes/kill", &other, "NOT_FOUND")?;
        let key = json!({ "pid": process["pid"], "started_ms": process["started_ms"], "force": true });
        let killed = self.post("processes/kill", &key)?;
        ensure!(killed["processes"] == 1, "{killed}");
        wait_for("its end", PATIENCE, || {
            found(name).ok()?.iter().all(|one| one["pid"] != process["pid"]).then_some(())
        })
    }

    fn services(&self) -> anyhow::Result<()> {
        if self.system == System::Linux {
            // Only looked at: they are this machine's own.
            return match self.get("services") {
                Ok(list) => {
                    ensure!(list["manager"] == "systemd" && list["services"].is_array(), "{list}");
                    self.refuses("services/start", &json!({ "name": "no-such-service" }), "NOT_FOUND")
                }
                Err(error) => says(&error, "UNSUPPORTED"),
            };
        }
        const NAME: &str = "Spooler";
        let service = |name: &str| -> anyhow::Result<Value> {
            let list = self.get("services")?;
            ensure!(list["manager"] == "windows", "{list}");
            let all = list["services"].as_array().context("no list")?;
            let found = all.iter().find(|one| one["name"] == name);
            found.cloned().with_context(|| format!("no {name} in {list}"))
        };
        let own = service("GuruRMM")?;
        ensure!(own["state"] == "running" && own["startup"] == "automatic", "{own}");
        let before = service(NAME)?;
        let name = json!({ "name": NAME });
        if before["state"] != "stopped" {
            self.post("services/stop", &name)?;
        }
        for (action, state) in
            [("start", "running"), ("restart", "running"), ("stop", "stopped"), ("start", "running")]
        {
            let after = self.post(&format!("services/{action}"), &name)?;
            ensure!(after["state"] == state, "after {action}: {after}");
        }
        if before["state"] == "stopped" {
            self.post("services/stop", &name)?;
        }
        for startup in ["disabled", "manual", "automatic"] {
            let after = self.post("services/startup", &json!({ "name": NAME, "startup": startup }))?;
            ensure!(after["startup"] == startup, "not {startup}: {after}");
        }
        let as_before = json!({ "name": NAME, "startup": before["startup"] });
        self.post("services/startup", &as_before)?;
        self.refuses("services/start", &json!({ "name": "no-such-service" }), "NOT_FOUND")
    }

    fn registry(&self) -> anyhow::Result<()> {
        const KEY: &str = r"HKLM\Software\Acme";
        const INNER: &str = r"HKLM\Software\Acme\Inner";
        let create = json!({ "do": "create_key", "key": INNER });
        if self.system == System::Linux {
            return self.refuses("registry", &create, "UNSUPPORTED");
        }
        self.post("registry", &create)?;
        let values = [
            ("", json!({ "type": "string", "data": "gr\u{fc}n" })),
            ("expanded", json!({ "type": "expand_string", "data": r"%windir%\x" })),
            ("many", json!({ "type": "multi_string", "data": ["one", "two"] })),
            ("number", json!({ "type": "dword", "data": 4_294_967_295_u32 })),
            ("large", json!({ "type": "qword", "data": "18446744073709551615" })),
            ("bytes", json!({ "type": "binary", "data": "00ff" })),
        ];
        for (name, value) in &values {
            let set = json!({ "do": "set_value", "key": KEY, "name": name, "value": value });
            self.post("registry", &set)?;
        }
        let list = self.get(&format!("registry?key={}", encoded(KEY)))?;
        ensure!(list["keys"] == json!(["Inner"]), "{list}");
        for (name, value) in &values {
            let all = list["values"].as_array().context("no values")?;
            let found = all.iter().find(|one| one["name"] == *name);
            ensure!(found.is_some_and(|found| found["value"] == *value), "no {name} as written: {list}");
        }
        let export = self.post("registry", &json!({ "do": "export", "key": KEY }))?.to_string();
        ensure!(export.contains(r"HKEY_LOCAL_MACHINE\\Software\\Acme"), "{export}");
        self.post("registry", &json!({ "do": "delete_value", "key": KEY, "name": "many" }))?;
        self.refuses("registry", &json!({ "do": "delete_key", "key": KEY }), "NOT_EMPTY")?;
        self.post("registry", &json!({ "do": "delete_key", "key": KEY, "recursive": true }))?;
        match self.get(&format!("registry?key={}", encoded(KEY))) {
            Ok(list) => bail!("it is still there: {list}"),
            Err(error) => says(&error, "NOT_FOUND"),
        }
    }

    fn files(&self) -> anyhow::Result<()> {
        let separator = if self.system == System::Windows { '\\' } else { '/' };
        let folder = format!("{}{separator}visit", self.folder);
        let path = |name: &str| format!("{folder}{separator}{name}");
        let content = |name: &str| self.path(&format!("files/content?path={}", encoded(&path(name))));
        let entries = || -> anyhow::Result<Value> {
            Ok(self.get(&format!("files?path={}", encoded(&folder)))?["entries"].clone())
        };
        self.post("files", &json!({ "do": "make_folder", "path": folder }))?;
        let bytes: Vec<u8> = (0..FILE_BYTES).map(|place| ((place * 31) >> 3) as u8).collect();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let sent = self.api.put_bytes(&content("gr\u{fc}n.bin"), &bytes)?;
        ensure!(sent["sha256"] == sha256.as_str() && sent["size"] == FILE_BYTES, "{sent}");
        let list = entries()?;
        ensure!(list[0]["name"] == "gr\u{fc}n.bin" && list[0]["size"] == FILE_BYTES, "{list}");
        ensure!(self.api.get_bytes(&content("gr\u{fc}n.bin"))? == bytes, "something else came back");
        match self.api.put_bytes(&content("gr\u{fc}n.bin"), b"other") {
            Ok(replaced) => bail!("it was replaced unasked: {replaced}"),
            Err(error) => says(&error, "ALREADY_EXISTS")?,
        }
        self.post("files", &json!({ "do": "rename", "from": path("gr\u{fc}n.bin"), "to": path("moved") }))?;
        self.post("files", &json!({ "do": "copy", "from": path("moved"), "to": path("copy") }))?;
        ensure!(self.api.get_bytes(&content("copy"))? == bytes, "the copy is another file");
        self.post("files", &json!({ "do": "write_text", "path": path("text"), "text": "one\n" }))?;
        let read = self.post("files", &json!({ "do": "read_text", "path": path("text") }))?;
        ensure!(read["answers"][0]["text"] == "one\n", "{read}");
        self.refuses("files", &json!({ "do": "delete", "path": folder }), "NOT_EMPTY")?;
        self.post("files", &json!({ "do": "delete", "path": folder, "recursive": true }))?;
        match entries() {
            Ok(list) => bail!("it is still there: {list}"),
            Err(error) => says(&error, "NOT_FOUND"),
        }
    }

    fn events(&self) -> anyhow::Result<()> {
        match self.get("events?limit=5") {
            Ok(list) => ensure!(list["events"].as_array().is_some_and(|all| all.len() <= 5), "{list}"),
            // Wine has the calls, and they fail.
            Err(error) if self.system == System::Windows => says(&error, "FAILED")?,
            Err(error) => says(&error, "UNSUPPORTED")?,
        }
        Ok(())
    }

    fn terminal(&self) -> anyhow::Result<()> {
        let (name, line, shown) = match self.system {
            System::Linux => ("sh", "echo a-$((6 * 7))-b\r", "a-42-b"),
            System::Windows => ("Command Prompt", "echo a-%OS%-b\r", "a-Windows_NT-b"),
        };
        let State::Ready(ready) = self.session.state().borrow().clone() else { bail!("the machine is gone") };
        let shell = ready.shells.iter().find(|shell| shell.name == name).map(|shell| shell.program.clone());
        ensure!(shell.is_some(), "no {name} among {:?}", ready.shells);
        let size = TerminalSize { columns: 80, rows: 24 };
        let open = OpenChannel::Terminal(OpenTerminal { shell, context: RunContext::System, size });
        self.within(async {
            let (mut channel, _) = self.open(open).await?;
            let sender = channel.sender();
            sender.data(0, line.as_bytes(), Flags::default()).await?;
            let mut screen = Vec::new();
            while !String::from_utf8_lossy(&screen).contains(shown) {
                match channel.next().await {
                    Some(Incoming::Data { bytes, .. }) => screen.extend_from_slice(&bytes),
                    other => bail!("{other:?} behind {:?}", String::from_utf8_lossy(&screen)),
                }
            }
            sender.data(line.len() as u64, b"exit 7\r", Flags::default()).await?;
            let end = ended(&mut channel).await?;
            ensure!(end.exit_code == Some(7) && end.error.is_none(), "{end:?}");
            Ok(())
        })
    }

    fn forward(&self) -> anyhow::Result<()> {
        // Says back what it hears, and ends.
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let answering = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard)?;
            stream.write_all(&heard)
        });
        let open = || OpenChannel::Forward(OpenForward { host: "127.0.0.1".to_owned(), port });
        let refused = self.within(async { Ok(self.open(open()).await.err()) })?;
        ensure!(refused.is_some_and(|error| error.to_string().contains("policy")), "it is let through");
        let policy = json!({ "settings": { "tunnel_forwards": [format!("127.0.0.1:{port}")] } });
        self.api.put(&format!("/api/v1/policies/agent/{}", self.agent_id), &policy)?;
        let bytes: Vec<u8> = (0..200_000_u32).map(|place| ((place * 31) >> 3) as u8).collect();
        let open = || async {
            // The machine hears of the policy in its own time.
            loop {
                match self.open(open()).await {
                    Err(error) if error.to_string().contains("policy") => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    opened => return opened,
                }
            }
        };
        self.within(async {
            let (mut channel, _) = open().await?;
            channel.sender().data(0, &bytes, Flags::FIN).await?;
            let mut heard = Vec::new();
            loop {
                match channel.next().await {
                    Some(Incoming::Data { bytes, .. }) => heard.extend_from_slice(&bytes),
                    Some(Incoming::End(ChannelEnd { error: None, .. })) => break,
                    other => bail!("{other:?} after {} bytes", heard.len()),
                }
            }
            ensure!(heard == bytes, "{} bytes came back", heard.len());
            Ok(())
        })?;
        answering.join().map_err(|_panicked| anyhow::anyhow!("nobody answered"))??;
        Ok(())
    }

    /// Opens a channel that opens; the machine's word instead.
    async fn open(&self, open: OpenChannel) -> anyhow::Result<(Channel, Opened)> {
        let mut channel = self.session.channel(open, false).await?;
        match channel.next().await {
            Some(Incoming::Opened(opened)) => Ok((channel, opened)),
            Some(Incoming::End(ChannelEnd { error: Some(error), .. })) => Err(error.into()),
            other => bail!("no channel: {other:?}"),
        }
    }

    fn within<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.runtime.block_on(async { timeout(PATIENCE, work).await.context("it takes too long")? })
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/tunnel/{}/{rest}", self.session.id())
    }

    fn get(&self, rest: &str) -> anyhow::Result<Value> {
        self.api.get(&self.path(rest))
    }

    fn post(&self, rest: &str, body: &Value) -> anyhow::Result<Value> {
        self.api.post(&self.path(rest), body)
    }

    /// The machine cannot do it, and says so by this word.
    fn refuses(&self, rest: &str, body: &Value, word: &str) -> anyhow::Result<()> {
        match self.post(rest, body) {
            Ok(done) => bail!("{rest} is done with {body}: {done}"),
            Err(error) => says(&error, word),
        }
    }
}

/// How a channel ends, whatever comes before.
async fn ended(channel: &mut Channel) -> anyhow::Result<ChannelEnd> {
    loop {
        match channel.next().await {
            Some(Incoming::End(end)) => return Ok(end),
            Some(_) => {}
            None => bail!("the session is over"),
        }
    }
}

fn says(error: &anyhow::Error, word: &str) -> anyhow::Result<()> {
    let said = format!("{error:#}");
    ensure!(said.contains("MACHINE_FAILED") && said.contains(&format!("\"{word}\"")), "not {word}: {said}");
    Ok(())
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
