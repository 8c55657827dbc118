//! Going along one chain: what does not fit is said in one sentence each. It does no I/O.

use super::{Anchor, Head};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// One entry, as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub seq: i64,
    pub prev_hash: Vec<u8>,
    pub hash: Vec<u8>,
    /// What is hashed: all of the entry but its hash.
    pub content: String,
}

/// The state of a walk.
#[derive(Debug)]
pub struct Walk<'a> {
    name: String,
    /// Hashes that were anchored, by number.
    anchored: HashMap<i64, Vec<&'a Anchor>>,
    furthest: Option<&'a Anchor>,
    last_seq: i64,
    last_hash: Vec<u8>,
    pub entries: u64,
}

impl<'a> Walk<'a> {
    /// From the beginning of a chain, with the anchors of it.
    pub fn new(name: String, anchors: impl Iterator<Item = &'a Anchor>) -> Self {
        let mut anchored: HashMap<i64, Vec<&Anchor>> = HashMap::new();
        let mut furthest: Option<&Anchor> = None;
        for anchor in anchors {
            let known = anchored.entry(anchor.seq).or_default();
            if known.iter().all(|known| known.hash != anchor.hash) {
                known.push(anchor);
            }
            if furthest.is_none_or(|furthest| furthest.seq < anchor.seq) {
                furthest = Some(anchor);
            }
        }
        Self { name, anchored, furthest, last_seq: 0, last_hash: Vec::new(), entries: 0 }
    }

    /// The number of the last entry.
    pub fn last_seq(&self) -> i64 {
        self.last_seq
    }

    /// The next entry, by number.
    pub fn step(&mut self, link: &Link, findings: &mut Vec<String>) {
        let Link { seq, prev_hash, hash, content } = link;
        let name = &self.name;
        self.entries += 1;
        if Sha256::digest(content.as_bytes()).as_slice() != hash.as_slice() {
            findings.push(format!("{name}: entry {seq} was changed"));
        }
        if *seq != self.last_seq + 1 {
            let first = self.last_seq + 1;
            findings.push(match seq - first {
                ..=0 => format!("{name}: entry {seq} is there twice"),
                1 => format!("{name}: entry {first} is missing"),
                _ => format!("{name}: entries {first} to {} are missing", seq - 1),
            });
        } else if *prev_hash != self.last_hash {
            findings.push(format!("{name}: entry {seq} does not follow the one before it"));
        }
        for anchor in self.anchored.get(seq).into_iter().flatten() {
            if anchor.hash != hex::encode(hash) {
                let at = anchor.at;
                findings.push(format!("{name}: entry {seq} is another one than was anchored at {at}"));
            }
        }
        self.last_seq = *seq;
        self.last_hash.clone_from(hash);
    }

    /// The end, held against what the database says the head is, and against the furthest anchor.
    pub fn end(&self, head: Option<&Head>, findings: &mut Vec<String>) {
        let (name, last) = (&self.name, self.last_seq);
        let head_seq = head.map_or(0, |head| head.seq);
        if head_seq > last {
            findings.push(format!("{name}: it ends with entry {last}, and its head is entry {head_seq}"));
        } else if head_seq < last {
            findings.push(format!("{name}: it goes on to entry {last}, beyond its head, entry {head_seq}"));
        } else if head.is_some_and(|head| head.hash != self.last_hash) {
            findings.push(format!("{name}: entry {last} is another one than its head"));
        }
        if let Some(anchor) = self.furthest.filter(|anchor| anchor.seq > last) {
            let (seq, at) = (anchor.seq, anchor.at);
            findings.push(format!("{name}: it ends with entry {last}, and entry {seq} was anchored at {at}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use chrono::Utc;
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use uuid::Uuid;

    static KEYS: LazyLock<Keys> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        Keys::load_or_create(folder.path()).unwrap()
    });

    fn link(seq: i64, prev_hash: &[u8], what: &str) -> Link {
        let content = format!("[\"{}\",{seq},{what:?}]", hex::encode(prev_hash));
        let hash = Sha256::digest(content.as_bytes()).to_vec();
        Link { seq, prev_hash: prev_hash.to_vec(), hash, content }
    }

    fn chain(length: usize) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for seq in 1..=length as i64 {
            let before = links.last().map(|link| link.hash.clone()).unwrap_or_default();
            links.push(link(seq, &before, &format!("entry {seq}")));
        }
        links
    }

    fn head(links: &[Link]) -> Option<Head> {
        let last = links.last()?;
        Some(Head { chain: "audit".to_owned(), tenant: Uuid::nil(), seq: last.seq, hash: last.hash.clone() })
    }

    fn findings(links: &[Link], head: Option<&Head>, anchors: &[Anchor]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut walk = Walk::new("the log".to_owned(), anchors.iter());
        links.iter().for_each(|link| walk.step(link, &mut findings));
        walk.end(head, &mut findings);
        findings
    }

    #[test]
    fn each_finding_is_one_sentence() {
        let links = chain(6);
        let whole = head(&links);
        let anchors = [Anchor::of(&KEYS, &whole.clone().unwrap(), Utc::now())];
        assert_eq!(findings(&links, whole.as_ref(), &anchors), Vec::<String>::new());
        assert_eq!(findings(&[], None, &[]), Vec::<String>::new());
        let mut changed = links.clone();
        changed[1].content.push(' ');
        assert_eq!(findings(&changed, whole.as_ref(), &anchors), ["the log: entry 2 was changed"]);
        let mut holed = links.clone();
        holed.drain(2..4);
        assert_eq!(findings(&holed, whole.as_ref(), &anchors), ["the log: entries 3 to 4 are missing"]);
        let cut = &links[..4];
        let said = findings(cut, whole.as_ref(), &[]);
        assert_eq!(said, ["the log: it ends with entry 4, and its head is entry 6"]);
        // With the head set back it looks whole, but for the anchor.
        assert_eq!(findings(cut, head(cut).as_ref(), &[]), Vec::<String>::new());
        assert_eq!(findings(cut, head(cut).as_ref(), &anchors).len(), 1);
        assert_eq!(findings(&[], None, &anchors).len(), 1);
        let written_anew = {
            let mut links = chain(3);
            links.push(link(4, &links[2].hash.clone(), "something else"));
            for seq in 5..=6 {
                links.push(link(seq, &links[seq as usize - 2].hash.clone(), "entry"));
            }
            links
        };
        assert_eq!(findings(&written_anew, head(&written_anew).as_ref(), &[]), Vec::<String>::new());
        assert_eq!(findings(&written_anew, head(&written_anew).as_ref(), &anchors).len(), 1);
    }

    /// Something that was done to a chain of entries by who can write it.
    #[derive(Debug, Clone)]
    enum Tampering {
        Flip { entry: usize, field: usize, bit: usize },
        Delete { entry: usize },
        Swap { one: usize, other: usize },
        Repeat { entry: usize },
        Cut { left: usize },
    }

    fn tampering() -> impl Strategy<Value = Tampering> {
        prop_oneof![
            (0..8_usize, 0..4_usize, any::<usize>()).prop_map(|(entry, field, bit)| Tampering::Flip {
                entry,
                field,
                bit
            }),
            (0..8_usize).prop_map(|entry| Tampering::Delete { entry }),
            (0..8_usize, 0..8_usize).prop_map(|(one, other)| Tampering::Swap { one, other }),
            (0..8_usize).prop_map(|entry| Tampering::Repeat { entry }),
            (0..8_usize).prop_map(|left| Tampering::Cut { left }),
        ]
    }

    fn flip(bytes: &mut [u8], bit: usize) {
        if !bytes.is_empty() {
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_done_to_a_chain_goes_unseen(tampering in tampering()) {
            let links = chain(8);
            let whole = head(&links).unwrap();
            let anchors = [Anchor::of(&KEYS, &whole, Utc::now())];
            let mut changed = links.clone();
            match tampering {
                Tampering::Flip { entry, field, bit } => match field {
                    0 => flip(&mut changed[entry].hash, bit),
                    1 => flip(&mut changed[entry].prev_hash, bit),
                    2 => changed[entry].seq ^= 1 << (bit % 4),
                    _ => {
                        let mut bytes = changed[entry].content.clone().into_bytes();
                        flip(&mut bytes, bit);
                        changed[entry].content = String::from_utf8_lossy(&bytes).into_owned();
                    }
                },
                Tampering::Delete { entry } => drop(changed.remove(entry)),
                Tampering::Swap { one, other } => {
                    changed.swap(one, other);
                    for place in [one, other] {
                        changed[place].seq = place as i64 + 1;
                    }
                }
                Tampering::Repeat { entry } => {
                    let again = changed[entry].clone();
                    changed.insert(entry, again);
                }
                Tampering::Cut { left } => changed.truncate(left),
            }
            prop_assume!(changed != links);
            changed.sort_by_key(|link| link.seq);
            prop_assume!(changed != links);
            let newest = head(&changed);
            // Even where the head was set to fit.
            prop_assert!(!findings(&changed, newest.as_ref(), &anchors).is_empty());
            prop_assert!(!findings(&changed, Some(&whole), &anchors).is_empty());
        }
    }
}
