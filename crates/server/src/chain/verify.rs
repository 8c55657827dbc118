//! Holds chains, tables, objects and anchors against each other.

use super::store::{self, RecordingLink, RecordingRow};
use super::walk::Walk;
use super::{AUDIT, Anchor, Head, RECORDINGS, anchor};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::error::Error;
use crate::http::RequestInfo;
use crate::recordings::{self, Listed, ObjectError, Place};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Names this work.
const REASON: &str = "verify audit";
/// Entries read at a time.
const BATCH: i64 = 5_000;
/// Objects read at a time.
const OBJECTS_AT_A_TIME: usize = 8;

/// What is looked at.
#[derive(Debug, Default)]
pub struct What {
    /// One partner's alone.
    pub tenant: Option<Uuid>,
    /// Anchors that were kept elsewhere.
    pub anchors: Vec<Anchor>,
    /// Leave the object store alone.
    pub without_objects: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    pub chains: u64,
    pub entries: u64,
    pub objects: u64,
    pub anchors: u64,
    /// What does not fit, a sentence each. None: all is as it was written.
    pub findings: Vec<String>,
    /// What is worth knowing and nobody's doing.
    pub notes: Vec<String>,
}

/// Verifies everything.
///
/// # Errors
/// The database or the object store could not be read.
pub async fn verify(app: &App, what: What) -> Result<Report, Error> {
    let What { tenant: only, mut anchors, without_objects } = what;
    let mut report = Report::default();
    if !without_objects {
        anchors.extend(stored_anchors(app, &mut report).await?);
    }
    let forged = anchors.iter().filter(|anchor| !anchor.is_ours(&app.keys));
    report.findings.extend(forged.map(|anchor| {
        let Anchor { at, chain, seq, .. } = anchor;
        format!("the anchor of entry {seq} ({chain}) of {at} was not written by this installation")
    }));
    anchors.retain(|anchor| anchor.is_ours(&app.keys) && only.is_none_or(|only| only == anchor.tenant));
    report.anchors = anchors.len() as u64;
    let mut tenants: BTreeSet<Uuid> = app.db.list_tenants().await?.into_iter().collect();
    tenants.insert(Uuid::nil());
    tenants.extend(app.db.chain_heads().await?.into_iter().map(|head| head.tenant));
    tenants.extend(anchors.iter().map(|anchor| anchor.tenant));
    for tenant in tenants.into_iter().filter(|tenant| only.is_none_or(|only| only == *tenant)) {
        Partner { app, tenant, anchors: &anchors }.verify(without_objects, &mut report).await?;
    }
    Ok(report)
}

async fn stored_anchors(app: &App, report: &mut Report) -> Result<Vec<Anchor>, Error> {
    let mut anchors = Vec::new();
    let objects = &app.recordings.objects;
    for Listed { path, .. } in objects.list(anchor::FOLDER).await.map_err(Error::internal)? {
        let bytes = match objects.get(&path).await {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound) => continue,
            Err(error) => return Err(Error::internal(error)),
        };
        let (read, others) = anchor::read(&String::from_utf8_lossy(&bytes));
        anchors.extend(read);
        report.findings.extend(others.iter().map(|line| format!("line {line} of {path} is no anchor")));
    }
    Ok(anchors)
}

/// One partner's chains.
struct Partner<'a> {
    app: &'a App,
    tenant: Uuid,
    anchors: &'a [Anchor],
}

/// A recording, as its chain tells.
#[derive(Debug, Default)]
struct Told {
    /// What its opening says of it.
    opened: Option<Value>,
    segments: i32,
    is_archived: bool,
    is_removed: bool,
}

/// A segment, as its chain tells.
struct Segment {
    recording: Uuid,
    number: i32,
    object: String,
    sha256: String,
}

impl<'a> Partner<'a> {
    async fn verify(&self, without_objects: bool, report: &mut Report) -> Result<(), Error> {
        let started_at = Utc::now();
        self.audit(report).await?;
        if self.tenant.is_nil() {
            return Ok(());
        }
        let (told, segments) = self.recordings(report).await?;
        self.table(&told, started_at, report).await?;
        if !without_objects {
            self.objects(&told, &segments, report).await?;
        }
        Ok(())
    }

    fn scope(&self) -> Scope<System> {
        match self.tenant.is_nil() {
            true => Scope::platform(REASON, RequestInfo::default()),
            false => Scope::system(REASON, self.tenant),
        }
    }

    fn walk(&self, chain: &str) -> Walk<'a> {
        let (tenant, chain) = (self.tenant, chain.to_owned());
        let of = if tenant.is_nil() { "the platform".to_owned() } else { format!("partner {tenant}") };
        let name = if chain == AUDIT { "the audit log" } else { "the chain of recordings" };
        let anchors = self.anchors.iter();
        Walk::new(
            format!("{name} of {of}"),
            anchors.filter(move |anchor| anchor.tenant == tenant && anchor.chain == chain),
        )
    }

    async fn head(&self, chain: &str) -> Result<Option<Head>, Error> {
        let heads = self.app.db.chain_heads().await?;
        Ok(heads.into_iter().find(|head| head.chain == chain && head.tenant == self.tenant))
    }

    async fn audit(&self, report: &mut Report) -> Result<(), Error> {
        let mut walk = self.walk(AUDIT);
        let head = loop {
            let before = walk.last_seq();
            loop {
                let mut tx = self.app.db.begin(&self.scope()).await?;
                let links = store::audit(&mut tx, self.tenant, walk.last_seq(), BATCH).await?;
                links.iter().for_each(|link| walk.step(link, &mut report.findings));
                if links.is_empty() {
                    break;
                }
            }
            // A server that runs writes on: what it wrote meanwhile is looked at, too.
            let head = self.head(AUDIT).await?;
            if walk.last_seq() == before || head.as_ref().is_none_or(|head| head.seq <= walk.last_seq()) {
                break head;
            }
        };
        finish(&walk, head.as_ref(), report);
        Ok(())
    }

    async fn recordings(&self, report: &mut Report) -> Result<(HashMap<Uuid, Told>, Vec<Segment>), Error> {
        let mut walk = self.walk(RECORDINGS);
        let (mut told, mut segments) = (HashMap::new(), Vec::new());
        let head = loop {
            let before = walk.last_seq();
            loop {
                let mut tx = self.app.db.begin(&self.scope()).await?;
                let links = store::recordings(&mut tx, self.tenant, walk.last_seq(), BATCH).await?;
                for link in &links {
                    walk.step(&link.link, &mut report.findings);
                    tell(link, &mut told, &mut segments, &mut report.findings);
                }
                if links.is_empty() {
                    break;
                }
            }
            let head = self.head(RECORDINGS).await?;
            if walk.last_seq() == before || head.as_ref().is_none_or(|head| head.seq <= walk.last_seq()) {
                break head;
            }
        };
        finish(&walk, head.as_ref(), report);
        Ok((told, segments))
    }

    /// The table that people see recordings by, against the chain.
    async fn table(
        &self,
        told: &HashMap<Uuid, Told>,
        started_at: DateTime<Utc>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let mut after = Uuid::nil();
        loop {
            let mut tx = self.app.db.begin(&self.scope()).await?;
            let rows = store::recording_rows(&mut tx, self.tenant, after, BATCH).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            for row in rows {
                match told.get(&row.id) {
                    Some(told) => compare(&row, told, &mut report.findings),
                    // Begun since the chain was read.
                    None if began_since(row.id, started_at) => {}
                    None => {
                        let id = row.id;
                        report
                            .findings
                            .push(format!("recording {id} is listed, and its chain does not know it"));
                    }
                }
                seen.insert(row.id);
            }
        }
        let gone = told.keys().filter(|id| !seen.contains(id));
        report.findings.extend(gone.map(|id| format!("recording {id} is not listed any more")));
        Ok(())
    }

    async fn objects(
        &self,
        told: &HashMap<Uuid, Told>,
        segments: &[Segment],
        report: &mut Report,
    ) -> Result<(), Error> {
        let is_kept = |segment: &&Segment| told.get(&segment.recording).is_none_or(|told| !told.is_removed);
        let mut reading = stream::iter(segments.iter().filter(is_kept).map(|segment| self.object(segment)))
            .buffer_unordered(OBJECTS_AT_A_TIME);
        while let Some(read) = reading.next().await {
            report.objects += 1;
            report.findings.extend(read?);
        }
        let known: BTreeSet<&str> = segments.iter().map(|segment| segment.object.as_str()).collect();
        let folder = recordings::folder_of_partner(self.tenant);
        let listed = self.app.recordings.objects.list(&folder).await.map_err(Error::internal)?;
        for Listed { path, .. } in listed.iter().filter(|listed| !known.contains(listed.path.as_str())) {
            if self.is_written_here(path).await? {
                report.notes.push(format!("{path} was written, and not entered into the chain in time"));
            } else {
                report.findings.push(format!("{path} was put there by somebody else"));
            }
        }
        Ok(())
    }

    /// What is wrong with an object, if anything.
    async fn object(&self, segment: &Segment) -> Result<Option<String>, Error> {
        let Segment { recording, number, object, sha256 } = segment;
        let what = format!("segment {number} of recording {recording}");
        match self.app.recordings.objects.get(object).await {
            Ok(bytes) if hex::encode(Sha256::digest(&bytes)) == *sha256 => {
                let place = Place { tenant: self.tenant, recording: *recording, number: *number };
                let opened = recordings::unseal(&self.app.keys, place, &bytes);
                Ok(opened.err().map(|_| format!("{what} does not open with this installation's keys")))
            }
            Ok(_) | Err(ObjectError::TooLarge) => Ok(Some(format!("{what} was changed in the object store"))),
            Err(ObjectError::NotFound) => Ok(Some(format!("{what} is missing from the object store"))),
            Err(error) => Err(Error::internal(error)),
        }
    }

    /// Whether an object that no entry names was sealed by this installation for where it lies: left by a write that
    /// failed half-way.
    async fn is_written_here(&self, path: &str) -> Result<bool, Error> {
        let mut parts = path.rsplit('/');
        let number = parts.next().and_then(|name| name.split('-').next()?.parse().ok());
        let recording = parts.next().and_then(|part| part.parse().ok());
        let (Some(number), Some(recording)) = (number, recording) else { return Ok(false) };
        match self.app.recordings.objects.get(path).await {
            Ok(bytes) => {
                let place = Place { tenant: self.tenant, recording, number };
                Ok(recordings::unseal(&self.app.keys, place, &bytes).is_ok())
            }
            Err(ObjectError::NotFound) => Ok(true),
            Err(ObjectError::TooLarge) => Ok(false),
            Err(error) => Err(Error::internal(error)),
        }
    }
}

/// Whether a session's id was made since a time, and not in the future.
fn began_since(id: Uuid, time: DateTime<Utc>) -> bool {
    let made = id.get_timestamp().and_then(|made| i64::try_from(made.to_unix().0).ok());
    made.is_some_and(|made| (time.timestamp()..=Utc::now().timestamp()).contains(&made))
}

fn finish(walk: &Walk<'_>, head: Option<&Head>, report: &mut Report) {
    walk.end(head, &mut report.findings);
    report.entries += walk.entries;
    report.chains += u64::from(walk.entries > 0);
}

/// Takes what an entry of the recordings' chain tells.
fn tell(
    link: &RecordingLink,
    told: &mut HashMap<Uuid, Told>,
    segments: &mut Vec<Segment>,
    findings: &mut Vec<String>,
) {
    let RecordingLink { recording, kind, number, detail, .. } = link;
    let known = told.entry(*recording).or_default();
    match (kind.as_str(), number) {
        ("opened", _) => known.opened = Some(detail.clone()),
        ("segment", Some(number)) => {
            if *number != known.segments + 1 {
                findings.push(format!("segment {number} of recording {recording} is out of its order"));
            }
            known.segments = *number;
            let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(object), Some(sha256)) = (text("object"), text("sha256")) {
                segments.push(Segment { recording: *recording, number: *number, object, sha256 });
            } else {
                findings.push(format!("segment {number} of recording {recording} names no object"));
            }
        }
        ("archived", _) => known.is_archived = true,
        ("removed", _) => known.is_removed = true,
        _ => {}
    }
}

fn compare(row: &RecordingRow, told: &Told, findings: &mut Vec<String>) {
    let RecordingRow { id, client_id, site_id, agent_id, hostname, tech_id, tech_name, segments, state } =
        row;
    let facts = json!({
        "client_id": client_id,
        "site_id": site_id,
        "agent_id": agent_id,
        "hostname": hostname,
        "tech_id": tech_id,
        "tech_name": tech_name,
    });
    if told.opened.as_ref() != Some(&facts) {
        findings
            .push(format!("recording {id} is listed with another machine or person than it was opened with"));
    }
    // More than were told were written since.
    if *segments < told.segments {
        let said = told.segments;
        findings.push(format!("recording {id} is listed with {segments} segments of {said}"));
    }
    let (is_archived, is_removed) = match state.as_str() {
        "archived" => (true, false),
        "removing" | "removed" => (false, true),
        _ => (false, false),
    };
    if (is_archived, is_removed) != (told.is_archived, told.is_removed) {
        findings.push(format!("recording {id} is {state}, which its chain does not say"));
    }
}
