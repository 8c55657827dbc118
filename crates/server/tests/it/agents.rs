//! Machines under management: the array scripts rely on, the dashboard's list, moving and deleting.

use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_testkit::agent::hello;
use gururmm_testkit::world::{Site, acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::{Value, json};
use sqlx::Connection as _;
use std::collections::HashSet;

fn path(machine: &SeededAgent) -> String {
    format!("/api/agents/{}", machine.id)
}

async fn move_to(admin: &ApiClient, machine: &SeededAgent, site: &Site) -> gururmm_testkit::Answer {
    admin.post(&format!("{}/move", path(machine)), json!({ "site_id": site.id })).await
}

#[tokio::test]
async fn scripts_get_an_array_with_the_fields_they_rely_on() {
    let server = TestServer::start().await;
    let online = server.seed_agent(&acme::HQ, "a-online").await;
    let offline = server.seed_agent(&acme::NORTH, "b-offline").await;
    let waiting = server.seed_agent(&acme::HQ, "c-waiting").await;
    server.seed_agent(&globex::HQ, "not-ours").await;
    let mut owner = server.owner().await;
    // A machine whose status nobody ever wrote is not connected, and that is no null.
    sqlx::query("DELETE FROM agent_status WHERE agent_id = $1")
        .bind(offline.id)
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query("UPDATE agents SET state = 'pending', pending_reason = 'approval_required' WHERE id = $1")
        .bind(waiting.id)
        .execute(&mut owner)
        .await
        .unwrap();
    let _agent = TestAgent::connect(&server, &online).await;
    let reader = server.client_as(&acme::READER).await;
    let agents = eventually("presence", async || {
        let agents = reader.get("/api/agents").await.expect(200);
        (agents[0]["status"] == "online").then_some(agents)
    })
    .await;
    let relied_on = |agent: &Value| {
        assert!(agent["os_type"].is_string() && agent["os_version"].is_string(), "{agent}");
        assert!(agent["agent_version"].is_string() && agent.get("last_seen").is_some(), "{agent}");
        json!([
            agent["id"],
            agent["hostname"],
            agent["status"],
            agent["is_connected"],
            agent["site_id"],
            agent["client_id"]
        ])
    };
    let agents: Vec<Value> = agents.as_array().unwrap().iter().map(relied_on).collect();
    assert_eq!(
        agents,
        [
            json!([online.id, "a-online", "online", true, acme::HQ.id, acme::ALPHA.id]),
            json!([offline.id, "b-offline", "offline", false, acme::NORTH.id, acme::BETA.id]),
            json!([waiting.id, "c-waiting", "pending", false, acme::HQ.id, acme::ALPHA.id]),
        ]
    );
}

/// Thirty machines over all sites, with equal names, equal and missing values, and floats that are no round numbers.
async fn fleet(server: &TestServer) {
    for number in 0..30 {
        let hostname = if number % 3 == 0 { "Same".to_owned() } else { format!("pc-{:02}", number / 2) };
        server.seed_agent(&acme::SITES[number % acme::SITES.len()], &hostname).await;
    }
    sqlx::query(
        "WITH n AS (SELECT id, row_number() OVER (ORDER BY id)::integer AS i FROM agents),
           os AS (UPDATE agents a SET os_type = CASE WHEN i % 5 = 0 THEN 'windows' ELSE 'linux' END,
               machine_type = CASE WHEN i % 3 = 0 THEN 'virtual_machine' WHEN i % 3 = 1 THEN 'physical' END FROM n
             WHERE n.id = a.id)
         UPDATE agent_status s SET is_connected = i % 2 = 0, cpu_percent = nullif(i % 7, 0) * 3.37,
           memory_percent = i * 1.3731, disk_percent = CASE WHEN i > 3 THEN 33.3 END,
           last_seen = CASE WHEN i % 4 > 0 THEN now() - i % 5 * interval '1.000001 seconds' END
         FROM n WHERE n.id = s.agent_id",
    )
    .execute(&mut server.owner().await)
    .await
    .unwrap();
}

/// Every machine of a list, page by page.
async fn pages(reader: &ApiClient, query: &str) -> Vec<Value> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = reader.get(&format!("/api/v1/agents?{query}&limit=7&cursor={cursor}")).await.expect(200);
        assert_eq!(page["total"], 30);
        seen.extend(page["items"].as_array().unwrap().clone());
        assert!(seen.len() <= 30, "{query} goes round in circles");
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn what_is_ordered_while_a_machine_moves_is_seen_where_the_machine_is_then() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "mover").await;
    let (admin, tech) = (server.client_as(&acme::ADMIN).await, server.client_as(&acme::TECH).await);
    let _connected = TestAgent::connect(&server, &machine).await;
    // Whoever writes into the log waits: the move when it has moved the machine, and is not over.
    let mut holder = server.owner().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::query("INSERT INTO audit_heads (tenant_id, seq, hash) VALUES ($1, 0, '')")
        .bind(acme::PARTNER.id)
        .execute(&mut *held)
        .await
        .unwrap();
    let requests = [
        (admin, format!("{}/move", path(&machine)), json!({ "site_id": acme::NORTH.id })),
        (
            tech.clone(),
            format!("{}/command", path(&machine)),
            json!({ "command_type": "shell", "command": "true" }),
        ),
        (tech, "/api/v1/tunnel/open".to_owned(), json!({ "agent_id": machine.id })),
    ];
    let mut answers = Vec::new();
    for (number, (client, path, body)) in requests.into_iter().enumerate() {
        answers.push(tokio::spawn(async move { client.post(&path, body).await }));
        eventually("a request that waits", async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap();
            (waiting as usize > number).then_some(())
        })
        .await;
    }
    held.rollback().await.unwrap();
    for answer in answers {
        answer.await.unwrap().expect(200);
    }
    let places: Vec<(uuid::Uuid, uuid::Uuid)> = sqlx::query_as(
        "SELECT client_id, site_id FROM commands UNION ALL SELECT client_id, site_id FROM tunnel_sessions",
    )
    .fetch_all(&mut server.owner().await)
    .await
    .unwrap();
    assert_eq!(places, [(acme::BETA.id, acme::NORTH.id); 2]);
}

#[tokio::test]
async fn every_order_pages_without_gaps_or_doubles() {
    let server = TestServer::start().await;
    fleet(&server).await;
    let reader = server.client_as(&acme::READER).await;
    for sort in ["hostname", "status", "last_seen", "os", "client", "site", "cpu", "memory", "disk"] {
        for order in ["asc", "desc"] {
            let query = format!("sort={sort}&order={order}");
            let paged = pages(&reader, &query).await;
            let ids: HashSet<&str> = paged.iter().map(|agent| agent["id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), 30, "{query}");
            let whole = reader.get(&format!("/api/v1/agents?{query}&limit=200")).await.expect(200);
            assert_eq!(json!(paged), whole["items"], "{query}");
        }
    }
    let names: Vec<String> = pages(&reader, "sort=hostname")
        .await
        .iter()
        .map(|agent| agent["hostname"].to_string().to_lowercase())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    let loads = pages(&reader, "sort=cpu&order=desc").await;
    let loads: Vec<Option<f64>> = loads.iter().map(|agent| agent["cpu_percent"].as_f64()).collect();
    // Downwards, and what is not known comes last.
    assert!(loads.windows(2).all(|pair| pair[0] >= pair[1]), "{loads:?}");
    assert_eq!((loads[0].is_some(), loads[29]), (true, None));
}

#[tokio::test]
async fn of_thousands_of_machines_those_with_the_highest_figures_come_first() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-0").await;
    let mut owner = server.owner().await;
    sqlx::query(
        "INSERT INTO agents (id, tenant_id, client_id, site_id, state, hostname, os_type, os_version, arch, agent_version,
           machine_uid, machine_uid_source, key_digest, digest_key_id)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, state, 'web-' || n, os_type, os_version, arch,
           agent_version, machine_uid || n, machine_uid_source, key_digest, digest_key_id
         FROM agents, generate_series(1, 2099) n WHERE id = $1",
    )
    .bind(machine.id)
    .execute(&mut owner)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO agent_status (agent_id, tenant_id, cpu_percent)
         SELECT id, tenant_id, substr(hostname, 5)::int % 700 / 7.0 FROM agents WHERE id <> $1",
    )
    .bind(machine.id)
    .execute(&mut owner)
    .await
    .unwrap();
    // One who sees everything, and one who is confined to where the machines stand.
    for who in [acme::READER, acme::HQ_READER] {
        let reader = server.client_as(&who).await;
        let first = reader.get("/api/v1/agents?sort=cpu&order=desc&limit=4").await.expect(200);
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = reader
            .get(&format!("/api/v1/agents?sort=cpu&order=desc&limit=4&cursor={cursor}"))
            .await
            .expect(200);
        let both = [first, second];
        let found: Vec<(i64, &str)> = both
            .iter()
            .flat_map(|page| page["items"].as_array().unwrap())
            .map(|agent| {
                ((agent["cpu_percent"].as_f64().unwrap() * 7.0).round() as i64, agent["id"].as_str().unwrap())
            })
            .collect();
        let figures: Vec<i64> = found.iter().map(|(figure, _)| *figure).collect();
        assert_eq!(figures, [699, 699, 699, 698, 698, 698, 697, 697], "{}", who.email);
        assert_eq!(found.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), 8);
        assert_eq!(both[0]["total"], 2_100);
    }
}

#[tokio::test]
async fn a_list_is_filtered() {
    let server = TestServer::start().await;
    fleet(&server).await;
    let reader = server.client_as(&acme::READER).await;
    let (alpha, hq) = (format!("client_id={}", acme::ALPHA.id), format!("site_id={}", acme::HQ.id));
    let foreign = format!("site_id={}", globex::HQ.id);
    for (query, total) in [
        ("status=online", 15),
        ("status=offline", 15),
        ("status=pending", 0),
        ("os_type=windows", 6),
        ("machine_type=virtual_machine", 10),
        ("machine_type=container", 0),
        ("search=sAmE", 10),
        // Wildcards are letters like any other.
        ("search=%25", 0),
        ("search=acme%20beta", 14),
        (&alpha, 16),
        (&hq, 8),
        (&foreign, 0),
        ("status=online&os_type=windows", 3),
    ] {
        let page = reader.get(&format!("/api/v1/agents?{query}&limit=200")).await.expect(200);
        assert_eq!(
            (&page["total"], page["items"].as_array().unwrap().len()),
            (&json!(total), total),
            "{query}"
        );
    }
    let page = reader.get("/api/v1/agents?sort=cpu&limit=2").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    for bad in [
        format!("sort=memory&cursor={cursor}"),
        format!("sort=cpu&order=desc&cursor={cursor}"),
        "sort=alerts".into(),
    ] {
        reader.get(&format!("/api/v1/agents?{bad}")).await.expect_problem(400, "INVALID_QUERY");
    }
}

/// What is shown of a machine that connects and says `said` of itself.
async fn shown_virtualization(server: &TestServer, said: Option<Value>) -> (Value, Value) {
    let machine = server.seed_agent(&acme::HQ, "vm-01").await;
    let mut hello = hello(&machine, Vec::new());
    hello.system.virtualization = said.map(|said| serde_json::from_value(said).unwrap());
    hello.agent_version = "7.0.0".to_owned();
    let _agent = TestAgent::connect_saying(server, &machine, hello).await;
    let reader = server.client_as(&acme::READER).await;
    eventually("what the machine said", async || {
        let detail = reader.get(&format!("/api/v1/agents/{}", machine.id)).await.expect(200);
        (detail["agent"]["agent_version"] == "7.0.0")
            .then(|| (detail["agent"]["machine_type"].clone(), detail["virtualization"].clone()))
    })
    .await
}

#[tokio::test]
async fn a_machine_is_shown_as_what_it_says_it_is() {
    let server = TestServer::start().await;
    let cases = [
        (json!({}), "physical"),
        (json!({ "hypervisor": "kvm", "cloud": "aws" }), "virtual_machine"),
        (json!({ "hypervisor": "made_by_someone_new" }), "virtual_machine"),
        (json!({ "hypervisor": "hyper_v", "container": "docker" }), "container"),
        (json!({ "host": { "kind": "xen", "machines": [], "unlisted": "not read" } }), "physical"),
    ];
    for (said, expected) in cases {
        let (machine_type, shown) = shown_virtualization(&server, Some(said.clone())).await;
        assert_eq!((&machine_type, &shown["machine_type"]), (&json!(expected), &json!(expected)), "{said}");
    }
    let (machine_type, shown) = shown_virtualization(&server, None).await;
    assert_eq!((machine_type, shown), (Value::Null, Value::Null), "an agent that does not tell");
}

#[tokio::test]
async fn the_virtual_machines_of_a_host_are_shown() {
    let server = TestServer::start().await;
    let machines = (0..200).map(|n| json!({ "name": format!("vm-{n}\0"), "running": n == 0 }));
    let host = json!({ "kind": "proxmox", "machines": machines.collect::<Vec<_>>(), "total": 200 });
    let (_, shown) = shown_virtualization(&server, Some(json!({ "host": host }))).await;
    let machines = shown["host"]["machines"].as_array().unwrap();
    assert_eq!((machines.len(), &shown["host"]["total"]), (128, &json!(200)));
    assert_eq!(machines[0], json!({ "name": "vm-0", "uuid": null, "running": true }));
}

#[tokio::test]
async fn a_machine_moves_with_its_key_and_its_session() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let there = server.client_as(&acme::BETA_TECH).await;
    there.get(&path(&machine)).await.expect_problem(404, "NOT_FOUND");
    let moved = move_to(&server.client_as(&acme::ADMIN).await, &machine, &acme::NORTH).await.expect(200);
    assert_eq!((&moved["site_id"], &moved["client_id"]), (&json!(acme::NORTH.id), &json!(acme::BETA.id)));
    there.get(&path(&machine)).await.expect(200);
    server.client_as(&acme::ALPHA_TECH).await.get(&path(&machine)).await.expect_problem(404, "NOT_FOUND");
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
    drop(agent);
    TestAgent::connect(&server, &machine).await;
}

#[tokio::test]
async fn a_machine_moves_nowhere_its_mover_does_not_see() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let foreign = server.seed_agent(&globex::HQ, "db-01").await;
    let admin = server.client_as(&acme::ADMIN).await;
    let row = async |machine: &SeededAgent| -> Value {
        sqlx::query_scalar("SELECT to_jsonb(a) FROM agents a WHERE id = $1")
            .bind(machine.id)
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap()
    };
    let before = (row(&machine).await, row(&foreign).await);
    move_to(&admin, &machine, &globex::HQ).await.expect_problem(404, "NOT_FOUND");
    move_to(&admin, &foreign, &acme::HQ).await.expect_problem(404, "NOT_FOUND");
    let confined = server.client_as(&acme::ALPHA_ADMIN).await;
    move_to(&confined, &machine, &acme::NORTH).await.expect_problem(404, "NOT_FOUND");
    assert_eq!((row(&machine).await, row(&foreign).await), before);
}

#[tokio::test]
async fn namesakes_at_a_client_are_marked_and_nobody_elses_are() {
    let server = TestServer::start().await;
    let one = server.seed_agent(&acme::HQ, "web-01").await;
    let twin = server.seed_agent(&acme::LAB, "WEB-01").await;
    let at_another_client = server.seed_agent(&acme::NORTH, "web-01").await;
    let another_name = server.seed_agent(&acme::HQ, "db-01").await;
    let foreign = server.seed_agent(&globex::HQ, "web-01").await;
    let [ours, theirs] = [server.client_as(&acme::OWNER).await, server.client_as(&globex::OWNER).await];
    let is_marked = async |client: &ApiClient, machine: &SeededAgent| {
        let shown = client.get(&path(machine)).await.expect(200)["duplicate_hostname"].clone();
        let list = client.get("/api/v1/agents").await.expect(200);
        let items = list["items"].as_array().unwrap();
        let listed = items.iter().find(|item| item["id"] == json!(machine.id)).unwrap();
        assert_eq!(listed["duplicate_hostname"], shown, "list and page agree");
        shown.as_bool().unwrap()
    };
    assert!(is_marked(&ours, &one).await && is_marked(&ours, &twin).await, "host names have no case");
    assert!(!is_marked(&ours, &at_another_client).await);
    assert!(!is_marked(&ours, &another_name).await);
    assert!(!is_marked(&theirs, &foreign).await);
    sqlx::query("UPDATE agents SET state = 'rejected' WHERE id = $1")
        .bind(twin.id)
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    assert!(!is_marked(&ours, &one).await, "who was rejected is nobody's namesake");
}

#[tokio::test]
async fn a_deleted_machine_is_gone_with_its_key_and_its_session() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let admin = server.client_as(&acme::ADMIN).await;
    server.client_as(&globex::OWNER).await.delete(&path(&machine)).await.expect_problem(404, "NOT_FOUND");
    admin.delete(&path(&machine)).await.expect(204);
    let pick = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(agent.expect("goodbye", pick).await, GoodbyeReason::Revoked);
    agent.socket.closed().await;
    TestAgent::open(&server, &machine).await.err().unwrap().expect_problem(401, "AGENT_KEY_REFUSED");
    admin.get(&path(&machine)).await.expect_problem(404, "NOT_FOUND");
    admin.delete(&path(&machine)).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(admin.get("/api/agents").await.expect(200), json!([]));
}
