//! One command's output on disk: records of `stream, seq, length, bytes`, kept up to a limit and read again by
//! sequence until the server has them.

use crate::os;
use gururmm_protocol::command::Stream;
use gururmm_protocol::limits::MAX_OUTPUT_CHUNK_BYTES;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const HEADER_BYTES: usize = 9;

/// What a spool holds, for the one who sends it.
#[derive(Debug, Default)]
pub struct SpoolState {
    last_seq: AtomicU32,
    sent_seq: AtomicU32,
}

impl SpoolState {
    /// The sequence of the last whole record; 0 when there is none.
    pub fn last_seq(&self) -> u32 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// The sender is that far.
    pub fn note_sent(&self, seq: u32) {
        self.sent_seq.store(seq, Ordering::Relaxed);
    }

    /// How many records wait to be sent.
    pub fn backlog(&self) -> u32 {
        self.last_seq().saturating_sub(self.sent_seq.load(Ordering::Relaxed))
    }
}

/// Takes a command's output.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    length: u64,
    state: Arc<SpoolState>,
    kept_bytes: u64,
    limit_bytes: u64,
    total: Arc<AtomicU64>,
    total_limit: u64,
    is_closed: bool,
    /// Bytes written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Whether something was not kept.
    pub truncated: bool,
}

impl SpoolWriter {
    pub(super) fn create(
        path: &Path,
        limit_bytes: u64,
        total: Arc<AtomicU64>,
        total_limit: u64,
    ) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true);
        os::private_mode(&mut options);
        Ok(Self {
            file: options.open(path)?,
            length: 0,
            state: Arc::default(),
            kept_bytes: 0,
            limit_bytes,
            total,
            total_limit,
            is_closed: false,
            stdout_bytes: 0,
            stderr_bytes: 0,
            truncated: false,
        })
    }

    /// The part a reader may share.
    pub fn state(&self) -> Arc<SpoolState> {
        Arc::clone(&self.state)
    }

    /// Keeps `data` as one or more records, as far as the limit and the disk allow; counts it in any case.
    pub fn append(&mut self, stream: Stream, data: &[u8]) {
        let counter = match stream {
            Stream::Stdout => &mut self.stdout_bytes,
            Stream::Stderr => &mut self.stderr_bytes,
        };
        *counter += data.len() as u64;
        let room = if self.is_closed { 0 } else { self.limit_bytes.saturating_sub(self.kept_bytes) };
        let kept = &data[..usize::try_from(room).unwrap_or(usize::MAX).min(data.len())];
        for chunk in kept.chunks(MAX_OUTPUT_CHUNK_BYTES) {
            if self.is_closed {
                break;
            }
            if let Err(error) = self.append_record(stream, chunk) {
                tracing::warn!(%error, "a command's output cannot be kept any further");
                self.close();
            }
        }
        if kept.len() < data.len() {
            self.close();
        }
    }

    fn append_record(&mut self, stream: Stream, chunk: &[u8]) -> io::Result<()> {
        let bytes = (HEADER_BYTES + chunk.len()) as u64;
        if self.total.load(Ordering::Relaxed) + bytes > self.total_limit {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "all spools together are full"));
        }
        let seq = self.state.last_seq() + 1;
        let mut record = Vec::with_capacity(HEADER_BYTES + chunk.len());
        record.push(stream_byte(stream));
        record.extend(seq.to_le_bytes());
        record.extend((chunk.len() as u32).to_le_bytes());
        record.extend(chunk);
        if let Err(error) = self.file.write_all(&record) {
            // Half a record must not stand before a whole one; if it cannot be cut, none will follow.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes;
        self.kept_bytes += chunk.len() as u64;
        self.total.fetch_add(bytes, Ordering::Relaxed);
        self.state.last_seq.store(seq, Ordering::Release);
        Ok(())
    }

    /// From here on output is only counted: later pieces after a gap would tell something false.
    fn close(&mut self) {
        self.is_closed = true;
        self.truncated = true;
    }
}

/// Reads a command's output by sequence, mostly forwards.
#[derive(Debug)]
pub struct SpoolReader {
    path: PathBuf,
    /// Where the records begin that may be asked for again, and the one after them.
    positions: VecDeque<(u32, u64)>,
}

impl SpoolReader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, positions: VecDeque::from([(1, 0)]) }
    }

    /// The record with this sequence.
    pub fn read(&mut self, seq: u32) -> io::Result<(Stream, Vec<u8>)> {
        let mut file = File::open(&self.path)?;
        let known = self.positions.iter().find(|(known, _)| *known == seq).copied();
        let (mut at_seq, mut offset) = known.unwrap_or((1, 0));
        loop {
            file.seek(SeekFrom::Start(offset))?;
            let header = Header::read(&mut file)?
                .filter(|header| header.seq == at_seq)
                .ok_or(io::ErrorKind::InvalidData)?;
            let next = offset + (HEADER_BYTES + header.length) as u64;
            if at_seq == seq {
                let mut data = vec![0; header.length];
                file.read_exact(&mut data)?;
                if self.positions.back().is_none_or(|(last, _)| *last == seq) {
                    self.positions.push_back((seq + 1, next));
                }
                return Ok((header.stream, data));
            }
            (at_seq, offset) = (at_seq + 1, next);
        }
    }

    /// Nothing up to `seq` will be asked for again.
    pub fn release(&mut self, seq: u32) {
        while self.positions.len() > 1 && self.positions.front().is_some_and(|(first, _)| *first <= seq) {
            self.positions.pop_front();
        }
    }
}

/// What a spool file holds in whole records.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pub last_seq: u32,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    pub file_bytes: u64,
}

/// Counts whole records and cuts off what follows them.
pub(super) fn measure(path: &Path) -> io::Result<Measure> {
    let mut measure = Measure::default();
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(measure),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(&file);
    while let Some(header) = Header::read(&mut reader)? {
        let end = measure.file_bytes + (HEADER_BYTES + header.length) as u64;
        if header.seq != measure.last_seq + 1 || end > length {
            break;
        }
        reader.seek_relative(header.length as i64)?;
        match header.stream {
            Stream::Stdout => measure.stdout_bytes += header.length as u64,
            Stream::Stderr => measure.stderr_bytes += header.length as u64,
        }
        measure.last_seq = header.seq;
        measure.file_bytes = end;
    }
    drop(reader);
    if measure.file_bytes < length {
        file.set_len(measure.file_bytes)?;
    }
    Ok(measure)
}

struct Header {
    stream: Stream,
    seq: u32,
    length: usize,
}

impl Header {
    /// `None` at the end of the file, in the middle of a header, and for bytes that are no header.
    fn read(file: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let [stream, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return Ok(None),
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let is_sane = (1..=MAX_OUTPUT_CHUNK_BYTES).contains(&length);
        Ok(is_sane.then(|| Self { stream, seq: u32::from_le_bytes([s0, s1, s2, s3]), length }))
    }
}

fn stream_byte(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}
