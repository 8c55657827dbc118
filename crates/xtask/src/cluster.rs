//! A throwaway PostgreSQL: unix socket only, owned by an unprivileged user, durable where that is measured or tried.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};

/// PostgreSQL's oldest version that GuruRMM supports.
const OLDEST_VERSION: u32 = 15;

/// What is in a throwaway cluster is made again in a second.
const NOT_DURABLE: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off";

/// The name of the cluster's superuser.
const SUPERUSER: &str = "postgres";

/// A cluster in a folder of its own. It keeps running until [`Cluster::stop`].
pub struct Cluster {
    directory: PathBuf,
    binaries: PathBuf,
    run_as: Option<Account>,
}

#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Starts the cluster in `directory`, making it first where there is none.
    ///
    /// # Errors
    /// When PostgreSQL 15 or newer is not installed, or does not start.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(directory, NOT_DURABLE)
    }

    /// [`Cluster::start`], and what it says is committed survives a kill.
    ///
    /// # Errors
    /// When PostgreSQL 15 or newer is not installed, or does not start.
    pub fn start_durable(directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(directory, "")
    }

    fn start_with(directory: &Path, durability: &str) -> anyhow::Result<Self> {
        let cluster = Self::at(directory)?;
        if !cluster.data().join("PG_VERSION").exists() {
            cluster.initialise()?;
        }
        if !cluster.is_running()? {
            if cluster.is_zombie() {
                // PostgreSQL would take it for one that runs. Whoever is still attached keeps a new one from starting all the same.
                fs::remove_file(cluster.pid_file())?;
            }
            let settings = format!(
                "-c listen_addresses= -c unix_socket_directories={} -c max_connections=200 {durability}",
                cluster.directory.display()
            );
            let log = cluster.directory.join("log");
            cluster.run(
                cluster
                    .command("pg_ctl")
                    .args(["start", "--wait", "--silent", "--pgdata"])
                    .arg(cluster.data())
                    .arg("--log")
                    .arg(&log)
                    .args(["--options", &settings]),
            )?;
        }
        Ok(cluster)
    }

    /// Stops the cluster in `directory`, if it runs, and removes the folder.
    ///
    /// # Errors
    /// When the cluster does not stop or the folder cannot be removed.
    pub fn remove(directory: &Path) -> anyhow::Result<()> {
        let cluster = Self::at(directory)?;
        cluster.stop_if_running()?;
        fs::remove_dir_all(&cluster.directory)
            .with_context(|| format!("removing {}", cluster.directory.display()))
    }

    /// Stops the cluster, cutting off whoever is connected.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.run(
            self.command("pg_ctl")
                .args(["stop", "--wait", "--silent", "--mode", "immediate", "--pgdata"])
                .arg(self.data()),
        )
        .map(drop)
    }

    /// [`Cluster::stop`], where it runs.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop_if_running(&self) -> anyhow::Result<()> {
        if self.is_running()? { self.stop() } else { Ok(()) }
    }

    /// Drops the database where it exists and makes an empty one.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn recreate_database(&self, name: &str) -> anyhow::Result<()> {
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))?;
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))
    }

    /// Runs one statement as superuser.
    ///
    /// # Errors
    /// When PostgreSQL refuses it.
    pub fn sql(&self, database: &str, statement: &str) -> anyhow::Result<()> {
        self.run(self.psql(database).args(["--command", statement])).map(drop)
    }

    /// What one statement answers, as text without headings.
    ///
    /// # Errors
    /// When PostgreSQL refuses it.
    pub fn query(&self, database: &str, statement: &str) -> anyhow::Result<String> {
        let arguments = ["--tuples-only", "--no-align", "--command", statement];
        self.run(self.psql(database).args(arguments))?;
        Ok(fs::read_to_string(self.transcript())?.trim().to_owned())
    }

    /// Process id of the postmaster, as its file says.
    pub fn postmaster_pid(&self) -> Option<u32> {
        fs::read_to_string(self.pid_file()).ok()?.lines().next()?.trim().parse().ok()
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Whether the postmaster was killed and nobody has taken note: in a container there may be nobody who does.
    fn is_zombie(&self) -> bool {
        let Some(pid) = self.postmaster_pid() else { return false };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold blanks; the state is what follows it.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }

    /// Runs a file of statements as superuser, all in one transaction.
    ///
    /// # Errors
    /// When the file cannot be read or PostgreSQL refuses a statement.
    pub fn sql_file(&self, database: &str, file: &Path) -> anyhow::Result<()> {
        // By standard input: the unprivileged user need not be able to read the checkout.
        let input = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
        self.run(self.psql(database).arg("--single-transaction").stdin(input))
            .with_context(|| format!("applying {}", file.display()))
            .map(drop)
    }

    /// The address of a database here, as sqlx and libpq both read it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@localhost/{database}?host={}", self.directory.display())
    }

    fn at(directory: &Path) -> anyhow::Result<Self> {
        let binaries = newest_binaries()?;
        let run_as = is_root()?.then(unprivileged_account).transpose()?;
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let directory = directory.canonicalize()?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        if let Some(account) = run_as {
            chown(&directory, Some(account.uid), Some(account.gid))?;
        }
        Ok(Self { directory, binaries, run_as })
    }

    fn initialise(&self) -> anyhow::Result<()> {
        self.run(
            self.command("initdb")
                .args(["--auth", "trust", "--no-sync", "--locale", "C.UTF-8", "--username", SUPERUSER])
                .arg("--pgdata")
                .arg(self.data()),
        )
        .map(drop)
    }

    fn is_running(&self) -> anyhow::Result<bool> {
        if self.is_zombie() {
            return Ok(false);
        }
        let status = self.command("pg_ctl").arg("status").arg("--pgdata").arg(self.data()).output()?;
        Ok(status.status.success())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn transcript(&self) -> PathBuf {
        self.directory.join("transcript")
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.command("psql");
        command
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--username", SUPERUSER, "--host"])
            .arg(&self.directory)
            .args(["--dbname", database])
            // "NOTICE: … does not exist, skipping" is not news.
            .env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        // The folder the caller stands in may be closed to the unprivileged user.
        command.current_dir(&self.directory).stdin(Stdio::null());
        if let Some(account) = self.run_as {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn run(&self, command: &mut Command) -> anyhow::Result<Output> {
        let program = command.get_program().to_string_lossy().into_owned();
        // Files, not pipes: the postmaster inherits them and would hold a pipe open for ever.
        let transcript = self.transcript();
        let file = fs::File::create(&transcript)?;
        let output = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .output()
            .with_context(|| format!("starting {program}"))?;
        if !output.status.success() {
            bail!("{program} failed: {}", fs::read_to_string(&transcript).unwrap_or_default().trim());
        }
        Ok(output)
    }
}

/// The newest server binaries of Debian's and PGDG's layout.
fn newest_binaries() -> anyhow::Result<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, binaries)| binaries.join("initdb").exists())
        .max();
    match newest {
        Some((version, binaries)) if version >= OLDEST_VERSION => Ok(binaries),
        Some((version, _)) => bail!("PostgreSQL {version} is too old, {OLDEST_VERSION} or newer is needed"),
        None => bail!("PostgreSQL {OLDEST_VERSION} or newer is not installed (./dev test installs it)"),
    }
}

fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of one's own process entry is the effective user.
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// PostgreSQL refuses to run as root.
fn unprivileged_account() -> anyhow::Result<Account> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|wanted| {
            let mut fields = accounts
                .lines()
                .map(|line| line.split(':'))
                .find_map(|mut fields| (fields.next() == Some(*wanted)).then_some(fields))?;
            Some(Account { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
        .context("there is neither a user postgres nor a user nobody to run PostgreSQL as")
        .inspect(|account| debug_assert_ne!(account.uid, 0))
}

/// Whether `name` can stand in SQL and in an address without quoting.
///
/// # Errors
/// When it holds anything but lower-case letters, digits and underscores.
pub fn check_database_name(name: &str) -> anyhow::Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    ensure!(
        plain && !name.is_empty(),
        "a database name holds lower-case letters, digits and underscores only"
    );
    Ok(())
}
