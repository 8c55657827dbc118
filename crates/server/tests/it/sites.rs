//! The hierarchy: the partner, its clients and sites, as far as one may see them.

use gururmm_testkit::TestServer;
use gururmm_testkit::world::{acme, globex};
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_site_is_made_changed_and_deleted() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = admin
        .post("/api/v1/sites", json!({ "client_id": acme::ALPHA.id, "name": " Depot " }))
        .await
        .expect(201);
    assert_eq!((&site["name"], &site["approval_required"]), (&json!("Depot"), &json!(false)));
    let code = site["code"].as_str().unwrap();
    assert!(code.len() == 8 && !code.contains(['0', '1', 'I', 'O']), "{code}");
    let path = format!("/api/v1/sites/{}", site["id"].as_str().unwrap());
    let changed = admin.patch(&path, json!({ "approval_required": true })).await.expect(200);
    assert_eq!((&changed["name"], &changed["approval_required"]), (&json!("Depot"), &json!(true)));
    assert_eq!(admin.get(&path).await.expect(200), changed);
    admin.patch(&path, json!({ "name": "hq" })).await.expect_problem(409, "NAME_TAKEN");
    admin.delete(&path).await.expect(204);
    admin.get(&path).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn nothing_is_made_under_another_partners_client() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let foreign = json!({ "client_id": globex::ALPHA.id, "name": "Mine" });
    admin.post("/api/v1/sites", foreign).await.expect_problem(404, "NOT_FOUND");
    let path = format!("/api/v1/sites/{}", globex::HQ.id);
    admin.patch(&path, json!({ "name": "Mine" })).await.expect_problem(404, "NOT_FOUND");
    admin.delete(&path).await.expect_problem(404, "NOT_FOUND");
    let hq = server.client_as(&globex::ADMIN).await.get(&path).await.expect(200);
    assert_eq!(hq["name"], "HQ");
}

#[tokio::test]
async fn what_still_holds_something_is_not_deleted() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    admin
        .delete(&format!("/api/v1/clients/{}", acme::ALPHA.id))
        .await
        .expect_problem(409, "CLIENT_NOT_EMPTY");
    let agent = server.seed_agent(&acme::HQ, "hq-01").await;
    let path = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.delete(&path).await.expect_problem(409, "SITE_NOT_EMPTY");
    sqlx::query("UPDATE agents SET state = 'pending' WHERE id = $1")
        .bind(agent.id)
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    admin.delete(&path).await.expect_problem(409, "SITE_NOT_EMPTY");
}

#[tokio::test]
async fn the_tree_shows_what_one_may_see() {
    let server = TestServer::start().await;
    server.seed_agent(&acme::HQ, "hq-01").await;
    let all = server.client_as(&acme::READER).await.get("/api/v1/tree").await.expect(200);
    assert_eq!(all["partner"]["name"], "Acme");
    assert_eq!(names(&all["clients"]), ["Acme Alpha", "Acme Beta"]);
    let hq = &all["clients"][0]["sites"][0];
    assert_eq!(
        (&hq["name"], &hq["agents_total"], &hq["agents_online"]),
        (&json!("HQ"), &json!(1), &json!(0))
    );
    // Confined to one site: its client's name shows, the client's other site does not.
    let lab = server.client_as(&acme::LAB_TECH).await;
    let part = lab.get("/api/v1/tree").await.expect(200);
    assert_eq!(names(&part["clients"]), ["Acme Alpha"]);
    assert_eq!(names(&part["clients"][0]["sites"]), ["Lab"]);
    lab.get(&format!("/api/v1/sites/{}", acme::HQ.id)).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(lab.get("/api/v1/sites").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn the_list_searches_filters_and_pages() {
    let server = TestServer::start().await;
    let reader = server.client_as(&acme::READER).await;
    let found = reader.get("/api/v1/sites?search=TH").await.expect(200);
    assert_eq!(names(&found["items"]), ["North", "South"]);
    let of_alpha = reader.get(&format!("/api/v1/sites?client_id={}", acme::ALPHA.id)).await.expect(200);
    assert_eq!(names(&of_alpha["items"]), ["HQ", "Lab"]);
    let first = reader.get("/api/v1/sites?limit=3").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = reader.get(&format!("/api/v1/sites?limit=3&cursor={cursor}")).await.expect(200);
    assert_eq!((names(&second["items"]), &second["next_cursor"]), (vec!["South"], &Value::Null));
    for bad in ["limit=0", "limit=201", "cursor=nonsense", "client_id=nonsense"] {
        reader.get(&format!("/api/v1/sites?{bad}")).await.expect_problem(400, "INVALID_QUERY");
    }
    reader.get("/api/v1/sites?search=%00").await.expect_problem(400, "MALFORMED_REQUEST");
}

#[tokio::test]
async fn the_partner_is_its_owners_to_change() {
    let server = TestServer::start().await;
    let owner = server.client_as(&acme::OWNER).await;
    let changed = owner.patch("/api/v1/partner", json!({ "retention_days": 365 })).await.expect(200);
    assert_eq!((&changed["name"], &changed["retention_days"]), (&json!("Acme"), &json!(365)));
    let problem = owner
        .patch("/api/v1/partner", json!({ "retention_days": 31 }))
        .await
        .expect_problem(422, "VALIDATION_FAILED");
    assert_eq!(problem["errors"][0]["field"], "retention_days");
    owner.patch("/api/v1/partner", json!({ "name": "globex" })).await.expect_problem(409, "NAME_TAKEN");
    server
        .client_as(&acme::ADMIN)
        .await
        .patch("/api/v1/partner", json!({ "retention_days": 30 }))
        .await
        .expect_problem(403, "FORBIDDEN");
    assert_eq!(owner.get("/api/v1/partner").await.expect(200), changed);
}
