//! A disk that fails at any moment. Whatever fails: the agent starts again as itself, runs no command twice, and loses no
//! word of one that ran.

use crate::binary::{PROGRAM, Process};
use crate::harness::*;
use gururmm_agent::identity::{Identity, Secret};
use gururmm_protocol::command::{CommandEnd, CommandStart, Outcome};
use gururmm_protocol::to_agent::Welcome;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{AgentId, AgentMessage, ServerMessage};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

/// How long an agent on a failing disk has to say what it can.
const FAILING_FOR: Duration = Duration::from_secs(5);

/// Lets one system call of the agent fail, and looks what the next agent makes of what is left. Answers whether the call
/// came so often at all.
async fn survives(call: &str, error: &str, when: &str) -> bool {
    let mut server = TestServer::start().await;
    let identity = Identity {
        agent_id: AgentId::new(),
        agent_key: Secret::new(KEY.into()),
        server_url: server.url.clone(),
        site_code: "ACME-1".into(),
        enrolled_at: chrono::Utc::now(),
        ca_pinned: false,
    };
    let dir = TestAgent::enrolled_as(&identity);
    let (ran, faults) = (dir.path().join("ran"), dir.path().join("faults"));
    let order = shell(format!("echo ran >> '{}'", ran.display()));

    let process = Process(
        Command::new("strace")
            // The agent is this process's own child, and the tracer another one.
            .args(["-D", "-f", "-qq", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error={error}:when={when}"), "-o"])
            .args([faults.as_os_str(), PROGRAM.as_ref(), "run".as_ref(), "--state-dir".as_ref()])
            .arg(dir.path().join("state"))
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is installed"),
    );
    // Nothing is acknowledged: all that it says it has to be able to say again.
    let said = timeout(FAILING_FOR, until_end(&mut server, &identity, &order)).await;
    // As in a power cut.
    drop(process);

    let _process = Process::start(dir.path());
    let last = timeout(PATIENCE, until_end(&mut server, &identity, &order))
        .await
        .unwrap_or_else(|_| panic!("{call} {when}: the next agent does not say how the command ended"));
    let times = std::fs::read_to_string(&ran).unwrap_or_default().lines().count();
    assert!(times <= 1, "{call} {when}: the command ran {times} times");
    assert!(
        times == 1 || last.outcome != Outcome::Completed,
        "{call} {when}: {last:?} of a command that never ran"
    );
    let injected = was_injected(&faults);
    if !injected {
        // The control.
        let outcomes = (said.unwrap().outcome, last.outcome);
        assert_eq!(outcomes, (Outcome::Completed, Outcome::Completed));
    }
    injected
}

/// A session that stands, and whether the agent holds the command. Sessions of an agent that has gone are passed over.
async fn welcomed(server: &mut TestServer, identity: &Identity) -> (Connection, Hello) {
    loop {
        let mut connection = server.accept().await;
        assert_eq!(connection.agent_id, identity.agent_id);
        let Some(AgentMessage::Hello(hello)) = connection.next().await else { continue };
        let welcome = Welcome {
            agent_id: connection.agent_id,
            protocol: hello.protocols[0],
            server_version: "0.0.0-test".into(),
            server_time: chrono::Utc::now(),
            heartbeat_seconds: 30,
            config: gururmm_protocol::policy::AgentConfig::default(),
            observed_ip: None,
        };
        connection.send(ServerMessage::Welcome(welcome)).await;
        return (connection, hello);
    }
}

/// Orders the command wherever it is not held, as a server does, until its end is said.
async fn until_end(server: &mut TestServer, identity: &Identity, order: &CommandStart) -> CommandEnd {
    let id = order.command_id;
    loop {
        let (mut connection, hello) = welcomed(server, identity).await;
        if !hello.commands.iter().any(|held| held.command_id == id) {
            connection.send(ServerMessage::CommandStart(order.clone())).await;
        }
        while let Some(message) = connection.next().await {
            if let AgentMessage::CommandEnded(end) = message
                && end.command_id == id
            {
                return end;
            }
        }
    }
}

fn was_injected(faults: &Path) -> bool {
    std::fs::read_to_string(faults).unwrap_or_default().contains("INJECTED")
}

/// Each of the first calls in turn, for as long as there are that many, and then all of them.
async fn survives_each(call: &str, error: &str, most: usize) {
    let mut injected = 0;
    for when in 1..=most {
        if !survives(call, error, &when.to_string()).await {
            break;
        }
        injected += 1;
    }
    assert!(injected > 0, "no {call} ever failed");
    assert!(survives(call, error, "1+").await);
}

#[tokio::test]
async fn a_file_that_cannot_be_synced_costs_no_command_and_no_agent() {
    survives_each("fsync", "EIO", 6).await;
}

#[tokio::test]
async fn data_that_cannot_be_synced_cost_no_command_and_no_agent() {
    survives_each("fdatasync", "ENOSPC", 6).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_put_in_its_place_costs_no_command_and_no_agent() {
    survives_each("rename", "ENOSPC", 6).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_costs_no_command_and_no_agent() {
    survives_each("mkdir", "ENOSPC", 4).await;
}
