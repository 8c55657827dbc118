//! Samples that a machine counts as lost: kept once, shown to whoever sees the machine, gone with its samples.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::gap::{Gap, GapReason};
use gururmm_protocol::{AgentMessage, GapId, ServerMessage};
use gururmm_server::retention;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestAgent, TestServer};
use serde_json::{Value, json};

fn gap(count: Option<u64>, from: DateTime<Utc>, to: DateTime<Utc>) -> Gap {
    Gap { gap_id: GapId::new(), from, to, count, reason: GapReason::OutboxFull, error: None }
}

async fn say(agent: &mut TestAgent, gap: &Gap) {
    agent.send(&AgentMessage::Gap(gap.clone())).await;
    let pick =
        |message| matches!(message, ServerMessage::GapAck { gap_id } if gap_id == gap.gap_id).then_some(());
    agent.expect("acknowledgement of the gap", pick).await;
}

async fn shown(server: &TestServer, machine: &SeededAgent, query: &str) -> Vec<Value> {
    let tech = server.client_as(&acme::TECH).await;
    let path = format!("/api/v1/agents/{}/metrics/gaps{query}", machine.id);
    tech.get(&path).await.expect(200)["gaps"].as_array().unwrap().clone()
}

async fn stage() -> (TestServer, SeededAgent, TestAgent) {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let agent = TestAgent::connect(&server, &machine).await;
    (server, machine, agent)
}

#[tokio::test]
async fn a_gap_is_kept_once_grows_and_never_shrinks() {
    let (server, machine, mut agent) = stage().await;
    let now = Utc::now();
    let small = gap(Some(14), now - TimeDelta::hours(3), now - TimeDelta::hours(2));
    let large = Gap { count: Some(20), to: now - TimeDelta::hours(1), ..small.clone() };
    for said in [&small, &small, &large, &small] {
        say(&mut agent, said).await;
    }
    let shown = shown(&server, &machine, "").await;
    let [only] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(
        (&only["count"], &only["reason"], &only["error"]),
        (&json!(20), &json!("outbox_full"), &Value::Null)
    );
    let to: DateTime<Utc> = only["to"].as_str().unwrap().parse().unwrap();
    assert!((to - large.to).abs() < TimeDelta::milliseconds(1));
}

#[tokio::test]
async fn gaps_are_shown_in_the_span_that_they_touch() {
    let (server, machine, mut agent) = stage().await;
    let now = Utc::now();
    for (hours, count) in [(30, Some(1)), (20, None), (2, Some(3))] {
        let from = now - TimeDelta::hours(hours);
        say(&mut agent, &gap(count, from, from + TimeDelta::hours(1))).await;
    }
    let counts = |gaps: Vec<Value>| gaps.iter().map(|gap| gap["count"].clone()).collect::<Vec<_>>();
    assert_eq!(counts(shown(&server, &machine, "").await), [json!(3), Value::Null]);
    let at = |hours| (now - TimeDelta::hours(hours)).to_rfc3339().replace('+', "%2B");
    let span = format!("?from={}&to={}", at(40), at(25));
    assert_eq!(counts(shown(&server, &machine, &span).await), [json!(1)]);
    let tech = server.client_as(&acme::TECH).await;
    let backwards = format!("/api/v1/agents/{}/metrics/gaps?from={}&to={}", machine.id, at(1), at(2));
    tech.get(&backwards).await.expect_problem(400, "INVALID_QUERY");
    let other = server.client_as(&globex::TECH).await;
    other.get(&format!("/api/v1/agents/{}/metrics/gaps", machine.id)).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn what_no_honest_agent_says_is_brought_within_limits_and_acknowledged() {
    let (server, machine, mut agent) = stage().await;
    let now = Utc::now();
    let hostile = Gap {
        count: Some(u64::MAX),
        error: Some("a\0b".repeat(10_000)),
        reason: GapReason::Other,
        // The wrong way round, and from beyond any calendar.
        ..gap(None, DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC)
    };
    say(&mut agent, &hostile).await;
    say(&mut agent, &gap(Some(0), now, now)).await;
    let shown_now = shown(&server, &machine, "").await;
    let [only] = &shown_now[..] else { panic!("{shown_now:?}") };
    assert_eq!((&only["count"], &only["reason"]), (&json!(i64::MAX), &json!("other")));
    assert_eq!(only["error"].as_str().unwrap().len(), 2_048);
    // However many it says, few are kept.
    for _ in 0..600 {
        agent.send(&AgentMessage::Gap(gap(Some(1), now, now))).await;
    }
    say(&mut agent, &gap(Some(7), now, now)).await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM metric_gaps")
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
    assert_eq!((kept, shown(&server, &machine, "").await.len()), (500, 200));
}

#[tokio::test]
async fn gaps_go_with_the_retention_of_samples() {
    let (server, machine, mut agent) = stage().await;
    let now = Utc::now();
    for days in [91, 89] {
        let at = now - TimeDelta::days(days);
        say(&mut agent, &gap(Some(days.unsigned_abs()), at, at)).await;
    }
    retention::keep(server.app(), now).await.unwrap();
    let span = format!("?from={}", (now - TimeDelta::days(200)).to_rfc3339().replace('+', "%2B"));
    let left = shown(&server, &machine, &span).await;
    assert_eq!(left.iter().map(|gap| gap["count"].clone()).collect::<Vec<_>>(), [json!(89)]);
}
