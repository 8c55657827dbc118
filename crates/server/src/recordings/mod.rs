//! Recordings of techs' sessions with machines: what was typed and shown, and what was done in the other channels. Written
//! while it happens, encrypted, in a hash chain; read by a partner's owners and admins, each reading audited.

mod cast;
mod expiry;
mod happening;
pub mod http;
mod lines;
mod objects;
mod observer;
mod read;
mod recorder;
mod records;
mod s3;
mod seal;
pub(crate) mod store;

pub use expiry::{JOB as EXPIRY, keep as keep_expiry};
pub use happening::Happening;
pub use objects::{Listed, ObjectError, Objects};
pub use recorder::{Recorder, RecordingFailed};
pub use seal::{Place, unseal};

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::ReadRecordings;
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use gururmm_protocol::tunnel::LiveChannel;
use read::Summary;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Folder of the data folder that recordings lie in where nothing else is said.
pub const FOLDER: &str = "recordings";
/// Matching lines that a list shows of each recording.
const MATCHES_SHOWN: i64 = 3;
/// Words of a search.
const MAX_WORDS: usize = 8;

/// How recordings are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// A folder or a bucket ([`Objects::open`]); `None`: [`FOLDER`] in the data folder.
    pub place: Option<String>,
    /// A file that the heads of chains are written into, somewhere that whoever reaches this server does not.
    pub anchor: Option<PathBuf>,
    /// After how long what was recorded is written.
    pub write_every: Duration,
    /// How long a store or a database that fails is tried again before the session ends.
    pub write_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            place: None,
            anchor: None,
            write_every: Duration::from_secs(5),
            write_within: Duration::from_secs(10),
        }
    }
}

/// Where they are kept, for whoever writes and reads them.
#[derive(Debug)]
pub struct Recordings {
    pub options: Options,
    pub objects: Objects,
    /// The heads that were anchored last, in the store and in the file.
    pub(crate) anchored: Mutex<crate::chain::Anchored>,
}

impl Recordings {
    /// Opens the store.
    pub fn open(options: Options, data_dir: &Path) -> anyhow::Result<Self> {
        let objects = match &options.place {
            Some(place) => Objects::open(place)?,
            None => Objects::folder(&data_dir.join(FOLDER))?,
        };
        Ok(Self { options, objects, anchored: Mutex::default() })
    }

    /// The same for the command line, which makes no folder: where there is none, nothing was recorded.
    pub fn open_existing(options: Options, data_dir: &Path) -> anyhow::Result<Self> {
        let is_bucket = options.place.as_deref().is_some_and(|place| place.contains("://"));
        let folder = options.place.as_ref().map_or_else(|| data_dir.join(FOLDER), PathBuf::from);
        if is_bucket || folder.is_dir() {
            return Self::open(options, data_dir);
        }
        Ok(Self { options, objects: Objects::empty(), anchored: Mutex::default() })
    }
}

/// Whose session with which machine.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    pub tunnel_id: Uuid,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub agent_id: Uuid,
    pub hostname: String,
    pub tech_id: Uuid,
    pub tech_name: String,
}

impl SessionFacts {
    /// As the chain says them: what the table of recordings says is held against it.
    fn detail(&self) -> Value {
        json!({
            "client_id": self.client_id,
            "site_id": self.site_id,
            "agent_id": self.agent_id,
            "hostname": self.hostname,
            "tech_id": self.tech_id,
            "tech_name": self.tech_name,
        })
    }
}

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToMachine,
    FromMachine,
}

/// Something about the session itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The machine has the session, with these channels from before.
    Ready { channels: Vec<LiveChannel> },
    /// The machine refused it.
    Refused { reason: &'static str },
    /// The machine's link is lost; what was open waits.
    AgentLost,
    /// The tech's page or program is there.
    TechJoined,
    /// It is gone; what was open waits.
    TechLeft,
    /// The session is over: `closed_by_tech`, `idle`, …
    Closed { reason: &'static str },
}

words! {
    /// What becomes of a recording past retention.
    Afterwards {
        /// Its objects stay where they are; nobody sees them here.
        Archive = "archive",
        /// Its objects are removed.
        Delete = "delete",
    }
}

/// A recorded session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Recording {
    pub session_id: Uuid,
    /// The machine, with the name and the place that it had.
    pub agent_id: Uuid,
    pub hostname: String,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub tech_id: Uuid,
    pub tech_name: String,
    pub started_at: DateTime<Utc>,
    /// When something was written last.
    pub last_at: DateTime<Utc>,
    /// Null while the session goes on.
    pub ended_at: Option<DateTime<Utc>>,
    pub segments: i32,
    /// As stored: compressed and encrypted.
    pub bytes: i64,
    /// What was opened: `terminal`, `files`, …
    pub kinds: Vec<String>,
    /// Of a search: the first lines that match.
    pub matches: Vec<Matched>,
}

/// A typed line that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Matched {
    pub channel: i64,
    /// Milliseconds since the recording began.
    pub at_ms: i64,
    pub line: String,
}

/// Which recordings.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecordingFilter {
    /// Of this machine.
    pub agent_id: Option<Uuid>,
    /// Of this person.
    pub tech_id: Option<Uuid>,
    /// Not over before this time.
    pub from: Option<DateTime<Utc>>,
    /// Begun before this time.
    pub to: Option<DateTime<Utc>>,
    /// Words of a line that was typed, at most eight; each may be the beginning of a longer one.
    #[param(max_length = 254)]
    pub q: Option<String>,
}

/// A recorded session with what is in it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingDetail {
    #[serde(flatten)]
    pub recording: Recording,
    pub channels: Vec<ChannelFacts>,
    /// Lines that were entered in terminals, in order.
    pub commands: Vec<Command>,
    /// What is known to be missing.
    pub gaps: Vec<Gap>,
    /// Where it breaks off.
    pub cut_offs: Vec<CutOff>,
    /// The pieces it is stored in.
    pub parts: Vec<SegmentFacts>,
    /// There are more channels, commands, gaps or parts than are shown here.
    pub is_cut: bool,
}

/// A channel of a recording.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChannelFacts {
    pub channel: i64,
    pub kind: String,
    /// For people: a shell, a path, an address.
    pub label: String,
    /// Milliseconds since the recording began.
    pub from_ms: i64,
    /// Null while it is open, or where its end was not recorded.
    pub to_ms: Option<i64>,
    /// Of a terminal: whether there is a cast of it.
    pub has_cast: bool,
}

/// A line that was entered.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = RecordedCommand)]
pub struct Command {
    pub channel: i64,
    /// Milliseconds since the recording began.
    pub at_ms: i64,
    /// Null: it was not shown while it was typed, as passwords are.
    pub line: Option<String>,
    /// False: keys were pressed that do more than type, so the shell may have run something else.
    pub is_exact: bool,
}

/// Bytes that passed and are not in the recording.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Gap {
    pub channel: i64,
    /// Milliseconds since the recording began.
    pub at_ms: i64,
    pub from_machine: bool,
    pub bytes: u64,
}

/// A server that recorded was killed, or could not write any more: what passed in the seconds after is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CutOff {
    /// Where what it had written ends, in milliseconds since the recording began.
    pub at_ms: i64,
}

/// A piece that a recording is stored in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SegmentFacts {
    pub number: i32,
    pub from_ms: i64,
    pub to_ms: i64,
    /// As stored.
    pub bytes: i64,
    /// Of the object as stored, in hex.
    pub sha256: String,
    /// Which recorder wrote it; absent of those from before that was said.
    #[serde(skip)]
    pub recorder: Option<Uuid>,
    #[serde(skip)]
    pub object: String,
    /// Channels that something of is in it; `None`: too many to say.
    #[serde(skip)]
    pub channels: Option<Vec<u32>>,
}

/// A segment's entry in the chain.
pub struct SegmentRow {
    pub number: i32,
    pub detail: Value,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RecordedEvent {
    /// Milliseconds since the recording began.
    pub at_ms: i64,
    /// 0: the session itself.
    pub channel: i64,
    pub event: Happening,
}

/// One page of what happened.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordedEvents {
    pub items: Vec<RecordedEvent>,
    /// To be sent as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// One page of recordings, the newest first. That someone looks is an entry of the audit log, once an hour; what someone
/// searches for is one each time.
pub async fn list(
    app: &App,
    scope: &Scope<ReadRecordings>,
    filter: &RecordingFilter,
    page: &PageQuery,
) -> Result<Page<Recording>, Error> {
    let (limit, before) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let words = filter.q.as_deref().filter(|q| !q.trim().is_empty()).map(query).transpose()?;
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx, filter, words.as_deref()).await?;
    let mut recordings = store::list(&mut tx, None, filter, words.as_deref(), before, limit + 1).await?;
    let tenant = tx.tenant()?;
    match &words {
        None => tx.audit_read(Entry::new("recording.list", "partner", tenant)).await?,
        Some(words) => {
            let ids: Vec<Uuid> = recordings.iter().map(|recording| recording.session_id).collect();
            for (id, matched) in store::matches(&mut tx, &ids, words, MATCHES_SHOWN).await? {
                let recording = recordings.iter_mut().find(|recording| recording.session_id == id);
                recording.into_iter().for_each(|recording| recording.matches.push(matched.clone()));
            }
            let detail = json!({ "q": filter.q, "agent_id": filter.agent_id, "tech_id": filter.tech_id });
            tx.audit(Entry::new("recording.search", "partner", tenant).with(detail)).await?;
        }
    }
    tx.commit().await?;
    Page::of(recordings, limit, total, |recording| (recording.started_at, recording.session_id))
}

/// A recording with what is in it.
pub async fn get(
    app: &App,
    scope: &Scope<ReadRecordings>,
    session_id: Uuid,
) -> Result<RecordingDetail, Error> {
    let recording = look(app, scope, session_id).await?;
    let Summary { channels, commands, gaps, cut_offs, parts, is_cut } =
        read::summary(app, scope, &recording, Utc::now()).await?;
    Ok(RecordingDetail { recording, channels, commands, gaps, cut_offs, parts, is_cut })
}

/// One page of what happened in a session beside the bytes of terminals, in order.
pub async fn events(
    app: &App,
    scope: &Scope<ReadRecordings>,
    session_id: Uuid,
    channel: Option<u32>,
    page: &PageQuery,
) -> Result<RecordedEvents, Error> {
    let (limit, after) = (page.limit()?, page.after::<(i32, usize)>()?);
    look(app, scope, session_id).await?;
    read::events(app, scope, session_id, channel, after, usize::try_from(limit).map_err(Error::internal)?)
        .await
}

/// A recording that may be seen; that someone looks into it is an entry of the audit log, once an hour.
async fn look(app: &App, scope: &Scope<ReadRecordings>, session_id: Uuid) -> Result<Recording, Error> {
    let mut tx = app.db.begin(scope).await?;
    let recording = store::get(&mut tx, session_id).await?.ok_or_else(Error::not_found)?;
    let detail = json!({ "agent_id": recording.agent_id, "tech_id": recording.tech_id });
    let entry = Entry::new("recording.read", "tunnel", session_id).named(&recording.hostname).with(detail);
    tx.audit_read(entry).await?;
    tx.commit().await?;
    Ok(recording)
}

/// Empties a partner's index, within the transaction that switches it off.
pub async fn empty_index<P>(tx: &mut Tx<P>) -> Result<(), Error> {
    store::empty_index(tx).await
}

/// A query of PostgreSQL's: all words, each from its beginning.
fn query(q: &str) -> Result<String, Error> {
    let words: Vec<String> = q
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| format!("{}:*", word.to_lowercase()))
        .collect();
    if words.is_empty() || words.len() > MAX_WORDS {
        let detail = format!("q must have 1 to {MAX_WORDS} words of letters and digits");
        return Err(Error::with_detail(Code::InvalidQuery, detail));
    }
    Ok(words.join(" & "))
}

/// Where the objects of a recording lie.
fn folder_of(tenant: Uuid, recording: Uuid) -> String {
    format!("{}/{recording}", folder_of_partner(tenant))
}

/// Where the objects of a partner's recordings lie.
pub(crate) fn folder_of_partner(tenant: Uuid) -> String {
    format!("sessions/{tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_words_and_nothing_else() {
        assert_eq!(query("systemctl  Restart nginx").unwrap(), "systemctl:* & restart:* & nginx:*");
        assert_eq!(query("/etc/nginx").unwrap(), "etc:* & nginx:*");
        assert_eq!(query("a:* | !b").unwrap(), "a:* & b:*");
        for wrong in ["--", "a b c d e f g h i"] {
            assert_eq!(query(wrong).unwrap_err().code(), Code::InvalidQuery, "{wrong}");
        }
    }
}
