//! The tech's page goes away while the machine's own link stands.

use crate::Office;
use gururmm_protocol::tunnel::frame::OFFSET_BYTES;
use gururmm_protocol::tunnel::{FrameKind, MAX_WINDOW_BYTES, Opened, SCROLLBACK_BYTES, WINDOW_BYTES};
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::acme;
use gururmm_testkit::{Page, eventually};
use serde_json::json;

#[tokio::test]
async fn what_a_shell_does_is_done_without_anybody_and_the_last_of_it_is_shown_to_who_comes_back() {
    let office = Office::open().await;
    let tech = office.server.client_as(&acme::TECH).await;
    let opened = tech.post("/api/v1/tunnel/open", json!({ "agent_id": office.machine.id })).await.expect(200);
    let session = opened["session_id"].as_str().unwrap().parse().unwrap();
    let mut page = Page::open(&office.server, &tech, session).await;
    page.text("ready").await;
    page.open_terminal(1, WINDOW_BYTES).await;
    assert_eq!(page.frame().await.kind, FrameKind::Opened);
    let done = office.path("done");
    let line =
        format!("echo begun; sleep 0.5; yes 0123456789abcde | head -c 5000000; touch {}\n", done.display());
    page.send(&OwnFrame::data(1, 0, line.as_bytes())).await;
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("begun\r\n") {
        let frame = page.frame().await;
        if frame.kind == FrameKind::Data {
            shown.extend_from_slice(frame.bytes());
        }
    }
    drop(page);
    eventually("it is done without anybody", async || done.exists().then_some(())).await;
    let mut page = Page::open(&office.server, &tech, session).await;
    assert_eq!(page.text("ready").await["channels"][0]["channel"], 1);
    let have = shown.len() as u64;
    page.attach(1, have, MAX_WINDOW_BYTES).await;
    let from = page.frame().await.read::<Opened>().from;
    assert!(from > have + 3_000_000, "more was shown than is kept: {from}");
    let mut last = Vec::new();
    while last.len() < SCROLLBACK_BYTES {
        let frame = page.frame().await;
        if frame.kind == FrameKind::Data {
            assert_eq!(frame.body[..OFFSET_BYTES], (from + last.len() as u64).to_be_bytes());
            last.extend_from_slice(frame.bytes());
        }
    }
    assert!(String::from_utf8_lossy(&last).contains("0123456789abcde\r\n0123456789abcde\r\n"));
}
