//! `admin backup`.

use crate::backup;
use crate::cli::{DataArgs, print};
use crate::recordings::FOLDER;
use crate::served::Served;
use clap::{Args, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write a backup into a folder of backups, while the server runs or not.
    Make(MakeArgs),
    /// Read a backup through: whether it is whole and undamaged.
    Check(FromArgs),
    /// Bring a backup into a new data folder, or with a database URL into that empty database.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub struct MakeArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The folder of backups; each becomes a folder in it, named after the time. It holds the keys: guard it like them.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Remove the oldest backups there beyond this number, once the new one is whole.
    #[arg(long, value_name = "NUMBER")]
    keep: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub struct FromArgs {
    /// One backup: a folder that `admin backup make` wrote.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    from: FromArgs,
}

pub(super) async fn run(command: BackupCommand) -> anyhow::Result<()> {
    match command {
        BackupCommand::Make(args) => {
            // Opened as a server does: what is kept belongs to these keys, and is of this version.
            let database = super::open(&args.data).await?;
            let made = backup::make(&args.data.data_dir, &database, &args.to, args.keep).await;
            database.close().await?;
            let made = made?;
            print(&format!("[OK] {} ({} MB)", made.folder.display(), made.bytes.div_ceil(1_000_000)))?;
            let place = Served::last(&args.data.data_dir).and_then(|served| served.recordings);
            let place = place.unwrap_or_else(|| args.data.data_dir.join(FOLDER).display().to_string());
            print(&format!("[INFO] recordings of sessions are not in it: {place}"))?;
            made.removed.iter().try_for_each(|old| print(&format!("[INFO] removed {}", old.display())))
        }
        BackupCommand::Check(FromArgs { from }) => {
            let manifest = backup::check(&from).await?;
            print(&format!(
                "[OK] whole and undamaged: version {}, made {}",
                manifest.version, manifest.made_at
            ))
        }
        BackupCommand::Restore(RestoreArgs { data, from }) => {
            let manifest = backup::restore(&from.from, &data.data_dir, data.database_url).await?;
            print(&format!("[OK] restored into {} as of {}", data.data_dir.display(), manifest.made_at))
        }
    }
}
