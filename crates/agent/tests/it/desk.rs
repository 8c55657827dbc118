//! A machine with people on it: accounts, their sessions and their homes, seen by the programs of one test only. They
//! stand in a mount namespace of the test's own, which goes with its processes. Needs root.

use crate::binary::{PROGRAM, Process};
use crate::harness::TestServer;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub const ADA: u32 = 4_200_001;
pub const EVE: u32 = 4_200_002;
/// A group that only Ada is in beside her own.
pub const STAFF: u32 = 4_200_100;

pub struct Desk {
    pub dir: TempDir,
}

impl Desk {
    /// `None` where this process may not have a mount namespace of its own: there is nothing to show there.
    pub fn new(server: &TestServer) -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            return None;
        }
        let desk = Self { dir: crate::harness::TestAgent::enrolled(&server.url) };
        fs::set_permissions(desk.dir.path(), Permissions::from_mode(0o711)).unwrap();
        let (mut passwd, mut group) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/group").unwrap());
        for (name, uid) in [("ada", ADA), ("eve", EVE)] {
            let home = desk.home(name);
            fs::create_dir_all(&home).unwrap();
            fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
            chown(&home, Some(uid), Some(uid)).unwrap();
            passwd.push_str(&format!("{name}:x:{uid}:{uid}::{}:/bin/bash\n", home.display()));
            group.push_str(&format!("{name}:x:{uid}:\n"));
        }
        group.push_str(&format!("staff4200:x:{STAFF}:ada\n"));
        fs::write(desk.path("passwd"), passwd).unwrap();
        fs::write(desk.path("group"), group).unwrap();
        fs::create_dir(desk.path("sessions")).unwrap();
        Some(desk)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.path("home").join(name)
    }

    /// Somebody's session, as logind writes it down.
    pub fn sign_in(&self, id: &str, name: &str, uid: u32, fields: &str) {
        let text =
            format!("UID={uid}\nUSER={name}\nACTIVE=1\nCLASS=user\nSTATE=active\nREALTIME=1\n{fields}\n");
        fs::write(self.path("sessions").join(id), text).unwrap();
    }

    pub fn sign_out(&self, id: &str) {
        fs::remove_file(self.path("sessions").join(id)).unwrap();
    }

    /// `program` on this machine, once `prelude` is done there.
    pub fn command(&self, prelude: &str, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-ec"]);
        command.arg(format!(
            "cd / && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/systemd/sessions
            mount --bind {dir}/sessions /run/systemd/sessions
            mount --bind {dir}/passwd /etc/passwd && mount --bind {dir}/group /etc/group
            {prelude}
            exec \"$@\"",
            dir = self.dir.path().display()
        ));
        command.arg("sh").arg(program);
        command
    }

    /// The agent.
    pub fn start(&self) -> Process {
        let mut command = self.command("", Path::new(PROGRAM));
        command.arg("run").arg("--state-dir").arg(self.path("state"));
        Process(command.stderr(self.log()).spawn().unwrap())
    }

    pub fn log(&self) -> fs::File {
        fs::File::options().create(true).append(true).open(self.path("log")).unwrap()
    }

    /// One of somebody's programs.
    pub fn program(&self, uid: u32, variables: &[(&str, &str)]) -> Running {
        let mut command = as_user(uid, Path::new("/usr/bin/env"));
        command.arg("-i").args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        let running = Running(command.args(["/bin/sleep", "600"]).spawn().unwrap());
        let name = format!("/proc/{}/comm", running.0.id());
        while fs::read_to_string(&name).unwrap().trim() != "sleep" {
            std::thread::yield_now();
        }
        running
    }
}

/// `program` as an account that has nothing of root's.
pub fn as_user(uid: u32, program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]);
    command.args(["--inh-caps=-all", "--"]).arg(program);
    command
}

/// Ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
