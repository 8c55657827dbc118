//! How long sessions with machines live, what ends them, and who may have how many.

use crate::tunnel_socket::{Scene, open_session};
use gururmm_protocol::tunnel::FrameKind;
use gururmm_protocol::tunnel::order::{ChannelKind, Refusal, TunnelRefused};
use gururmm_protocol::{AgentMessage, TunnelId};
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::tunnel::{Settings, deadlines};
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::{PLATFORM_ADMIN, Person, acme, globex};
use gururmm_testkit::{Page, TestDatabase, TestServer, TunnelMachine, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

const SESSIONS: &str = "/api/v1/tunnel/sessions";

/// A server on which time is short.
async fn hasty(settings: Settings) -> Scene {
    let database = TestDatabase::with_world().await;
    Scene::on(TestServer::start_with(database, |options| options.sockets.tunnel = settings).await).await
}

fn often() -> Settings {
    Settings { look: Duration::from_millis(50), ..Settings::default() }
}

async fn set_policy(scene: &Scene, settings: Value) {
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/policies/agent/{}", scene.seeded.id);
    admin.put(&path, json!({ "settings": settings })).await.expect(200);
}

async fn execute(scene: &Scene, statement: &'static str) {
    sqlx::query(statement).execute(&mut scene.server.owner().await).await.unwrap();
}

#[tokio::test]
async fn a_session_without_input_ends_and_a_transfer_that_runs_is_no_idleness() {
    // Fifteen of these minutes are one and a half seconds.
    let mut scene = hasty(Settings { minute: Duration::from_millis(100), ..often() }).await;
    let mut page = scene.page_with_terminal(100_000, 1_000).await;
    for number in 0..25 {
        scene.machine.send(scene.session, &OwnFrame::data(1, number, b"part").bulk()).await;
        page.frame().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(scene.status().await["status"], "active");
    assert_eq!(page.closed_because().await, (Some(4000), json!("idle")));
    assert_eq!(scene.closed_reason().await, "idle");
    assert_eq!(scene.machine.dropped().await, scene.session);
}

#[tokio::test]
async fn a_session_ends_after_its_longest_time_whatever_happens_in_it() {
    let mut scene = hasty(often()).await;
    let mut page = scene.page().await;
    execute(&scene, "UPDATE tunnel_sessions SET ends_at = now()").await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("too_long")));
    assert_eq!(scene.closed_reason().await, "too_long");
}

#[tokio::test]
async fn a_machine_that_stays_away_loses_its_session() {
    let mut scene = hasty(Settings { agent_away: Duration::from_millis(400), ..often() }).await;
    let mut page = scene.page().await;
    let Scene { server, seeded, machine, tech, session } = scene;
    drop(machine);
    page.text("waiting").await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("agent_lost")));
    // Back later, it is told to drop what it has.
    let mut machine = TunnelMachine::connect_having(&server, &seeded, &[session, Uuid::now_v7()]).await;
    assert_eq!(machine.dropped().await, session);
    machine.dropped().await;
    assert_ne!(open_session(&tech, &seeded).await, session);
}

#[tokio::test]
async fn who_may_not_any_more_is_out_at_once() {
    let mut scene = Scene::new().await;
    let mut page = scene.page_with_terminal(100, 100).await;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let user = format!("/api/v1/users/{}", acme::TECH.id);
    admin.patch(&user, json!({ "role": "read_only" })).await.expect(200);
    assert_eq!(page.closed_because().await, (Some(4000), json!("right_lost")));
    assert_eq!(scene.machine.dropped().await, scene.session);
    admin.patch(&user, json!({ "role": "tech" })).await.expect(200);
    assert_eq!(scene.closed_reason().await, "right_lost");

    // By the end of the session that she signed in to.
    let signed_in = scene.server.session_of(&acme::TECH, SessionKind::Dashboard).await;
    let browser = scene.server.browser_with(&signed_in);
    scene.session = open_session(&browser, &scene.seeded).await;
    let mut page = Page::open(&scene.server, &browser, scene.session).await;
    browser.delete("/api/v1/session").await.expect(204);
    assert_eq!(page.closed_because().await, (Some(4000), json!("right_lost")));

    // By being confined to where the machine is not.
    scene.session = open_session(&scene.tech, &scene.seeded).await;
    let mut page = Page::open(&scene.server, &scene.tech, scene.session).await;
    admin.patch(&user, json!({ "client_ids": [acme::BETA.id] })).await.expect(200);
    assert_eq!(page.closed_because().await, (Some(4000), json!("right_lost")));
}

#[tokio::test]
async fn an_admin_sees_all_sessions_and_ends_them_and_a_tech_her_own() {
    let mut scene = Scene::new().await;
    let mut page = scene.page().await;
    let other = scene.server.client_as(&acme::ALPHA_TECH).await;
    let others = open_session(&other, &scene.seeded).await;
    let sessions = async |person: &Person, query: &str| {
        let client = scene.server.client_as(person).await;
        let list = client.get(&format!("{SESSIONS}{query}")).await.expect(200);
        let ids = list["items"].as_array().unwrap().iter().map(|session| session["session_id"].clone());
        (list["total"].as_i64().unwrap(), ids.collect::<Vec<_>>())
    };
    let (first, second) = (json!(scene.session), json!(others));
    assert_eq!(sessions(&acme::TECH, "").await, (1, vec![first.clone()]));
    assert_eq!(sessions(&acme::ADMIN, "").await, (2, vec![second.clone(), first.clone()]));
    let by_machine = format!("?agent_id={}&status=active", scene.seeded.id);
    assert_eq!(sessions(&acme::ADMIN, &by_machine).await.0, 2);
    let by_tech = format!("?tech_id={}", acme::TECH.id);
    assert_eq!(sessions(&acme::ADMIN, &by_tech).await, (1, vec![first]));
    assert_eq!(sessions(&acme::BETA_TECH, "").await, (0, vec![]));
    assert_eq!(sessions(&globex::OWNER, "").await, (0, vec![]));
    other.get(&format!("{SESSIONS}{by_tech}")).await.expect_problem(403, "FORBIDDEN");
    assert_eq!(sessions(&acme::ADMIN, "?limit=1").await.1, [second]);

    let end = format!("{SESSIONS}/{}/end", scene.session);
    other.post(&end, json!({})).await.expect_problem(403, "FORBIDDEN");
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let ended = admin.post(&end, json!({})).await.expect(200);
    assert_eq!((&ended["status"], &ended["closed_reason"]), (&json!("closed"), &json!("closed_by_admin")));
    assert_eq!(page.closed_because().await, (Some(4000), json!("closed_by_admin")));
    assert_eq!(admin.post(&end, json!({})).await.expect(200)["closed_reason"], "closed_by_admin");
    let log = admin.get("/api/v1/audit").await.expect(200);
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["tunnel.close", "tunnel.open", "tunnel.open"]);
}

#[tokio::test]
async fn what_nobody_holds_is_closed_and_what_somebody_holds_stays() {
    let mut scene = Scene::new().await;
    let _page = scene.page().await;
    let other = scene.server.client_as(&acme::ALPHA_TECH).await;
    let unused = open_session(&other, &scene.seeded).await;
    execute(&scene, "UPDATE tunnel_sessions SET opened_at = now() - interval '6 minutes'").await;
    deadlines::keep(scene.server.app()).await.unwrap();
    let status = other.get(&format!("/api/v1/tunnel/status/{unused}")).await.expect(200);
    assert_eq!((&status["status"], &status["closed_reason"]), (&json!("closed"), &json!("unused")));
    assert_eq!(scene.status().await["status"], "active");
    execute(
        &scene,
        "UPDATE tunnel_sessions SET ends_at = now() - interval '2 minutes' WHERE status = 'active'",
    )
    .await;
    deadlines::keep(scene.server.app()).await.unwrap();
    assert_eq!(scene.closed_reason().await, "too_long");
}

#[tokio::test]
async fn a_server_that_stops_lets_its_sessions_go_and_the_next_one_goes_on_with_them() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(100, 100).await;
    let stopping = scene.server.restart();
    let (closed, ()) = tokio::join!(page.closed_because(), stopping);
    assert_eq!(closed, (Some(4002), json!("server_stopping")));
    let tech = scene.server.client_as(&acme::TECH).await;
    let status = tech.get(&format!("/api/v1/tunnel/status/{session}")).await.expect(200);
    assert_eq!(status["status"], "active");
    let mut machine = TunnelMachine::connect_having(&scene.server, &scene.seeded, &[session]).await;
    // Nobody has asked yet: what it still sends is no fault.
    for number in 0..20 {
        machine.send(session, &OwnFrame::data(1, number, b"x")).await;
    }
    machine.settle().await;
    let mut page = Page::open(&scene.server, &tech, session).await;
    assert_eq!(machine.ordered().await.tunnel_id.0, session);
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    assert_eq!(page.text("ready").await["channels"][0]["kind"], "terminal");
}

#[tokio::test]
async fn nobody_has_more_sessions_than_the_policy_lets_one_person_have() {
    let scene = Scene::new().await;
    let second = scene.server.seed_agent(&acme::HQ, "web-02").await;
    let _connected = TunnelMachine::connect(&scene.server, &second).await;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/policies/partner/{}", acme::PARTNER.id);
    admin.put(&path, json!({ "settings": { "tunnel_sessions_per_tech": 1 } })).await.expect(200);
    let wish = json!({ "agent_id": second.id });
    scene.tech.post("/api/v1/tunnel/open", wish.clone()).await.expect_problem(409, "TOO_MANY_SESSIONS");
    assert_eq!(
        open_session(&scene.tech, &scene.seeded).await,
        scene.session,
        "the one that is open is answered"
    );
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": scene.session })).await.expect(200);
    let opened = scene.tech.post("/api/v1/tunnel/open", wish.clone()).await.expect(200);
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": opened["session_id"] })).await.expect(200);

    // Thirty in a minute.
    sqlx::query(
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status, closed_at)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, agent_id, tech_id, 'closed', now()
         FROM tunnel_sessions, generate_series(1, 14)",
    )
    .execute(&mut scene.server.owner().await)
    .await
    .unwrap();
    let refused = scene.tech.post("/api/v1/tunnel/open", wish).await;
    refused.expect_problem(429, "RATE_LIMITED");
    assert_eq!(refused.header("retry-after"), Some("60"));
}

#[tokio::test]
async fn a_policy_asks_why_and_the_session_says_it() {
    let scene = Scene::new().await;
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": scene.session })).await.expect(200);
    let open = async |wish: Value| {
        let mut body = wish;
        body["agent_id"] = json!(scene.seeded.id);
        scene.tech.post("/api/v1/tunnel/open", body).await
    };
    set_policy(&scene, json!({ "tunnel_reason": "required" })).await;
    open(json!({})).await.expect_problem(422, "REASON_REQUIRED");
    open(json!({ "reason": "  " })).await.expect_problem(422, "REASON_REQUIRED");
    open(json!({ "reason": "x".repeat(501) })).await.expect_problem(422, "VALIDATION_FAILED");
    set_policy(&scene, json!({ "tunnel_reason": "ticket" })).await;
    open(json!({ "reason": "printer" })).await.expect_problem(422, "TICKET_REQUIRED");
    let opened = open(json!({ "reason": " The printer is on fire ", "ticket": "T-4711" })).await.expect(200);
    let id: Uuid = opened["session_id"].as_str().unwrap().parse().unwrap();
    let status = scene.tech.get(&format!("/api/v1/tunnel/status/{id}")).await.expect(200);
    assert_eq!((&status["reason"], &status["ticket"]), (&json!("The printer is on fire"), &json!("T-4711")));
    let ticket = scene.tech.post(&format!("/api/v1/tunnel/{id}/ticket"), json!({})).await.expect(200);
    let mut socket = Page::knock(&scene.server, id, ticket["ticket"].as_str().unwrap()).await.ok().unwrap();
    assert_eq!(socket.expect("session").await["ticket"], "T-4711");
    set_policy(&scene, json!({ "tunnel_reason": null, "tunnel_channels_tech": [] })).await;
    let machine = scene.server.seed_agent(&acme::HQ, "web-02").await;
    let path = format!("/api/v1/policies/agent/{}", machine.id);
    let admin = scene.server.client_as(&acme::ADMIN).await;
    admin.put(&path, json!({ "settings": { "tunnel_channels_tech": [] } })).await.expect(200);
    let wish = json!({ "agent_id": machine.id });
    scene.tech.post("/api/v1/tunnel/open", wish).await.expect_problem(403, "CHANNEL_NOT_ALLOWED");
}

#[tokio::test]
async fn a_machine_that_refuses_is_asked_again_by_the_next_page() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    scene.machine.ordered().await;
    let refused = TunnelRefused {
        tunnel_id: TunnelId(session),
        reason: Refusal::ConsentUnavailable,
        detail: "nobody can be asked".to_owned(),
    };
    scene.machine.agent.send(&AgentMessage::TunnelRefused(refused)).await;
    let told = page.text("refused").await;
    assert_eq!(
        (&told["reason"], &told["detail"]),
        (&json!("consent_unavailable"), &json!("nobody can be asked"))
    );
    page.open_terminal(1, 10).await;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    scene.machine.takes(session).await;
    page.text("ready").await;
}

#[tokio::test]
async fn what_the_platform_takes_away_ends_in_open_sessions_at_once() {
    let mut scene = Scene::new().await;
    let mut page = scene.page_with_terminal(100, 100).await;
    let platform = scene.server.client_as(&PLATFORM_ADMIN).await;
    // That the machine came is told a little later, and makes the server look as well.
    eventually("the machine to be said to be online", async || {
        let online = scene.tech.get("/api/v1/agents?status=online&limit=1").await.expect(200);
        (online["total"] == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let changed_at = Instant::now();
    let settings = json!({ "settings": { "tunnel_channels_tech": ["files"] } });
    platform.put(&format!("/api/v1/policies/platform/{}", Uuid::nil()), settings).await.expect(200);
    assert_eq!(page.frame().await.kind, FrameKind::End);
    while scene.machine.ordered().await.rules.channels != [ChannelKind::Files] {}
    assert!(changed_at.elapsed() < Settings::default().look / 2, "it was found by looking");
}

#[tokio::test]
async fn a_session_that_moves_much_is_told_of_once_even_if_it_is_short() {
    const MUCH: &str = "UPDATE tunnel_sessions SET bytes_from_machine = 20::bigint * 1024 * 1024 * 1024 - 50 WHERE status = 'active'";
    let alerts = async |scene: &Scene| {
        let alerts = scene.server.client_as(&acme::ADMIN).await.get("/api/v1/alerts").await.expect(200);
        let all = alerts["items"].as_array().unwrap().clone();
        all.into_iter().filter(|alert| alert["kind"] == "tunnel.much_data").collect::<Vec<_>>()
    };
    let mut scene = hasty(often()).await;
    let mut page = scene.page_with_terminal(1_000, 1_000).await;
    execute(&scene, MUCH).await;
    scene.machine.send(scene.session, &OwnFrame::data(1, 0, &[b'x'; 20])).await;
    page.frame().await;
    eventually("the bytes to be written down", async || {
        (scene.status().await["bytes_from_machine"] == 20_i64 * 1024 * 1024 * 1024 - 22).then_some(())
    })
    .await;
    assert_eq!(alerts(&scene).await, Vec::<Value>::new(), "not yet");
    for round in 0..3 {
        scene.machine.send(scene.session, &OwnFrame::data(1, 20 + round * 20, &[b'x'; 20])).await;
        page.frame().await;
        let told = eventually("an alert", async || alerts(&scene).await.pop()).await;
        assert_eq!((&told["count"], &told["detail"]["session_id"]), (&json!(1), &json!(scene.session)));
        assert_eq!(told["title"], format!("{} moved 20 GiB in a session with web-01", acme::TECH.name));
    }
    // One that is over before anybody has looked.
    let mut scene = Scene::new().await;
    let mut page = scene.page_with_terminal(1_000, 1_000).await;
    execute(&scene, MUCH).await;
    scene.machine.send(scene.session, &OwnFrame::data(1, 0, &[b'x'; 100])).await;
    page.frame().await;
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": scene.session })).await.expect(200);
    page.closed_because().await;
    eventually("an alert", async || alerts(&scene).await.pop()).await;
}

#[tokio::test]
async fn many_machines_in_a_short_time_are_told_of() {
    let scene = Scene::new().await;
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": scene.session })).await.expect(200);
    for number in 0..14 {
        let machine = scene.server.seed_agent(&acme::HQ, &format!("pc-{number}")).await;
        sqlx::query(
            "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status, opened_at, closed_at)
             SELECT gen_random_uuid(), tenant_id, client_id, site_id, $1, tech_id, 'closed', now() - interval '2 minutes', now()
             FROM tunnel_sessions LIMIT 1",
        )
        .bind(machine.id)
        .execute(&mut scene.server.owner().await)
        .await
        .unwrap();
    }
    open_session(&scene.tech, &scene.seeded).await;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let alert = eventually("an alert", async || {
        let alerts = admin.get("/api/v1/alerts").await.expect(200);
        alerts["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|alert| alert["kind"] == "tunnel.many_machines")
            .cloned()
    })
    .await;
    assert_eq!(alert["detail"]["tech_id"], json!(acme::TECH.id));
}
