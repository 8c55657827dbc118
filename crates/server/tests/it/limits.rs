//! How often a stranger may ask. What one test asks differs in all but what its limit counts by, so that no other
//! limit can answer in its place.

use crate::enroll::{ask, key_of, machine, request};
use gururmm_server::keys::Purpose;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{Answer, ApiClient, TestServer, eventually};
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// Of nobody else in these tests.
const OFFICE: Ipv4Addr = Ipv4Addr::new(127, 200, 0, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 200, 0, 2);

fn network(address: Ipv4Addr) -> IpNet {
    Ipv4Net::from(address).into()
}

/// How many requests a limit takes at once; it is used up then. What it regains meanwhile counts as well.
fn take_all(mut is_taken: impl FnMut() -> bool) -> usize {
    let mut taken = 0;
    while is_taken() {
        taken += 1;
    }
    taken
}

fn expect_limited(answer: &Answer) {
    answer.expect_problem(429, "RATE_LIMITED");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait} s");
}

/// A machine that nobody has heard of asks at a site that nobody has heard of.
async fn ask_as_anyone(client: &ApiClient) -> Answer {
    let uid = Uuid::now_v7().simple().to_string();
    client.post("/api/enroll", request(&uid[..8], "gek_1_wrong", &machine(&uid, &uid, &uid))).await
}

#[tokio::test]
async fn an_address_enrolls_a_hundred_machines_a_minute() {
    let server = TestServer::start().await;
    let limit = &server.app().limits.enroll;
    let office = server.anonymous().from_address(OFFICE);
    let mut taken = Vec::new();
    let refused = eventually("refusal", async || {
        taken.push(take_all(|| limit.check_key(&network(OFFICE)).is_ok()));
        // In the time until this is looked at the limit may have regained one.
        Some(ask_as_anyone(&office).await).filter(|answer| answer.status == 429)
    })
    .await;
    expect_limited(&refused);
    assert!((100..=110).contains(&taken[0]), "{taken:?}");
    let elsewhere = server.anonymous().from_address(ELSEWHERE);
    ask_as_anyone(&elsewhere).await.expect_problem(401, "ENROLLMENT_REFUSED");
}

#[tokio::test]
async fn a_site_enrolls_six_hundred_machines_a_minute_from_anywhere() {
    let server = TestServer::start().await;
    let limit = &server.app().limits.enroll_site;
    let site = server.app().keys.digest(Purpose::Throttle, &format!("enroll site:{}", acme::HQ.code));
    let (_, ours) = key_of(&server, &acme::HQ, json!({})).await;
    let (_, theirs) = key_of(&server, &globex::HQ, json!({})).await;
    let from_anywhere = async |code: &str, key: &str| {
        let uid = Uuid::now_v7().to_string();
        ask(&server, code, key, &machine(&uid, &uid, &uid)).await
    };
    // Who has no key uses up nobody's share.
    from_anywhere(acme::HQ.code, "gek_1_wrong").await.expect_problem(401, "ENROLLMENT_REFUSED");
    assert_eq!(limit.known(), 0);
    let mut taken = Vec::new();
    let refused = eventually("refusal", async || {
        taken.push(take_all(|| limit.check_key(&site).is_ok()));
        Some(from_anywhere(acme::HQ.code, &ours).await).filter(|answer| answer.status == 429)
    })
    .await;
    expect_limited(&refused);
    assert!((600..=660).contains(&taken[0]), "{taken:?}");
    from_anywhere(globex::HQ.code, &theirs).await.expect(201);
}

#[tokio::test]
async fn a_machine_asks_five_times_in_a_row_and_then_once_a_minute() {
    let server = TestServer::start().await;
    let (_, key) = key_of(&server, &acme::HQ, json!({})).await;
    let web = machine("web-01", "uid-of-both", "disk-1");
    for _ in 0..6 {
        // Whoever knows a machine's name and no key does not keep it out.
        ask(&server, acme::HQ.code, "gek_1_wrong", &web).await.expect_problem(401, "ENROLLMENT_REFUSED");
    }
    for _ in 0..5 {
        ask(&server, acme::HQ.code, &key, &web).await.expect(201);
    }
    let refused = ask(&server, acme::HQ.code, &key, &web).await;
    expect_limited(&refused);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 20, "one a minute, not one in {wait} s");
    let clone = machine("web-02", "uid-of-both", "disk-1");
    ask(&server, acme::HQ.code, &key, &clone).await.expect(201);
}

#[tokio::test]
async fn an_address_says_hello_six_thousand_times_a_minute() {
    let server = TestServer::start().await;
    let limit = &server.app().limits.hello;
    let hello = async |from| {
        let client = server.anonymous().from_address(from);
        client.post("/api/v1/bootstrap/hello", json!({ "protocol_version": "1.0" })).await
    };
    let mut taken = Vec::new();
    let refused = eventually("refusal", async || {
        taken.push(take_all(|| limit.check_key(&network(OFFICE)).is_ok()));
        Some(hello(OFFICE).await).filter(|answer| answer.status == 429)
    })
    .await;
    expect_limited(&refused);
    assert!((6_000..=6_600).contains(&taken[0]), "{taken:?}");
    hello(ELSEWHERE).await.expect(200);
}

#[tokio::test]
async fn links_with_a_token_are_tried_thirty_times_a_minute_whichever_they_are() {
    let server = TestServer::start_empty().await;
    let limit = &server.app().limits.one_time_link;
    let setup = json!({ "setup_token": "gsu_wrong", "email": "ada@example.com", "name": "Ada",
        "password": "a long enough password", "partner_name": "Acme", "client_name": "Alpha", "site_name": "HQ" });
    let invitation = json!({ "token": "giv_wrong", "name": "Ada", "password": "a long enough password" });
    for (number, (path, body)) in [
        ("/api/v1/setup/check", &setup),
        ("/api/v1/setup", &setup),
        ("/api/auth/register", &setup),
        ("/api/v1/invitations/check", &invitation),
        ("/api/v1/invitations/accept", &invitation),
    ]
    .into_iter()
    .enumerate()
    {
        let from = Ipv4Addr::new(127, 200, 1, number.try_into().unwrap());
        let client = server.anonymous().from_address(from);
        let mut taken = Vec::new();
        let refused = eventually(&format!("refusal of {path}"), async || {
            taken.push(take_all(|| limit.check_key(&network(from)).is_ok()));
            Some(client.post(path, body.clone()).await).filter(|answer| answer.status == 429)
        })
        .await;
        expect_limited(&refused);
        assert!((30..=33).contains(&taken[0]), "{path}: {taken:?}");
        let elsewhere = server.anonymous().from_address(ELSEWHERE).post(path, body.clone()).await;
        assert_ne!(elsewhere.status, 429, "{elsewhere}");
    }
}
