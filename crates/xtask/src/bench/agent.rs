//! What the agents of `./dev dist` cost a machine: memory and idle CPU of those that run here, the size of all of them and of
//! what they come in; against MeshCentral's own agent.

use super::{Row, process};
use crate::dist::{self, Artefact};
use crate::meshcentral::MeshCentral;
use crate::stack::{EMAIL, PASSWORD, Stack, Transport, terminate};
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
    /// How long the agent finds no server: 90s, 30m
    #[arg(long, default_value = "60s", value_parser = duration)]
    down: Duration,
    /// Compare with MeshCentral, which is installed into target/
    #[arg(long)]
    with_meshcentral: bool,
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
        rows.extend(costs(root, &programs.folder, native, options)?);
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

fn costs(root: &Path, programs: &Path, artefact: &Artefact, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let idle = Duration::from_secs(options.idle_seconds);
    let mut stack = Stack::start_over(Transport::Tls, programs, &folder)?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    stack.add_agent(&api)?;
    let agent = stack.agents()[0].pid().context("the agent does not run")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut rival = options.with_meshcentral.then(|| MeshCentral::start(root)).transpose()?;
    let mut other = rival.as_ref().map(|rival| rival.real_agent(&folder.join("meshagent"))).transpose()?;
    let both = [Some(agent), other.as_ref().map(std::process::Child::id)];
    ours_and_theirs(both, idle, (&mut ours, &mut theirs))?;
    stack.stop_server()?;
    if let Some(rival) = &mut rival {
        rival.stop_server()?;
    }
    ours_and_theirs(both, options.down, (&mut ours, &mut theirs))?;
    terminate(&mut other)?;
    stack.stop()?;
    fs::remove_dir_all(folder)?;
    let name = |what: &str| format!("{} {}: {what}", artefact.os, artefact.arch);
    let mut rows = Vec::new();
    for (at, when) in ["idle", "without its server"].into_iter().enumerate() {
        let Some(ours) = ours.get(at) else { continue };
        match theirs.get(at) {
            Some(Cost { memory, cpu, growth }) => {
                let name = |what: &str| name(&format!("agent {when}, {what} (theirs: MeshCentral's)"));
                rows.push(Row::against(name("memory (PSS)"), ours.memory, *memory, "MB", Some(1.0)));
                rows.push(Row::against(name("CPU"), ours.cpu, *cpu, "%", None));
                rows.push(Row::alone(name("their growth"), *growth, "MB", None));
            }
            None => rows.push(Row::alone(
                name(&format!("agent {when}, memory (PSS)")),
                ours.memory,
                "MB",
                Some(15.0),
            )),
        }
        rows.push(Row::alone(name(&format!("agent {when}, CPU of one core")), ours.cpu, "%", Some(MOST_CPU)));
        rows.push(Row::alone(name(&format!("agent {when}, growth")), ours.growth, "MB", Some(MOST_GROWTH)));
    }
    Ok(rows)
}

/// In per cent of one core.
const MOST_CPU: f64 = 0.2;
/// In megabytes: an allocator's own to and fro.
const MOST_GROWTH: f64 = 0.5;

struct Cost {
    /// Megabytes, at the end.
    memory: f64,
    /// Per cent of one core.
    cpu: f64,
    /// Megabytes.
    growth: f64,
}

/// Both agents over the same time, once whatever came before is done.
fn ours_and_theirs(
    [ours, theirs]: [Option<u32>; 2],
    time: Duration,
    (our_costs, their_costs): (&mut Vec<Cost>, &mut Vec<Cost>),
) -> anyhow::Result<()> {
    std::thread::sleep(Duration::from_secs(15));
    let look = |pid: u32| anyhow::Ok((process::pss_megabytes(pid)?, process::cpu_time(pid)?));
    let before = (ours.map(look).transpose()?, theirs.map(look).transpose()?);
    std::thread::sleep(time);
    let after = (ours.map(look).transpose()?, theirs.map(look).transpose()?);
    let cost = |(memory, cpu): (f64, Duration), (memory_after, cpu_after): (f64, Duration)| Cost {
        memory: memory_after,
        cpu: (cpu_after - cpu).as_secs_f64() / time.as_secs_f64() * 100.0,
        growth: memory_after - memory,
    };
    our_costs.extend(before.0.zip(after.0).map(|(before, after)| cost(before, after)));
    their_costs.extend(before.1.zip(after.1).map(|(before, after)| cost(before, after)));
    Ok(())
}

/// `90s` or `30m`.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or(("", ""));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        _ => return Err("must be like 90s or 30m"),
    };
    let number: u64 = number.parse().map_err(|_| "must be like 90s or 30m")?;
    Ok(Duration::from_secs(number * seconds))
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
    fn times_are_in_seconds_or_minutes() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert!(["", "m", "30", "30h", "-1s", "\u{fc}"].iter().all(|text| duration(text).is_err()));
    }

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
