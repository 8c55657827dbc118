//! Samples and gaps on disk: a redb file that is there only while something is kept in it.
//!
//! Made when the first sample has waited too long for its acknowledgement, removed when the last one is acknowledged:
//! an agent whose server answers has no file, and none of the library's memory. Every change is one transaction that is on
//! disk when [`Store::run`] returns. Nothing here fails for good: what goes wrong is answered with [`Done::Failed`], and
//! the next job tries again.

use crate::os;
use crate::state::{StateDir, StateError, remove_all, sync_parent};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::GapId;
use gururmm_protocol::gap::{Gap, GapReason};
use gururmm_protocol::metrics::Sample;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The store's folder in the state folder.
pub const OUTBOX_DIR: &str = "outbox";
/// How large the file may grow.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// How many sixteenths of the file samples may take. The library makes a file that is full twice as large, and changes
/// nothing in place, so that the rest is its own.
const SIXTEENTHS: u64 = 7;
/// The library's pages. What is larger than one gets two, four, eight of them.
const PAGE_BYTES: usize = 4096;
/// What a page and an entry take for themselves.
const OVERHEAD_BYTES: usize = 64;
/// The library's cache, which by itself would take a gigabyte.
const CACHE_BYTES: usize = 256 * 1024;

const FILE: &str = "samples.redb";
const NEW: &str = "samples.redb.new";
/// Where a file goes that cannot be read; the one before it goes then.
const UNREADABLE: &str = "samples.redb.unreadable";

/// Grows when an older agent could not read what this one writes.
const FORMAT: u64 = 1;
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// By sequence.
const SAMPLES: TableDefinition<u64, &[u8]> = TableDefinition::new("samples");
/// By the gap's id.
const GAPS: TableDefinition<u128, &[u8]> = TableDefinition::new("gaps");
/// By how many milliseconds the clock of a run was wrong that took samples before it knew the server's, by run.
const SHIFTS: TableDefinition<u64, i64> = TableDefinition::new("shifts");

/// A sample is kept as a digest of what follows, its run, and its JSON.
const DIGEST_BYTES: usize = 8;
const RUN_BYTES: usize = 8;
/// The run of samples whose time is the server's.
const NO_RUN: u64 = 0;

/// What is to be done on disk.
#[derive(Debug)]
pub enum Job {
    /// Write and remove, in one transaction.
    Save(Box<Save>),
    /// Read samples in their order.
    Read {
        /// Those behind this sequence.
        after: u64,
        /// This many.
        most: usize,
    },
}

/// One transaction.
#[derive(Debug, Default)]
pub struct Save {
    /// To be kept.
    pub samples: Vec<Kept>,
    /// Sequences that the server has.
    pub delete: Vec<u64>,
    /// To be kept, in place of what is there of them.
    pub gaps: Vec<Gap>,
    /// Gaps that the server has.
    pub forget: Vec<GapId>,
    /// The gap that takes what has no room; a new one when there is none.
    pub overflowing: Option<Gap>,
    /// Sequences that are on their way to the server: these are not dropped, whether or not there is room.
    pub on_their_way: Vec<u64>,
    /// By how much the clock of this run was wrong before it knew the server's.
    pub shift: Option<TimeDelta>,
}

/// A sample to be kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its sequence.
    pub seq: u64,
    /// Whether its time is the server's.
    pub is_stamped: bool,
    /// The sample.
    pub sample: Sample,
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// It is on disk.
    Saved {
        /// Samples that are there now.
        left: u64,
        /// The last sequence that is there.
        last_seq: u64,
        /// The gap that took what had no room.
        overflowed: Option<Gap>,
    },
    /// What was read.
    Read {
        /// Behind which sequence.
        after: u64,
        /// In their order.
        samples: Vec<(u64, Sample)>,
        /// Sequences of what is no sample any more.
        damaged: Vec<u64>,
        /// About when those were taken.
        damaged_at: DateTime<Utc>,
        /// Whether there is nothing behind these.
        is_end: bool,
    },
    /// Nothing was done.
    Failed {
        /// In which way.
        reason: GapReason,
        /// What the system said.
        error: String,
        /// What was lost by it.
        lost: Option<Gap>,
    },
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub struct Found {
    /// The first sequence of this run, above all that were used before.
    pub first_seq: u64,
    /// The last sequence that is kept.
    pub last_seq: u64,
    /// How many samples are kept.
    pub left: u64,
    /// Gaps that are kept.
    pub gaps: Vec<Gap>,
    /// What was lost.
    pub lost: Option<Gap>,
    /// Why it is not known yet what is kept.
    pub trouble: Option<(GapReason, String)>,
}

/// The store of one state folder.
#[derive(Debug)]
pub struct Store {
    state: StateDir,
    run: u64,
    shift: TimeDelta,
    most_bytes: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    db: Database,
    samples: u64,
    bytes: u64,
    last_seq: u64,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    /// What is there is damaged, or of a newer format.
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) if is_damage(&error) => Self::Unreadable(error.to_string()),
            redb::Error::Io(error) => Self::Io(error),
            error @ (redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => Self::Unreadable(error.to_string()),
            error => Self::Io(io::Error::other(error)),
        }
    }
}

/// Whether the library's word says that the file is not what it was.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Whether the disk cannot read the file any more. The same error of a write says nothing about what is there.
fn is_lost(error: &io::Error, path: &Path) -> bool {
    let read = || File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    os::is_unreadable(error) && read().is_err_and(|error| os::is_unreadable(&error))
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

impl Store {
    /// Opens what an earlier run left in `state`, if it left anything. Sequences begin at `first_seq`, or behind the last one
    /// that is kept. Never fails: without a disk the agent works from memory.
    pub fn open(state: &StateDir, first_seq: u64, max_file_bytes: u64) -> (Self, Found) {
        let most_bytes = max_file_bytes / 16 * SIXTEENTHS;
        let mut store =
            Self { state: state.clone(), run: first_seq, shift: TimeDelta::zero(), most_bytes, open: None };
        let mut found = Found { first_seq, ..Found::default() };
        match store.guarded(Self::find) {
            Ok((last_seq, left, gaps)) => {
                (found.last_seq, found.left, found.gaps) = (last_seq, left, gaps);
                found.first_seq = first_seq.max(last_seq.saturating_add(1));
                store.run = found.first_seq;
            }
            Err(error) => {
                if let Done::Failed { reason, error, lost } = store.failed(error) {
                    found.trouble = lost.is_none().then_some((reason, error));
                    found.lost = lost;
                }
            }
        }
        (store, found)
    }

    /// Does a job, and waits for the disk.
    pub fn run(&mut self, job: &Job) -> Done {
        let done = self.guarded(|store| match job {
            Job::Save(save) => store.save(save),
            Job::Read { after, most } => store.read(*after, *most),
        });
        done.unwrap_or_else(|error| self.failed(error))
    }

    /// The library is made to survive what a disk may hold; where it does not, the file is as good as damaged.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(|| work(self)))
            .unwrap_or_else(|_| Err(StoreError::Unreadable("the library gave up on it".to_owned())))
    }

    fn find(&mut self) -> Result<(u64, u64, Vec<Gap>), StoreError> {
        let Some(open) = self.opened()? else { return Ok((0, 0, Vec::new())) };
        let (last_seq, left) = (open.last_seq, open.samples);
        let read = open.db.begin_read()?;
        let mut gaps = Vec::new();
        for entry in read.open_table(GAPS)?.iter()? {
            // One that cannot be read is no reason to lose the others.
            gaps.extend(serde_json::from_slice::<Gap>(entry?.1.value()).ok());
        }
        Ok((last_seq, left, gaps))
    }

    /// The file, opened; `None` when there is none.
    fn opened(&mut self) -> Result<Option<&mut Open>, StoreError> {
        if self.open.is_none() {
            let path = self.path(FILE);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
                Ok(metadata) if !metadata.is_file() => {
                    return Err(StoreError::Unreadable("it is not a plain file".to_owned()));
                }
                Ok(_) => self.open = Some(Open::existing(&path)?),
            }
        }
        Ok(self.open.as_mut())
    }

    fn opened_or_made(&mut self) -> Result<&mut Open, StoreError> {
        if self.opened()?.is_none() {
            self.state.sub_dir(OUTBOX_DIR)?;
            let (new, path) = (self.path(NEW), self.path(FILE));
            // Under its name there is only a whole one, so that half a file is always damage.
            let made = remove_all(&new).map_err(StoreError::from).and_then(|()| make(&new));
            let made = made.and_then(|()| Ok(fs::rename(&new, &path).and_then(|()| sync_parent(&path))?));
            if let Err(error) = made {
                let _ = fs::remove_file(&new);
                return Err(error);
            }
            self.open = Some(Open::existing(&path)?);
        }
        self.open.as_mut().ok_or_else(|| StoreError::Io(io::ErrorKind::NotFound.into()))
    }

    fn save(&mut self, save: &Save) -> Result<Done, StoreError> {
        self.shift = save.shift.unwrap_or(self.shift);
        let (run, shift_ms, most_bytes) = (self.run, self.shift.num_milliseconds(), self.most_bytes);
        let has_news = !save.samples.is_empty() || !save.gaps.is_empty();
        let open = match self.opened()? {
            None if !has_news => return Ok(Done::Saved { left: 0, last_seq: 0, overflowed: None }),
            _ => self.opened_or_made()?,
        };
        let (mut count, mut bytes, mut last_seq) = (open.samples, open.bytes, open.last_seq);
        let mut overflow = Overflow { gap: save.overflowing.clone(), is_grown: false };
        let write = open.db.begin_write()?;
        let gaps_left = {
            let mut samples = write.open_table(SAMPLES)?;
            for seq in &save.delete {
                if let Some(entry) = samples.remove(seq)? {
                    (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(cost(entry.value())));
                }
            }
            for kept in &save.samples {
                let entry = encode(kept, run)?;
                bytes = bytes.saturating_add(cost(&entry));
                last_seq = last_seq.max(kept.seq);
                match samples.insert(kept.seq, entry.as_slice())? {
                    Some(before) => bytes = bytes.saturating_sub(cost(before.value())),
                    None => count += 1,
                }
            }
            while bytes > most_bytes {
                let Some((seq, entry)) = oldest(&samples, &save.on_their_way)? else { break };
                samples.remove(seq)?;
                (count, bytes) = (count.saturating_sub(1), bytes.saturating_sub(cost(&entry)));
                let taken_at = decode(seq, &entry).map_or_else(Utc::now, |(_, sample)| sample.taken_at);
                overflow.take(taken_at);
            }
            let mut gaps = write.open_table(GAPS)?;
            for gap_id in &save.forget {
                gaps.remove(gap_id.0.as_u128())?;
            }
            for gap in save.gaps.iter().chain(overflow.gap.iter().filter(|_| overflow.is_grown)) {
                let entry = serde_json::to_vec(gap).map_err(io::Error::other)?;
                gaps.insert(gap.gap_id.0.as_u128(), entry.as_slice())?;
            }
            if save.shift.is_some() {
                write.open_table(SHIFTS)?.insert(run, shift_ms)?;
            }
            gaps.len()?
        };
        if count == 0 && gaps_left == 0 {
            drop(write);
            self.open = None;
            remove_all(&self.path(FILE))?;
        } else {
            write.commit()?;
            (open.samples, open.bytes, open.last_seq) = (count, bytes, last_seq);
        }
        Ok(Done::Saved { left: count, last_seq, overflowed: overflow.gap.filter(|_| overflow.is_grown) })
    }

    fn read(&mut self, after: u64, most: usize) -> Result<Done, StoreError> {
        let (own_run, own_shift) = (self.run, self.shift);
        let (mut samples, mut damaged, mut is_end) = (Vec::new(), Vec::new(), true);
        let mut damaged_at = modified(&self.path(FILE));
        if let Some(open) = self.opened()? {
            let read = open.db.begin_read()?;
            let shifts = read.open_table(SHIFTS)?;
            let table = read.open_table(SAMPLES)?;
            for entry in table.range(after.saturating_add(1)..)? {
                if samples.len() + damaged.len() == most {
                    is_end = false;
                    break;
                }
                let (seq, entry) = entry?;
                let seq = seq.value();
                let Some((run, mut sample)) = decode(seq, entry.value()) else {
                    damaged.push(seq);
                    continue;
                };
                let shift = match shifts.get(run)? {
                    _ if run == NO_RUN => TimeDelta::zero(),
                    Some(shift) => TimeDelta::milliseconds(shift.value()),
                    None if run == own_run => own_shift,
                    None => TimeDelta::zero(),
                };
                sample.taken_at = sample.taken_at.checked_add_signed(shift).unwrap_or(sample.taken_at);
                damaged_at = sample.taken_at;
                samples.push((seq, sample));
            }
        }
        Ok(Done::Read { after, samples, damaged, damaged_at, is_end })
    }

    /// Closes the file, so that the next job begins anew; one that cannot be read is set aside.
    fn failed(&mut self, error: StoreError) -> Done {
        let open = self.open.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
        let reason = match &error {
            StoreError::Unreadable(_) => GapReason::StoreUnreadable,
            StoreError::Io(error) if is_lost(error, &self.path(FILE)) => GapReason::StoreUnreadable,
            StoreError::Io(error) => reason_of(error),
            StoreError::State(StateError::Io { source, .. }) => reason_of(source),
            StoreError::State(_) => GapReason::StoreFailed,
        };
        let error = with_causes(&error);
        let lost = (reason == GapReason::StoreUnreadable).then(|| self.set_aside(&error)).flatten();
        Done::Failed { reason, error, lost }
    }

    /// What is lost by it; `None` where it stays, and may be read another time.
    fn set_aside(&self, error: &str) -> Option<Gap> {
        let (path, aside) = (self.path(FILE), self.path(UNREADABLE));
        // What is in it waited before it was made.
        let (from, to) = (created(&path) - super::WRITE_AFTER, modified(&path));
        if let Err(error) = remove_all(&aside).and_then(|()| fs::rename(&path, &aside)) {
            tracing::error!(%error, file = %path.display(), "a damaged outbox cannot be set aside");
            return None;
        }
        tracing::error!(error, aside = %aside.display(), "the outbox cannot be read; it is set aside");
        Some(Gap {
            gap_id: GapId::new(),
            from: from.min(to),
            to,
            count: None,
            reason: GapReason::StoreUnreadable,
            error: Some(error.to_owned()),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state.file(OUTBOX_DIR).join(name)
    }
}

impl Open {
    fn existing(path: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let db = database(path, &mut options)?;
        let (mut samples, mut bytes, mut last_seq) = (0, 0_u64, 0);
        {
            let read = db.begin_read()?;
            let format = match read.open_table(META) {
                Ok(meta) => meta.get(FORMAT_KEY)?.map(|format| format.value()),
                Err(TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(error.into()),
            };
            if format != Some(FORMAT) {
                let format = format.map_or_else(|| "unknown".to_owned(), |format| format.to_string());
                return Err(StoreError::Unreadable(format!("it is of the format {format}, not {FORMAT}")));
            }
            for entry in read.open_table(SAMPLES)?.iter()? {
                let (seq, entry) = entry?;
                (samples, bytes, last_seq) =
                    (samples + 1, bytes.saturating_add(cost(entry.value())), seq.value());
            }
        }
        Ok(Self { db, samples, bytes, last_seq })
    }
}

/// A new store without anything in it.
fn make(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    let db = database(path, &mut options)?;
    let write = db.begin_write()?;
    write.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    write.open_table(SAMPLES)?;
    write.open_table(GAPS)?;
    write.open_table(SHIFTS)?;
    write.commit()?;
    db.close()?;
    Ok(())
}

fn database(path: &Path, options: &mut OpenOptions) -> Result<Database, StoreError> {
    os::private_mode(options);
    let file: File = options.open(path)?;
    let mut builder = Database::builder();
    // What is damaged has to be found here, where it is an error.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

/// The first sample that is not on its way.
fn oldest(
    samples: &redb::Table<'_, u64, &'static [u8]>,
    on_their_way: &[u64],
) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    for entry in samples.iter()? {
        let (seq, entry) = entry?;
        if !on_their_way.contains(&seq.value()) {
            return Ok(Some((seq.value(), entry.value().to_vec())));
        }
    }
    Ok(None)
}

/// The gap of what has no room.
struct Overflow {
    gap: Option<Gap>,
    is_grown: bool,
}

impl Overflow {
    fn take(&mut self, taken_at: DateTime<Utc>) {
        self.is_grown = true;
        let gap = self.gap.get_or_insert_with(|| Gap {
            gap_id: GapId::new(),
            from: taken_at,
            to: taken_at,
            count: Some(0),
            reason: GapReason::OutboxFull,
            error: None,
        });
        (gap.from, gap.to) = (gap.from.min(taken_at), gap.to.max(taken_at));
        gap.count = gap.count.map(|count| count.saturating_add(1));
    }
}

fn encode(kept: &Kept, run: u64) -> Result<Vec<u8>, StoreError> {
    let run = if kept.is_stamped { NO_RUN } else { run };
    let mut entry = vec![0; DIGEST_BYTES];
    entry.extend(run.to_le_bytes());
    serde_json::to_writer(&mut entry, &kept.sample).map_err(io::Error::other)?;
    let (head, body) = entry.split_at_mut(DIGEST_BYTES);
    head.copy_from_slice(&digest(kept.seq, body));
    Ok(entry)
}

/// Run and sample of an entry; `None` when it is not what was written.
fn decode(seq: u64, entry: &[u8]) -> Option<(u64, Sample)> {
    let (head, body) = entry.split_at_checked(DIGEST_BYTES)?;
    if head != digest(seq, body) {
        return None;
    }
    let (run, sample) = body.split_at_checked(RUN_BYTES)?;
    Some((u64::from_le_bytes(run.try_into().ok()?), serde_json::from_slice(sample).ok()?))
}

fn digest(seq: u64, body: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&seq.to_le_bytes());
    context.update(body);
    let whole = context.finish();
    let mut digest = [0; DIGEST_BYTES];
    digest.iter_mut().zip(whole.as_ref()).for_each(|(byte, from)| *byte = *from);
    digest
}

/// What an entry takes of the file.
fn cost(entry: &[u8]) -> u64 {
    let bytes = entry.len().saturating_add(OVERHEAD_BYTES);
    let bytes = match bytes {
        // Pages that hold several are half full at least.
        _ if bytes <= PAGE_BYTES / 2 => bytes * 2,
        _ => bytes.div_ceil(PAGE_BYTES).next_power_of_two().saturating_mul(PAGE_BYTES),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn reason_of(error: &io::Error) -> GapReason {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            GapReason::DiskFull
        }
        _ => GapReason::StoreFailed,
    }
}

fn with_causes(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn modified(path: &Path) -> DateTime<Utc> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).map_or_else(|_| Utc::now(), DateTime::from)
}

/// Not every file system knows.
fn created(path: &Path) -> DateTime<Utc> {
    fs::metadata(path).and_then(|metadata| metadata.created()).map_or_else(|_| modified(path), DateTime::from)
}
