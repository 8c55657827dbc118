//! Updates while agent and watchdog are killed at any moment: whatever is killed, the machine comes back by itself, and
//! every order comes to an end that the server hears of.
//!
//! A few here, two hundred in a long run (`long.rs`); `GURURMM_SEED` repeats a run.

use crate::harness::*;
use crate::installed::*;
use crate::updates::{World, order, without_its_id};
use gururmm_protocol::update::{UpdateReport, UpdateState};
use gururmm_protocol::{AgentMessage, ServerMessage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::time::{Duration, Instant};

/// An update that is killed again and again still ends within this time.
const LONGEST: Duration = Duration::from_secs(120);

#[tokio::test]
async fn whatever_is_killed_during_an_update_the_machine_comes_back_by_itself() {
    updates(3).await;
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, bytes);
    std::hash::Hasher::finish(&hasher)
}

/// So many updates, one after the other, of which three in four are of builds that work.
#[expect(clippy::print_stdout, reason = "the seed repeats this run")]
pub async fn updates(cycles: u64) {
    let seed = std::env::var("GURURMM_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new().await;
    let mut watchdog = world.installed.start();
    let mut running = gururmm_agent::version().to_owned();
    let (mut confirmed, mut kills) = (0, 0);
    // What the service manager finds is one of these, whole, whatever is killed while it is replaced.
    let mut programs = vec![hash(&world.installed.program())];
    for cycle in 1..=cycles {
        let version = format!("9.0.{cycle}");
        let is_good = random.random_ratio(3, 4);
        let bytes = match random.random_range(0..2) {
            _ if is_good => agent_as(&version),
            0 => fs::read("/bin/false").unwrap(),
            _ => without_its_id(agent_as(&version)),
        };
        programs.push(hash(&bytes));
        world.publish(&version, bytes);
        let order = order(&version);
        let about = format!("cycle {cycle} of seed {seed}, {version}, good: {is_good}");

        let begun = Instant::now();
        let mut next_kill = Instant::now() + Duration::from_millis(random.random_range(0..2_500));
        let mut left = random.random_range(1..=3);
        let mut connection: Option<Connection> = None;
        let ended: UpdateReport = loop {
            assert!(begun.elapsed() < LONGEST, "{about}: no end\n{}", world.installed.log());
            if left > 0 && Instant::now() >= next_kill {
                (left, kills) = (left - 1, kills + 1);
                next_kill = Instant::now() + Duration::from_millis(random.random_range(0..2_000));
                match watchdog.agent().filter(|_| random.random_bool(0.5)) {
                    Some(agent) => kill(agent, "-KILL"),
                    None => {
                        watchdog.signal("-KILL");
                        watchdog.0.wait().unwrap();
                        assert!(
                            programs.contains(&hash(&world.installed.program())),
                            "{about}: no program is whole"
                        );
                        // As the service manager does.
                        watchdog = world.installed.start();
                    }
                }
            }
            let step = Duration::from_millis(100);
            let Some(open) = &mut connection else {
                if let Ok((mut open, _)) = tokio::time::timeout(step, world.server.welcome()).await {
                    // An open update is looked up again at every connect.
                    open.send(ServerMessage::UpdateOrder(order.clone())).await;
                    connection = Some(open);
                }
                continue;
            };
            match tokio::time::timeout(step, open.next()).await {
                Err(_) => {}
                Ok(None) => connection = None,
                Ok(Some(AgentMessage::UpdateReport(report))) => {
                    let (update_id, state) = (report.update_id, report.state);
                    open.send(ServerMessage::UpdateReportAck { update_id, state }).await;
                    if update_id == order.update_id && state.is_final() {
                        break report;
                    }
                }
                Ok(Some(_)) => {}
            }
        };
        // Nothing is being tried any more; a last kill is survived, too.
        drop(connection);
        watchdog.signal("-KILL");
        watchdog.0.wait().unwrap();
        watchdog = world.installed.start();
        let (_connection, hello) = world.server.welcome().await;
        match ended.state {
            UpdateState::Confirmed => {
                assert!(is_good, "{about}: a broken build is confirmed");
                (running, confirmed) = (version.clone(), confirmed + 1);
            }
            // A good build that is killed in its trial is not told from one that ends by itself.
            UpdateState::RolledBack | UpdateState::Failed => {}
            state => panic!("{about}: {state:?}"),
        }
        assert_eq!(hello.agent_version, running, "{about}: {ended:?}\n{}", world.installed.log());
        assert!(
            world.installed.record().trial.is_none(),
            "{about}: {ended:?} {:?}\n{}",
            world.installed.record(),
            world.installed.log()
        );
        assert!(world.installed.versions().len() <= 3, "{about}: {:?}", world.installed.versions());
        world.forget(&version);
    }
    let watchdog = world.installed.record().watchdog.map(|build| build.version);
    println!("{cycles} updates, {kills} kills, {confirmed} confirmed, watchdog {watchdog:?}, seed {seed}");
    assert!(confirmed > 0 && watchdog.is_some() || cycles < 20);
}
