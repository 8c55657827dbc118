//! An agent that its server tells to leave the machine.

use crate::binary::PROGRAM;
use crate::harness::*;
use crate::installed::*;
use chrono::{TimeDelta, Utc};
use gururmm_protocol::uninstall::{REPORT_PATH, UninstallOrder, UninstallReport, UninstallState};
use gururmm_protocol::{AgentMessage, ServerMessage, UninstallId};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

fn order() -> UninstallOrder {
    UninstallOrder { uninstall_id: UninstallId::new(), valid_until: Utc::now() + TimeDelta::days(30) }
}

async fn report(connection: &mut Connection) -> UninstallReport {
    let pick = |message| match message {
        AgentMessage::UninstallReport(report) => Some(report),
        _ => None,
    };
    connection.wait_for(pick).await
}

#[tokio::test]
async fn an_agent_outside_of_its_installation_refuses_to_be_removed() {
    let mut server = TestServer::start().await;
    let installed = Installed::new(&server);
    let watchdog = installed.start();
    let (mut connection, _) = server.welcome().await;
    let order = order();
    connection.send(ServerMessage::UninstallOrder(order.clone())).await;
    let said = report(&mut connection).await;
    assert_eq!((said.uninstall_id, said.state), (order.uninstall_id, UninstallState::Failed));
    assert_eq!(said.error_code.as_deref(), Some("NOT_INSTALLED"));
    // Nor does it begin because it is told that this is stored.
    let acknowledged = ServerMessage::UninstallReportAck {
        uninstall_id: order.uninstall_id,
        state: UninstallState::Uninstalling,
    };
    connection.send(acknowledged).await;
    let finished = connection.run(shell("echo still here")).await;
    assert_eq!(finished.stdout, b"still here\n");
    assert!(installed.state_dir().join("identity.json").exists());
    assert!(!installed.state_dir().join("uninstall.json").exists());
    drop(watchdog);
}

#[test]
fn the_program_that_removes_does_nothing_without_an_order() {
    // Where it is installed, in a test's machine that is none, there is nothing.
    let output = Command::new(PROGRAM).arg("uninstall-ordered").stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
}

/// What the machine looks like to the agent: `/usr/local/lib` and `/var/lib` are empty folders of its own, the agent is
/// installed there, and what is left of it is printed once the watchdog has ended.
const MACHINE: &str = r#"
set -e
mount -t tmpfs tmpfs /usr/local/lib
mount -t tmpfs tmpfs /var/lib
[ ! -d /etc/systemd/system ] || mount -t tmpfs tmpfs /etc/systemd/system
mkdir /usr/local/lib/gururmm
cp "$PROGRAM" /usr/local/lib/gururmm/gururmm-agent
cp -r "$STATE" /var/lib/gururmm-agent
status=0
/usr/local/lib/gururmm/gururmm-agent watchdog </dev/null 2>"$LOG" || status=$?
waited=0
while [ -e /var/lib/gururmm-agent -o -e /usr/local/lib/gururmm ] && [ $waited -lt 200 ]; do
  sleep 0.1
  waited=$((waited + 1))
done
echo "ended with $status"
find /usr/local/lib /var/lib -mindepth 1
"#;

/// The same, with the agent brought by a package with the scripts of ours, on a copy of this whole system that takes nothing
/// back with it.
const PACKAGED: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
root=/mnt/root
mount --rbind /proc $root/proc
mount --rbind /dev $root/dev
mount -t tmpfs tmpfs $root/tmp
tree=$root/tmp/tree
mkdir -p $tree/DEBIAN $tree/usr/lib/gururmm
cp "$PROGRAM" $tree/usr/lib/gururmm/gururmm-agent
cat >$tree/DEBIAN/control <<END
Package: gururmm-agent
Version: 0.0.1
Architecture: all
Maintainer: GuruRMM <nobody@example.com>
Description: of a test
END
script() { { echo '#!/bin/sh'; cat "$SCRIPTS"; echo "$2"; } >$tree/DEBIAN/$1; chmod 755 $tree/DEBIAN/$1; }
script postinst '[ "$1" != configure ] || after_install'
script prerm '[ "$1" != remove ] || before_remove'
script postrm 'case "$1" in remove) after_remove ;; purge) after_purge ;; esac'
dpkg-deb -Znone --root-owner-group --build $tree $root/tmp/agent.deb >/dev/null
cp -r "$STATE" $root/tmp/state
# Often a mount of its own, which a copy of what is below does not have.
cat /etc/hosts >$root/etc/hosts
chroot $root /bin/sh -e <<'END'
dpkg --install /tmp/agent.deb >/dev/null 2>&1
cp -r /tmp/state /var/lib/gururmm-agent
status=0
/usr/local/lib/gururmm/gururmm-agent watchdog </dev/null 2>/tmp/log || status=$?
waited=0
while dpkg-query --status gururmm-agent >/dev/null 2>&1 && [ $waited -lt 300 ]; do
  sleep 0.1
  waited=$((waited + 1))
done
echo "ended with $status"
find / -xdev -path /proc -prune -o -path /tmp -prune -o -path '*gururmm-agent*' -newer /tmp/agent.deb -print
ls -d /usr/lib/gururmm /usr/local/lib/gururmm /etc/gururmm 2>/dev/null || true
END
cat $root/tmp/log >"$LOG"
"#;

/// Needs root, and a system that lets it have mounts of its own; elsewhere there is nothing to show.
fn may_have_mounts() -> bool {
    let mounted = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    !fs::exists("/run/systemd/system").unwrap() && mounted.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn an_installed_agent_leaves_nothing_and_says_so_with_its_last_breath() {
    if may_have_mounts() {
        leaves_nothing(MACHINE).await;
    }
}

#[tokio::test]
async fn an_agent_that_a_package_brought_is_removed_by_the_package_manager() {
    let has_dpkg = Command::new("dpkg-deb").arg("--version").output().is_ok();
    if may_have_mounts() && has_dpkg {
        leaves_nothing(PACKAGED).await;
    }
}

async fn leaves_nothing(script: &str) {
    let mut server = TestServer::start().await;
    let state = TestAgent::enrolled(&server.url);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command.env("PROGRAM", PROGRAM).env("STATE", state.path().join("state"));
    command.env("SCRIPTS", concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/dist/linux/agent.sh"));
    command.env("LOG", state.path().join("log")).stdin(Stdio::null()).stdout(Stdio::piped());
    let machine = command.spawn().unwrap();

    let (mut connection, _) = server.welcome().await;
    let order = order();
    connection.send(ServerMessage::UninstallOrder(order.clone())).await;
    let said = report(&mut connection).await;
    assert_eq!((said.uninstall_id, said.state), (order.uninstall_id, UninstallState::Uninstalling));
    // Until the server has that, nothing happens.
    let finished = connection.run(shell("echo still here")).await;
    assert_eq!(finished.stdout, b"still here\n");
    let acknowledged =
        ServerMessage::UninstallReportAck { uninstall_id: order.uninstall_id, state: said.state };
    connection.send(acknowledged).await;
    connection.closed().await;

    let output = tokio::task::spawn_blocking(|| machine.wait_with_output()).await.unwrap().unwrap();
    let left = String::from_utf8(output.stdout).unwrap();
    assert_eq!(left, "ended with 78\n", "{}", read(state.path().join("log")));
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            let requests = server.requests.lock().unwrap().clone();
            if let Some((_, body)) = requests.into_iter().find(|(path, _)| path == REPORT_PATH) {
                return serde_json::from_str::<UninstallReport>(&body).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let told = told.await.expect("nobody said that the agent is gone");
    assert_eq!((told.uninstall_id, told.state), (order.uninstall_id, UninstallState::Uninstalled));
}
