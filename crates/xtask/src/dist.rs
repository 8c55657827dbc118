//! `xtask dist-manifest`: what `./dev dist` has built, for programs (`manifest.json`) and for `sha256sum` (`SHA256SUMS`).

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

#[derive(Args)]
pub struct Options {
    /// The folder with the files
    #[arg(long)]
    dir: PathBuf,
    /// The workspace's version
    #[arg(long)]
    version: String,
    /// `git describe`, where this is not the commit that is tagged with the version
    #[arg(long)]
    build: Option<String>,
    /// When what is built was written, in seconds since 1970: the same source makes the same manifest
    #[arg(long)]
    built_at: i64,
    /// Lines of tab-separated part, file, kind, os, arch, signed, ran-here, note
    #[arg(long)]
    built: PathBuf,
    /// Lines of tab-separated part and reason
    #[arg(long)]
    failed: PathBuf,
}

/// What the folder holds. The server reads it, and may read one of another version: fields are only ever added.
#[derive(Debug, Serialize)]
struct Manifest {
    version: String,
    /// Which build of that version this is, where it is not the released one.
    build: Option<String>,
    built_at: DateTime<Utc>,
    artefacts: Vec<Artefact>,
    failed: Vec<Failed>,
}

/// A file for a machine.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    pub file: String,
    /// `agent`, `server`, `deb`, `rpm`, `msi`, `pkg`, or `pkg-tree`: what a `.pkg` is made of on a Mac.
    pub kind: String,
    /// `linux`, `windows` or `macos`.
    pub os: String,
    /// `x86_64` or `aarch64`.
    pub arch: String,
    pub version: String,
    /// Of the file, in hex.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    pub signed: bool,
    pub ran_here: bool,
    pub note: Option<String>,
}

/// A part that was asked for and is not there.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failed {
    part: String,
    note: String,
}

/// Writes `manifest.json`, and `SHA256SUMS` of every file in the folder.
///
/// # Errors
/// When a line makes no sense or names a file that is not there.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let manifest = Manifest {
        version: options.version.clone(),
        build: options.build.clone(),
        built_at: DateTime::from_timestamp(options.built_at, 0).context("--built-at is no time")?,
        artefacts: artefacts(&options.dir, &options.version, &read(&options.built)?)?,
        failed: failed(&read(&options.failed)?)?,
    };
    let text = serde_json::to_string_pretty(&manifest)?;
    fs::write(options.dir.join(MANIFEST), text + "\n")?;
    fs::write(options.dir.join(SUMS), sums(&options.dir)?)?;
    Ok(())
}

/// The artefacts of a folder that has a manifest.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Artefact>> {
    #[derive(Deserialize)]
    struct Manifest {
        artefacts: Vec<Artefact>,
    }
    let path = dir.join(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{} is no manifest", path.display()))?;
    Ok(manifest.artefacts)
}

fn artefacts(dir: &Path, version: &str, lines: &str) -> anyhow::Result<Vec<Artefact>> {
    let mut files = BTreeSet::new();
    let mut artefacts = Vec::new();
    for line in lines.lines() {
        let artefact = artefact(dir, version, line).with_context(|| format!("what was built: {line}"))?;
        if let Some(artefact) = artefact {
            ensure!(files.insert(artefact.file.clone()), "{} is there twice", artefact.file);
            artefacts.push(artefact);
        }
    }
    Ok(artefacts)
}

/// `None` for what goes with the artefacts and is none itself: a bill of materials.
fn artefact(dir: &Path, version: &str, line: &str) -> anyhow::Result<Option<Artefact>> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [_part, file, kind, os, arch, signed, ran_here, note] = fields[..] else {
        bail!("{} fields instead of 8", fields.len());
    };
    ensure!(!file.contains(['/', '\\']), "a file lies in the folder itself");
    let path = dir.join(file);
    let size = fs::metadata(&path).context("it is not there")?.len();
    ensure!(size > 0, "it is empty");
    if kind == "sbom" {
        return Ok(None);
    }
    let one_of = |what: &str, value: &str, known: &[&str]| {
        ensure!(known.contains(&value), "{value} is no {what}");
        Ok(value.to_owned())
    };
    let yes = |value: &str| match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => bail!("{other} is neither yes nor no"),
    };
    Ok(Some(Artefact {
        file: file.to_owned(),
        kind: one_of("kind", kind, &["agent", "server", "cli", "deb", "rpm", "msi", "pkg", "pkg-tree"])?,
        os: one_of("system", os, &["linux", "windows", "macos"])?,
        arch: one_of("architecture", arch, &["x86_64", "aarch64"])?,
        version: version.to_owned(),
        sha256: sha256(&path)?,
        size,
        signed: yes(signed)?,
        ran_here: yes(ran_here)?,
        note: Some(note.to_owned()).filter(|note| !note.is_empty()),
    }))
}

fn failed(lines: &str) -> anyhow::Result<Vec<Failed>> {
    let failed = lines.lines().map(|line| {
        let (part, note) = line.split_once('\t').with_context(|| format!("what failed: {line}"))?;
        Ok(Failed { part: part.to_owned(), note: note.to_owned() })
    });
    failed.collect()
}

/// In the form of `sha256sum`, of everything in the folder but itself.
fn sums(dir: &Path) -> anyhow::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file's name is not UTF-8")?;
        if entry.file_type()?.is_file() && name != SUMS {
            names.push(name);
        }
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        writeln!(text, "{}  {name}", sha256(&dir.join(&name))?)?;
    }
    Ok(text)
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "agent-linux-x86_64\tgururmm-agent\tagent\tlinux\tx86_64\tno\tyes\trun here";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gururmm-agent"), "abc").unwrap();
        fs::write(folder.path().join("agent.cdx.json"), "{}").unwrap();
        folder
    }

    #[test]
    fn the_manifest_says_what_is_there_and_what_is_missing() {
        let folder = folder();
        let lists = tempfile::tempdir().unwrap();
        let (built, failed) = (lists.path().join("built"), lists.path().join("failed"));
        let sbom = "sbom\tagent.cdx.json\tsbom\t\t\tno\tno\t";
        fs::write(&built, format!("{AGENT}\n{sbom}\n")).unwrap();
        fs::write(&failed, "msi-agent-x86_64\twixl said no\n").unwrap();
        let options = Options {
            dir: folder.path().to_owned(),
            version: "1.2.3".to_owned(),
            build: Some("v1.2.2-4-gabcdef0".to_owned()),
            built_at: 1_700_000_000,
            built,
            failed,
        };
        run(&options).unwrap();
        let manifest: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join(MANIFEST)).unwrap()).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = serde_json::json!({
            "version": "1.2.3", "build": "v1.2.2-4-gabcdef0", "built_at": "2023-11-14T22:13:20Z",
            "artefacts": [{
                "file": "gururmm-agent", "kind": "agent", "os": "linux", "arch": "x86_64", "version": "1.2.3",
                "sha256": abc, "size": 3, "signed": false, "ran_here": true, "note": "run here",
            }],
            "failed": [{ "part": "msi-agent-x86_64", "note": "wixl said no" }],
        });
        assert_eq!(manifest, expected);
        assert_eq!(read(folder.path()).unwrap()[0].size, 3);
        let sums = fs::read_to_string(folder.path().join(SUMS)).unwrap();
        let files: Vec<&str> =
            sums.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name).collect();
        assert_eq!(files, ["agent.cdx.json", "gururmm-agent", "manifest.json"]);
        assert!(sums.contains(&format!("{abc}  gururmm-agent\n")));
    }

    #[test]
    fn what_cannot_be_is_not_written_down() {
        let folder = folder();
        fs::write(folder.path().join("empty"), "").unwrap();
        let broken = [
            AGENT.replace("gururmm-agent\t", "another\t"),
            AGENT.replace("gururmm-agent\t", "../gururmm-agent\t"),
            AGENT.replace("gururmm-agent\t", "empty\t"),
            AGENT.replace("\tagent\t", "\tdmg\t"),
            AGENT.replace("linux\tx", "plan9\tx"),
            AGENT.replace("x86_64\tno", "sparc\tno"),
            AGENT.replace("\tyes\t", "\tmaybe\t"),
            AGENT.replace("\trun here", ""),
            format!("{AGENT}\n{AGENT}"),
        ];
        assert!(artefacts(folder.path(), "1.2.3", AGENT).is_ok());
        for lines in broken {
            assert!(artefacts(folder.path(), "1.2.3", &lines).is_err(), "{lines}");
        }
        assert!(failed("no reason").is_err());
    }
}
