//! The first page after signing in: counts and short lists over what the caller sees, and nothing else.

use gururmm_testkit::world::{Person, acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestServer};
use serde_json::{Value, json};

async fn overview_of(server: &TestServer, person: &Person) -> Value {
    server.client_as(person).await.get("/api/v1/overview").await.expect(200)
}

async fn arrange(server: &TestServer, statement: &'static str, agent: &SeededAgent) {
    sqlx::query(statement).bind(agent.id).execute(&mut server.owner().await).await.unwrap();
}

async fn order(client: &ApiClient, agent: &SeededAgent) {
    let body = json!({ "command_type": "shell", "command": "true" });
    client.post(&format!("/api/agents/{}/command", agent.id), body).await.expect(200);
}

#[tokio::test]
async fn an_empty_fleet_is_all_zeros() {
    let server = TestServer::start().await;
    let overview = overview_of(&server, &acme::READER).await;
    assert_eq!(overview["agents"], json!({ "total": 0, "online": 0, "offline": 0, "pending": 0 }));
    assert_eq!(overview["commands"], json!({ "running": 0, "queued": 0, "failed_24h": 0 }));
    assert_eq!((&overview["clients_total"], &overview["sites_total"]), (&json!(2), &json!(4)));
    for list in ["attention", "recent_commands", "os"] {
        assert_eq!(overview[list], json!([]), "{list}");
    }
}

#[tokio::test]
async fn everyone_sees_counts_of_their_own_part_of_the_fleet() {
    let server = TestServer::start().await;
    let hq = server.seed_agent(&acme::HQ, "hq-01").await;
    let north = server.seed_agent(&acme::NORTH, "north-01").await;
    let waiting = server.seed_agent(&acme::LAB, "lab-01").await;
    let foreign = server.seed_agent(&globex::HQ, "globex-01").await;
    arrange(&server, "UPDATE agents SET state = 'pending' WHERE id = $1", &waiting).await;
    arrange(&server, "UPDATE agent_status SET is_connected = true WHERE agent_id = $1", &north).await;
    arrange(&server, "UPDATE agents SET os_type = 'windows' WHERE id = $1", &north).await;
    order(&server.client_as(&acme::TECH).await, &hq).await;
    order(&server.client_as(&globex::TECH).await, &foreign).await;

    let all = overview_of(&server, &acme::OWNER).await;
    assert_eq!(all["agents"], json!({ "total": 2, "online": 1, "offline": 1, "pending": 1 }));
    let linux_and_windows =
        [("linux", 1), ("windows", 1)].map(|(os, n)| json!({ "os_type": os, "count": n }));
    assert_eq!(all["os"], json!(linux_and_windows));
    assert_eq!(all["commands"]["queued"], 1);
    assert_eq!(all["recent_commands"][0]["agent_hostname"], "hq-01");
    assert_eq!(all["recent_commands"].as_array().unwrap().len(), 1);
    assert_eq!(all["attention"][0]["hostname"], "hq-01", "it is offline");
    assert_eq!(all["attention"].as_array().unwrap().len(), 1);

    let beta = overview_of(&server, &acme::BETA_TECH).await;
    assert_eq!(beta["agents"], json!({ "total": 1, "online": 1, "offline": 0, "pending": 0 }));
    assert_eq!((&beta["clients_total"], &beta["sites_total"]), (&json!(1), &json!(2)));
    assert_eq!((&beta["recent_commands"], &beta["attention"]), (&json!([]), &json!([])));

    let lab = overview_of(&server, &acme::LAB_TECH).await;
    assert_eq!(lab["agents"], json!({ "total": 0, "online": 0, "offline": 0, "pending": 1 }));
    assert_eq!((&lab["clients_total"], &lab["sites_total"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn the_short_lists_are_short_and_carry_no_output() {
    let server = TestServer::start().await;
    let tech = server.client_as(&acme::TECH).await;
    for number in 0..10 {
        let agent = server.seed_agent(&acme::HQ, &format!("hq-{number:02}")).await;
        order(&tech, &agent).await;
    }
    let overview = overview_of(&server, &acme::TECH).await;
    let commands = overview["recent_commands"].as_array().unwrap();
    assert_eq!((commands.len(), overview["attention"].as_array().unwrap().len()), (8, 8));
    assert_eq!(commands[0]["agent_hostname"], "hq-09", "newest first");
    assert!(commands.iter().all(|command| command["stdout"] == "" && command["stderr"] == ""));
}
