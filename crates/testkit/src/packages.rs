//! A folder of packages as `./dev dist` lays it down, with files that only look like packages.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use tempfile::TempDir;

/// The Windows installer's file.
pub const MSI: &str = "GuruRMM.msi";
/// The macOS package's file.
pub const PKG: &str = "GuruRMM.pkg";
/// The file that every folder has for Linux on aarch64.
pub const AGENT_AARCH64: &str = "gururmm-agent-linux-aarch64";

/// File, kind, system, processor.
const FILES: [(&str, &str, &str, &str); 6] = [
    (MSI, "msi", "windows", "x86_64"),
    (PKG, "pkg", "macos", "aarch64"),
    (AGENT_AARCH64, "agent", "linux", "aarch64"),
    ("gururmm-agent_0.1.0_amd64.deb", "deb", "linux", "x86_64"),
    ("gururmm-agent-0.1.0.x86_64.rpm", "rpm", "linux", "x86_64"),
    ("gururmm-server", "server", "linux", "x86_64"),
];

/// The bytes of a file, large enough to come in several pieces.
pub fn bytes_of(file: &str) -> Vec<u8> {
    format!("{file}, every byte of it signed. ").into_bytes().repeat(8_000)
}

/// One of every package.
pub fn lay_down() -> TempDir {
    lay_down_only(&FILES.map(|(file, ..)| file))
}

/// Only some of them.
pub fn lay_down_only(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let laid = FILES.into_iter().filter(|(file, ..)| files.contains(file));
    let artefacts: Vec<Value> = laid
        .map(|(file, kind, os, arch)| {
            let bytes = bytes_of(file);
            std::fs::write(folder.path().join(file), &bytes).unwrap();
            json!({ "file": file, "kind": kind, "os": os, "arch": arch, "version": "0.1.0", "sha256": sha256(&bytes),
                "size": bytes.len(), "signed": kind == "msi", "ran_here": true, "note": null })
        })
        .collect();
    write_manifest(folder.path(), &artefacts);
    folder
}

fn write_manifest(folder: &Path, artefacts: &[Value]) {
    let manifest = json!({ "version": "0.1.0", "built_at": "2026-01-01T00:00:00Z", "artefacts": artefacts });
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

/// In hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
