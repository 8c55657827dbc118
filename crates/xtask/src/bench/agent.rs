//! What the agents of `./dev dist` cost a machine: memory and idle CPU of those that run here, the size of all of them and of
//! what they come in.

use super::{Row, process};
use crate::dist::{self, Artefact};
use crate::stack::{EMAIL, PASSWORD, Stack};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

#[derive(Args)]
pub struct Options {
    /// Seconds over which idle CPU is measured
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// What ./dev dist has built
    #[arg(long, default_value = "target/dist")]
    dist_dir: PathBuf,
}

/// "A few megabytes", in each of its forms.
const LARGEST_PROGRAM: f64 = 10.0;
const LARGEST_PACKAGE: f64 = 5.0;

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let dist_dir = root.join(&options.dist_dir);
    let artefacts = dist::read(&dist_dir).context("run ./dev dist first")?;
    let mut rows = Vec::new();
    let native = artefacts.iter().find(|artefact| {
        artefact.kind == "agent" && artefact.os == env::consts::OS && artefact.arch == env::consts::ARCH
    });
    // An emulator's figures would be the emulator's.
    if let Some(native) = native {
        let programs = Programs::link(root, bin_dir, &dist_dir.join(&native.file))?;
        rows.extend(costs(root, &programs.folder, native, Duration::from_secs(options.idle_seconds))?);
    }
    rows.extend(artefacts.iter().filter_map(size));
    Ok(rows)
}

/// A folder with the server of one and the agent of another.
struct Programs {
    folder: PathBuf,
}

impl Programs {
    fn link(root: &Path, bin_dir: &Path, agent: &Path) -> anyhow::Result<Self> {
        let folder = root.join(format!("target/bench-programs-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let programs = Self { folder };
        std::os::unix::fs::symlink(agent, programs.folder.join("gururmm-agent"))?;
        std::os::unix::fs::symlink(bin_dir.join("gururmm-server"), programs.folder.join("gururmm-server"))?;
        Ok(programs)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn costs(root: &Path, programs: &Path, artefact: &Artefact, idle: Duration) -> anyhow::Result<Vec<Row>> {
    let mut stack = Stack::start(programs, &root.join(format!("target/bench-{}", std::process::id())))?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    stack.add_agent(&api)?;
    let agent = stack.agents()[0].pid().context("the agent does not run")?;
    // Whatever connecting left to be done.
    std::thread::sleep(Duration::from_secs(10));
    let before = process::cpu_time(agent)?;
    std::thread::sleep(idle);
    let used = process::cpu_time(agent)? - before;
    let name = |what: &str| format!("{} {}: {what}", artefact.os, artefact.arch);
    let rows = vec![
        Row::alone(name("agent memory (PSS)"), process::pss_megabytes(agent)?, "MB", Some(15.0)),
        Row::alone(name("agent idle CPU"), used.as_secs_f64() / idle.as_secs_f64() * 100.0, "%", Some(0.3)),
    ];
    let folder = stack.folder().to_owned();
    stack.stop()?;
    fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// Nothing for what holds no agent.
fn size(artefact: &Artefact) -> Option<Row> {
    let megabytes = artefact.size as f64 / 1e6;
    let Artefact { kind, os, arch, file, .. } = artefact;
    match kind.as_str() {
        "agent" => Some(Row::alone(format!("{os} {arch}: agent"), megabytes, "MB", Some(LARGEST_PROGRAM))),
        "deb" | "rpm" | "msi" | "pkg" if file.to_lowercase().contains("agent") => {
            Some(Row::alone(format!("{os} {arch}: {kind}"), megabytes, "MB", Some(LARGEST_PACKAGE)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_packages_of_the_agent_have_sizes_and_the_servers_have_none() {
        let artefact = |kind: &str, file: &str| Artefact {
            file: file.to_owned(),
            kind: kind.to_owned(),
            os: "linux".to_owned(),
            arch: "aarch64".to_owned(),
            size: 5_300_000,
            ..Artefact::default()
        };
        let row = size(&artefact("agent", "gururmm-agent-linux-aarch64")).unwrap();
        assert_eq!((row.name.as_ref(), row.ours, row.ok), ("linux aarch64: agent", 5.3, true));
        let row = size(&artefact("deb", "gururmm-agent_1.0_arm64.deb")).unwrap();
        assert_eq!((row.name.as_ref(), row.ok), ("linux aarch64: deb", false));
        for (kind, file) in
            [("server", "gururmm-server-linux-x86_64"), ("deb", "gururmm-server_1.0_amd64.deb")]
        {
            assert!(size(&artefact(kind, file)).is_none());
        }
    }
}
