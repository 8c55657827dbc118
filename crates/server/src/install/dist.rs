//! The folder of packages that `./dev dist` builds: what its manifest names is handed out, and only with the digest that
//! the manifest names.

use crate::db::words;
use crate::error::Error;
use gururmm_protocol::system::OsType;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Mutex;
use utoipa::ToSchema;

const MANIFEST: &str = "manifest.json";
const MAX_MANIFEST_BYTES: u64 = 256 * 1024;
const MAX_PACKAGES: usize = 64;
const MAX_PACKAGE_BYTES: u64 = 1 << 30;

words! {
    /// What a package is installed by.
    PackageKind {
        /// The bare program, for the one-line command.
        Agent = "agent",
        Deb = "deb",
        Rpm = "rpm",
        Msi = "msi",
        Pkg = "pkg",
    }
}

words! {
    /// What a package runs on.
    Arch { X86_64 = "x86_64", Aarch64 = "aarch64", }
}

/// A package that this server hands out at `/install/packages/`, the same bytes for everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Package {
    pub file: String,
    pub kind: PackageKind,
    pub os: OsType,
    pub arch: Arch,
    pub version: String,
    pub sha256: String,
    /// In bytes.
    pub size: u64,
    /// Whether its maker signed it.
    pub signed: bool,
}

/// A package that is what its manifest says, opened.
pub struct Opened {
    pub package: Package,
    /// At its start. What is read from it is what was checked, though the name may belong to another file by now.
    pub file: File,
}

/// Why a package cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The manifest names no such file.
    Unknown,
    /// The file is not there, or is not the one the manifest names.
    Mismatch,
}

/// The folder, and what is known of it.
pub struct Dist {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    manifest: Option<(Stamp, Arc<[Package]>)>,
    /// Digests of files as they were when last read, by name. No more names than a manifest has.
    digests: HashMap<String, (Stamp, String)>,
}

/// Tells a file from another one, and from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Dist {
    /// The packages of a folder, which may come to be later.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::default() }
    }

    /// What the manifest names now. A manifest that cannot be used is said in the log and names nothing.
    pub async fn packages(&self) -> Arc<[Package]> {
        self.current(&mut *self.known.lock().await).await
    }

    /// A package, if it is what the manifest says.
    pub async fn open(&self, name: &str) -> Result<Result<Opened, Unavailable>, Error> {
        // The lock is held while the file is read: many askers cost one reading.
        let mut known = self.known.lock().await;
        let packages = self.current(&mut known).await;
        let Some(package) = packages.iter().find(|package| package.file == name) else {
            return Ok(Err(Unavailable::Unknown));
        };
        let Some((mut file, stamp)) = open_file(&self.folder.join(&package.file)).await? else {
            return Ok(Err(Unavailable::Mismatch));
        };
        if stamp.length != package.size {
            return Ok(Err(Unavailable::Mismatch));
        }
        let is_known =
            known.digests.get(name).filter(|(of, _)| *of == stamp).map(|(_, digest)| digest.clone());
        let digest = match is_known {
            Some(digest) => digest,
            None => {
                let digest = super::downloads::checksum_of(&mut file).await?;
                file.rewind().await.map_err(Error::internal)?;
                if digest != package.sha256 {
                    tracing::error!(
                        file = name,
                        "a package is not the one its manifest names, and is not handed out"
                    );
                }
                known.digests.insert(name.to_owned(), (stamp, digest.clone()));
                digest
            }
        };
        Ok(match digest == package.sha256 {
            true => Ok(Opened { package: package.clone(), file }),
            false => Err(Unavailable::Mismatch),
        })
    }

    async fn current(&self, known: &mut Known) -> Arc<[Package]> {
        let path = self.folder.join(MANIFEST);
        let stamp = match tokio::fs::metadata(&path).await {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %path.display(), "the manifest of packages cannot be read");
                }
                *known = Known::default();
                return Arc::default();
            }
        };
        if let Some((of, packages)) = &known.manifest
            && *of == stamp
        {
            return Arc::clone(packages);
        }
        let packages: Arc<[Package]> = match read_manifest(&path).await {
            Ok(packages) => packages.into(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, path = %path.display(), "the manifest of packages cannot be used");
                Arc::default()
            }
        };
        known.digests.retain(|name, _| packages.iter().any(|package| package.file == *name));
        known.manifest = Some((stamp, Arc::clone(&packages)));
        packages
    }
}

/// A plain file, open, as it is now. A pipe would never open.
async fn open_file(path: &Path) -> Result<Option<(File, Stamp)>, Error> {
    if !tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let file = File::open(path).await.map_err(Error::internal)?;
    let metadata = file.metadata().await.map_err(Error::internal)?;
    Ok(metadata.is_file().then(|| (file, Stamp::of(&metadata))))
}

async fn read_manifest(path: &Path) -> anyhow::Result<Vec<Package>> {
    anyhow::ensure!(tokio::fs::metadata(path).await?.is_file(), "it is not a file");
    let mut text = Vec::new();
    File::open(path).await?.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text).await?;
    anyhow::ensure!(text.len() as u64 <= MAX_MANIFEST_BYTES, "it is longer than {MAX_MANIFEST_BYTES} bytes");
    parse(&text)
}

/// As `./dev dist` writes it; fields and kinds that this server does not know are somebody else's.
#[derive(Deserialize)]
struct Manifest {
    artefacts: Vec<Artefact>,
}

#[derive(Deserialize)]
struct Artefact {
    file: String,
    kind: String,
    os: String,
    arch: String,
    version: String,
    sha256: String,
    size: u64,
    signed: bool,
}

fn parse(text: &[u8]) -> anyhow::Result<Vec<Package>> {
    let manifest: Manifest = serde_json::from_slice(text)?;
    anyhow::ensure!(manifest.artefacts.len() <= MAX_PACKAGES, "it names more than {MAX_PACKAGES} files");
    let mut packages: Vec<Package> = Vec::new();
    for artefact in manifest.artefacts {
        let file = artefact.file.as_str();
        anyhow::ensure!(is_file_name(file), "{file:?} is not a plain file name");
        anyhow::ensure!(is_version(&artefact.version), "{file}: the version is not a plain one");
        anyhow::ensure!(is_sha256(&artefact.sha256), "{file}: the SHA-256 is not one");
        anyhow::ensure!((1..=MAX_PACKAGE_BYTES).contains(&artefact.size), "{file}: the size is out of range");
        anyhow::ensure!(packages.iter().all(|package| package.file != file), "{file} is named twice");
        // What the server itself is installed by is nothing for machines.
        if file.starts_with("gururmm-server") {
            continue;
        }
        let known = (PackageKind::parse(&artefact.kind), os(&artefact.os), Arch::parse(&artefact.arch));
        let (Some(kind), Some(os), Some(arch)) = known else { continue };
        let Artefact { file, version, sha256, size, signed, .. } = artefact;
        packages.push(Package { file, kind, os, arch, version, sha256, size, signed });
    }
    Ok(packages)
}

fn os(word: &str) -> Option<OsType> {
    [OsType::Linux, OsType::Windows, OsType::Macos].into_iter().find(|os| os.as_str() == word)
}

/// No folders, no option of a command line, nothing that means something to a shell.
fn is_file_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+~".contains(&b))
}

fn is_version(version: &str) -> bool {
    (1..=64).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b))
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::downloads::sha256_hex;
    use serde_json::{Value, json};

    fn artefact(file: &str, bytes: &[u8]) -> Value {
        json!({ "file": file, "kind": "msi", "os": "windows", "arch": "x86_64", "version": "1.2.0",
            "sha256": sha256_hex(bytes), "size": bytes.len(), "signed": true, "ran_here": true, "note": null })
    }

    fn manifest(artefacts: &[Value]) -> Vec<u8> {
        let manifest =
            json!({ "version": "1.2.0", "built_at": "2026-01-01T00:00:00Z", "artefacts": artefacts });
        serde_json::to_vec(&manifest).unwrap()
    }

    #[test]
    fn names_that_lead_elsewhere_and_values_out_of_range_are_refused() {
        let good = artefact("GuruRMM.msi", b"x");
        assert_eq!(parse(&manifest(std::slice::from_ref(&good))).unwrap().len(), 1);
        let long = "a".repeat(129);
        for file in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "a\\b",
            ".hidden",
            "-o",
            "a b",
            "a\0",
            "a\"b",
            "C:a",
            long.as_str(),
        ] {
            assert!(parse(&manifest(&[artefact(file, b"x")])).is_err(), "{file}");
        }
        for (field, value) in [
            ("sha256", json!("ABC")),
            ("sha256", json!("A".repeat(64))),
            ("size", json!(0)),
            ("size", json!(MAX_PACKAGE_BYTES + 1)),
            ("size", json!(-1)),
            ("version", json!("1 2")),
            ("version", json!("")),
        ] {
            let mut broken = good.clone();
            broken[field] = value.clone();
            assert!(parse(&manifest(&[broken])).is_err(), "{field} {value}");
        }
        assert!(parse(&manifest(&[good.clone(), good.clone()])).is_err(), "named twice");
        let many: Vec<_> = (0..=MAX_PACKAGES).map(|n| artefact(&format!("a{n}"), b"x")).collect();
        assert!(parse(&manifest(&many)).is_err(), "too many");
        assert!(parse(b"{}").is_err() && parse(b"").is_err());
    }

    #[test]
    fn the_names_that_dist_gives_are_read_and_what_is_no_agents_package_is_not_offered() {
        let build = "0.1.0~git20260101120000.1a2b3c4";
        let named = [
            ("gururmm-agent-linux-aarch64".to_owned(), "agent", "linux", "aarch64"),
            (format!("gururmm-agent_{build}_amd64.deb"), "deb", "linux", "x86_64"),
            (format!("gururmm-agent-{build}-1.aarch64.rpm"), "rpm", "linux", "aarch64"),
            ("gururmm-agent-0.1.0-x86_64.msi".to_owned(), "msi", "windows", "x86_64"),
            (format!("gururmm-server_{build}_amd64.deb"), "deb", "linux", "x86_64"),
            ("gururmm-agent-0.1.0-macos-aarch64.tar.gz".to_owned(), "pkg-tree", "macos", "aarch64"),
        ];
        let artefacts: Vec<_> = named
            .iter()
            .map(|(file, kind, os, arch)| {
                let mut artefact = artefact(file, b"x");
                (artefact["kind"], artefact["os"], artefact["arch"]) = (json!(kind), json!(os), json!(arch));
                artefact
            })
            .collect();
        let packages = parse(&manifest(&artefacts)).unwrap();
        let files: Vec<_> = packages.iter().map(|package| package.file.as_str()).collect();
        assert_eq!(files, named[..4].iter().map(|(file, ..)| file.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn what_this_server_does_not_know_is_left_out() {
        let mut unknown: Vec<_> = ["a", "b", "c"].map(|file| artefact(file, b"x")).into();
        unknown[0]["kind"] = json!("server");
        unknown[1]["os"] = json!("beos");
        unknown[2]["arch"] = json!("riscv64");
        unknown.push(artefact("d", b"x"));
        let packages = parse(&manifest(&unknown)).unwrap();
        assert_eq!(packages.iter().map(|package| package.file.as_str()).collect::<Vec<_>>(), ["d"]);
    }

    async fn read(dist: &Dist, name: &str) -> Result<Vec<u8>, Unavailable> {
        let mut opened = dist.open(name).await.unwrap()?;
        let mut bytes = Vec::new();
        opened.file.read_to_end(&mut bytes).await.unwrap();
        Ok(bytes)
    }

    #[tokio::test]
    async fn only_what_the_manifest_names_with_the_digest_it_names_is_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let dist = Dist::new(folder.path().to_owned());
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        assert_eq!(dist.packages().await.len(), 0, "no folder of packages is no error");
        write("GuruRMM.msi", b"first");
        write("secret.txt", b"not in the manifest");
        write(MANIFEST, &manifest(&[artefact("GuruRMM.msi", b"first"), artefact("gone.msi", b"gone")]));
        assert_eq!(read(&dist, "GuruRMM.msi").await.unwrap(), b"first");
        assert_eq!(read(&dist, "GuruRMM.msi").await.unwrap(), b"first", "the second time from what is known");
        for unknown in ["secret.txt", MANIFEST, "../GuruRMM.msi", "", "."] {
            assert_eq!(read(&dist, unknown).await.unwrap_err(), Unavailable::Unknown, "{unknown}");
        }
        assert_eq!(read(&dist, "gone.msi").await.unwrap_err(), Unavailable::Mismatch);
        // Same length, other bytes; the digest that is known is the old file's.
        write("GuruRMM.msi", b"forge");
        assert_eq!(read(&dist, "GuruRMM.msi").await.unwrap_err(), Unavailable::Mismatch);
        write(MANIFEST, &manifest(&[artefact("GuruRMM.msi", b"forge")]));
        assert_eq!(read(&dist, "GuruRMM.msi").await.unwrap(), b"forge");
        write(MANIFEST, b"{ half");
        assert_eq!(read(&dist, "GuruRMM.msi").await.unwrap_err(), Unavailable::Unknown);
        std::fs::remove_file(folder.path().join("GuruRMM.msi")).unwrap();
        std::fs::create_dir(folder.path().join("GuruRMM.msi")).unwrap();
        write(MANIFEST, &manifest(&[artefact("GuruRMM.msi", b"forge")]));
        assert_eq!(
            read(&dist, "GuruRMM.msi").await.unwrap_err(),
            Unavailable::Mismatch,
            "a folder is no package"
        );
    }
}
