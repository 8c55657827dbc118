//! Reading the audit log: list, export, verify.

use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, TestServer};
use serde_json::{Value, json};

async fn make_clients(admin: &ApiClient, names: &[&str]) {
    for name in names {
        admin.post("/api/v1/clients", json!({ "name": name })).await.expect(201);
    }
}

fn actions(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_log_is_listed_newest_first_filtered_and_paged() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    make_clients(&admin, &["One", "Two", "Three"]).await;
    admin.patch("/api/v1/profile", json!({ "name": acme::ADMIN.name })).await.expect(200);
    let all = admin.get("/api/v1/audit").await.expect(200);
    assert_eq!(actions(&all), ["profile.update", "client.create", "client.create", "client.create"]);
    let newest = &all["items"][1];
    assert_eq!((&newest["target_name"], &newest["actor_id"]), (&json!("Three"), &json!(acme::ADMIN.id)));
    assert!(newest["ip"].as_str().unwrap().starts_with("127."), "{newest}");
    for (query, total) in [
        // That she looked is an entry, too, and only one however often she looks.
        ("action=audit.read", 1),
        ("action=client.create", 3),
        ("action=client.", 3),
        ("action=client", 0),
        ("search=tWo", 1),
        (&format!("actor_id={}", acme::ADMIN.id), 5),
        (&format!("target_id={}", newest["target_id"].as_str().unwrap()), 1),
        ("from=2000-01-01T00:00:00Z&to=2001-01-01T00:00:00Z", 0),
        ("from=2000-01-01T00:00:00Z", 5),
    ] {
        assert_eq!(admin.get(&format!("/api/v1/audit?{query}")).await.expect(200)["total"], total, "{query}");
    }
    let first = admin.get("/api/v1/audit?limit=4").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = admin.get(&format!("/api/v1/audit?limit=4&cursor={cursor}")).await.expect(200);
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next_cursor"]), (1, &Value::Null));
    admin.get("/api/v1/audit?from=yesterday").await.expect_problem(400, "INVALID_QUERY");
    // PostgreSQL's times begin later than chrono's.
    admin.get("/api/v1/audit?from=-9999-01-01T00:00:00Z").await.expect_problem(400, "MALFORMED_REQUEST");
}

/// Entries of an action, oldest first: who, on what.
async fn entries(server: &TestServer, action: &str) -> Vec<(uuid::Uuid, uuid::Uuid)> {
    sqlx::query_as("SELECT actor_id, target_id FROM audit_log WHERE action = $1 ORDER BY seq")
        .bind(action)
        .fetch_all(&mut server.owner().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn whoever_reads_what_a_colleagues_command_wrote_is_written_down_once_an_hour() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let (tech, reader) = (server.client_as(&acme::TECH).await, server.client_as(&acme::READER).await);
    let order = json!({ "command_type": "shell", "command": "cat /etc/shadow" });
    let order = tech.post(&format!("/api/agents/{}/command", machine.id), order).await.expect(200);
    let id: uuid::Uuid = order["command_id"].as_str().unwrap().parse().unwrap();
    let read = async |who: &ApiClient| {
        for path in [
            format!("/api/commands/{id}"),
            format!("/api/v1/commands/{id}/output"),
            format!("/api/v1/commands/{id}"),
        ] {
            who.get(&path).await.expect(200);
        }
    };
    read(&reader).await;
    assert_eq!(entries(&server, "command.read_output").await, [], "there was nothing to read");
    sqlx::query(
        "INSERT INTO command_output (tenant_id, command_id, seq, stream, data)
         SELECT tenant_id, id, 1, 'stdout', 'root:*' FROM commands",
    )
    .execute(&mut server.owner().await)
    .await
    .unwrap();
    for _ in 0..3 {
        read(&tech).await;
        read(&reader).await;
    }
    assert_eq!(entries(&server, "command.read_output").await, [(acme::READER.id, id)]);
    let earlier = "UPDATE audit_log SET at = at - interval '61 minutes' WHERE action = 'command.read_output'";
    sqlx::query(earlier).execute(&mut server.owner().await).await.unwrap();
    reader.get(&format!("/api/v1/commands/{id}/output")).await.expect(200);
    assert_eq!(entries(&server, "command.read_output").await, [(acme::READER.id, id); 2]);
}

#[tokio::test]
async fn whoever_reads_a_colleagues_sessions_is_written_down_and_ones_own_are_ones_own() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    for person in [&acme::ADMIN, &acme::TECH, &acme::TECH] {
        admin.get(&format!("/api/v1/users/{}/sessions", person.id)).await.expect(200);
    }
    assert_eq!(entries(&server, "user.read_sessions").await, [(acme::ADMIN.id, acme::TECH.id)]);
}

#[tokio::test]
async fn the_log_is_for_unconfined_admins_of_the_partner() {
    let server = TestServer::start().await;
    make_clients(&server.client_as(&acme::ADMIN).await, &["One"]).await;
    for path in ["/api/v1/audit", "/api/v1/audit/export?format=csv", "/api/v1/audit/verify"] {
        for person in [&acme::TECH, &acme::ALPHA_ADMIN] {
            server.client_as(person).await.get(path).await.expect_problem(403, "FORBIDDEN");
        }
    }
    assert_eq!(server.client_as(&globex::OWNER).await.get("/api/v1/audit").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn an_export_holds_every_entry_and_no_formula() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let formula = "=HYPERLINK(\"http://example.com\",\"x\")";
    make_clients(&admin, &[formula, "+1", "-1", "@SUM(A1)"]).await;
    let jsonl = admin.get("/api/v1/audit/export?format=jsonl&action=client.").await;
    assert_eq!(jsonl.status, 200);
    assert_eq!(jsonl.header("content-disposition"), Some("attachment; filename=\"audit.jsonl\""));
    let lines: Vec<Value> = jsonl.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|entry| entry["target_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["@SUM(A1)", "-1", "+1", formula]);
    let csv = admin.get("/api/v1/audit/export?format=csv").await.text();
    assert!(csv.starts_with("\"seq\",\"at\","), "{csv}");
    // Four clients and the export before.
    assert_eq!(csv.trim_end().lines().count(), 1 + 4 + 1 + 1);
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://example.com\"\",\"\"x\"\")\""), "{csv}");
    for cell in csv.split("\",\"") {
        assert!(!cell.trim_start_matches(['"', '\r', '\n']).starts_with(['=', '+', '-', '@']), "{cell}");
    }
    admin.get("/api/v1/audit/export?format=xml").await.expect_problem(400, "INVALID_QUERY");
    admin.get("/api/v1/audit/export").await.expect_problem(400, "INVALID_QUERY");
}

#[tokio::test]
async fn an_export_of_many_entries_is_whole() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    make_clients(&admin, &["One"]).await;
    // As the server would write them; 1,200 requests would say no more.
    let mut owner = server.owner().await;
    sqlx::query("SELECT set_config('app.tenant_id', $1, false)")
        .bind(acme::PARTNER.id.to_string())
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query(
        "SELECT audit_append(gen_random_uuid(), 'system', NULL, 'test', 'test.entry', NULL, NULL, NULL, '{}', NULL, NULL)
         FROM generate_series(1, 1200)",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let total = admin.get("/api/v1/audit?action=test.entry").await.expect(200)["total"].as_u64().unwrap();
    let exported = admin.get("/api/v1/audit/export?format=jsonl&action=test.entry").await.text();
    assert_eq!((total, exported.lines().count()), (1200, 1200));
}

#[tokio::test]
async fn tampering_shows() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    make_clients(&admin, &["One", "Two", "Three", "Four"]).await;
    let whole = admin.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!(
        (&whole["ok"], &whole["entries"], &whole["first_bad_seq"]),
        (&json!(true), &json!(4), &Value::Null)
    );
    assert_eq!(whole["head"].as_str().unwrap().len(), 64);
    let mut owner = server.owner().await;
    let changed =
        sqlx::query("UPDATE audit_log SET actor_name = 'Somebody Else' WHERE seq = 2").execute(&mut owner);
    assert_eq!(changed.await.unwrap().rows_affected(), 1);
    let broken = admin.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!((&broken["ok"], &broken["first_bad_seq"]), (&json!(false), &json!(2)));
    sqlx::query("UPDATE audit_log SET actor_name = $1 WHERE seq = 2")
        .bind(acme::ADMIN.name)
        .execute(&mut owner)
        .await
        .unwrap();
    assert_eq!(admin.get("/api/v1/audit/verify").await.expect(200)["ok"], true);
    sqlx::query("DELETE FROM audit_log WHERE seq = 4").execute(&mut owner).await.unwrap();
    let cut = admin.get("/api/v1/audit/verify").await.expect(200);
    assert_eq!((&cut["ok"], &cut["first_bad_seq"]), (&json!(false), &json!(4)));
}
