//! What is known of an agent that ended without meaning to: reports, kept until the server has them.
//!
//! One that panics writes its own ([`report_panics`]). One that was killed cannot; the next one finds its [`Marker`].

mod hook;
mod marker;
#[cfg(test)]
mod tests;

pub use hook::report_panics;
pub use marker::Marker;

use crate::os;
use crate::state::{StateDir, write_atomic};
use gururmm_protocol::CrashId;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use gururmm_protocol::log::{CrashCause, CrashReport};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// The reports' folder in the state folder.
pub const CRASHES_DIR: &str = "crashes";
/// Reports kept at most. Beyond it the oldest but one goes: the first says how a series of crashes began, the newest
/// how it is now, and those between are mostly more of the same.
const MAX_KEPT: usize = 5;
/// A report that cannot be read, kept for a person; the newest one only.
const DAMAGED: &str = "damaged";

/// The reports of one state folder.
#[derive(Debug)]
pub struct Crashes {
    dir: PathBuf,
    /// Whether there are reports the agent has not looked at.
    has_news: AtomicBool,
}

/// One report's file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// The run whose end this tells; absent when the marker did not say, and for a panic the agent outlived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_id: Option<Uuid>,
    report: CrashReport,
}

impl Crashes {
    /// Looks into `state`. Nothing that is found there keeps the agent from starting.
    pub fn open(state: &StateDir) -> Self {
        if let Err(error) = state.sub_dir(CRASHES_DIR) {
            tracing::warn!(%error, "crash reports cannot be kept");
        }
        let crashes = Self { dir: state.file(CRASHES_DIR), has_news: AtomicBool::new(true) };
        crashes.remove_half_written();
        crashes
    }

    /// Whether [`Crashes::ids`] may have changed since this was asked. Does not look at the disk.
    pub fn take_news(&self) -> bool {
        self.has_news.swap(false, Ordering::Acquire)
    }

    /// All reports, the oldest first.
    pub fn ids(&self) -> Vec<CrashId> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let id = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let mut ids: Vec<_> = files.filter_map(|file| id(file.file_name().to_str()?)).collect();
        ids.sort_unstable();
        ids
    }

    /// A report, ready to be sent; `None` when it is gone, or damaged and put aside.
    pub fn read(&self, crash_id: CrashId) -> Option<CrashReport> {
        let mut report = self.read_stored(crash_id)?.report;
        report.clean();
        Some(report)
    }

    /// The server has the report.
    pub fn forget(&self, crash_id: CrashId) {
        match fs::remove_file(self.path(crash_id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%crash_id, %error, "a crash report cannot be removed");
            }
            _ => {}
        }
    }

    /// This run goes on after the panics it reported so far: they do not tell how it will end.
    pub fn outlived(&self, run_id: Uuid) {
        for crash_id in self.ids() {
            let stored = self.read_stored(crash_id).filter(|stored| stored.run_id == Some(run_id));
            if let Some(stored) = stored
                && let Err(error) = self.write(&Stored { run_id: None, ..stored })
            {
                tracing::warn!(%crash_id, %error, "a crash report cannot be written anew");
            }
        }
    }

    /// Whether there is a report of how this run ended.
    fn tells_of(&self, run_id: Uuid) -> bool {
        let mut stored = self.ids().into_iter().filter_map(|crash_id| self.read_stored(crash_id));
        stored.any(|stored| stored.run_id == Some(run_id))
    }

    /// Keeps a report. Logs nothing and never panics: the panic hook needs it.
    fn store(&self, stored: &Stored) -> io::Result<()> {
        let mut ids = self.ids();
        while ids.len() >= MAX_KEPT {
            let _ = fs::remove_file(self.path(ids.remove(1)));
        }
        self.write(stored)?;
        self.has_news.store(true, Ordering::Release);
        Ok(())
    }

    fn write(&self, stored: &Stored) -> io::Result<()> {
        write_atomic(&self.path(stored.report.crash_id), &serde_json::to_vec(stored)?)
    }

    fn read_stored(&self, crash_id: CrashId) -> Option<Stored> {
        let path = self.path(crash_id);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%crash_id, %error, "a crash report cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Stored>(&bytes) {
            Ok(stored) if stored.report.crash_id == crash_id => Some(stored),
            _ => {
                tracing::warn!(%crash_id, "a crash report is damaged and put aside");
                if let Err(error) = fs::rename(&path, self.dir.join(DAMAGED)) {
                    tracing::warn!(%error, "the damaged report cannot be put aside");
                }
                None
            }
        }
    }

    /// Leftovers of an agent that died while it wrote one.
    fn remove_half_written(&self) {
        for file in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|extension| extension == "new") {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn path(&self, crash_id: CrashId) -> PathBuf {
        self.dir.join(format!("{crash_id}.json"))
    }
}

/// A small file of the agent's own.
fn read_bounded(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    os::private_mode(&mut options);
    let mut bytes = Vec::new();
    options.open(path)?.take(MAX_CONTROL_FRAME_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
