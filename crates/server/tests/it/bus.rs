//! What nodes tell each other: the same tests for the way within one process and for NATS, then what NATS alone can do.

use gururmm_server::bus::{Bus, Event, Events, NatsError, NatsOptions, NatsTls, Notes, Reach, Topic};
use gururmm_testkit::{NatsServer, PATIENCE, eventually};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use uuid::Uuid;

/// Nodes that can hear each other.
enum Network {
    InProcess,
    Nats(NatsServer),
}

impl Network {
    /// So many of them. All have heard from all when this answers.
    async fn nodes(&self, count: usize) -> Vec<Bus> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(match self {
                Self::InProcess => match nodes.first() {
                    None => Bus::in_process(Uuid::now_v7()),
                    Some(first) => Bus::beside(first, Uuid::now_v7()).unwrap(),
                },
                Self::Nats(server) => Bus::over_nats(Uuid::now_v7(), &server.options()).await.unwrap(),
            });
        }
        acquaint(&nodes).await;
        nodes
    }
}

/// Waits until every node has heard every other one.
async fn acquaint(nodes: &[Bus]) {
    let mut listeners: Vec<Notes> = nodes.iter().map(Bus::notes).collect();
    let mut known: Vec<HashSet<Uuid>> = vec![HashSet::new(); nodes.len()];
    eventually("the nodes to hear each other", async || {
        nodes.iter().for_each(|node| node.tell(None, Uuid::nil(), "here I am".into()));
        for (notes, known) in listeners.iter_mut().zip(&mut known) {
            while let Ok(Ok(note)) = timeout(Duration::from_millis(20), notes.recv()).await {
                known.insert(note.from);
            }
        }
        known.iter().all(|known| known.len() == nodes.len() - 1).then_some(())
    })
    .await;
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod in_process {
            use super::Network;
            $(#[tokio::test] async fn $name() { super::$name(Network::InProcess).await; })*
        }
        mod nats {
            use super::{NatsServer, Network};
            $(#[tokio::test] async fn $name() { super::$name(Network::Nats(NatsServer::start().await)).await; })*
        }
    };
}

on_both! {
    events_reach_every_nodes_listeners
    what_one_node_tells_arrives_in_its_order
    own_events_are_heard_once
    a_note_reaches_whom_it_is_for_and_nobody_else
    who_falls_behind_is_told_so
    a_node_alone_is_not_a_node_among_others
}

fn event(number: u128) -> Event {
    Event::new(Topic::CommandChanged, Uuid::from_u128(1), Uuid::from_u128(number))
        .on_agent(Uuid::from_u128(2))
        .at(Uuid::from_u128(3), Some(Uuid::from_u128(4)))
}

async fn next(events: &mut Events) -> Result<Event, RecvError> {
    timeout(PATIENCE, events.recv()).await.expect("nothing was heard")
}

/// Says something that comes after all that was said before, and hears up to it.
async fn heard_until_now(speaker: &Bus, events: &mut Events) -> Vec<Event> {
    let last = Event::new(Topic::TunnelChanged, Uuid::nil(), Uuid::now_v7());
    speaker.publish(last.clone());
    let mut heard = Vec::new();
    loop {
        match next(events).await.unwrap() {
            event if event == last => return heard,
            event => heard.push(event),
        }
    }
}

async fn events_reach_every_nodes_listeners(network: Network) {
    let nodes = network.nodes(3).await;
    let mut listeners: Vec<Events> = nodes.iter().chain(&nodes).map(Bus::subscribe).collect();
    nodes[1].publish(event(9));
    for events in &mut listeners {
        assert_eq!(next(events).await, Ok(event(9)));
    }
}

async fn what_one_node_tells_arrives_in_its_order(network: Network) {
    const EACH: u128 = 1_000;
    let nodes = network.nodes(3).await;
    let mut events = nodes[2].subscribe();
    for number in 0..EACH {
        nodes[0].publish(event(number));
        nodes[1].publish(event(EACH + number));
    }
    let (mut first, mut second) = (0, EACH);
    while (first, second) != (EACH, 2 * EACH) {
        let id = next(&mut events).await.unwrap().id.unwrap().as_u128();
        let expected = if id < EACH { &mut first } else { &mut second };
        assert_eq!(id, *expected);
        *expected += 1;
    }
}

async fn own_events_are_heard_once(network: Network) {
    let nodes = network.nodes(2).await;
    let mut own = nodes[0].subscribe();
    nodes[0].publish(event(1));
    // An answer from the other side: had NATS sent the own event back, it would have come before.
    let mut other = nodes[1].subscribe();
    nodes[0].publish(event(2));
    while next(&mut other).await.unwrap() != event(2) {}
    nodes[1].publish(event(3));
    assert_eq!(next(&mut own).await, Ok(event(1)));
    assert_eq!(next(&mut own).await, Ok(event(2)));
    assert_eq!(next(&mut own).await, Ok(event(3)));
}

async fn a_note_reaches_whom_it_is_for_and_nobody_else(network: Network) {
    let nodes = network.nodes(3).await;
    let mut listeners: Vec<Notes> = nodes.iter().map(Bus::notes).collect();
    let partner = Uuid::from_u128(77);
    nodes[0].tell(Some(nodes[2].node_id()), partner, "for one".into());
    nodes[0].tell(None, partner, "for all others".into());
    nodes[1].tell(None, partner, "from another".into());
    let mut heard: Vec<Vec<String>> = Vec::new();
    for (notes, expected) in listeners.iter_mut().zip([1, 1, 3]) {
        let mut texts = Vec::new();
        while texts.len() < expected {
            let note = timeout(PATIENCE, notes.recv()).await.expect("nothing was said").unwrap();
            assert_eq!(note.tenant_id, partner);
            texts.push(note.text.clone());
        }
        assert!(timeout(Duration::from_millis(100), notes.recv()).await.is_err(), "more than what is for it");
        texts.sort_unstable();
        heard.push(texts);
    }
    assert_eq!(
        heard,
        [vec!["from another"], vec!["for all others"], vec!["for all others", "for one", "from another"]]
    );
}

async fn who_falls_behind_is_told_so(network: Network) {
    let nodes = network.nodes(2).await;
    let (mut slow, mut keen) = (nodes[1].subscribe(), nodes[1].subscribe());
    for number in 0..6_000 {
        nodes[0].publish(event(number));
        if number % 100 == 99 {
            while next(&mut keen).await.unwrap() != event(number) {}
        }
    }
    assert!(matches!(slow.recv().await, Err(RecvError::Lagged(_))));
    assert!(slow.recv().await.is_ok(), "it goes on with what is still there");
}

async fn a_node_alone_is_not_a_node_among_others(network: Network) {
    assert!(!Bus::default().has_others() && Bus::default().reach() == Reach::Alone);
    for node in network.nodes(2).await {
        assert!(node.has_others());
        assert_eq!(node.reach(), Reach::Connected);
    }
}

#[tokio::test]
async fn what_was_missed_while_nats_was_away_is_told_as_missed() {
    let mut server = NatsServer::start().await;
    let network: Vec<Bus> = {
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(Bus::over_nats(Uuid::now_v7(), &server.options()).await.unwrap());
        }
        acquaint(&nodes).await;
        nodes
    };
    let (mut here, mut there) = (network[0].subscribe(), network[1].subscribe());
    server.go_away();
    eventually("the nodes to notice", async || {
        network.iter().all(|node| node.reach() == Reach::Away).then_some(())
    })
    .await;
    network[0].publish(event(1));
    assert_eq!(next(&mut here).await, Ok(event(1)), "on the node itself life goes on");
    server.come_back().await;
    assert!(
        matches!(next(&mut there).await, Err(RecvError::Lagged(_))),
        "one says that something is missing"
    );
    assert!(matches!(next(&mut here).await, Err(RecvError::Lagged(_))));
    eventually("the nodes to be back", async || {
        network.iter().all(|node| node.reach() == Reach::Connected).then_some(())
    })
    .await;
    acquaint(&network).await;
    let mut there = network[1].subscribe();
    assert_eq!(heard_until_now(&network[0], &mut there).await, [], "old news is not sent again");
    network[0].publish(event(2));
    assert_eq!(next(&mut there).await, Ok(event(2)));
}

#[tokio::test]
async fn a_node_starts_without_nats_and_finds_it_later() {
    let mut server = NatsServer::start().await;
    let first = Bus::over_nats(Uuid::now_v7(), &server.options()).await.unwrap();
    server.go_away();
    let second = Bus::over_nats(Uuid::now_v7(), &server.options()).await.unwrap();
    assert_eq!(second.reach(), Reach::Away);
    let mut missed = second.subscribe();
    server.come_back().await;
    acquaint(&[first, second.clone()]).await;
    assert!(matches!(next(&mut missed).await, Err(RecvError::Lagged(_))));
}

#[tokio::test]
async fn a_node_with_a_wrong_token_is_told_at_its_start() {
    let server = NatsServer::start().await;
    let wrong = server.options_with_token("another-token-than-this");
    let refused = Bus::over_nats(Uuid::now_v7(), &wrong).await;
    assert!(matches!(refused.map(|_| ()), Err(NatsError::Refused)));
}

#[tokio::test]
async fn what_a_stranger_writes_to_nats_harms_nobody() {
    let server = NatsServer::start().await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Bus::over_nats(Uuid::now_v7(), &server.options()).await.unwrap());
    }
    acquaint(&nodes).await;
    let mut events = nodes[1].subscribe();
    let stranger = async_nats::ConnectOptions::with_token(server.token().to_owned());
    let stranger = stranger.connect(server.url()).await.unwrap();
    let tenant = Uuid::from_u128(1);
    let node = Uuid::from_u128(50);
    let unknown = format!(r#"{{"from":"{node}","run":1,"number":1,"body":{{"is":"newer","deep":[[1]]}}}}"#);
    let topic =
        format!(r#"{{"from":"{node}","run":1,"number":2,"body":{{"is":"event","topic":"x","id":null}}}}"#);
    let junk =
        [Vec::new(), b"{".to_vec(), vec![0xff; 900_000], vec![b'['; 500_000], unknown.into(), topic.into()];
    for payload in junk {
        for subject in [format!("rmm.v1.{tenant}.all"), "rmm.v1.nobody.all".to_owned()] {
            stranger.publish(subject, payload.clone().into()).await.unwrap();
        }
    }
    stranger.flush().await.unwrap();
    nodes[0].publish(event(7));
    assert_eq!(next(&mut events).await, Ok(event(7)), "and nothing before it, not even a gap");
}

#[tokio::test]
async fn nats_is_reached_by_tls_where_it_asks_for_it_and_its_authority_is_checked() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, private) = (folder.path().join("nats.pem"), folder.path().join("nats-key.pem"));
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", chain, private);
    let server = NatsServer::start_with(&tls).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let options = |ca| NatsOptions {
        servers: vec![format!("tls://localhost:{port}").parse().unwrap()],
        tls: NatsTls { ca, client: None },
        ..server.options()
    };
    let trusting = options(Some(chain.clone()));
    let nodes = [
        Bus::over_nats(Uuid::now_v7(), &trusting).await.unwrap(),
        Bus::over_nats(Uuid::now_v7(), &trusting).await.unwrap(),
    ];
    acquaint(&nodes).await;
    let doubting = Bus::over_nats(Uuid::now_v7(), &options(None)).await.unwrap();
    assert_eq!(doubting.reach(), Reach::Away, "an authority that nobody named");
    let missing = options(Some(folder.path().join("no-such-file")));
    let missing = Bus::over_nats(Uuid::now_v7(), &missing).await;
    assert!(matches!(missing.map(|_| ()), Err(NatsError::Unreadable { .. })));
    let no_certificate = options(Some(private));
    let no_certificate = Bus::over_nats(Uuid::now_v7(), &no_certificate).await;
    assert!(matches!(no_certificate.map(|_| ()), Err(NatsError::Unusable { .. })));
}
