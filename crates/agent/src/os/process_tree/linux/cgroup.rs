//! A control group (version 2) per command. Nothing that a process does by itself gets it out of its group: not a new
//! session, not a second fork, not a cleared environment.
//!
//! Groups are made below the agent's own one, where the agent may: as root, or where its service manager delegated
//! that part of the tree. No controller is switched on, so the agent may stay in the group above. In a container the
//! tree is mostly read-only; then there is no group, and processes are told by their marks alone.

use gururmm_protocol::CommandId;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::process::Child;

const PREFIX: &str = "gururmm-command-";

/// The group of one command; removed when this is dropped, unless processes were left behind in it.
#[derive(Debug)]
pub struct Enclosure {
    folder: PathBuf,
}

impl Enclosure {
    /// Makes the group, and lets `command` start in it.
    pub fn around(command_id: CommandId, command: &mut Command) -> Option<Self> {
        let base = base()?;
        sweep(&base);
        let folder = folder(&base, command_id);
        let made = fs::create_dir(&folder).and_then(|()| {
            let enclosure = Self { folder };
            let procs = OpenOptions::new().write(true).open(enclosure.folder.join("cgroup.procs"))?;
            enter(command, procs);
            Ok(enclosure)
        });
        made.inspect_err(|error| tracing::debug!(%command_id, %error, "a command gets no control group")).ok()
    }

    /// Nothing is left to do: the process moved itself before it became the command.
    pub fn take_in(&self, _child: &Child) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // Busy: the command left something running, as a service's start script does. The next command looks again.
        if remove(&self.folder).is_err() {
            tracing::debug!(folder = %self.folder.display(), "a command's control group is still in use");
        }
    }
}

/// The new process moves itself before it becomes the command, so that it has no child yet.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec must be safe to run there; this is one write(2)"
)]
fn enter(command: &mut Command, procs: File) {
    // SAFETY: no allocation and no lock; an error is no reason not to run, since marks still tell the processes.
    unsafe {
        command.pre_exec(move || {
            let _ = rustix::io::write(&procs, b"0");
            Ok(())
        });
    }
}

/// All processes in a command's group and in those it made below.
pub(super) fn pids(command_id: CommandId) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut folders: Vec<_> = folder_of(command_id).into_iter().collect();
    while let Some(folder) = folders.pop() {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        // 0: a process of another pid namespace, which cannot be reached from here.
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
        folders.extend(below(&folder));
    }
    pids
}

/// Kills everything in a command's group at once, so that nothing can fork ahead of it (Linux 5.14 and newer; where it
/// is missing, the caller's own rounds do it).
pub(super) fn kill(command_id: CommandId) {
    if let Some(folder) = folder_of(command_id) {
        let _ = fs::write(folder.join("cgroup.kill"), b"1");
    }
}

/// Removes the groups whose last processes have ended since. One that was just made is not among them: between its
/// making and its first process, nothing else runs in the agent.
fn sweep(base: &Path) {
    let is_a_commands = |folder: &PathBuf| {
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    };
    for leftover in below(base).iter().filter(|folder| is_a_commands(folder)) {
        // Those that are in use refuse.
        let _ = remove(leftover);
    }
}

fn folder_of(command_id: CommandId) -> Option<PathBuf> {
    base().map(|base| folder(&base, command_id))
}

fn folder(base: &Path, command_id: CommandId) -> PathBuf {
    base.join(format!("{PREFIX}{command_id}"))
}

/// Deepest first. The files in a group's folder are the kernel's and go with it.
fn remove(folder: &Path) -> io::Result<()> {
    for child in below(folder) {
        remove(&child)?;
    }
    fs::remove_dir(folder)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The agent's own group.
fn base() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    own_folder(&own, &mounts)
}

/// `cgroups(7)`: version 2 is the hierarchy 0 without controllers. `proc_pid_mountinfo(5)`: fields 4 (root of the
/// mount within the hierarchy) and 5 (where it is), and after a dash the kind of file system.
fn own_folder(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let is_version_2 = kind.split(' ').next() == Some("cgroup2");
        let within = own.strip_prefix(root).ok().filter(|_| is_version_2)?;
        Some(Path::new(place).join(within))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "24 30 0:22 / /proc rw - proc proc rw\n\
        33 32 0:29 / /sys/fs/cgroup/pids rw shared:10 - cgroup cgroup rw,pids\n\
        42 32 0:38 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_own_group_is_found_wherever_the_hierarchy_is_mounted() {
        let own = "3:pids:/other\n0::/system.slice/gururmm-agent.service\n";
        let expected = Path::new("/sys/fs/cgroup/unified/system.slice/gururmm-agent.service");
        assert_eq!(own_folder(own, MOUNTS).as_deref(), Some(expected));
        assert_eq!(own_folder("0::/\n", MOUNTS).as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let bound = MOUNTS.replace("0:38 / ", "0:38 /system.slice ");
        let expected = Path::new("/sys/fs/cgroup/unified/gururmm-agent.service");
        assert_eq!(own_folder(own, &bound).as_deref(), Some(expected));
    }

    #[test]
    fn without_version_2_or_outside_of_its_mount_there_is_none() {
        assert_eq!(own_folder("3:pids:/\n", MOUNTS), None);
        assert_eq!(
            own_folder("0::/x\n", "33 32 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"),
            None
        );
        assert_eq!(own_folder("0::/../other\n", &MOUNTS.replace("0:38 / ", "0:38 /mine ")), None);
    }
}
