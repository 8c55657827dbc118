//! A Windows of Wine's own, made anew and thrown away: nobody's own Wine is touched.

use crate::stack::wait_for;
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the service manager counts the services it has started.
const COUNT_OF_STARTS: &str = r"HKEY_LOCAL_MACHINE\System\CurrentControlSet\Control\ServiceCurrent";
/// Where Windows Installer keeps what it knows of all packages: it makes these at its first package and leaves them, empty.
const OF_WINDOWS_INSTALLER: [&str; 9] = [
    r"Classes\Installer",
    r"Classes\Installer\Features",
    r"Classes\Installer\Products",
    r"Classes\Installer\UpgradeCodes",
    r"CurrentVersion\Installer\UpgradeCodes",
    r"CurrentVersion\Installer\UserData",
    r"CurrentVersion\Installer\UserData\S-1-5-18",
    r"CurrentVersion\Installer\UserData\S-1-5-18\Components",
    r"CurrentVersion\Installer\UserData\S-1-5-18\Products",
];
/// And its folder for copies of them.
const FOLDER_OF_WINDOWS_INSTALLER: &str = "windows/Installer";
/// Longest a program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Windows, with one program in it that keeps it up, as a signed-in user would.
pub struct Wine {
    program: PathBuf,
    folder: PathBuf,
    session: Option<Child>,
}

/// What is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    files: BTreeSet<String>,
    /// Keys with their values.
    registry: BTreeMap<String, String>,
}

impl Wine {
    /// Makes it in `folder`, with the library that this Wine lacks.
    pub fn make(program: &Path, folder: &Path, library: &Path) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder.join("home"))?;
        let mut wine = Self { program: program.to_owned(), folder: folder.to_owned(), session: None };
        wine.run(&["wineboot", "--init"])?;
        fs::copy(library, wine.path(r"C:\windows\system32").join("bcryptprimitives.dll"))?;
        // The first start is for setting up; services run properly from the second on.
        wine.server("-w")?;
        let session = wine.command(&["cmd.exe"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        wine.session = Some(session);
        Ok(wine)
    }

    /// Where a path of it is on this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join("prefix/drive_c").join(path.trim_start_matches(r"C:\").replace('\\', "/"))
    }

    /// Runs a program to its end, which must be a good one; answers what it printed.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_within(PATIENCE, arguments)
    }

    /// The same, of one that may take that long.
    pub fn run_within(&self, patience: Duration, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.end_of(patience, arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{arguments:?} failed: {text}{}", self.said()?);
        Ok(text)
    }

    /// Runs a program to its end.
    pub fn try_run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.end_of(PATIENCE, arguments)
    }

    fn end_of(&self, patience: Duration, arguments: &[&str]) -> anyhow::Result<Output> {
        // Not by a pipe, which what the program leaves running would hold open.
        let out = self.folder.join("stdout");
        let mut child = self.command(arguments).stdin(Stdio::null()).stdout(File::create(&out)?).spawn()?;
        let ended =
            wait_for(&format!("the end of {arguments:?}"), patience, || child.try_wait().ok().flatten());
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        Ok(Output { status: ended?, stdout: fs::read(out)?, stderr: Vec::new() })
    }

    /// What programs said on standard error, the newest of it.
    pub fn said(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string(self.folder.join("stderr.log")).unwrap_or_default();
        Ok(text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    /// Numbers of the processes whose command line holds all of these words.
    pub fn processes(&self, words: &[&str]) -> Vec<u32> {
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // Wine's own folder names the run, so that another run's processes are not meant.
        let own = format!("WINEPREFIX={}", self.folder.join("prefix").display());
        numbers
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                words.iter().all(|word| line.contains(word))
                    && environment.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes())
            })
            .collect()
    }

    /// The state of a service as `sc query` names it; `None` where there is no such service.
    pub fn service_state(&self, name: &str) -> anyhow::Result<Option<String>> {
        let text = String::from_utf8_lossy(&self.try_run(&["sc.exe", "query", name])?.stdout).into_owned();
        let state = text.lines().find_map(|line| line.trim().strip_prefix("STATE"));
        Ok(state.and_then(|state| state.split_whitespace().last()).map(str::to_owned))
    }

    /// Asks a service to stop, and answers how long it took.
    pub fn stop_service(&self, name: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.run(&["sc.exe", "stop", name])?;
        wait_for("the service's end", PATIENCE, || {
            (self.service_state(name).ok()?.as_deref() == Some("STOPPED")).then_some(())
        })?;
        Ok(begun.elapsed())
    }

    /// Everything that is there now.
    pub fn inventory(&self) -> anyhow::Result<Inventory> {
        let mut files = BTreeSet::new();
        let root = self.path(r"C:\");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)?.flatten() {
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
                files.insert(entry.path().strip_prefix(&root)?.display().to_string());
            }
        }
        let mut registry = BTreeMap::new();
        for hive in [r"HKLM\Software", r"HKLM\System", "HKCU"] {
            let file = self.folder.join("registry.reg");
            let exported = format!("Z:{}", file.display().to_string().replace('/', "\\"));
            self.run(&["reg.exe", "export", hive, &exported, "/y"])?;
            registry.extend(parse_registry(&read_utf16(&file)?));
            fs::remove_file(file)?;
        }
        registry.remove(COUNT_OF_STARTS);
        registry.retain(|key, values| !is_empty_of_windows_installer(key, values));
        files.remove(FOLDER_OF_WINDOWS_INSTALLER);
        Ok(Inventory { files, registry })
    }

    /// Has this Windows, and no other, end (`-k`), or waits until it has ended (`-w`).
    fn server(&self, what: &str) -> anyhow::Result<()> {
        let server = self.program.with_file_name("wineserver64");
        let server = if server.exists() { server } else { self.program.with_file_name("wineserver") };
        Command::new(server)
            .arg(what)
            .env("WINEPREFIX", self.folder.join("prefix"))
            .stderr(Stdio::null())
            .status()?;
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("WINEPREFIX", self.folder.join("prefix"))
            .env("WINEARCH", "win64")
            .env("WINEDEBUG", "-all")
            // Wine links its users' folders to the home of whoever runs it.
            .env("HOME", self.folder.join("home"))
            .env_remove("DISPLAY");
        let log = File::options().create(true).append(true).open(self.folder.join("stderr.log"));
        command.stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            let _ = session.kill();
            let _ = session.wait();
        }
        let _ = self.server("-k");
    }
}

impl Inventory {
    /// What is in one and not, or otherwise, in the other.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let files = self.files.symmetric_difference(&other.files).map(|file| format!("file {file}"));
        let keys: BTreeSet<_> = self.registry.keys().chain(other.registry.keys()).collect();
        let keys = keys.into_iter().filter(|key| self.registry.get(*key) != other.registry.get(*key));
        files.chain(keys.map(|key| format!("registry {key}"))).collect()
    }
}

fn is_empty_of_windows_installer(key: &str, values: &str) -> bool {
    values.trim().is_empty() && OF_WINDOWS_INSTALLER.iter().any(|own| key.ends_with(&format!(r"\{own}")))
}

fn read_utf16(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path)?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).context("an export of the registry is not UTF-16")
}

/// `[key]`, then its values, up to the next key.
fn parse_registry(text: &str) -> BTreeMap<String, String> {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(key) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = key.to_owned();
            keys.entry(current.clone()).or_default();
        } else if let Some(values) = keys.get_mut(&current) {
            values.push_str(line);
            values.push('\n');
        }
    }
    keys
}

/// Fails with everything that is different.
pub fn expect_same(before: &Inventory, after: &Inventory) -> anyhow::Result<()> {
    let differences = before.differences(after);
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{} things are left:\n{}", differences.len(), differences.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(files: &[&str], registry: &str) -> Inventory {
        Inventory {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            registry: parse_registry(registry),
        }
    }

    #[test]
    fn of_windows_installers_own_only_what_is_empty_may_stay() {
        let products = r"HKEY_LOCAL_MACHINE\Software\Classes\Installer\Products";
        assert!(is_empty_of_windows_installer(products, "\n"));
        assert!(!is_empty_of_windows_installer(products, "\"x\"=\"1\"\n"));
        assert!(!is_empty_of_windows_installer(&format!(r"{products}\0123"), "\n"));
    }

    #[test]
    fn a_file_a_key_and_a_value_that_are_left_are_named() {
        let before = inventory(&["a"], "[HKLM\\A]\n\"x\"=\"1\"\n");
        assert!(expect_same(&before, &before).is_ok());
        let after = inventory(&["a", "b"], "[HKLM\\A]\n\"x\"=\"2\"\n\n[HKLM\\B]\n");
        assert_eq!(before.differences(&after), ["file b", "registry HKLM\\A", "registry HKLM\\B"]);
    }
}
