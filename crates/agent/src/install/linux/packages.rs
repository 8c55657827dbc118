//! Removing the agent by the package manager that installed it, so that the system does not go on believing in it.

use super::InstallError;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

const PACKAGE: &str = "gururmm-agent";
/// How long another installation may be in the way.
const FREE_WITHIN: Duration = Duration::from_secs(300);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long the removal itself may take. It is not stopped then, but not waited for any more.
const REMOVED_WITHIN: Duration = Duration::from_secs(300);

/// A package manager: how to ask it whose a file is, and how to remove the package.
struct Tool {
    program: &'static str,
    owner: &'static [&'static str],
    remove: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    // Purged: what is merely removed leaves what makes the machine the agent that it is.
    Tool { program: "dpkg", owner: &["--search"], remove: &["--purge", PACKAGE] },
    Tool {
        program: "rpm",
        owner: &["--query", "--queryformat", "%{NAME}\\n", "--file"],
        remove: &["--erase", PACKAGE],
    },
];

/// Removes the agent's package, if `packaged` belongs to it.
pub(super) async fn remove_owner(root: &Path, packaged: &Path) -> Result<(), InstallError> {
    // Below another root there is nothing these know of.
    if root != Path::new("/") || !packaged.exists() {
        return Ok(());
    }
    for tool in TOOLS {
        if tool.owns(packaged).await {
            return tool.remove().await;
        }
    }
    Ok(())
}

impl Tool {
    async fn owns(&self, packaged: &Path) -> bool {
        let mut command = self.command();
        command.args(self.owner).arg(packaged);
        command.output().await.is_ok_and(|output| output.status.success() && names_package(&output.stdout))
    }

    async fn remove(&self) -> Result<(), InstallError> {
        let until = Instant::now() + FREE_WITHIN;
        loop {
            let mut command = self.command();
            command.args(self.remove);
            let said = match timeout(REMOVED_WITHIN, command.output()).await {
                Err(_) => format!("it did not end within {} seconds", REMOVED_WITHIN.as_secs()),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(output)) if output.status.success() => return Ok(()),
                Ok(Ok(output)) if is_locked(&output) && Instant::now() < until => {
                    tracing::info!(program = self.program, "another installation is in the way");
                    sleep(TRY_AGAIN_AFTER).await;
                    continue;
                }
                Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            };
            let request = format!("{} {}", self.program, self.remove.join(" "));
            return Err(InstallError::PackageManager { request, output: said });
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(std::process::Stdio::null());
        command
    }
}

/// `gururmm-agent: /usr/lib/…`, `gururmm-agent:amd64: /usr/lib/…`, or the name by itself.
fn names_package(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    text.lines().any(|line| line.split(':').next() == Some(PACKAGE))
}

/// `dpkg: error: dpkg frontend lock was locked by another process …`, and rpm's `can't create transaction lock`.
fn is_locked(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).lines().any(|line| line.contains("lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agents_own_package_is_taken_for_it() {
        for said in [
            "gururmm-agent: /usr/lib/gururmm/gururmm-agent\n",
            "gururmm-agent:amd64: /usr/lib/x\n",
            "gururmm-agent\n",
        ] {
            assert!(names_package(said.as_bytes()), "{said}");
        }
        for said in
            ["", "gururmm-agent-extras: /usr/lib/x\n", "file /usr/lib/x is not owned by any package\n"]
        {
            assert!(!names_package(said.as_bytes()), "{said}");
        }
    }
}
