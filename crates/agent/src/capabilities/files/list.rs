//! What is in a folder, and what one entry is.

use super::confined::Reach;
use super::fault::Result;
use super::folder::{Accounts, Entries, Facts, Folder};
use super::partial;
use super::path::{Absolute, is_nameable, shown};
use gururmm_protocol::limits::MAX_NAME_CHARS;
use gururmm_protocol::tunnel::files::{ENTRIES_PER_PART, Entry, EntryKind, FileAnswer};
use gururmm_protocol::tunnel::frame::MAX_BODY_BYTES;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::SystemTime;

/// Bytes of entries in one part: what else is in the message needs room, too.
const PART_BYTES: usize = MAX_BODY_BYTES - 4 * 1024;
/// Longest target of a link that is shown, in characters.
const MAX_TARGET_CHARS: usize = 4_096;

/// A folder that is read in parts. Holds one part at a time, however many entries there are.
pub(super) struct Listing {
    folder: Folder,
    entries: Entries,
    accounts: Accounts,
    /// One that had no room in the part before.
    left: Option<(Entry, usize)>,
    /// What transfers left behind long ago.
    stale: Vec<OsString>,
    count: u64,
}

impl Listing {
    pub fn new(folder: Folder) -> io::Result<Self> {
        let entries = folder.entries()?;
        Ok(Self { folder, entries, accounts: Accounts::default(), left: None, stale: Vec::new(), count: 0 })
    }

    /// Entries so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next entries; none at the end.
    pub fn part(&mut self) -> Result<Vec<Entry>> {
        let mut part = Vec::new();
        let mut bytes = 0;
        while part.len() < ENTRIES_PER_PART {
            let next = match self.left.take() {
                Some(next) => Some(next),
                None => self.next()?,
            };
            let Some((entry, cost)) = next else { break };
            if bytes + cost > PART_BYTES && !part.is_empty() {
                self.left = Some((entry, cost));
                break;
            }
            bytes += cost;
            part.push(entry);
        }
        self.count += part.len() as u64;
        if part.is_empty() {
            partial::remove(&self.folder, &std::mem::take(&mut self.stale));
        }
        Ok(part)
    }

    /// The next entry that is still there when it is looked at, and its bytes in a message.
    fn next(&mut self) -> Result<Option<(Entry, usize)>> {
        for name in self.entries.by_ref() {
            let name = name?;
            let facts = match self.folder.look(&name) {
                Ok(facts) => facts,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Its name is known all the same.
                Err(_) => Facts::unknown(),
            };
            if self.stale.len() < ENTRIES_PER_PART
                && partial::is_left_behind(&self.folder, &name, SystemTime::now()).unwrap_or(false)
            {
                self.stale.push(name);
                continue;
            }
            let entry = entry(&self.folder, &name, &facts, &mut self.accounts);
            let cost = serde_json::to_vec(&entry).map_or(usize::MAX, |json| json.len() + 1);
            return Ok(Some((entry, cost)));
        }
        Ok(None)
    }
}

/// What a tech is told of an entry.
pub(super) fn entry(folder: &Folder, name: &OsStr, facts: &Facts, accounts: &mut Accounts) -> Entry {
    let target = (facts.kind == EntryKind::Link).then(|| folder.read_link(name).ok()).flatten();
    let mut entry = Entry {
        name: shown(name),
        kind: facts.kind,
        size: facts.size,
        modified_ms: facts.modified_ms(),
        mode: facts.mode,
        owner: None,
        group: None,
        target: target.map(|target| shown(&target).chars().take(MAX_TARGET_CHARS).collect()),
        is_hidden: facts.is_hidden,
        is_unnameable: !is_nameable(name),
    };
    accounts.fill(&mut entry, facts);
    for name in [&mut entry.owner, &mut entry.group].into_iter().flatten() {
        gururmm_protocol::limits::clean(name, MAX_NAME_CHARS);
    }
    entry
}

/// Begins with the folder at a path; also gives the path as the system writes it.
pub(super) fn begin(reach: &Reach, path: &str) -> Result<(String, Listing)> {
    let path = Absolute::parse(path)?;
    Ok((path.to_text(), Listing::new(reach.folder(&path)?)?))
}

/// One entry. Of a root, or of a folder that a policy names, what it itself is.
pub(super) fn stat(reach: &Reach, path: &str) -> Result<FileAnswer> {
    let path = Absolute::parse(path)?;
    let entry = match reach.spot(&path) {
        Ok(spot) => entry(&spot.folder, &spot.name, &spot.look()?, &mut Accounts::default()),
        Err(_) if reach.is_top(&path)? => {
            let folder = reach.folder(&path)?;
            let name = path.parts().last().cloned().unwrap_or_else(|| path.to_text());
            entry(&folder, name.as_ref(), &folder.facts()?, &mut Accounts::default())
        }
        Err(fault) => return Err(fault),
    };
    Ok(FileAnswer::Entry { entry })
}
