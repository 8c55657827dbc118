//! Files of a machine.

use super::agents::printable;
use super::{SessionOptions, say};
use crate::api::Api;
use crate::tunnel::{Channel, Gone, Incoming, Session, State};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use gururmm_protocol::tunnel::files::{
    Entry, EntryKind, FileAnswer, FileRequest, OpenDownload, OpenUpload, UploadMessage,
};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, Flags, OpenChannel, Opened};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Read and sent at once.
const READ_BYTES: usize = 256 * 1024;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    session: SessionOptions,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// What is in a folder; without a path: where one can begin
    Ls { path: Option<String> },
    /// Fetch a file; one that was cut goes on where it was
    Get {
        path: String,
        /// Here; the file's own name when absent
        to: Option<PathBuf>,
    },
    /// Send a file; one that was cut goes on where it was
    Put {
        file: PathBuf,
        /// There, with the file's name
        path: String,
        /// Replace what is there
        #[arg(long)]
        replace: bool,
    },
    /// Make a folder
    Mkdir { path: String },
    /// Give another name or place; never replaces what is there
    Mv { from: String, to: String },
    /// Copy; never replaces what is there
    Cp { from: String, to: String },
    /// Delete
    Rm {
        path: String,
        /// A folder with all in it
        #[arg(long, short)]
        recursive: bool,
    },
}

pub async fn run(api: &Api, options: Options) -> anyhow::Result<ExitCode> {
    let session = options.session.open(api).await?;
    let done = act(&session, options.action).await;
    // The session may be a page's too, with shells in it: it is left open, and ends by itself when nobody is in it.
    drop(session);
    done.map(|()| ExitCode::SUCCESS)
}

async fn act(session: &Session, action: Action) -> anyhow::Result<()> {
    let request = match action {
        Action::Get { path, to } => return get(session, path, to).await,
        Action::Put { file, path, replace } => return put(session, &file, path, replace).await,
        Action::Ls { path: None } => FileRequest::Places {},
        Action::Ls { path: Some(path) } => FileRequest::List { path },
        Action::Mkdir { path } => FileRequest::MakeFolder { path },
        Action::Mv { from, to } => FileRequest::Rename { from, to },
        Action::Cp { from, to } => FileRequest::Copy { from, to },
        Action::Rm { path, recursive } => FileRequest::Delete { path, recursive },
    };
    let mut channel = session.channel(OpenChannel::Files {}, false).await?;
    opened(&mut channel).await?;
    channel.sender().message(&Request { id: 1, request }, Flags::default()).await?;
    loop {
        let answer = match channel.next().await {
            Some(Incoming::Message(bytes)) => serde_json::from_slice::<Response<FileAnswer>>(&bytes)?.answer,
            Some(Incoming::End(end)) => return finished(end).map(drop),
            Some(_) => continue,
            None => return Err(Gone.into()),
        };
        match answer {
            Answer::Part(FileAnswer::Entries { entries }) => entries.iter().for_each(list),
            Answer::Reply(FileAnswer::Places { places }) => {
                places.iter().for_each(|place| {
                    say(format_args!("{}  ({})", printable(&place.path), printable(&place.label)))
                });
                return Ok(());
            }
            Answer::Reply(_) => return Ok(()),
            Answer::Part(_) => {}
            Answer::Error(error) => return Err(error.into()),
        }
    }
}

fn list(entry: &Entry) {
    let kind = match entry.kind {
        EntryKind::File => '-',
        EntryKind::Folder => 'd',
        EntryKind::Link => 'l',
        EntryKind::Other => '?',
    };
    let mode = entry.mode.map(|mode| format!("{mode:04o}")).unwrap_or_default();
    let owner = printable(entry.owner.as_deref().unwrap_or_default());
    let target =
        entry.target.as_deref().map(|target| format!(" -> {}", printable(target))).unwrap_or_default();
    say(format_args!("{kind} {mode:4} {owner:12} {:>14} {}{target}", entry.size, printable(&entry.name)));
}

/// Waits until the channel stands.
async fn opened(channel: &mut Channel) -> anyhow::Result<Opened> {
    match channel.next().await {
        Some(Incoming::Opened(opened)) => Ok(opened),
        Some(Incoming::End(end)) => Err(end.error.map_or_else(|| Gone.into(), Into::into)),
        _ => Err(Gone.into()),
    }
}

fn finished(end: ChannelEnd) -> anyhow::Result<ChannelEnd> {
    match end.error {
        Some(error) => Err(error.into()),
        None => Ok(end),
    }
}

/// The name that ends a path of any system; none that leads elsewhere.
fn name_of(path: &str) -> anyhow::Result<&str> {
    let name = path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    anyhow::ensure!(!matches!(name, "" | "." | ".."), "{path} names no file: say where it is to go");
    Ok(name)
}

async fn get(session: &Session, path: String, to: Option<PathBuf>) -> anyhow::Result<()> {
    let to = match to {
        Some(to) if to.is_dir() => to.join(name_of(&path)?),
        Some(to) => to,
        None => PathBuf::from(name_of(&path)?),
    };
    anyhow::ensure!(!to.exists(), "{} is there already", to.display());
    let draft = beside(&to, "part");
    let mut file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(&draft)
        .with_context(|| format!("cannot write {}", draft.display()))?;
    let mut modified_ms = None;
    loop {
        let offset = file.seek(SeekFrom::End(0))?;
        let open = OpenDownload { path: path.clone(), offset, modified_ms, archive: false };
        let mut channel = session.channel(OpenChannel::Download(open), false).await?;
        let facts = match opened(&mut channel).await {
            Ok(facts) => facts,
            Err(error) if is_conflict(&error) || offset > 0 && modified_ms.is_none() => {
                // What was fetched before is of another file: from the beginning.
                file.set_len(0)?;
                modified_ms = None;
                anyhow::ensure!(offset > 0, error);
                continue;
            }
            Err(error) => return Err(error),
        };
        modified_ms = facts.modified_ms;
        let end = loop {
            match channel.next().await {
                Some(Incoming::Data { bytes, .. }) => file.write_all(&bytes)?,
                Some(Incoming::End(end)) => break end,
                Some(_) => {}
                None => return Err(Gone.into()),
            }
        };
        if end.error.as_ref().is_some_and(|error| error.code == ErrorCode::Closed) {
            // The link was lost: the next one goes on.
            wait_until_ready(session).await?;
            continue;
        }
        let end = finished(end)?;
        file.sync_all()?;
        let sha256 = digest(&draft).await?;
        if end.sha256.as_deref() != Some(sha256.as_str()) {
            std::fs::remove_file(&draft)?;
            anyhow::bail!("what arrived is not what was sent; it is removed");
        }
        std::fs::rename(&draft, &to)?;
        say(format_args!("[OK] {} bytes in {}, sha256 {sha256}", end.size.unwrap_or_default(), to.display()));
        return Ok(());
    }
}

async fn put(session: &Session, from: &Path, path: String, replace: bool) -> anyhow::Result<()> {
    let mut file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let facts = file.metadata()?;
    anyhow::ensure!(facts.is_file(), "{} is no file", from.display());
    let size = facts.len();
    let sha256 = digest(from).await?;
    // The same bytes to the same place are the same transfer, also another day.
    let resume_key = sha256.clone();
    loop {
        let open = OpenUpload { path: path.clone(), size, replace, resume_key: resume_key.clone() };
        let mut channel = session.channel(OpenChannel::Upload(open), false).await?;
        let mut offset = opened(&mut channel).await?.received;
        file.seek(SeekFrom::Start(offset))?;
        let sender = channel.sender();
        let sending = async {
            let mut buffer = vec![0; READ_BYTES];
            while offset < size {
                let bytes = file.read(&mut buffer)?;
                anyhow::ensure!(bytes > 0, "{} became shorter", from.display());
                sender.data(offset, &buffer[..bytes], Flags::BULK).await?;
                offset += bytes as u64;
            }
            sender.message(&UploadMessage::Finish { sha256: sha256.clone() }, Flags::BULK).await?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        let ending = async {
            loop {
                match channel.next().await {
                    Some(Incoming::End(end)) => return end,
                    Some(_) => {}
                    None => return ChannelEnd::from(closed()),
                }
            }
        };
        let end = tokio::select! {
            // The machine's word goes before what its word made fail here.
            biased;
            end = ending => end,
            failed = sending => match failed {
                Err(error) if error.is::<Gone>() => closed().into(),
                failed => return failed,
            },
        };
        if end.error.as_ref().is_some_and(|error| error.code == ErrorCode::Closed) {
            wait_until_ready(session).await?;
            continue;
        }
        finished(end)?;
        say(format_args!("[OK] {size} bytes in {}, sha256 {sha256}", printable(&path)));
        return Ok(());
    }
}

fn closed() -> ChannelError {
    ChannelError::new(ErrorCode::Closed, "the link was lost")
}

async fn wait_until_ready(session: &Session) -> anyhow::Result<()> {
    let mut state = session.state();
    let now = state
        .wait_for(|state| !matches!(state, State::Waiting))
        .await
        .map_err(|_driver_is_gone| Gone)?
        .clone();
    match now {
        State::Over(why) => anyhow::bail!("{why}"),
        _ => Ok(()),
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ChannelError>().is_some_and(|error| error.code == ErrorCode::Conflict)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Beside everything else: the session goes on meanwhile.
async fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let hashing = tokio::task::spawn_blocking(move || {
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex::encode(hash.finalize())),
                bytes => hash.update(&buffer[..bytes]),
            }
        }
    });
    hashing.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_path_of_any_system_leads_nowhere_else() {
        assert_eq!(name_of("/srv/data/report.pdf").unwrap(), "report.pdf");
        assert_eq!(name_of(r"C:\Users\tessa\report.pdf").unwrap(), "report.pdf");
        assert_eq!(name_of("/srv/data/").unwrap(), "data");
        for bad in ["/", "", "/srv/..", r"C:\.."] {
            assert!(name_of(bad).is_err(), "{bad}");
        }
    }
}
