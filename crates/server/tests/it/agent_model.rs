//! The real server and the real agent's state machine and journal, joined by a link that loses, repeats, holds back
//! and breaks, while both ends die and come back at any step. Only the processes are made up.
//!
//! Whatever happens: no command starts twice, each comes to an end, and no result the server acknowledged is lost.

mod machine;

use crate::command_model::order;
use gururmm_agent::journal::Journal;
use gururmm_agent::session::Action;
use gururmm_protocol::CommandId;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, TestServer};
use machine::Machine;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::json;
use std::cell::RefCell;
use std::time::Duration;

const COMMANDS_AT_MOST: usize = 8;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody orders a command.
    Order,
    /// Somebody cancels one of them.
    Cancel(usize),
    Connect,
    /// The agent puts its next message on its end of the link.
    Transmit,
    /// The link carries one of the agent's messages to the server.
    ToServer,
    /// The link carries a message to the server once more that it carried before.
    RepeatToServer(usize),
    /// The link takes over what the server said, and holds it back.
    FromServer,
    /// The link carries one of the server's messages to the agent.
    ToAgent,
    /// The link carries a message to the agent once more that it carried before.
    RepeatToAgent(usize),
    /// One of the session's orders is carried out.
    Act,
    /// A process that runs prints something.
    Print(usize),
    /// A process that runs ends.
    End(usize),
    /// The link breaks; everything it holds is lost.
    Break,
    /// The agent is killed, its processes with it, and starts again with its disk.
    KillAgent,
    /// The server stops and starts again with its database.
    RestartServer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Breaks are rare enough for most connections to get as far as a running command.
    let step = prop_oneof![
        4 => Just(Step::Order),
        1 => any::<usize>().prop_map(Step::Cancel),
        8 => Just(Step::Connect),
        14 => Just(Step::Transmit),
        12 => Just(Step::ToServer),
        2 => any::<usize>().prop_map(Step::RepeatToServer),
        12 => Just(Step::FromServer),
        14 => Just(Step::ToAgent),
        2 => any::<usize>().prop_map(Step::RepeatToAgent),
        12 => Just(Step::Act),
        6 => any::<usize>().prop_map(Step::Print),
        3 => any::<usize>().prop_map(Step::End),
        1 => Just(Step::Break),
        1 => Just(Step::KillAgent),
    ];
    // A server that starts takes longer than all other steps together: at most one per case, at any place.
    let restart = prop::option::weighted(0.5, any::<prop::sample::Index>());
    (prop::collection::vec(step, 100..240), restart).prop_map(|(mut steps, restart)| {
        if let Some(at) = restart {
            steps.insert(at.index(steps.len()), Step::RestartServer);
        }
        steps
    })
}

fn pick<T: Clone>(from: &[T], n: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[n % from.len()].clone())
}

/// A server, a tech and a machine, and what the tech wants.
struct World<'a> {
    server: &'a mut TestServer,
    tech: ApiClient,
    machine: Machine,
    orders: Vec<CommandId>,
    cancels: Vec<tokio::task::JoinHandle<()>>,
}

impl World<'_> {
    async fn step(&mut self, number: usize, step: Step) {
        let machine = &mut self.machine;
        match step {
            Step::Order if self.orders.len() < COMMANDS_AT_MOST => {
                self.orders.push(order(&self.tech, &machine.seeded, number).await);
            }
            Step::Order => {}
            Step::Cancel(n) => {
                let Some(id) = pick(&self.orders, n) else { return };
                let tech = self.tech.clone();
                let cancel = tokio::spawn(async move {
                    let answer = tech.post(&format!("/api/commands/{id}/cancel"), json!({})).await;
                    // Ended before: refused. Any answer is one.
                    assert!(answer.code().is_none_or(|code| code == "INVALID_STATE"), "{answer}");
                });
                self.cancels.push(cancel);
            }
            Step::Connect => machine.connect(self.server).await,
            Step::Transmit => {
                machine.transmit();
            }
            Step::ToServer => {
                machine.carry_to_server().await;
            }
            Step::RepeatToServer(n) => machine.repeat_to_server(n).await,
            Step::FromServer => {
                machine.hear_server(Duration::from_millis(5)).await;
            }
            Step::ToAgent => {
                machine.carry_to_agent();
            }
            Step::RepeatToAgent(n) => machine.repeat_to_agent(n),
            Step::Act => {
                while let Some(action) = machine.session.poll_action() {
                    let is_order = matches!(action, Action::Order(_));
                    machine.act(action);
                    if is_order {
                        break;
                    }
                }
            }
            Step::Print(n) => machine.print(n),
            Step::End(n) => machine.end(n),
            Step::Break => machine.break_link(),
            Step::KillAgent => machine.kill(),
            Step::RestartServer => {
                // A server that stops waits for its agents to hear it, and this one may be held back for ever.
                machine.break_link();
                // Whoever waits for an answer from it gets none.
                self.cancels.drain(..).for_each(|cancel| cancel.abort());
                self.server.restart().await;
                self.tech = self.server.client_as(&acme::TECH).await;
            }
        }
    }

    /// Everything works from here on, until every command has ended and both sides know.
    async fn settle(&mut self) {
        let deadline = tokio::time::Instant::now() + gururmm_testkit::PATIENCE;
        let (mut open, mut is_repeated) = (self.orders.clone(), false);
        while !open.is_empty() || self.machine.session.pending_commands() > 0 || !is_repeated {
            assert!(tokio::time::Instant::now() < deadline, "{open:?} never end");
            let machine = &mut self.machine;
            machine.connect(self.server).await;
            let mut is_quiet = true;
            while machine.transmit() {
                is_quiet &= !machine.carry_to_server().await;
            }
            while machine.carry_to_server().await {}
            while machine.hear_server(Duration::from_millis(5)).await {
                is_quiet = false;
            }
            while machine.carry_to_agent() {}
            while let Some(action) = machine.session.poll_action() {
                machine.act(action);
            }
            while !machine.running.is_empty() {
                is_quiet = false;
                machine.end(0);
            }
            if is_quiet {
                let mut left = Vec::new();
                for id in open {
                    if !is_final(&command(&self.tech, id).await) {
                        left.push(id);
                    }
                }
                open = left;
                if open.is_empty() && !is_repeated {
                    is_repeated = true;
                    self.machine.repeat_all().await;
                }
            }
        }
    }

    async fn check(&self) {
        let machine = &self.machine;
        for id in &self.orders {
            let command = command(&self.tech, *id).await;
            if !machine.starts.contains_key(id) {
                assert_eq!(command["status"], "cancelled", "it never ran: {command}");
                continue;
            }
            assert!(machine.acknowledged.contains(id), "{command}");
            let printed = machine.printed.get(id).map_or("", String::as_str);
            let result = (&command["status"], &command["stdout"]);
            assert_eq!(result, (&json!(machine.ends[id].as_str()), &json!(printed)), "{command}");
        }
        assert!(machine.starts.keys().all(|id| self.orders.contains(id)));
        // Nothing is kept of what is over but that it ran.
        let (_, left) = Journal::open(machine.disk.path()).unwrap();
        assert!(left.ended.is_empty() && left.interrupted.is_empty(), "{left:?}");
        assert!(machine.starts.keys().all(|id| left.finished.contains_key(id)));
    }
}

async fn command(tech: &ApiClient, id: CommandId) -> serde_json::Value {
    tech.get(&format!("/api/commands/{id}")).await.expect(200)
}

fn is_final(command: &serde_json::Value) -> bool {
    !["queued", "sent", "running"].contains(&command["status"].as_str().unwrap())
}

async fn case(server: &mut TestServer, number: usize, steps: Vec<Step>) {
    let seeded = server.seed_agent(&acme::HQ, &format!("model-{number}")).await;
    let tech = server.client_as(&acme::TECH).await;
    let machine = Machine::new(seeded);
    let mut world = World { server, tech, machine, orders: Vec::new(), cancels: Vec::new() };
    for (number, step) in steps.into_iter().enumerate() {
        world.step(number, step).await;
    }
    world.settle().await;
    world.check().await;
    for cancel in world.cancels {
        // Those that a restart of the server cut off have no answer.
        drop(cancel.await);
    }
}

/// Plays so many cases on one server, each with a machine of its own.
pub fn run(cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RefCell::new(runtime.block_on(TestServer::start()));
    let number = RefCell::new(0);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    };
    let played = TestRunner::new(config).run(&steps(), |steps| {
        *number.borrow_mut() += 1;
        runtime.block_on(case(&mut server.borrow_mut(), *number.borrow(), steps));
        Ok::<_, TestCaseError>(())
    });
    // In its runtime.
    let mut server = server.into_inner();
    runtime.block_on(server.stop());
    if let Err(error) = played {
        panic!("{error}");
    }
}

#[test]
fn server_and_agent_keep_their_promises_over_a_link_that_keeps_none() {
    run(20);
}
