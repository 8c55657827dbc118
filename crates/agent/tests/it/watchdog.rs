//! The watchdog and the agent it runs, as processes.

use crate::harness::*;
use crate::installed::*;
use gururmm_protocol::watchdog::{Condition, REPORT_PATH, WatchdogReport};
use std::fs;
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_agent_that_is_killed_runs_again_and_stopping_stops_both() {
    let mut server = TestServer::start().await;
    let installed = Installed::new(&server);
    let mut watchdog = installed.start();
    let (_connection, hello) = server.welcome().await;
    let ability = hello.update.unwrap();
    assert!(ability.supported, "{ability:?}");
    let first = watchdog.agent().unwrap();
    kill(first, "-KILL");
    let (mut connection, again) = server.welcome().await;
    assert_eq!(again.identity, hello.identity);
    let second = watchdog.agent().unwrap();
    assert_ne!(first, second);

    let begun = Instant::now();
    watchdog.signal("-TERM");
    connection.closed().await;
    assert!(watchdog.0.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(!is_alive(&second.to_string()));
}

#[tokio::test]
async fn no_agent_outlives_its_watchdog() {
    let mut server = TestServer::start().await;
    let installed = Installed::new(&server);
    let watchdog = installed.start();
    let (mut connection, _) = server.welcome().await;
    let agent = watchdog.agent().unwrap();
    watchdog.signal("-KILL");
    connection.closed().await;
    eventually("the agent is gone", || !is_alive(&agent.to_string())).await;
    // And the folder is free for the next.
    let _watchdog = installed.start();
    server.welcome().await;
}

#[tokio::test]
async fn a_second_watchdog_on_the_same_folder_is_refused() {
    let mut server = TestServer::start().await;
    let installed = Installed::new(&server);
    let _watchdog = installed.start();
    server.welcome().await;
    let mut second = installed.start();
    assert_eq!(second.0.wait().unwrap().code(), Some(1));
    assert!(installed.log().contains("a watchdog already works on this state folder"), "{}", installed.log());
}

#[tokio::test]
async fn a_machine_that_is_not_enrolled_is_left_to_a_person() {
    let server = TestServer::start().await;
    let installed = Installed::new(&server);
    fs::remove_file(installed.state_dir().join("identity.json")).unwrap();
    let mut watchdog = installed.start();
    assert_eq!(watchdog.0.wait().unwrap().code(), Some(78));
}

#[tokio::test]
async fn an_agent_that_fails_three_times_raises_an_alarm_and_takes_it_back() {
    let mut server = TestServer::start().await;
    let installed = Installed::new(&server);
    // Somebody else holds the folder: the agent ends with an error at once.
    let state = gururmm_agent::state::StateDir::open(&installed.state_dir()).unwrap();
    let in_the_way = state.lock().unwrap().unwrap();
    let _watchdog = installed.start();
    let reports = |server: &TestServer| -> Vec<WatchdogReport> {
        let requests = server.requests.lock().unwrap();
        let reports = requests.iter().filter(|(path, _)| path == REPORT_PATH);
        reports.map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    };
    eventually("an alarm is raised", || !reports(&server).is_empty()).await;
    let raised = reports(&server).remove(0);
    assert_eq!((raised.condition, raised.failures), (Condition::Failing, 3));
    assert!(raised.reason.unwrap().contains("exit status: 1"));

    drop(in_the_way);
    let _connected = server.welcome().await;
    let is_taken_back =
        || reports(&server).last().is_some_and(|report| report.condition == Condition::Recovered);
    eventually("it is taken back", is_taken_back).await;
}

/// Whoever can change what is started rules the machine.
#[tokio::test]
async fn a_program_folder_that_others_can_change_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let server = TestServer::start().await;
    let installed = Installed::new(&server);
    fs::set_permissions(installed.program_folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut watchdog = installed.start();
    assert_eq!(watchdog.0.wait().unwrap().code(), Some(1));
    assert!(installed.log().contains("can be changed by other accounts"), "{}", installed.log());
}
