//! An agent that ends without meaning to, and what the next one says of it.

use crate::binary::Process;
use crate::harness::*;
use chrono::{TimeDelta, Utc};
use gururmm_agent::supervisor::Run;
use gururmm_protocol::log::{CrashCause, CrashReport, LogRequest};
use gururmm_protocol::{AgentMessage, LogId, ServerMessage};
use std::path::Path;
use std::sync::Arc;

/// What is reported on this connection. The end of a log comes after every report.
async fn reports(connection: &mut Connection) -> Vec<CrashReport> {
    let request = LogRequest { log_id: LogId::new(), max_bytes: 0 };
    connection.send(ServerMessage::LogRequest(request)).await;
    let mut reports = Vec::new();
    loop {
        match connection.receive().await {
            AgentMessage::CrashReport(report) => reports.push(report),
            AgentMessage::LogEnd(_) => return reports,
            _ => {}
        }
    }
}

/// Acknowledges a report and waits until the agent forgot it.
async fn acknowledge(connection: &mut Connection, report: &CrashReport, state: &Path) {
    connection.send(ServerMessage::CrashReportAck { crash_id: report.crash_id }).await;
    let file = state.join("state/crashes").join(format!("{}.json", report.crash_id));
    eventually("the report is forgotten", || !file.exists()).await;
}

fn wait(mut process: Process) -> tokio::task::JoinHandle<bool> {
    tokio::task::spawn_blocking(move || process.0.wait().unwrap().success())
}

#[tokio::test]
async fn an_agent_that_was_killed_is_reported_until_the_server_has_the_report() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, []);
    connection.send_text(r#"{"type":"its_last_words"}"#.into()).await;
    let log = dir.path().join("state/log/agent.log");
    eventually("it said them", || read(&log).contains("its_last_words")).await;
    let killed = Utc::now();
    // SIGKILL.
    drop(process);

    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let found = reports(&mut connection).await;
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!((report.cause, &report.message), (CrashCause::Killed, &None));
    assert_eq!(report.agent_version, gururmm_agent::version());
    let tail = String::from_utf8(report.log.0.clone()).unwrap();
    assert!(tail.lines().last().unwrap().contains("its_last_words"), "nothing of the next run: {tail}");
    assert!((killed - report.crashed_at).abs() < TimeDelta::seconds(20), "{}", report.crashed_at);
    drop(connection);
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, found);
    // Nor does an end of the agent make the server forget it.
    process.signal("-TERM");
    assert!(wait(process).await.unwrap());

    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, found);
    acknowledge(&mut connection, report, dir.path()).await;
    drop(connection);
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, []);
    process.signal("-TERM");
    assert!(wait(process).await.unwrap());

    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, []);
}

#[tokio::test]
async fn an_agent_whose_machine_went_down_is_not_reported() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let process = Process::start(dir.path());
    server.welcome().await;
    drop(process);
    let marker = dir.path().join("state/running.json");
    let boot_id = read("/proc/sys/kernel/random/boot_id");
    let text = read(&marker);
    assert!(text.contains(&boot_id));
    std::fs::write(&marker, text.replace(&boot_id, "00000000-0000-0000-0000-000000000000")).unwrap();
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, []);
}

#[tokio::test]
async fn a_panic_in_a_task_is_reported_by_the_agent_that_outlives_it() {
    let mut server = TestServer::start().await;
    let state = TestAgent::enrolled(&server.url);
    let run = Run::begin(&state.path().join("state"), Arc::default()).unwrap();
    run.report_panics();
    let agent = TestAgent::start_run(state, run);
    let (mut connection, _) = server.welcome().await;
    assert_eq!(reports(&mut connection).await, []);
    let fault = tokio::spawn(async { panic!("a fault in a task") });
    assert!(fault.await.is_err());
    let found = reports(&mut connection).await;
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!(report.cause, CrashCause::Panic);
    let message = report.message.as_deref().unwrap();
    assert!(message.contains("crashes.rs:") && message.ends_with("a fault in a task"), "{message}");
    // Should this run be killed later, that is reported, too.
    let file = agent.state_dir().join("crashes").join(format!("{}.json", report.crash_id));
    assert!(!read(file).contains("run_id"));
    acknowledge(&mut connection, report, agent.state.path()).await;
    // The agent is as it was.
    connection.run(shell("true")).await;
    assert_eq!(reports(&mut connection).await, []);
}

#[tokio::test]
async fn a_damaged_report_keeps_no_other_from_the_server() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    drop(Process::start(dir.path()));
    std::fs::create_dir_all(dir.path().join("state/crashes")).unwrap();
    let damaged = dir.path().join(format!("state/crashes/{}.json", gururmm_protocol::CrashId::new()));
    std::fs::write(&damaged, "{\"run_id\":").unwrap();
    std::fs::write(dir.path().join("state/running.json"), "not json").unwrap();
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let found = reports(&mut connection).await;
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!((report.cause, report.agent_version.as_str()), (CrashCause::Killed, "unknown"));
    assert!(!damaged.exists());
}
