//! What the agent sets for itself and its commands must not inherit: it is spared when memory runs out and writes no
//! core dumps, for those would hold its key. A command is an ordinary process of the machine.

#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags, open};
#[cfg(target_os = "linux")]
use rustix::io::write;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// What the machine gives its services, as the agent found it.
static CORE: OnceLock<Rlimit> = OnceLock::new();

/// From now on this process leaves no core dump. Only the soft limit is lowered, so that what it was can be given
/// back without a privilege.
pub fn leave_no_core_dump() -> io::Result<()> {
    let found = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: found.maximum })?;
    CORE.get_or_init(|| found);
    Ok(())
}

/// Lets `command` start with what it would have without the agent.
#[expect(
    unsafe_code,
    reason = "what runs between fork and exec must be safe to run there; these are four system calls"
)]
pub fn without_ours(command: &mut Command) {
    let core = CORE.get().copied();
    // SAFETY: no allocation and no lock. An error is no reason not to run: the command is worth more than its limits.
    unsafe {
        command.pre_exec(move || {
            if let Some(core) = core {
                let _ = setrlimit(Resource::Core, core);
            }
            #[cfg(target_os = "linux")]
            // Of the new process: opened in here. To be spared less needs no privilege.
            if let Ok(own) =
                open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            {
                let _ = write(&own, b"0");
            }
            Ok(())
        });
    }
}
