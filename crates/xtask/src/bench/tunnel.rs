//! A session with a machine against OpenSSH on the same machine: how long a key takes to show, in a quiet session and in one
//! with a transfer that takes all it can, and how fast files go. Ours goes through the server, which records.

use super::{Row, percentile};
use crate::stack::{EMAIL, PASSWORD, Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::Args;
use gururmm_cli::api::Api;
use gururmm_cli::tunnel::{Channel, Incoming, Session};
use gururmm_protocol::tunnel::files::{OpenDownload, OpenUpload, UploadMessage};
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalSize};
use gururmm_protocol::tunnel::{ChannelEnd, Flags, OpenChannel, Opened};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What both shells run: every byte comes back at once, and nothing else does.
/// The word as it is typed is not the one that is said.
const ECHO: &str = r#"stty raw -echo; echo re""ady; exec cat"#;
/// Between two keys: more quickly than anybody types, and not so quickly that they meet.
const BETWEEN_KEYS: Duration = Duration::from_millis(4);
const READ_BYTES: usize = 256 * 1024;
const READY: &[u8] = b"ready";
/// Nothing that is waited for takes so long.
const AT_MOST: Duration = Duration::from_secs(20);

#[derive(Args)]
pub struct Options {
    /// Keys of one run
    #[arg(long, default_value_t = 500)]
    keys: usize,
    /// Size of the file, in MiB
    #[arg(long, default_value_t = 512)]
    mebibytes: u64,
    /// Where Debian's openssh-server is unpacked
    #[arg(long, default_value = "target/tools/sshd")]
    sshd: PathBuf,
    /// Runs, in turns with OpenSSH
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    // In memory where there is such a place: a disk is not what is measured.
    let memory = Path::new("/dev/shm");
    let files = match memory.is_dir() {
        true => memory.join(format!("gururmm-bench-{}", std::process::id())),
        false => folder.join("files"),
    };
    let mut stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    fs::create_dir_all(&files)?;
    let removed = Removed(files);
    let files = &removed.0;
    let source = files.join("source");
    fill(&source, options.mebibytes << 20)?;
    let admin = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    stack.add_agent(&admin)?;
    let agent = stack.agents()[0].id.parse().context("no id of an agent")?;
    let ca = stack.ca_file().map(fs::read_to_string).transpose()?;
    let token = admin.authorization().trim_start_matches("Bearer ").to_owned();
    let api = Api::new(&stack.url().parse()?, ca.as_deref())?.with_token(token)?;
    let ssh = Ssh::start(&root.join(&options.sshd), &folder.join("ssh"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let session = runtime.block_on(Session::open(&api, agent, None, None))?;
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    for _ in 0..options.runs.max(1) {
        ours.idle.add(runtime.block_on(our_echo(&session, options.keys, None))?);
        theirs.idle.add(ssh.echo(options.keys, None)?);
        ours.busy.add(runtime.block_on(our_echo(&session, options.keys, Some(&source)))?);
        theirs.busy.add(ssh.echo(options.keys, Some(&source))?);
        let copy = files.join("copy");
        ours.down.push(rate(&source, || runtime.block_on(our_download(&session, &source, &copy)))?);
        theirs.down.push(rate(&source, || {
            ssh.copy(&format!("bench:{}", source.display()), &copy.display().to_string())
        })?);
        ours.up.push(rate(&source, || runtime.block_on(our_upload(&session, &source, &copy)))?);
        theirs.up.push(rate(&source, || {
            ssh.copy(&source.display().to_string(), &format!("bench:{}", copy.display()))
        })?);
        anyhow::ensure!(digest(&source)? == digest(&copy)?, "the copy is another file");
    }
    runtime.block_on(session.close())?;
    drop(ssh);
    stack.stop()?;
    fs::remove_dir_all(folder)?;
    Ok(rows(&mut ours, &mut theirs))
}

fn rows(ours: &mut Figures, theirs: &mut Figures) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, goal, ours, theirs) in [
        ("key to echo, quiet, p50 (theirs: OpenSSH)", Some(1.5), &mut ours.idle.p50, &mut theirs.idle.p50),
        ("key to echo, quiet, p99", None, &mut ours.idle.p99, &mut theirs.idle.p99),
        ("key to echo, beside a download, p50", None, &mut ours.busy.p50, &mut theirs.busy.p50),
        ("key to echo, beside a download, p99", None, &mut ours.busy.p99, &mut theirs.busy.p99),
    ] {
        let (least, most) = (percentile(ours, 0.0), percentile(ours, 1.0));
        rows.push(Row::against(name, percentile(ours, 0.5), percentile(theirs, 0.5), "ms", goal));
        rows.push(Row::alone("  least and most of the runs: least", least, "ms", None));
        rows.push(Row::alone("  most", most, "ms", None));
    }
    let (quiet, busy) = (percentile(&mut ours.idle.p99, 0.5), percentile(&mut ours.busy.p99, 0.5));
    rows.push(Row::against(
        "key to echo, p99: beside a download (theirs: quiet)",
        busy,
        quiet,
        "ms",
        Some(2.0),
    ));
    for (name, ours, theirs) in [
        ("file from the machine", &mut ours.down, &mut theirs.down),
        ("file to the machine", &mut ours.up, &mut theirs.up),
    ] {
        let (mine, other) = (percentile(ours, 0.5), percentile(theirs, 0.5));
        let mut row =
            Row::against(format!("{name} (theirs: scp; at least half)"), mine, other, "MiB/s", None);
        (row.goal, row.ok) = (Some(0.5), mine >= 0.5 * other);
        rows.push(row);
        rows.push(Row::alone("  least and most of the runs: least", percentile(ours, 0.0), "MiB/s", None));
        rows.push(Row::alone("  most", percentile(ours, 1.0), "MiB/s", None));
    }
    rows
}

#[derive(Default)]
struct Figures {
    idle: Echo,
    busy: Echo,
    /// MiB per second.
    down: Vec<f64>,
    up: Vec<f64>,
}

/// Milliseconds, one of each per run.
#[derive(Default)]
struct Echo {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Echo {
    fn add(&mut self, mut times: Vec<f64>) {
        self.p50.push(percentile(&mut times, 0.5));
        self.p99.push(percentile(&mut times, 0.99));
    }
}

/// A folder that goes when this does.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file that no compression makes smaller.
fn fill(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = fs::File::create(path)?;
    let mut left = bytes;
    let mut block = vec![0_u8; 1 << 20];
    while left > 0 {
        rand::Rng::fill_bytes(&mut rand::rng(), &mut block);
        let piece = usize::try_from(left.min(block.len() as u64))?;
        file.write_all(&block[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

fn rate(file: &Path, copy: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let started = Instant::now();
    copy()?;
    Ok(fs::metadata(file)?.len() as f64 / f64::from(1 << 20) / started.elapsed().as_secs_f64())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let (mut file, mut buffer) = (fs::File::open(path)?, vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

/// Times of keys in a shell of the session, beside a download of this file in the same session, if there is one.
async fn our_echo(session: &Session, keys: usize, beside: Option<&Path>) -> anyhow::Result<Vec<f64>> {
    let open = OpenTerminal {
        shell: Some("/bin/sh".to_owned()),
        context: gururmm_protocol::command::RunContext::System,
        size: TerminalSize { columns: 80, rows: 24 },
    };
    let mut shell = session.channel(OpenChannel::Terminal(open), true).await?;
    opened(&mut shell).await?;
    let sender = shell.sender();
    let line = format!("{ECHO}\r");
    sender.data(0, line.as_bytes(), Flags::default()).await?;
    let mut shown = Vec::new();
    while !is_ready(&shown) {
        shown.extend(data(&mut shell).await?);
    }
    let download = async {
        let Some(path) = beside else { return std::future::pending().await };
        loop {
            drain_download(session, path, |_| Ok(())).await?;
        }
    };
    let typing = async {
        let (mut offset, mut times) = (line.len() as u64, Vec::with_capacity(keys));
        for _ in 0..keys {
            tokio::time::sleep(BETWEEN_KEYS).await;
            let pressed = Instant::now();
            sender.data(offset, b"k", Flags::default()).await?;
            offset += 1;
            let came = data(&mut shell).await?;
            times.push(pressed.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(came == b"k", "something else came back");
        }
        anyhow::Ok(times)
    };
    tokio::select! {
        times = typing => times,
        failed = download => failed,
    }
}

/// Whether a shell has said its word, and its line's end with it.
fn is_ready(shown: &[u8]) -> bool {
    shown.windows(READY.len()).any(|window| window == READY) && shown.ends_with(b"\n")
}

async fn opened(channel: &mut Channel) -> anyhow::Result<Opened> {
    match channel.next().await {
        Some(Incoming::Opened(opened)) => Ok(opened),
        other => anyhow::bail!("no channel: {other:?}"),
    }
}

async fn data(channel: &mut Channel) -> anyhow::Result<Vec<u8>> {
    loop {
        match timeout(AT_MOST, channel.next()).await.context("the shell says nothing")? {
            Some(Incoming::Data { bytes, .. }) => return Ok(bytes.to_vec()),
            Some(Incoming::Opened(_)) => {}
            other => anyhow::bail!("the shell ended: {other:?}"),
        }
    }
}

async fn drain_download(
    session: &Session,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<ChannelEnd> {
    let open =
        OpenDownload { path: path.display().to_string(), offset: 0, modified_ms: None, archive: false };
    let mut channel = session.channel(OpenChannel::Download(open), false).await?;
    opened(&mut channel).await?;
    loop {
        match channel.next().await {
            Some(Incoming::Data { bytes, .. }) => take(&bytes)?,
            Some(Incoming::End(ChannelEnd { error: None, sha256: Some(sha256), .. })) => {
                return Ok(ChannelEnd { sha256: Some(sha256), ..ChannelEnd::default() });
            }
            other => anyhow::bail!("the download ended: {other:?}"),
        }
    }
}

/// With its checksum compared, as the program does it.
async fn our_download(session: &Session, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (mut file, mut hash) = (fs::File::create(to)?, Sha256::new());
    let end = drain_download(session, from, |bytes| {
        hash.update(bytes);
        Ok(file.write_all(bytes)?)
    })
    .await?;
    anyhow::ensure!(end.sha256 == Some(hex::encode(hash.finalize())), "the checksum is another one");
    Ok(())
}

async fn our_upload(session: &Session, from: &Path, to: &Path) -> anyhow::Result<()> {
    let size = fs::metadata(from)?.len();
    let open = OpenUpload {
        path: to.display().to_string(),
        size,
        replace: true,
        resume_key: format!("bench-{}", rand::random::<u64>()),
    };
    let mut channel = session.channel(OpenChannel::Upload(open), false).await?;
    opened(&mut channel).await?;
    let sender = channel.sender();
    let (mut file, mut hash, mut buffer, mut offset) =
        (fs::File::open(from)?, Sha256::new(), vec![0; READ_BYTES], 0);
    let sending = async {
        loop {
            let bytes = file.read(&mut buffer)?;
            if bytes == 0 {
                break;
            }
            hash.update(&buffer[..bytes]);
            sender.data(offset, &buffer[..bytes], Flags::BULK).await?;
            offset += bytes as u64;
        }
        sender.message(&UploadMessage::Finish { sha256: hex::encode(hash.finalize()) }, Flags::BULK).await?;
        anyhow::Ok(())
    };
    let ending = async {
        loop {
            match channel.next().await {
                Some(Incoming::End(ChannelEnd { error: None, .. })) => return anyhow::Ok(()),
                Some(Incoming::Opened(_)) => {}
                other => anyhow::bail!("the upload ended: {other:?}"),
            }
        }
    };
    tokio::try_join!(sending, ending).map(drop)
}

/// Debian's sshd with keys of its own, and a connection that is shared.
struct Ssh {
    folder: PathBuf,
    port: u16,
    server: Child,
}

impl Ssh {
    fn start(unpacked: &Path, folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status()
                .context("no ssh-keygen: openssh-client is missing")?;
            anyhow::ensure!(made.success(), "ssh-keygen failed");
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized"))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let place = folder.display();
        let server_config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n\
             PidFile none\nUsePAM no\nPasswordAuthentication no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             Subsystem sftp internal-sftp\n"
        );
        fs::write(folder.join("sshd_config"), server_config)?;
        let client_config = format!(
            "Host bench\n HostName 127.0.0.1\n Port {port}\n IdentityFile {place}/user\n IdentitiesOnly yes\n\
             UserKnownHostsFile {place}/known\n StrictHostKeyChecking accept-new\n LogLevel ERROR\n Compression no\n\
             ControlMaster auto\n ControlPath {place}/control\n ControlPersist 60\n"
        );
        fs::write(folder.join("ssh_config"), client_config)?;
        // Where it drops its rights; the package makes it when its service starts, and here it does not.
        fs::create_dir_all("/run/sshd").context("cannot make /run/sshd: run as root")?;
        let log =
            fs::OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("sshd.log"))?;
        let server = Command::new(unpacked.join("usr/sbin/sshd"))
            .env("LD_LIBRARY_PATH", unpacked.join("usr/lib/x86_64-linux-gnu"))
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stderr(log)
            .spawn()
            .context("no sshd: run ./dev bench tunnel, which unpacks it")?;
        let this = Self { folder: folder.to_owned(), port, server };
        wait_for("sshd", Duration::from_secs(10), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, this.port)).ok()
        })?;
        Ok(this)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.folder.join("ssh_config"));
        command
    }

    /// Times of keys in a shell, beside a transfer of this file in the same connection, if there is one.
    fn echo(&self, keys: usize, beside: Option<&Path>) -> anyhow::Result<Vec<f64>> {
        let mut shell =
            Shell::start(self.command("ssh").args(["-tt", "bench", "sh", "-c", &format!("'{ECHO}'")]))?;
        let mut shown = Vec::new();
        while !is_ready(&shown) {
            shown.extend(shell.read()?);
        }
        let mut beside = match beside {
            None => None,
            Some(path) => {
                let endless = format!("while cat {}; do :; done", path.display());
                Some(Running(
                    self.command("ssh")
                        .args(["bench", &endless])
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .spawn()?,
                ))
            }
        };
        let mut times = Vec::with_capacity(keys);
        for _ in 0..keys {
            std::thread::sleep(BETWEEN_KEYS);
            let pressed = Instant::now();
            shell.input.write_all(b"k")?;
            let came = shell.read()?;
            times.push(pressed.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(came == b"k", "something else came back: {came:?}");
        }
        if let Some(Running(transfer)) = &mut beside {
            anyhow::ensure!(transfer.try_wait()?.is_none(), "the transfer of ssh ended by itself");
        }
        Ok(times)
    }

    fn copy(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let copied = self.command("scp").arg("-q").arg(from).arg(to).status()?;
        anyhow::ensure!(copied.success(), "scp failed");
        Ok(())
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.command("ssh").args(["-O", "exit", "bench"]).stderr(Stdio::null()).status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Shell {
    _process: Running,
    input: ChildStdin,
    output: ChildStdout,
}

impl Shell {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (input, output) = pipes.context("ssh has no pipes")?;
        Ok(Self { _process: Running(process), input, output })
    }

    fn read(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut buffer = [0; 4 * 1024];
        let bytes = self.output.read(&mut buffer)?;
        anyhow::ensure!(bytes > 0, "the shell of ssh ended");
        Ok(buffer[..bytes].to_vec())
    }
}
