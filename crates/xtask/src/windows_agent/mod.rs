//! `xtask windows-agent`: the agent for Windows on a Windows of Wine's own, with a real server on this machine: from its
//! installation over its work, its death and its return to its removal without a trace.

mod wine;

use crate::api::Api;
use crate::session_checks::{System, Visit};
use crate::stack::{EMAIL, PASSWORD, Stack, wait_for};
use crate::update_repository;
use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use wine::{Inventory, Wine, expect_same};

#[derive(Args)]
pub struct Options {
    /// The agent's program, as it was built for Windows
    #[arg(long)]
    program: PathBuf,
    /// Packages of it: the same version, a newer one, and one newer than that; newer than any it is updated to
    #[arg(long = "msi", num_args = 1, required = true)]
    msis: Vec<PathBuf>,
    /// Its unit tests, as they were built for Windows
    #[arg(long)]
    unit_tests: PathBuf,
    /// The keys whose root it was built with
    #[arg(long)]
    update_keys: PathBuf,
    /// Wine's program for 64 bits
    #[arg(long)]
    wine: PathBuf,
    /// bcryptprimitives.dll, made from tools/wine
    #[arg(long)]
    library: PathBuf,
    /// Where gururmm-server is
    #[arg(long, default_value = "target/debug")]
    bin_dir: PathBuf,
}

const SERVICE: &str = "GuruRMM";
const INSTALLED: &str = r"C:\Program Files\GuruRMM\gururmm-agent.exe";
const STATE: &str = r"C:\ProgramData\GuruRMM";
const SERVICE_KEY: &str = r"HKLM\System\CurrentControlSet\Services\GuruRMM";
/// What the packages are called on that Windows, in the order they come in.
const PACKAGES: [&str; 3] = [r"C:\setup\agent.msi", r"C:\setup\newer.msi", r"C:\setup\newest.msi"];
/// Whatever it does, an agent stops within this.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// What Wine's interpreter makes of a text in UTF-8: it reads batch files in code page 437, whatever its console's is. That
/// it prints in UTF-8 what it read is the agent's doing.
const READ_BY_WINE: &str = "gr\u{251c}\u{255d}n \u{393}\u{ff}\u{e2}";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the unit tests may take: they ask a good ten thousand things about files, and Wine takes its time for each.
const UNIT_TESTS: Duration = Duration::from_secs(300);
/// Versions of the newer packages.
const PACKAGED: [&str; 2] = ["10.0.0", "10.1.0"];
/// Versions that this agent, which is older, is ordered to become.
const NEWER: &str = "9.0.0";
const NEWEST: &str = "9.0.1";
const BROKEN: &str = "9.1.0";
const UPDATE_ENDS: [&str; 5] = ["confirmed", "rolled_back", "failed", "expired", "superseded"];
const FINAL: [&str; 6] = ["completed", "failed", "timeout", "cancelled", "interrupted", "expired"];

/// One of the trial's steps.
type Step = fn(&mut Trial) -> anyhow::Result<()>;

/// Runs it; the first step that fails ends it.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let folder = root.join(format!("target/windows-agent-{}", std::process::id()));
    let mut trial = Trial::begin(root, options, &folder)?;
    let steps: [(&str, Step); 21] = [
        ("its unit tests pass", Trial::passes_its_unit_tests),
        ("by its own command it installs, runs as a service and comes online", Trial::installs),
        ("by its own command it is removed without a trace", Trial::removes_itself),
        (
            "its package installs silently, enrolls the machine, and it comes online",
            Trial::installs_by_package,
        ),
        ("the key is worthless in a copy of the file", Trial::protects_its_key),
        ("figures, hardware and network arrive", Trial::measures),
        ("commands run: output, exit code, text of all kinds, several lines", Trial::runs_commands),
        (
            "a command for a user's session is refused in so many words",
            Trial::says_that_it_cannot_run_in_a_session,
        ),
        ("a tech works in a session with it", Trial::has_a_session),
        ("a cancel ends every process of a tree", Trial::ends_trees),
        ("what a command leaves running goes on", Trial::leaves_what_was_left),
        ("killed, it comes back as the same agent and says that it was killed", Trial::survives_a_kill),
        ("it ends with its watchdog, and comes back with it", Trial::survives_a_kill_of_its_watchdog),
        ("it stops in time while it is connected and a command runs", Trial::stops_while_connected),
        ("it stops in time while there is no server", Trial::stops_without_a_server),
        ("it becomes a newer version, which stays", Trial::updates_itself),
        ("the newer version becomes the watchdog, too", Trial::renews_its_watchdog),
        ("it leaves a version that does not work", Trial::leaves_a_broken_version),
        (
            "a newer package takes its place, and the machine stays the agent it is",
            Trial::upgrades_by_package,
        ),
        ("a newer package replaces one that runs", Trial::is_replaced_by_package),
        ("its package removes it without a trace", Trial::leaves_nothing),
    ];
    for (what, step) in steps {
        let begun = Instant::now();
        if let Err(error) = step(&mut trial) {
            println!("[FAILED] {what}");
            println!("[INFO] what stands in its log:\n{}", trial.log());
            println!("[INFO] logs stay in {}", folder.display());
            return Err(error.context(what));
        }
        println!("[OK] {what} ({:.1} s)", begun.elapsed().as_secs_f32());
    }
    trial.end()?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

struct Trial {
    stack: Stack,
    api: Api,
    wine: Wine,
    before: Inventory,
    agent_id: String,
    update_keys: PathBuf,
}

impl Trial {
    fn begin(root: &Path, options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let wine = Wine::make(&options.wine, folder, &options.library)?;
        let stack = Stack::start(&root.join(&options.bin_dir), &folder.join("server"))?;
        let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
        let setup = wine.path(r"C:\setup");
        fs::create_dir(&setup)?;
        fs::copy(&options.program, setup.join("agent.exe"))?;
        ensure!(options.msis.len() == PACKAGES.len(), "{} packages are needed", PACKAGES.len());
        for (msi, name) in options.msis.iter().zip(PACKAGES) {
            fs::copy(msi, wine.path(name))?;
        }
        fs::write(setup.join("key"), stack.enrollment()?.1)?;
        fs::copy(&options.unit_tests, setup.join("tests.exe"))?;
        Ok(Self {
            stack,
            api,
            wine,
            before: Inventory::default(),
            agent_id: String::new(),
            update_keys: options.update_keys.clone(),
        })
    }

    fn passes_its_unit_tests(&mut self) -> anyhow::Result<()> {
        let said = self.wine.run_within(UNIT_TESTS, &[r"C:\setup\tests.exe", "--quiet"])?;
        ensure!(said.contains("test result: ok"), "{said}");
        // What they leave in folders for temporary files is theirs.
        self.before = self.wine.inventory()?;
        Ok(())
    }

    fn installs(&mut self) -> anyhow::Result<()> {
        let (site, _) = self.stack.enrollment()?;
        let url = self.stack.url();
        let enrollment = ["--server", &url, "--site", &site, "--key-file", r"C:\setup\key"];
        self.wine.run(&[&[r"C:\setup\agent.exe", "install"], &enrollment[..]].concat())?;
        let agents = self.api.get("/api/agents")?;
        self.agent_id = agents[0]["id"].as_str().context("no agent enrolled")?.to_owned();
        self.online()?;
        ensure!(self.wine.service_state(SERVICE)?.as_deref() == Some("RUNNING"), "the service does not run");
        // Twice is as good as once.
        self.wine.run(&[&[r"C:\setup\agent.exe", "install"], &enrollment[..]].concat())?;
        self.online()?;
        self.is_started_from(INSTALLED)?;
        let source = r"HKLM\System\CurrentControlSet\Services\EventLog\Application\GuruRMM";
        self.wine.run(&["reg.exe", "query", source, "/v", "EventMessageFile"])?;
        Ok(())
    }

    fn removes_itself(&mut self) -> anyhow::Result<()> {
        // By the very program that is to be removed.
        self.wine.run(&[INSTALLED, "uninstall"])?;
        ensure!(self.wine.service_state(SERVICE)?.is_none(), "the service is still registered");
        let gone = wait_for("the program's folder to go", PATIENCE, || {
            (!self.wine.path(r"C:\Program Files\GuruRMM").exists()).then_some(())
        });
        expect_same(&self.before, &self.wine.inventory()?)?;
        gone?;
        // Nothing to remove is no error.
        self.wine.run(&[r"C:\setup\agent.exe", "uninstall"])?;
        expect_same(&self.before, &self.wine.inventory()?)
    }

    fn installs_by_package(&mut self) -> anyhow::Result<()> {
        let (server, site_key) = self.directions()?;
        self.msiexec(&["/i", PACKAGES[0], &server, &site_key])?;
        self.is_started_from(INSTALLED)?;
        ensure!(self.wine.service_state(SERVICE)?.as_deref() == Some("RUNNING"), "the service does not run");
        // It was here before, and Wine's hardware has no serial that would prove it: a person lets it in.
        let waiting = self.api.get("/api/v1/approvals")?;
        self.agent_id =
            waiting["items"][0]["agent"]["id"].as_str().context("no machine waits to be let in")?.to_owned();
        let path = format!("/api/v1/agents/{}/approve", self.agent_id);
        self.api.post(&path, &json!({ "as": "new" }))?;
        // It would ask by itself, within a minute.
        self.stops_in_time()?;
        self.start_service()?;
        self.online()
    }

    /// Properties that say where the machine belongs.
    fn directions(&self) -> anyhow::Result<(String, String)> {
        let (site, key) = self.stack.enrollment()?;
        Ok((format!("SERVER={}", self.stack.url()), format!("SITEKEY={site}.{key}")))
    }

    /// Windows Installer, silently.
    fn msiexec(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let log = r"C:\setup\msi.log";
        let done = self.wine.run(&[&["msiexec.exe"], arguments, &["/qn", "/l*v", log]].concat());
        let log = self.wine.path(log);
        if done.is_err() {
            let text = String::from_utf8_lossy(&fs::read(&log)?).replace('\0', "");
            println!("[INFO] Windows Installer's log ends so:\n{}", last_lines(&text, 30));
        }
        fs::remove_file(log)?;
        done.map(drop)
    }

    /// Which program the service manager starts.
    fn is_started_from(&self, program: &str) -> anyhow::Result<()> {
        let path = self.wine.run(&["reg.exe", "query", SERVICE_KEY, "/v", "ImagePath"])?;
        ensure!(path.contains(&format!("\"{program}\" service")), "the service is started otherwise: {path}");
        Ok(())
    }

    fn protects_its_key(&mut self) -> anyhow::Result<()> {
        let path = self.wine.path(&format!(r"{STATE}\identity.json"));
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains("\"dpapi:") && !text.contains("cak_"), "the key is not protected: {text}");
        // Another agent's protected key does not pass for this one's either.
        let other = text.replace(&self.agent_id, "01900000-0000-7000-8000-000000000000");
        let copy = self.wine.path(r"C:\setup\copy");
        self.wine.run(&[r"C:\setup\agent.exe", "status", "--state-dir", r"C:\setup\copy"])?;
        fs::create_dir(&copy)?;
        fs::write(copy.join("identity.json"), other)?;
        let status =
            self.wine.run(&[r"C:\setup\agent.exe", "status", "--json", "--state-dir", r"C:\setup\copy"])?;
        fs::remove_dir_all(copy)?;
        let status: Value = serde_json::from_str(&status)?;
        ensure!(status["enrolled"] == false, "a key that was moved is read: {status}");
        Ok(())
    }

    fn measures(&mut self) -> anyhow::Result<()> {
        let path = format!("/api/v1/agents/{}", self.agent_id);
        let details = wait_for("figures", PATIENCE, || {
            let details = self.api.get(&path).ok()?;
            (details["agent"]["memory_percent"].as_f64()? > 0.0 && details["network"].is_object())
                .then_some(details)
        })?;
        let agent = &details["agent"];
        for figure in ["cpu_percent", "memory_percent", "disk_percent", "uptime_seconds"] {
            ensure!(agent[figure].as_f64().is_some(), "{figure} is missing: {agent}");
        }
        ensure!(agent["os_type"] == "windows" && agent["arch"] == "x86_64", "another system: {agent}");
        let hardware = &details["hardware"];
        ensure!(hardware["cpu_cores"].as_u64().is_some_and(|cores| cores > 0), "no processors: {hardware}");
        ensure!(hardware["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "no memory: {hardware}");
        ensure!(details["boot_time"].is_string(), "no boot time: {details}");
        ensure!(details["network"]["interfaces"].is_array(), "no network state: {details}");
        let status = self.wine.run(&[INSTALLED, "status", "--json"])?;
        let status: Value = serde_json::from_str(&status)?;
        ensure!(status["connected"] == true && status["running"] == true, "{status}");
        Ok(())
    }

    fn runs_commands(&mut self) -> anyhow::Result<()> {
        let ended = self.run("shell", "echo hello& echo to you 1>&2& exit /b 3")?;
        expect(&ended, "failed", 3)?;
        ensure!(ended["stdout"] == "hello\r\n" && ended["stderr"].as_str() == Some("to you \r\n"), "{ended}");
        let ended = self.run("shell", "@rem gr\u{fc}n\necho gr\u{fc}n \u{2603} \"a b\"\ncd\n")?;
        expect(&ended, "completed", 0)?;
        let text = ended["stdout"].as_str().unwrap_or_default();
        ensure!(text.contains(READ_BY_WINE) && text.contains("\"a b\"\r\n"), "{ended}");
        ensure!(text.to_lowercase().contains("c:\\windows\\system32\r\n"), "another working folder: {ended}");
        // No console and no command line bounds a script.
        let long: String = (0..400).map(|line| format!("echo line {line} {}\n", "x".repeat(60))).collect();
        let ended = self.run("shell", &long)?;
        expect(&ended, "completed", 0)?;
        ensure!(
            ended["stdout"].as_str().is_some_and(|text| text.lines().count() == 400),
            "lines are missing"
        );
        let ended = self.run("python", "print('never')")?;
        ensure!(ended["status"] == "failed" && ended["stdout"] == "", "there is no Python here: {ended}");
        let error = ended["error"].as_str().unwrap_or_default();
        ensure!(error.contains("is not installed on this machine"), "{ended}");
        Ok(())
    }

    /// Wine's session manager knows of nobody who is signed in.
    fn says_that_it_cannot_run_in_a_session(&mut self) -> anyhow::Result<()> {
        let body = json!({ "command_type": "shell", "command": "echo never", "context": "user_session" });
        let answer = self.api.post(&format!("/api/agents/{}/command", self.agent_id), &body)?;
        let ended = self.ended(answer["command_id"].as_str().context("no command id")?)?;
        ensure!(ended["status"] == "failed" && ended["stdout"] == "", "{ended}");
        ensure!(ended["error_code"] == "NO_USER_SESSION", "{ended}");
        Ok(())
    }

    /// As with an agent of any system.
    fn has_a_session(&mut self) -> anyhow::Result<()> {
        let api = self.api.clone();
        Visit::begin(&self.stack, api, &self.agent_id, System::Windows, r"C:\setup")?.check_all()
    }

    fn ends_trees(&mut self) -> anyhow::Result<()> {
        // A child that is waited for, one that is not, and one whose parent is gone.
        let id = self.start(
            "start /b ping -n 4321 127.0.0.1 >nul\nstart /b cmd /c start /b ping -n 4321 127.0.0.1 >nul\n\
             echo started\nping -n 4321 127.0.0.1 >nul",
        )?;
        self.output(&id, "started")?;
        let words = ["ping", "4321"];
        wait_for("three processes", PATIENCE, || (self.wine.processes(&words).len() >= 3).then_some(()))?;
        let begun = Instant::now();
        self.api.post(&format!("/api/commands/{id}/cancel"), &json!({}))?;
        let ended = self.ended(&id)?;
        ensure!(ended["status"] == "cancelled", "{ended}");
        ensure!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
        wait_for("the end of all processes", Duration::from_secs(3), || {
            self.wine.processes(&words).is_empty().then_some(())
        })
    }

    fn leaves_what_was_left(&mut self) -> anyhow::Result<()> {
        let ended = self.run("shell", "start /b ping -n 4322 127.0.0.1 >nul 2>nul\necho done")?;
        expect(&ended, "completed", 0)?;
        ensure!(!self.wine.processes(&["ping", "4322"]).is_empty(), "what was left running was ended");
        for pid in self.wine.processes(&["ping", "4322"]) {
            kill(pid)?;
        }
        Ok(())
    }

    fn survives_a_kill(&mut self) -> anyhow::Result<()> {
        let id = self.start("echo started\nping -n 4323 127.0.0.1 >nul")?;
        self.output(&id, "started")?;
        let agents = self.wine.processes(&["gururmm-agent.exe", "--supervised"]);
        ensure!(agents.len() == 1, "not one agent runs but {agents:?}");
        kill(agents[0])?;
        wait_for("the command's end with its agent", Duration::from_secs(10), || {
            self.wine.processes(&["ping", "4323"]).is_empty().then_some(())
        })?;
        // Its watchdog, which is the service, starts it again.
        let ended = self.ended(&id)?;
        ensure!(ended["status"] == "interrupted", "{ended}");
        let agents = self.api.get("/api/agents")?;
        // This one, and the one it was before it was installed by its package.
        ensure!(agents.as_array().is_some_and(|all| all.len() == 2), "another agent: {agents}");
        let crashes = format!("/api/v1/agents/{}/crashes", self.agent_id);
        wait_for("the report of the kill", PATIENCE, || {
            (self.api.get(&crashes).ok()?[0]["cause"] == "killed").then_some(())
        })
    }

    fn survives_a_kill_of_its_watchdog(&mut self) -> anyhow::Result<()> {
        let watchdogs = self.wine.processes(&["gururmm-agent.exe", "service"]);
        ensure!(watchdogs.len() == 1, "not one watchdog runs but {watchdogs:?}");
        kill(watchdogs[0])?;
        self.offline()?;
        let agents = || self.wine.processes(&["gururmm-agent.exe", "--supervised"]);
        wait_for("the agent's end with its watchdog", PATIENCE, || agents().is_empty().then_some(()))?;
        self.start_service()?;
        self.online()
    }

    fn stops_while_connected(&mut self) -> anyhow::Result<()> {
        let id = self.start("echo started\nping -n 4324 127.0.0.1 >nul")?;
        self.output(&id, "started")?;
        self.stops_in_time()?;
        ensure!(self.wine.processes(&["ping", "4324"]).is_empty(), "the command goes on");
        self.start_service()?;
        self.online()?;
        let ended = self.ended(&id)?;
        ensure!(ended["status"] == "interrupted", "{ended}");
        Ok(())
    }

    fn stops_without_a_server(&mut self) -> anyhow::Result<()> {
        self.stack.stop_server()?;
        self.stops_in_time()?;
        self.start_service()?;
        self.stops_in_time()?;
        self.start_service()?;
        self.stack.start_server()?;
        self.online()
    }

    fn updates_itself(&mut self) -> anyhow::Result<()> {
        let program = fs::read(self.wine.path(r"C:\setup\agent.exe"))?;
        // What is asked of every build that is shipped.
        self.publish(env!("CARGO_PKG_VERSION"), &program)?;
        let updates = self.stack.data_dir().join("dist/updates").display().to_string().replace('/', "\\");
        let said = self.wine.run(&[r"C:\setup\agent.exe", "check-updates", &format!("Z:{updates}")])?;
        ensure!(said.starts_with("[OK]"), "{said}");
        self.publish(NEWER, &as_version(program, NEWER)?)?;
        // A folder of packages is looked for at the start.
        self.stack.stop_server()?;
        self.stack.start_server()?;
        self.online()?;
        let update = self.update()?;
        ensure!(update["status"] == "confirmed", "{update}");
        self.runs_version(NEWER)?;
        // It is what runs after a restart, too.
        self.stops_in_time()?;
        self.start_service()?;
        self.online()?;
        self.runs_version(NEWER)
    }

    fn renews_its_watchdog(&mut self) -> anyhow::Result<()> {
        self.hosts(NEWER)?;
        // And again, while the service that runs is still the old one.
        let program = fs::read(self.wine.path(r"C:\setup\agent.exe"))?;
        self.publish(NEWEST, &as_version(program, NEWEST)?)?;
        self.api.post("/api/v1/updates/check", &json!({}))?;
        let update = self.update()?;
        ensure!(update["status"] == "confirmed", "{update}");
        let newest = self.hosts(NEWEST)?;
        // Started again, it is the new version itself that runs.
        self.stops_in_time()?;
        self.start_service()?;
        self.online()?;
        let watchdogs = self.wine.processes(&[&newest, "service"]);
        ensure!(watchdogs.len() == 1, "not one service of the new version runs but {watchdogs:?}");
        let hosted = self.wine.processes(&["gururmm-agent.exe", "--hosted"]);
        ensure!(hosted.is_empty(), "a watchdog runs under the service: {hosted:?}");
        self.survives_a_kill_of_its_watchdog()?;
        self.runs_version(NEWEST)
    }

    /// Waits until a version's own watchdog runs under the service, alone, and the service manager starts it from now on.
    fn hosts(&self, version: &str) -> anyhow::Result<String> {
        let program = format!(r"C:\Program Files\GuruRMM\versions\{version}\gururmm-agent.exe");
        wait_for("the service to be the newer version's", PATIENCE, || self.is_started_from(&program).ok())?;
        let of_version = self.wine.processes(&[&program, "--hosted"]);
        let all = self.wine.processes(&["gururmm-agent.exe", "--hosted"]);
        ensure!(of_version.len() == 1 && all == of_version, "not one watchdog of {version} runs but {all:?}");
        Ok(program)
    }

    fn upgrades_by_package(&mut self) -> anyhow::Result<()> {
        // What Windows Installer does, one after the other: Wine does not tell the older package that it makes room.
        let identity = self.wine.path(&format!(r"{STATE}\identity.json"));
        let before = fs::read(&identity)?;
        self.msiexec(&["/x", PACKAGES[0], "UPGRADINGPRODUCTCODE={00000000-0000-8000-8000-000000000000}"])?;
        ensure!(self.wine.service_state(SERVICE)?.is_none(), "the service is still registered");
        self.msiexec(&["/i", PACKAGES[1]])?;
        self.is_started_from(INSTALLED)?;
        self.runs_version(PACKAGED[0])?;
        self.online()?;
        ensure!(fs::read(&identity)? == before, "the machine has another identity");
        Ok(())
    }

    fn is_replaced_by_package(&mut self) -> anyhow::Result<()> {
        // All in one, while the service runs; that the identity goes with it is Wine's doing.
        self.msiexec(&["/i", PACKAGES[2]])?;
        let key = r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall";
        let versions = self.wine.run(&["reg.exe", "query", key, "/s", "/v", "DisplayVersion"])?;
        let [older, newer] = PACKAGED;
        ensure!(versions.contains(newer) && !versions.contains(older), "not one is installed: {versions}");
        ensure!(self.wine.service_state(SERVICE)?.is_some(), "no service is registered");
        let version = self.wine.run(&[INSTALLED, "version"])?;
        ensure!(version.trim() == newer, "the program is {version}");
        Ok(())
    }

    fn leaves_a_broken_version(&mut self) -> anyhow::Result<()> {
        // A program that does not know what it is started with, and ends.
        self.publish(BROKEN, &fs::read(self.wine.path(r"C:\setup\tests.exe"))?)?;
        self.api.post("/api/v1/updates/check", &json!({}))?;
        let update = self.update()?;
        ensure!(update["status"] == "rolled_back", "{update}");
        self.online()?;
        self.runs_version(NEWEST)
    }

    /// Orders the newest version, and waits for what becomes of it.
    fn update(&self) -> anyhow::Result<Value> {
        let ordered = self.api.post(&format!("/api/agents/{}/update", self.agent_id), &json!({}))?;
        let id = ordered["update_id"].as_str().context("no update id")?.to_owned();
        let path = format!("/api/v1/agents/{}/updates", self.agent_id);
        wait_for("an update's end", 2 * PATIENCE, || {
            let updates = self.api.get(&path).ok()?;
            let update = updates["items"].as_array()?.iter().find(|update| update["id"] == id.as_str())?;
            let is_over = update["status"].as_str().is_some_and(|status| UPDATE_ENDS.contains(&status));
            is_over.then(|| update.clone())
        })
    }

    fn runs_version(&self, version: &str) -> anyhow::Result<()> {
        let path = format!("/api/agents/{}", self.agent_id);
        wait_for(&format!("the agent to be {version}"), PATIENCE, || {
            (self.api.get(&path).ok()?["agent_version"] == version).then_some(())
        })
    }

    /// As `./dev dist --update-keys` does, into the folder where the server looks.
    fn publish(&self, version: &str, program: &[u8]) -> anyhow::Result<()> {
        let file = "gururmm-agent-windows-x86_64.exe";
        let dist = self.stack.folder().join(format!("dist-{version}"));
        fs::create_dir(&dist)?;
        fs::write(dist.join(file), program)?;
        let artefact = json!({ "file": file, "kind": "agent", "os": "windows", "arch": "x86_64", "version": version,
            "sha256": update_repository::sha256(program) });
        fs::write(dist.join("manifest.json"), json!({ "artefacts": [artefact] }).to_string())?;
        let repository = self.stack.data_dir().join("dist/updates");
        update_repository::publish_dist(&self.update_keys, &repository, &dist)
    }

    fn leaves_nothing(&mut self) -> anyhow::Result<()> {
        self.msiexec(&["/x", PACKAGES[2]])?;
        ensure!(self.wine.service_state(SERVICE)?.is_none(), "the service is still registered");
        expect_same(&self.before, &self.wine.inventory()?)
    }

    fn end(self) -> anyhow::Result<()> {
        drop(self.wine);
        self.stack.stop()
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.wine.path(&format!(r"{STATE}\log\agent.log"))).unwrap_or_default();
        last_lines(&log, 20)
    }

    fn start_service(&self) -> anyhow::Result<()> {
        self.wine.run(&["sc.exe", "start", SERVICE]).map(drop)
    }

    fn stops_in_time(&self) -> anyhow::Result<()> {
        let took = self.wine.stop_service(SERVICE)?;
        ensure!(took <= STOPS_WITHIN, "it took {took:?} to stop");
        let left = || self.wine.processes(&["gururmm-agent.exe"]).is_empty().then_some(());
        wait_for("the process's end", Duration::from_secs(2), left)
    }

    fn online(&self) -> anyhow::Result<()> {
        self.shows("online")
    }

    fn offline(&self) -> anyhow::Result<()> {
        self.shows("offline")
    }

    fn shows(&self, status: &str) -> anyhow::Result<()> {
        let path = format!("/api/agents/{}", self.agent_id);
        wait_for(&format!("the agent to be {status}"), PATIENCE, || {
            (self.api.get(&path).ok()?["status"] == status).then_some(())
        })
    }

    fn run(&self, kind: &str, command: &str) -> anyhow::Result<Value> {
        let id = self.order(kind, command)?;
        self.ended(&id)
    }

    fn start(&self, command: &str) -> anyhow::Result<String> {
        self.order("shell", command)
    }

    fn order(&self, kind: &str, command: &str) -> anyhow::Result<String> {
        let body = json!({ "command_type": kind, "command": command, "timeout_seconds": 120 });
        let answer = self.api.post(&format!("/api/agents/{}/command", self.agent_id), &body)?;
        Ok(answer["command_id"].as_str().context("no command id")?.to_owned())
    }

    fn ended(&self, id: &str) -> anyhow::Result<Value> {
        wait_for("a command's end", PATIENCE, || {
            let command = self.api.get(&format!("/api/commands/{id}")).ok()?;
            command["status"].as_str().is_some_and(|status| FINAL.contains(&status)).then_some(command)
        })
    }

    fn output(&self, id: &str, text: &str) -> anyhow::Result<()> {
        wait_for("a command's output", PATIENCE, || {
            let command = self.api.get(&format!("/api/commands/{id}")).ok()?;
            command["stdout"].as_str()?.contains(text).then_some(())
        })
    }
}

fn last_lines(text: &str, most: usize) -> String {
    let mut lines: Vec<_> = text.lines().rev().take(most).collect();
    lines.reverse();
    lines.join("\n")
}

/// The same program as another version: it stands in the file behind a mark.
fn as_version(mut program: Vec<u8>, version: &str) -> anyhow::Result<Vec<u8>> {
    const MARK: &[u8] = b"@(#)gururmm-agent ";
    let place =
        program.windows(MARK.len()).position(|bytes| bytes == MARK).context("the agent has no mark")?;
    let room = program.get_mut(place + MARK.len()..).context("the mark is the end")?;
    let length =
        room.iter().position(|byte| *byte == 0).context("the version has no end")?.max(version.len());
    let text = room.get_mut(..length).context("there is no room for the version")?;
    text.fill(0);
    text.iter_mut().zip(version.bytes()).for_each(|(place, byte)| *place = byte);
    Ok(program)
}

fn expect(ended: &Value, status: &str, exit_code: i64) -> anyhow::Result<()> {
    ensure!(
        ended["status"] == status && ended["exit_code"] == exit_code,
        "not {status} with {exit_code}: {ended}"
    );
    Ok(())
}

fn kill(pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
    ensure!(status.success(), "process {pid} cannot be killed");
    Ok(())
}
