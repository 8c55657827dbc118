//! Reading recordings back: segments from the store, opened, in order.

use super::cast::Cast;
use super::happening::Happening;
use super::records::{self, Content, Record};
use super::seal::{self, Place};
use super::{
    ChannelFacts, Command, CutOff, Gap, RecordedEvent, RecordedEvents, Recording, SegmentFacts, store,
};
use crate::app::{App, AppState};
use crate::auth::Scope;
use crate::auth::permission::ReadRecordings;
use crate::error::{Code, Error};
use crate::http::Cursor;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, Stream};
use gururmm_protocol::tunnel::ChannelId;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Entries of segments read at a time.
const BATCH: i64 = 200;
/// Channels, commands, gaps and parts that a summary shows, each.
const MAX_SHOWN: usize = 5_000;
/// Characters of a label.
const MAX_LABEL_CHARS: usize = 200;

/// How long after a session's end its recording may still be on its way into the store.
const SETTLES_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// What is in a recording.
#[derive(Debug, Default)]
pub struct Summary {
    pub channels: Vec<ChannelFacts>,
    pub commands: Vec<Command>,
    pub gaps: Vec<Gap>,
    pub cut_offs: Vec<CutOff>,
    pub parts: Vec<SegmentFacts>,
    pub is_cut: bool,
}

/// The records of a segment. 409 where it is missing, or not what was written.
pub async fn segment(
    app: &App,
    tenant: Uuid,
    recording: Uuid,
    facts: &SegmentFacts,
) -> Result<Vec<u8>, Error> {
    let damaged = || Error::new(Code::RecordingDamaged);
    let object = app.recordings.objects.get(&facts.object).await.map_err(|error| match error {
        super::ObjectError::NotFound | super::ObjectError::TooLarge => damaged(),
        error @ super::ObjectError::Store(_) => Error::internal(error),
    })?;
    if hex::encode(Sha256::digest(&object)) != facts.sha256 {
        return Err(damaged());
    }
    let place = Place { tenant, recording, number: facts.number };
    seal::unseal(&app.keys, place, &object).map_err(|_| damaged())
}

/// A recording's segments, a few entries at a time.
struct Segments {
    recording: Uuid,
    after: i32,
    waiting: VecDeque<SegmentFacts>,
    is_over: bool,
}

impl Segments {
    /// Those after a number.
    fn after(recording: Uuid, after: i32) -> Self {
        Self { recording, after, waiting: VecDeque::new(), is_over: false }
    }

    async fn next(
        &mut self,
        app: &App,
        scope: &Scope<ReadRecordings>,
    ) -> Result<Option<SegmentFacts>, Error> {
        if self.waiting.is_empty() && !self.is_over {
            let mut tx = app.db.begin(scope).await?;
            let rows = store::segments(&mut tx, self.recording, self.after, BATCH).await?;
            self.is_over = rows.len() < usize::try_from(BATCH).map_err(Error::internal)?;
            for row in &rows {
                self.waiting.push_back(row.facts().ok_or_else(|| Error::new(Code::RecordingDamaged))?);
                self.after = row.number;
            }
        }
        Ok(self.waiting.pop_front())
    }
}

/// Reads a recording through.
pub async fn summary(
    app: &App,
    scope: &Scope<ReadRecordings>,
    recording: &Recording,
    now: DateTime<Utc>,
) -> Result<Summary, Error> {
    let (tenant, id) = (scope.tenant()?, recording.session_id);
    let mut summary = Summary::default();
    let (mut open, mut recorders) = (BTreeMap::new(), Recorders::default());
    let mut segments = Segments::after(id, 0);
    while let Some(facts) = segments.next(app, scope).await? {
        let bytes = segment(app, tenant, id, &facts).await?;
        let mut is_last = false;
        for record in records::read(&bytes) {
            let record = record.map_err(|_| Error::new(Code::RecordingDamaged))?;
            if let Content::Happened(happening) = &record.content {
                is_last |= matches!(happening, Happening::LetGo {} | Happening::Closed { .. });
                summary.take(&record, happening, &mut open);
            }
        }
        recorders.wrote(&facts, is_last);
        keep(&mut summary.parts, facts, &mut summary.is_cut);
    }
    let is_over = recording.ended_at.is_some_and(|ended_at| ended_at + SETTLES_WITHIN < now);
    summary.cut_offs = recorders.cut_offs(is_over);
    Ok(summary)
}

/// The recorders of a session, one after the other: its server ended, or its page came to another one.
#[derive(Debug, Default)]
struct Recorders(Vec<Series>);

/// What one of them wrote.
#[derive(Debug)]
struct Series {
    recorder: Option<Uuid>,
    to_ms: i64,
    is_whole: bool,
}

impl Recorders {
    fn wrote(&mut self, facts: &SegmentFacts, is_last: bool) {
        let SegmentFacts { recorder, to_ms, .. } = *facts;
        // Where it is not said which recorder wrote, it is not said either which segment was its last.
        let is_whole = is_last || recorder.is_none();
        match self.0.iter_mut().find(|series| series.recorder == recorder) {
            Some(series) => {
                series.to_ms = series.to_ms.max(to_ms);
                series.is_whole |= is_whole;
            }
            None => self.0.push(Series { recorder, to_ms, is_whole }),
        }
    }

    /// Where those end that did not say that they had written all. The last one may still be at work, until the session
    /// is over.
    fn cut_offs(&self, is_over: bool) -> Vec<CutOff> {
        if self.0.is_empty() && is_over {
            return vec![CutOff { at_ms: 0 }];
        }
        let ended = if is_over { self.0.len() } else { self.0.len().saturating_sub(1) };
        let cut = self.0.iter().take(ended).filter(|series| !series.is_whole);
        cut.map(|series| CutOff { at_ms: series.to_ms }).collect()
    }
}

fn keep<T>(list: &mut Vec<T>, item: T, is_cut: &mut bool) -> bool {
    let fits = list.len() < MAX_SHOWN;
    if fits {
        list.push(item);
    }
    *is_cut |= !fits;
    fits
}

impl Summary {
    fn take(&mut self, record: &Record<'_>, happening: &Happening, open: &mut BTreeMap<ChannelId, usize>) {
        let (channel, at_ms) = (i64::from(record.channel), millis(record.at_us));
        match happening {
            Happening::Opened { kind, channel: opened } => {
                let kind_in = opened.get("kind").and_then(Value::as_str).unwrap_or(kind);
                self.opened(record, kind_in, kind == "terminal", label(opened), open);
            }
            Happening::Found { kind, label } => {
                self.opened(record, kind, kind == "terminal", label.clone(), open);
            }
            Happening::Ended { by_machine: true, .. } => {
                let ended = open.remove(&record.channel).and_then(|place| self.channels.get_mut(place));
                ended.into_iter().for_each(|channel| channel.to_ms = Some(at_ms));
            }
            Happening::Entered { line, is_exact } => {
                let command = Command { channel, at_ms, line: line.clone(), is_exact: *is_exact };
                keep(&mut self.commands, command, &mut self.is_cut);
            }
            Happening::Gap { from_machine, from, to } => {
                let bytes = to.saturating_sub(*from);
                let gap = Gap { channel, at_ms, from_machine: *from_machine, bytes };
                keep(&mut self.gaps, gap, &mut self.is_cut);
            }
            _ => {}
        }
    }

    fn opened(
        &mut self,
        record: &Record<'_>,
        kind: &str,
        has_cast: bool,
        label: String,
        open: &mut BTreeMap<ChannelId, usize>,
    ) {
        let facts = ChannelFacts {
            channel: i64::from(record.channel),
            kind: kind.to_owned(),
            label,
            from_ms: millis(record.at_us),
            to_ms: None,
            has_cast,
        };
        if keep(&mut self.channels, facts, &mut self.is_cut) {
            open.insert(record.channel, self.channels.len() - 1);
        }
    }
}

/// For people: what a channel is about.
fn label(opened: &Value) -> String {
    let text = |name: &str| opened.get(name).and_then(Value::as_str);
    let label = match (text("path").or_else(|| text("shell")), text("host")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(host)) => {
            format!("{host}:{}", opened.get("port").and_then(Value::as_u64).unwrap_or_default())
        }
        (None, None) => text("log").unwrap_or_default().to_owned(),
    };
    label.chars().take(MAX_LABEL_CHARS).collect()
}

fn millis(at_us: u64) -> i64 {
    i64::try_from(at_us / 1_000).unwrap_or(i64::MAX)
}

/// What happened after a place, which is a segment's number and how many of its events came before.
pub async fn events(
    app: &App,
    scope: &Scope<ReadRecordings>,
    recording: Uuid,
    channel: Option<ChannelId>,
    after: Option<(i32, usize)>,
    limit: usize,
) -> Result<RecordedEvents, Error> {
    let tenant = scope.tenant()?;
    let (number, mut skipped) = after.unwrap_or((1, 0));
    let mut items = Vec::new();
    let mut segments = Segments::after(recording, number.saturating_sub(1));
    while let Some(facts) = segments.next(app, scope).await? {
        let mut seen = 0;
        let skip = if facts.number == number { std::mem::take(&mut skipped) } else { 0 };
        if channel.is_some_and(|channel| !may_hold(&facts, channel)) {
            continue;
        }
        let bytes = segment(app, tenant, recording, &facts).await?;
        for record in records::read(&bytes) {
            let record = record.map_err(|_| Error::new(Code::RecordingDamaged))?;
            let Content::Happened(event) = record.content else { continue };
            if channel.is_some_and(|channel| channel != record.channel) {
                continue;
            }
            if items.len() == limit {
                let next_cursor = Some(Cursor::encode(&(facts.number, seen))?);
                return Ok(RecordedEvents { items, next_cursor });
            }
            seen += 1;
            if seen > skip {
                let (at_ms, channel) = (millis(record.at_us), i64::from(record.channel));
                items.push(RecordedEvent { at_ms, channel, event });
            }
        }
    }
    Ok(RecordedEvents { items, next_cursor: None })
}

fn may_hold(facts: &SegmentFacts, channel: ChannelId) -> bool {
    facts.channels.as_ref().is_none_or(|channels| channels.contains(&channel))
}

/// A terminal as asciicast, a segment at a time. 404 where the channel is none.
pub async fn cast(
    app: AppState,
    scope: Scope<ReadRecordings>,
    recording: &super::Recording,
    channel: ChannelId,
) -> Result<impl Stream<Item = Result<Bytes, Error>> + use<>, Error> {
    let segments = Segments::after(recording.session_id, 0);
    let cast = Cast::new(recording.started_at, format!("{}, {}", recording.hostname, recording.tech_name));
    let mut reading = Reading { app, scope, segments, channel, cast };
    // That there is no such terminal shows before the answer begins.
    let first = loop {
        match reading.next().await? {
            Some(piece) if piece.is_empty() => {}
            Some(piece) => break piece,
            None => return Err(Error::not_found()),
        }
    };
    let rest = stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next().await?.map(|piece| (piece, reading)))
    });
    Ok(futures_util::StreamExt::chain(stream::once(async { Ok(first) }), rest))
}

struct Reading {
    app: AppState,
    scope: Scope<ReadRecordings>,
    segments: Segments,
    channel: ChannelId,
    cast: Cast,
}

impl Reading {
    /// The next segment's part of the cast, which may be empty.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(facts) = self.segments.next(&self.app, &self.scope).await? else {
            return Ok(self.cast.finish().map(Bytes::from));
        };
        if !may_hold(&facts, self.channel) {
            return Ok(Some(Bytes::new()));
        }
        let tenant = self.scope.tenant()?;
        let bytes = segment(&self.app, tenant, self.segments.recording, &facts).await?;
        let mut lines = String::new();
        for record in records::read(&bytes) {
            let record = record.map_err(|_| Error::new(Code::RecordingDamaged))?;
            if record.channel == self.channel {
                self.cast.record(&record, &mut lines);
            }
        }
        Ok(Some(Bytes::from(lines)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments by recorder and end, and whether one is its recorder's last.
    fn breaks_off(segments: &[(u128, i64, bool)], is_over: bool, expected: &[i64]) {
        let mut recorders = Recorders::default();
        for &(recorder, to_ms, is_last) in segments {
            let facts = SegmentFacts {
                number: 1,
                from_ms: 0,
                to_ms,
                bytes: 0,
                sha256: String::new(),
                recorder: (recorder != 0).then_some(Uuid::from_u128(recorder)),
                object: String::new(),
                channels: None,
            };
            recorders.wrote(&facts, is_last);
        }
        let found: Vec<i64> = recorders.cut_offs(is_over).into_iter().map(|cut| cut.at_ms).collect();
        assert_eq!(found, expected, "{segments:?}, {is_over}");
    }

    #[test]
    fn a_recorder_that_did_not_say_that_it_had_written_all_was_cut_off() {
        breaks_off(&[(1, 5, false), (1, 9, true)], true, &[]);
        breaks_off(&[(1, 5, false), (1, 9, false)], true, &[9]);
        // It may be at work.
        breaks_off(&[(1, 5, false), (1, 9, false)], false, &[]);
        breaks_off(&[(1, 5, false), (2, 9, false)], false, &[5]);
        breaks_off(&[(1, 5, false), (2, 9, true)], true, &[5]);
        // The page came to another server, and the first one was slower in writing its rest.
        breaks_off(&[(1, 5, false), (2, 9, false), (1, 6, true), (2, 12, true)], true, &[]);
        // Nothing was written at all.
        breaks_off(&[], true, &[0]);
        breaks_off(&[], false, &[]);
        // From before recorders were named.
        breaks_off(&[(0, 5, false)], true, &[]);
    }
}
