//! Replays the fuzzers' corpus, and what it becomes by small damage, through every decoder: none of it may panic.
//!
//! The fuzz targets themselves need a nightly compiler: see `fuzz/`.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = ["v1.0", "v1.1"].map(|version| root.join("tests/golden").join(version));
    let recorded = golden
        .iter()
        .flat_map(|golden| ["to_agent", "to_server", "bootstrap", "channel"].map(|kind| golden.join(kind)));
    let folders = [root.join("fuzz/corpus").join(target)].into_iter().chain(recorded);
    let files =
        |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    folders.filter(|folder| folder.exists()).flat_map(files).collect()
}

#[test]
fn the_committed_corpus_passes_every_decoder() {
    for (name, target) in targets::ALL {
        let inputs = corpus(name);
        assert!(inputs.len() > 50, "{name}");
        inputs.iter().for_each(|input| target(input));
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let ends = bytes.len() + 1;
        match self {
            Self::Cut(at) => bytes.truncate(at.index(ends)),
            Self::Flip(at, by) => {
                let at = at.index(ends);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= by;
                }
            }
            Self::Insert(at, what) => {
                let at = at.index(ends);
                drop(bytes.splice(at..at, what.iter().copied()));
            }
            Self::Repeat(from, to) => {
                let (a, b) = (from.index(ends), to.index(ends));
                let part = bytes[a.min(b)..a.max(b)].to_vec();
                bytes.extend(part);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let token = prop::sample::select(vec![
        "null",
        "-1",
        "1e999",
        "\"\"",
        "{}",
        "[]",
        "[[[[[[[[",
        "\\u0000",
        "\\ud800",
        "18446744073709551616",
        "\u{feff}",
        "NaN",
        "true",
        "\"type\":\"hello\",",
    ]);
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, by)| Damage::Flip(at, by)),
        (any::<prop::sample::Index>(), token).prop_map(|(at, what)| Damage::Insert(at, what.into())),
        any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_input_passes_every_decoder(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        for (name, target) in targets::ALL {
            let inputs = corpus_once(name);
            let mut input = which.get(inputs).clone();
            damages.iter().for_each(|damage| damage.apply(&mut input));
            target(&input);
        }
    }
}

/// The corpus is read once, not for every case.
fn corpus_once(target: &str) -> &'static Vec<Vec<u8>> {
    use std::collections::HashMap;
    use std::sync::OnceLock;
    static ALL: OnceLock<HashMap<&str, Vec<Vec<u8>>>> = OnceLock::new();
    &ALL.get_or_init(|| targets::ALL.iter().map(|(name, _)| (*name, corpus(name))).collect())[target]
}
