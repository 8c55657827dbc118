//! Sessions whose page is on one server and whose machine is on another.

use crate::nodes::{Two, on_both};
use crate::tunnel_socket::open_session;
use gururmm_protocol::tunnel::order::ChannelKind;
use gururmm_protocol::tunnel::{Flags, FrameKind, Opened, WINDOW_BYTES};
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, Page, SeededAgent, TunnelMachine, eventually};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

on_both! {
    what_is_typed_on_one_server_reaches_a_machine_of_the_other
    a_machine_that_comes_back_to_another_server_goes_on
    a_machine_of_another_server_is_told_that_nobody_is_there
    a_page_that_comes_to_another_server_takes_the_session_with_it
    what_was_carried_once_is_worth_nothing_a_second_time
}

/// A page here with a terminal on a machine there.
async fn relayed(two: &Two) -> (ApiClient, SeededAgent, TunnelMachine, Uuid, Page) {
    let seeded = two.there.seed_agent(&acme::HQ, "web-01").await;
    let mut machine = TunnelMachine::connect(&two.there, &seeded).await;
    two.sees(&seeded, true).await;
    let tech = two.here.client_as(&acme::TECH).await;
    let session = open_session(&tech, &seeded).await;
    let mut page = Page::open(&two.here, &tech, session).await;
    machine.takes(session).await;
    assert_eq!(page.text("ready").await["path"], "relayed");
    page.open_terminal(1, WINDOW_BYTES).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Open);
    machine.opened(session, 1, Opened { window: WINDOW_BYTES, ..Opened::default() }).await;
    assert_eq!(page.frame().await.kind, FrameKind::Opened);
    (tech, seeded, machine, session, page)
}

async fn what_is_typed_on_one_server_reaches_a_machine_of_the_other(two: Two) {
    let (tech, _seeded, mut machine, session, mut page) = relayed(&two).await;
    page.send(&OwnFrame::data(1, 0, b"make noise\r")).await;
    assert_eq!(machine.frame(session).await.bytes(), b"make noise\r");
    let piece = vec![b'y'; 30 * 1024];
    for round in 0..20_u64 {
        let frame = OwnFrame::data(1, round * piece.len() as u64, &piece).bulk();
        machine.send(session, &frame).await;
        let shown = page.frame().await;
        assert_eq!((shown.flags, &shown.body), (Flags::BULK, &frame.body));
        page.send(&OwnFrame::credit(1, frame.body.len() as u32)).await;
        assert_eq!(machine.frame(session).await.kind, FrameKind::Credit);
    }
    // Who sends too much there is found out here.
    for _ in 0..10 {
        machine.send(session, &OwnFrame::data(1, 0, &piece)).await;
    }
    assert_eq!(page.closed_because().await, (Some(4000), json!("protocol_error")));
    assert_eq!(machine.dropped().await, session);
    let status = tech.get(&format!("/api/v1/tunnel/status/{session}")).await.expect(200);
    assert_eq!(status["closed_reason"], "protocol_error");
}

async fn a_machine_that_comes_back_to_another_server_goes_on(two: Two) {
    let (_tech, seeded, machine, session, mut page) = relayed(&two).await;
    drop(machine);
    page.text("waiting").await;
    let mut machine = TunnelMachine::connect_having(&two.here, &seeded, &[session]).await;
    assert_eq!(machine.ordered().await.tunnel_id.0, session);
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    assert_eq!(page.text("ready").await["path"], "direct");
    page.attach(1, 0, 100).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach);
    drop(machine);
    page.text("waiting").await;
    let mut machine = TunnelMachine::connect_having(&two.there, &seeded, &[session]).await;
    assert_eq!(machine.ordered().await.tunnel_id.0, session);
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    assert_eq!(page.text("ready").await["path"], "relayed");
    page.attach(1, 0, 100).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach);
}

async fn a_machine_of_another_server_is_told_that_nobody_is_there(two: Two) {
    let (tech, _seeded, mut machine, session, page) = relayed(&two).await;
    drop(page);
    machine.hears_away(session).await;
    let mut page = Page::open(&two.here, &tech, session).await;
    machine.ordered().await;
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    page.text("ready").await;
    page.attach(1, 0, 100).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach);
}

async fn a_page_that_comes_to_another_server_takes_the_session_with_it(two: Two) {
    let (_tech, _seeded, mut machine, session, mut before) = relayed(&two).await;
    let tech = two.there.client_as(&acme::TECH).await;
    let mut page = Page::open(&two.there, &tech, session).await;
    assert_eq!(before.closed_because().await, (Some(4001), json!("replaced")));
    assert_eq!(machine.ordered().await.tunnel_id.0, session);
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    assert_eq!(page.text("ready").await["path"], "direct");
    page.attach(1, 0, 100).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach);
    tech.post("/api/v1/tunnel/close", json!({ "session_id": session })).await.expect(200);
    assert_eq!(page.closed_because().await, (Some(4000), json!("closed_by_tech")));
    assert_eq!(machine.dropped().await, session);
}

async fn what_was_carried_once_is_worth_nothing_a_second_time(two: Two) {
    let mut carried = two.there.app().bus.carried();
    let (_tech, _seeded, mut machine, session, mut page) = relayed(&two).await;
    page.send(&OwnFrame::data(1, 0, b"reboot\r")).await;
    assert_eq!(machine.frame(session).await.bytes(), b"reboot\r");
    let (here, there) = (&two.here.app().bus, two.there.app().bus.node_id());
    let mut heard = Vec::new();
    while let Ok(Ok(sealed)) = timeout(Duration::from_millis(100), carried.recv()).await {
        assert!(!sealed.windows(6).any(|part| part == b"reboot"), "readable on its way");
        heard.push(sealed);
    }
    assert!(heard.len() >= 2, "an opening and what was typed");
    for sealed in &heard {
        here.carry(there, acme::PARTNER.id, sealed.clone());
        let mut forged = sealed.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        here.carry(there, acme::PARTNER.id, forged.into());
    }
    page.send(&OwnFrame::data(1, 7, b"exit\r")).await;
    assert_eq!(machine.frame(session).await.bytes(), b"exit\r");

    // A piece that is lost: both ends begin anew, and the page attaches again.
    let mut lost = heard.pop().unwrap().to_vec();
    lost[33] = lost[33].wrapping_add(5);
    here.carry(there, acme::PARTNER.id, lost.into());
    page.send(&OwnFrame::data(1, 12, b"x")).await;
    assert_eq!(machine.frame(session).await.bytes(), b"x", "what is forged breaks nothing");
    eventually("the session to be held", async || (two.here.app().tunnel.hosted() == 1).then_some(())).await;
}
