//! An installed agent becomes another version, or stays what it is: real processes, real metadata.

use crate::binary::PROGRAM;
use crate::harness::*;
use crate::installed::*;
use chrono::{TimeDelta, Utc};
use gururmm_protocol::bootstrap::BootstrapAction;
use gururmm_protocol::update::{UpdateAction, UpdateOrder, UpdateReport, UpdateState};
use gururmm_protocol::{AgentMessage, ServerMessage, UpdateId};
use gururmm_testkit::repository::{Release, Repository};
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct World {
    pub server: TestServer,
    repository: Repository,
    pub installed: Installed,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let (server, folder) = (TestServer::start().await, tempfile::tempdir().unwrap());
        let mut repository = Repository::create(folder.path());
        repository.write();
        server.updates.lock().unwrap().folder = folder.path().to_owned();
        let installed = Installed::new(&server);
        installed.trust(&repository.root_json());
        repository.raise_versions();
        Self { server, repository, installed, _folder: folder }
    }

    pub fn publish(&mut self, version: &str, bytes: Vec<u8>) {
        self.repository.publish(Release::here(version, bytes)).write();
    }

    /// Takes a version's bytes from the disk, so that many fit.
    pub fn forget(&mut self, version: &str) {
        let name = Release::here(version, "").target_name();
        fs::remove_file(self.repository.target_path(&name)).unwrap();
        self.repository.entries.remove(&name);
    }

    /// Takes reports, and acknowledges them, until the update has ended; through every connection it takes.
    async fn outcome(&mut self, connection: &mut Connection, update_id: UpdateId) -> UpdateReport {
        loop {
            match connection.next().await {
                Some(AgentMessage::UpdateReport(report)) => {
                    let ack =
                        ServerMessage::UpdateReportAck { update_id: report.update_id, state: report.state };
                    connection.send(ack).await;
                    if report.update_id == update_id && report.state.is_final() {
                        return report;
                    }
                }
                Some(_) => {}
                None => *connection = self.server.welcome().await.0,
            }
        }
    }
}

/// An agent that does not say who it is, and is let in nowhere.
pub fn without_its_id(program: Vec<u8>) -> Vec<u8> {
    with_other_words(program, b"x-gururmm-agent", b"y-gururmm-agent")
}

/// A program in which a word is another one wherever it stands.
fn with_other_words(mut program: Vec<u8>, word: &[u8], other: &[u8]) -> Vec<u8> {
    let places: Vec<usize> =
        program.windows(word.len()).enumerate().filter(|(_, w)| *w == word).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        program[at..][..word.len()].copy_from_slice(other);
    }
    program
}

pub fn order(version: &str) -> UpdateOrder {
    UpdateOrder {
        update_id: UpdateId::new(),
        action: UpdateAction::Install,
        version: version.into(),
        channel: "stable".into(),
        valid_until: Utc::now() + TimeDelta::hours(1),
        at_once: false,
    }
}

#[tokio::test]
async fn an_agent_becomes_the_version_it_is_ordered_to_and_goes_back_when_it_is_ordered_to() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let watchdog = world.installed.start();
    let (mut connection, hello) = world.server.welcome().await;
    assert_eq!(hello.agent_version, gururmm_agent::version());

    let order_up = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(order_up.clone())).await;
    let report = world.outcome(&mut connection, order_up.update_id).await;
    assert_eq!((report.state, report.version.as_str()), (UpdateState::Confirmed, "9.0.0"), "{report:?}");
    assert_eq!(world.installed.versions(), [gururmm_agent::version(), "9.0.0"]);
    // It is the new one that is connected, and it stays after a restart of everything.
    kill(watchdog.agent().unwrap(), "-KILL");
    let (mut connection, hello) = world.server.welcome().await;
    assert_eq!(hello.agent_version, "9.0.0");
    assert_eq!(hello.update.unwrap().previous_version.as_deref(), Some(gururmm_agent::version()));

    let order_back = UpdateOrder { action: UpdateAction::RollBack, ..order(gururmm_agent::version()) };
    connection.send(ServerMessage::UpdateOrder(order_back.clone())).await;
    let report = world.outcome(&mut connection, order_back.update_id).await;
    assert_eq!(report.state, UpdateState::Confirmed, "{report:?}");
    assert_eq!(world.installed.record().confirmed.unwrap().version, gururmm_agent::version());
}

#[tokio::test]
async fn a_build_that_does_not_connect_is_left_again_and_the_next_one_is_taken() {
    let mut world = World::new().await;
    // Ends at once; runs and never connects; is no program at all.
    let broken = [
        ("9.0.1", fs::read("/bin/false").unwrap(), "ended before it had connected"),
        ("9.0.2", without_its_id(agent_as("9.0.2")), "did not connect within"),
        ("9.0.3", b"not a program".to_vec(), "cannot be started"),
    ];
    let _watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    for (version, bytes, why) in broken {
        world.publish(version, bytes);
        let order = order(version);
        connection.send(ServerMessage::UpdateOrder(order.clone())).await;
        let report = world.outcome(&mut connection, order.update_id).await;
        assert_eq!(report.state, UpdateState::RolledBack, "{report:?}");
        assert!(report.error.as_ref().unwrap().contains(why), "{report:?}");
    }
    world.publish("9.1.0", agent_as("9.1.0"));
    let order = order("9.1.0");
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let report = world.outcome(&mut connection, order.update_id).await;
    assert_eq!(report.state, UpdateState::Confirmed, "{report:?}");
}

#[tokio::test]
async fn an_update_waits_for_running_commands_unless_it_must_not() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let _watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let start = shell("sleep 600");
    connection.send(ServerMessage::CommandStart(start.clone())).await;
    connection.started(start.command_id).await;
    let mut order = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let ready = |message| match message {
        AgentMessage::UpdateReport(report) if report.state == UpdateState::Ready => Some(()),
        _ => None,
    };
    connection.wait_for(ready).await;
    // Two looks later it still waits.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(world.installed.record().trial.is_none());
    order.at_once = true;
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let report = world.outcome(&mut connection, order.update_id).await;
    assert_eq!(report.state, UpdateState::Confirmed, "{report:?}");
}

#[tokio::test]
async fn an_order_that_cannot_be_followed_is_answered_with_why() {
    let mut world = World::new().await;
    let _watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let cases = [
        (order("0.0.1"), "NOT_NEWER"),
        (order("9.9.9"), "NOT_PUBLISHED"),
        (order("latest"), "INVALID_VERSION"),
        (UpdateOrder { action: UpdateAction::RollBack, ..order("0.0.1") }, "NO_PREVIOUS"),
        (UpdateOrder { valid_until: Utc::now() - TimeDelta::minutes(5), ..order("9.0.0") }, "ORDER_EXPIRED"),
    ];
    for (order, code) in cases {
        connection.send(ServerMessage::UpdateOrder(order.clone())).await;
        let report = world.outcome(&mut connection, order.update_id).await;
        assert_eq!(
            (report.state, report.error_code.as_deref()),
            (UpdateState::Failed, Some(code)),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_without_a_watchdog_says_that_it_cannot_update_itself() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, hello) = server.welcome().await;
    let ability = hello.update.unwrap();
    assert_eq!((ability.supported, ability.reason.as_deref()), (false, Some("no watchdog runs this agent")));
    let order = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let report = connection
        .wait_for(|message| match message {
            AgentMessage::UpdateReport(report) => Some(report),
            _ => None,
        })
        .await;
    assert_eq!((report.update_id, report.error_code.as_deref()), (order.update_id, Some("UNSUPPORTED")));
}

/// A machine that was off while the keys changed three times: it follows every root, and skips none.
#[tokio::test]
async fn an_agent_of_the_first_root_takes_an_update_after_three_rotations_and_follows_no_gap() {
    let mut world = World::new().await;
    world.repository.rotate_root().rotate_timestamp().rotate_root();
    world.publish("9.0.0", agent_as("9.0.0"));
    let (third, fourth) =
        (world.repository.root_json_of(3), String::from_utf8(world.repository.latest_root_json()).unwrap());
    assert!(fourth.contains("\"version\": 4"), "{fourth}");
    let _watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    // The third is missing, then it is the fourth under its name.
    for (instead, code) in
        [(Reply::NotFound, "METADATA_INVALID"), (Reply::Bytes(fourth.into_bytes()), "METADATA_ROLLED_BACK")]
    {
        world.server.updates.lock().unwrap().instead.insert("3.root.json".into(), instead);
        let order = order("9.0.0");
        connection.send(ServerMessage::UpdateOrder(order.clone())).await;
        let report = world.outcome(&mut connection, order.update_id).await;
        assert_eq!(
            (report.state, report.error_code.as_deref()),
            (UpdateState::Failed, Some(code)),
            "{report:?}"
        );
    }
    world.server.updates.lock().unwrap().instead.insert("3.root.json".into(), Reply::Bytes(third));
    let order = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let report = world.outcome(&mut connection, order.update_id).await;
    assert_eq!(report.state, UpdateState::Confirmed, "{report:?}");
    // From the first root on, one by one.
    let asked = world.server.updates.lock().unwrap().asked.clone();
    let roots: Vec<&str> =
        asked.iter().rev().take_while(|name| *name != "2.root.json").map(String::as_str).collect();
    assert!(roots.contains(&"3.root.json") && roots.contains(&"4.root.json"), "{asked:?}");
}

/// What ./dev dist asks of every agent it has built.
#[tokio::test]
async fn a_build_says_whether_it_takes_what_is_published_with_it() {
    let (folder, own) = (tempfile::tempdir().unwrap(), gururmm_agent::version());
    let mut repository = Repository::create(&folder.path().join("updates"));
    let root = folder.path().join("root.json");
    fs::write(&root, repository.root_json()).unwrap();
    let asked = || {
        let mut command = std::process::Command::new(PROGRAM);
        command.arg("check-updates").arg(folder.path().join("updates")).arg("--update-root").arg(&root);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let publish = |repository: &mut Repository, bytes| {
        repository.publish(Release::here(own, bytes)).write();
    };
    publish(&mut repository, fs::read(PROGRAM).unwrap());
    assert_eq!(asked(), (true, format!("[OK] {}, by root 1\n", Release::here(own, "").target_name())));
    // After a rotation it is still a client of the first root.
    repository.rotate_root().raise_versions().write();
    assert!(asked().1.contains("by root 2"));
    // Another build, and keys it was not built with.
    publish(&mut repository, agent_as("9.0.0"));
    let (is_taken, said) = asked();
    assert!(!is_taken && said.contains("is another program than this"), "{said}");
    publish(&mut repository, fs::read(PROGRAM).unwrap());
    assert!(asked().0);
    fs::write(&root, Repository::create(&folder.path().join("others")).root_json()).unwrap();
    let (is_taken, said) = asked();
    assert!(!is_taken && said.contains("agents of this build would not take these updates"), "{said}");
    fs::remove_file(&root).unwrap();
    assert!(!asked().0);
}

/// All places for downloads are taken: the agent comes again when it is told to, and the update goes on.
#[tokio::test]
async fn a_server_that_has_no_place_is_asked_again_when_it_says_and_the_update_does_not_fail() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let name = Release::here("9.0.0", "").target_name();
    let path = world.repository.target_path(&name);
    let program = path.file_name().unwrap().to_str().unwrap().to_owned();
    world.server.updates.lock().unwrap().instead.insert(program.clone(), Reply::Busy(2));
    let _watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let order = order("9.0.0");
    let begun = Instant::now();
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    let times_asked = |world: &World| {
        let updates = world.server.updates.lock().unwrap();
        updates.asked.iter().filter(|asked| **asked == program).count()
    };
    eventually("it has come again", || times_asked(&world) == 3).await;
    // Twice told to wait two seconds, and never earlier.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    world.server.updates.lock().unwrap().instead.clear();
    let report = world.outcome(&mut connection, order.update_id).await;
    assert_eq!(report.state, UpdateState::Confirmed, "{report:?}");
    assert_eq!(times_asked(&world), 4);
}

/// The agent was off for long, and the server takes it no more: it is told what to become before it may connect.
#[tokio::test]
async fn an_agent_that_may_not_connect_any_more_becomes_one_that_may() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    world.server.updates.lock().unwrap().told = Some(Told {
        version: gururmm_agent::version().into(),
        action: BootstrapAction::Upgrade,
        update: Some(order("9.0.0")),
    });
    let _watchdog = world.installed.start();
    let (mut connection, hello) = world.server.welcome().await;
    assert_eq!(hello.agent_version, "9.0.0");
    let report = connection.wait_for(|message| match message {
        AgentMessage::UpdateReport(report) if report.state.is_final() => Some(report),
        _ => None,
    });
    assert_eq!(report.await.state, UpdateState::Confirmed);
}

/// Waits until a version is the watchdog, too: what the service manager starts, and what runs. Its agent has stopped once
/// more for that, in order; this is its connection.
async fn is_watchdog(world: &mut World, version: &str) -> Connection {
    let (connection, hello) = world.server.welcome().await;
    assert_eq!(hello.agent_version, version);
    eventually(&format!("{version} is the watchdog"), || {
        let record = world.installed.record();
        record.watchdog.is_some_and(|build| build.version == version) && record.successor.is_none()
    })
    .await;
    assert!(
        world.installed.program() == as_the_version(version),
        "another program is installed than {version}"
    );
    connection
}

fn as_the_version(version: &str) -> Vec<u8> {
    if version == gururmm_agent::version() { fs::read(PROGRAM).unwrap() } else { agent_as(version) }
}

#[tokio::test]
async fn a_confirmed_version_becomes_the_watchdog_and_leaves_it_when_it_is_sent_back() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    // What a kill in the middle of it left.
    fs::create_dir(world.installed.program_folder().join("gururmm-agent.new")).unwrap();
    let mut watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let up = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(up.clone())).await;
    assert_eq!(world.outcome(&mut connection, up.update_id).await.state, UpdateState::Confirmed);
    let _connection = is_watchdog(&mut world, "9.0.0").await;
    // The service manager's process is the same.
    let runs = fs::read_link(format!("/proc/{}/exe", watchdog.0.id())).unwrap();
    assert!(runs.ends_with("versions/9.0.0/gururmm-agent"), "{runs:?}");

    // From now on the service starts it.
    watchdog.signal("-KILL");
    watchdog.0.wait().unwrap();
    watchdog = world.installed.start();
    let (mut again, hello) = world.server.welcome().await;
    assert_eq!(hello.agent_version, "9.0.0");
    let back = UpdateOrder { action: UpdateAction::RollBack, ..order(gururmm_agent::version()) };
    again.send(ServerMessage::UpdateOrder(back.clone())).await;
    assert_eq!(world.outcome(&mut again, back.update_id).await.state, UpdateState::Confirmed);
    let _connection = is_watchdog(&mut world, gururmm_agent::version()).await;
    watchdog.signal("-KILL");
    watchdog.0.wait().unwrap();
    let _watchdog = world.installed.start();
    assert_eq!(world.server.welcome().await.1.agent_version, gururmm_agent::version());
}

/// Between the new program under the service's name and the word about it, the machine went down; and the version was
/// sent back before that. It was no package that put it there.
#[tokio::test]
async fn a_version_that_was_sent_back_does_not_return_with_the_watchdog_it_became() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let mut watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let up = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(up.clone())).await;
    world.outcome(&mut connection, up.update_id).await;
    let _connection = is_watchdog(&mut world, "9.0.0").await;
    watchdog.signal("-KILL");
    watchdog.0.wait().unwrap();
    let ledger = world.installed.ledger();
    let mut record = ledger.record();
    // As it is left by a roll-back that could not give the watchdog back.
    std::mem::swap(&mut record.confirmed, &mut record.previous);
    ledger.write_record(&record).unwrap();
    let _watchdog = world.installed.start();
    is_watchdog(&mut world, gururmm_agent::version()).await;
}

/// It works as an agent, and not as a watchdog: it does not know the question, or starts no agent that works.
#[tokio::test]
async fn a_version_that_cannot_be_the_watchdog_runs_under_the_one_before() {
    let cases = [
        (b"check-watchdog".as_slice(), b"check-watchdoX".as_slice(), "does not find its way here", 0),
        (b"--supervised", b"--supervisXd", "did not connect in 3 starts", 3),
    ];
    for (word, other, why, starts) in cases {
        let mut world = World::new().await;
        world.publish("9.0.0", with_other_words(agent_as("9.0.0"), word, other));
        let mut watchdog = world.installed.start();
        let (mut connection, _) = world.server.welcome().await;
        let up = order("9.0.0");
        connection.send(ServerMessage::UpdateOrder(up.clone())).await;
        assert_eq!(world.outcome(&mut connection, up.update_id).await.state, UpdateState::Confirmed);
        for start in 0..starts {
            if start > 0 {
                eventually("it is the watchdog again", || {
                    world.installed.record().successor.unwrap().starts > start
                })
                .await;
                watchdog.signal("-KILL");
            }
            // The first time nobody ends it but the deadline it was given.
            let ended = watchdog.0.wait().unwrap();
            let signal = std::os::unix::process::ExitStatusExt::signal(&ended);
            let expected = if start == 0 { 14 } else { 9 };
            assert_eq!(signal, Some(expected), "{}", world.installed.log());
            watchdog = world.installed.start();
        }
        eventually("it is given up", || {
            world.installed.record().successor.is_some_and(|successor| successor.failure.is_some())
        })
        .await;
        let failure = world.installed.record().successor.unwrap().failure.unwrap();
        assert!(failure.contains(why), "{failure}");
        assert!(world.installed.program() == fs::read(PROGRAM).unwrap(), "another program is installed");
        // The agent is the new version all the same, and the next one may become the watchdog.
        let (mut connection, hello) = world.server.welcome().await;
        assert_eq!(hello.agent_version, "9.0.0");
        world.publish("9.0.1", agent_as("9.0.1"));
        let next = order("9.0.1");
        connection.send(ServerMessage::UpdateOrder(next.clone())).await;
        assert_eq!(world.outcome(&mut connection, next.update_id).await.state, UpdateState::Confirmed);
        is_watchdog(&mut world, "9.0.1").await;
    }
}

/// A package that is installed over an updated agent brings an older program: the watchdog is renewed again.
#[tokio::test]
async fn a_package_with_an_older_program_than_the_confirmed_one_is_caught_up_with() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let mut watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let up = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(up.clone())).await;
    world.outcome(&mut connection, up.update_id).await;
    let _connection = is_watchdog(&mut world, "9.0.0").await;
    watchdog.signal("-TERM");
    watchdog.0.wait().unwrap();
    world.installed.install(&agent_as("8.0.0"));
    watchdog = world.installed.start();
    is_watchdog(&mut world, "9.0.0").await;
    // And one with a newer program is the agent, too.
    watchdog.signal("-TERM");
    watchdog.0.wait().unwrap();
    world.installed.install(&agent_as("10.0.0"));
    let _watchdog = world.installed.start();
    assert_eq!(world.server.welcome().await.1.agent_version, "10.0.0");
}

/// The server was put back to an older version, which does not know this agent's protocol.
#[tokio::test]
async fn an_agent_that_is_too_new_for_its_server_goes_back_by_itself() {
    let mut world = World::new().await;
    world.publish("9.0.0", agent_as("9.0.0"));
    let watchdog = world.installed.start();
    let (mut connection, _) = world.server.welcome().await;
    let order = order("9.0.0");
    connection.send(ServerMessage::UpdateOrder(order.clone())).await;
    world.outcome(&mut connection, order.update_id).await;
    let told = Told { version: "9.0.0".into(), action: BootstrapAction::DowngradeRequired, update: None };
    world.server.updates.lock().unwrap().told = Some(told);
    kill(watchdog.agent().unwrap(), "-KILL");
    let (_connection, hello) = loop {
        let (connection, hello) = world.server.welcome().await;
        if hello.agent_version != "9.0.0" {
            break (connection, hello);
        }
    };
    assert_eq!(hello.agent_version, gururmm_agent::version());
}
