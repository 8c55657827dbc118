//! OpenTelemetry traces: the real program, and a collector that decodes what arrives.

mod collector;

use collector::{Collector, Program, attribute, attributes};
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH};
use gururmm_testkit::world::{PASSWORD, acme};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually, logs};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;

/// Everything a span may say. Whoever adds to it asks first whether a secret could stand there.
const KEYS: [&str; 10] = [
    "db.system.name",
    "gururmm.agent_id",
    "gururmm.command_id",
    "gururmm.committed",
    "gururmm.message",
    "gururmm.pool",
    "gururmm.request_id",
    "http.request.method",
    "http.response.status_code",
    "http.route",
];

async fn token(program: &Program) -> String {
    let credentials = json!({ "email": acme::OWNER.email, "password": PASSWORD });
    let session = program.anonymous().post("/api/auth/login", credentials).await.expect(200);
    session["token"].as_str().unwrap().to_owned()
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test]
async fn requests_transactions_and_what_agents_say_arrive_without_their_secrets() {
    let collector = Collector::start().await;
    let environment = [("OTEL_EXPORTER_OTLP_HEADERS", "x-team=canary-collector-key")];
    let program = Program::start(collector.address, &[], &environment).await;
    let (spans, token) = (collector.received(), token(&program).await);
    let client = program.anonymous().with_bearer(&token);

    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    let answer = client.get(&format!("{site}?token=canary-query")).await;
    answer.expect(200);
    let request = spans.of_request("GET /api/v1/sites/{id}", &answer).await;
    assert_eq!(request.kind, SpanKind::Server as i32);
    assert!(request.parent_span_id.is_empty());
    assert_eq!(attribute(&request, "http.response.status_code").as_deref(), Some("200"));
    let transaction = spans.below(&request).remove(0);
    assert_eq!((transaction.name.as_str(), transaction.kind), ("transaction", SpanKind::Client as i32));
    assert!(request.start_time_unix_nano <= transaction.start_time_unix_nano);
    assert!(transaction.end_time_unix_nano <= request.end_time_unix_nano);
    let unknown = client.get("/canary-path").await;
    spans.of_request("GET", &unknown).await;

    // A machine enrolls, and runs a command.
    let keys = format!("{site}/enrollment-keys");
    let key = client.post(&keys, json!({ "expires_in_hours": 1 })).await.expect(201);
    let key = key["secret"].as_str().unwrap();
    let machine = crate::enroll::machine("canary-host", &"7".repeat(64), "SER-1");
    let body = crate::enroll::request(acme::HQ.code, key, &machine);
    let enrolled = program.anonymous().post("/api/enroll", body).await.expect(201);
    let machine = SeededAgent {
        id: enrolled["agent_id"].as_str().unwrap().parse().unwrap(),
        num: 0,
        key: enrolled["agent_key"].as_str().unwrap().to_owned(),
        hostname: "canary-host".into(),
        machine_uid: "7".repeat(64),
        site: acme::HQ,
    };
    let knock = program.anonymous().with_bearer(&machine.key).with(AGENT_HEADER, &machine.id.to_string());
    let mut agent =
        TestAgent::greet(knock.upgrade(SOCKET_PATH).await.ok().unwrap(), &machine, Vec::new()).await;
    spans.with("agent message hello", "gururmm.agent_id", &machine.id.to_string()).await;
    let order = json!({ "command_type": "shell", "command": "echo canary-command", "stdin": "canary-input",
        "environment": { "TOKEN": "canary-environment" } });
    let created = client.post(&format!("/api/agents/{}/command", machine.id), order).await;
    let command_id = created.json()["command_id"].as_str().unwrap().to_owned();
    let start = agent.expect_command().await;
    agent.run(&start, "canary-output", 0).await;

    let request = spans.of_request("POST /api/agents/{id}/command", &created).await;
    let below = spans.below(&request);
    assert!(below.iter().any(|span| attribute(span, "gururmm.committed").as_deref() == Some("true")));
    assert!(
        names(&below).contains(&"transaction") && names(&below).contains(&"send command_start"),
        "{below:?}"
    );
    for message in ["command_started", "command_output", "command_ended"] {
        let message =
            spans.with(&format!("agent message {message}"), "gururmm.command_id", &command_id).await;
        assert!(names(&spans.below(&message)).contains(&"transaction"));
    }

    let resource = spans.resource();
    assert_eq!(
        (resource["service.name"].as_str(), resource["service.version"].as_str()),
        ("gururmm-server", env!("CARGO_PKG_VERSION"))
    );
    assert!(spans.headers().iter().all(|headers| headers["x-team"] == "canary-collector-key"));
    let said: BTreeSet<String> =
        spans.spans().iter().flat_map(|span| attributes(&span.attributes).into_keys()).collect();
    assert!(said.iter().all(|key| KEYS.contains(&key.as_str())), "{said:?}");
    assert!(spans.spans().iter().all(|span| span.events.is_empty()), "what is logged stays in the log");
    let (sent, log) = (spans.text(), program.log());
    for secret in [PASSWORD, &token, key, &machine.key, "canary-"] {
        assert!(!sent.contains(secret), "{secret} in a trace");
    }
    assert!(
        !log.contains("canary-collector-key") && !program.command_line().await.contains("canary"),
        "{log}"
    );
    assert!(program.figure("gururmm_spans_sent_total").await > 10);
    assert_eq!(program.figure("gururmm_spans_dropped_total").await, 0);
}

#[tokio::test]
async fn a_trace_goes_on_from_a_trusted_proxy_and_from_nobody_else() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start().await;
    let program = Program::start(collector.address, &["--trusted-proxy", "127.8.8.8/32"], &[]).await;
    let spans = collector.received();
    let caller = program.anonymous().with("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let answer = caller.clone().from_address(Ipv4Addr::new(127, 8, 8, 8)).get("/health").await;
    let joined = spans.of_request("GET /health", &answer).await;
    assert_eq!(
        (hex::encode(&joined.trace_id), hex::encode(&joined.parent_span_id)),
        (TRACE.into(), "b7ad6b7169203331".into())
    );

    let own = spans.of_request("GET /health", &caller.get("/health").await).await;
    assert_ne!(hex::encode(&own.trace_id), TRACE);
    assert!(own.parent_span_id.is_empty());
}

#[tokio::test]
async fn a_collector_that_goes_and_comes_back_is_told_once_and_costs_spans_only() {
    let (gone, back) = ("the collector takes no traces", "the collector takes traces again");
    let collector = Collector::start().await;
    let program = Program::start(collector.address, &[], &[]).await;
    let (address, spans) = (collector.address, collector.received());
    spans.of_request("GET /health", &program.anonymous().get("/health").await).await;
    drop(collector);
    // Two batches that fail, one after the other.
    for _ in 0..2 {
        let before = program.figure("gururmm_spans_dropped_total").await;
        program.anonymous().get("/health").await;
        eventually("a span that is dropped", async || {
            (program.figure("gururmm_spans_dropped_total").await > before).then_some(())
        })
        .await;
    }
    assert_eq!((program.lines_with(gone), program.lines_with(back)), (1, 0), "{}", program.log());

    let collector = Collector::start_at(address, spans.clone()).await;
    for _ in 0..2 {
        spans.of_request("GET /health", &program.anonymous().get("/health").await).await;
    }
    eventually("a line about it", async || (program.lines_with(back) > 0).then_some(())).await;
    assert_eq!((program.lines_with(gone), program.lines_with(back)), (1, 1), "{}", program.log());
    drop(collector);
}

#[tokio::test]
async fn what_waits_at_the_end_is_still_sent() {
    let collector = Collector::start().await;
    let never = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut program = Program::start(collector.address, &[], &[never]).await;
    let answer = program.anonymous().get("/health").await;
    assert!(collector.received().spans().is_empty());
    program.stop().await;
    let last = collector.received().of_request("GET /health", &answer).await;
    assert_eq!(attribute(&last, "http.route").as_deref(), Some("/health"));
}

#[tokio::test]
async fn a_collector_that_hangs_delays_neither_answers_nor_the_end() {
    // Takes connections, for the kernel does, and says nothing.
    let silent = TcpListener::bind(SocketAddr::from(([127, 9, 4, 3], 0))).await.unwrap();
    let mut program = Program::start(silent.local_addr().unwrap(), &[], &[]).await;
    for _ in 0..20 {
        assert_eq!(program.anonymous().get("/health").await.status, 200);
    }
    assert!(program.stop().await < Duration::from_secs(5), "{}", program.log());
    assert_eq!(program.lines_with("did not take the last spans in time"), 1, "{}", program.log());
}

#[tokio::test]
async fn of_no_part_of_the_traces_nothing_is_sent() {
    let collector = Collector::start().await;
    let mut program = Program::start(collector.address, &["--trace-sample-ratio", "0"], &[]).await;
    assert_eq!(program.anonymous().get("/health").await.status, 200);
    program.stop().await;
    assert!(collector.received().headers().is_empty());
}

#[tokio::test]
async fn without_a_collector_nothing_is_counted() {
    let server = TestServer::start_with(gururmm_testkit::TestDatabase::with_world().await, |options| {
        options.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let text = ApiClient::anonymous(server.server().metrics_addr().unwrap()).get("/metrics").await.text();
    assert!(text.contains("gururmm_uptime") && !text.contains("gururmm_spans"), "{text}");
}

/// Every test of the server looks for its secrets in the traces, too; here it is seen to.
#[tokio::test]
async fn every_test_sees_what_is_traced() {
    let server = TestServer::start().await;
    let answer = server.client_as(&acme::READER).await.get("/api/v1/clients").await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    eventually("the request's span", async || logs::spans().contains(&id).then_some(())).await;
    assert!(!logs::text().contains("gururmm.request_id"), "what is traced is not logged again");
}
