//! `admin verify-audit` and anchors: what is changed, taken away, put in or moved shows.

use crate::session_recordings::{objects, record};
use gururmm_server::chain::{self, What};
use gururmm_testkit::world::acme;
use gururmm_testkit::{SeededAgent, TestDatabase, TestServer};
use serde_json::json;
use sqlx::AssertSqlSafe;
use std::path::Path;
use uuid::Uuid;

async fn findings(server: &TestServer, anchor: Option<&Path>) -> Vec<String> {
    let anchors = anchor.map(|file| chain::read_anchors(&std::fs::read_to_string(file).unwrap()).0);
    let what = What { anchors: anchors.unwrap_or_default(), ..What::default() };
    chain::verify(server.app(), what).await.unwrap().findings
}

/// Runs statements as whoever owns the database, in one transaction; answers how many rows the last one touched.
async fn tamper(server: &TestServer, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut server.owner().await).await.unwrap();
}

/// A server with some entries in either chain.
async fn with_entries(anchor: &Path) -> (TestServer, SeededAgent) {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.recordings.anchor = Some(anchor.to_owned());
    })
    .await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let admin = server.client_as(&acme::ADMIN).await;
    for name in ["One", "Two", "Three", "Four"] {
        admin.post("/api/v1/clients", json!({ "name": name })).await.expect(201);
    }
    record(&server, &machine, Uuid::now_v7()).await;
    record(&server, &machine, Uuid::now_v7()).await;
    (server, machine)
}

/// What someone with the owner's rights does, what undoes it, and what is said of it.
struct Tampering {
    what: &'static str,
    undo: &'static str,
    said: &'static [&'static str],
}

#[tokio::test]
async fn every_tampering_with_a_chain_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchors.jsonl");
    let (server, _) = with_entries(&anchor).await;
    chain::keep_in_file(server.app()).await.unwrap();
    assert_eq!(findings(&server, Some(&anchor)).await, Vec::<String>::new());
    tamper(
        &server,
        "CREATE TABLE audit_kept AS TABLE audit_log; CREATE TABLE entries_kept AS TABLE recording_entries;
        CREATE TABLE audit_heads_kept AS TABLE audit_heads; CREATE TABLE heads_kept AS TABLE recording_heads;
        CREATE TABLE recordings_kept AS TABLE recordings",
    )
    .await;
    const AUDIT_AGAIN: &str = "TRUNCATE audit_log; INSERT INTO audit_log TABLE audit_kept;
        DELETE FROM audit_heads; INSERT INTO audit_heads TABLE audit_heads_kept";
    const ENTRIES_AGAIN: &str =
        "TRUNCATE recording_entries; INSERT INTO recording_entries TABLE entries_kept;
        DELETE FROM recording_heads; INSERT INTO recording_heads TABLE heads_kept";
    const LIST_AGAIN: &str = "TRUNCATE recordings CASCADE; INSERT INTO recordings TABLE recordings_kept";
    let all = [
        Tampering {
            what: "UPDATE audit_log SET actor_name = 'Somebody Else' WHERE seq = 2",
            undo: AUDIT_AGAIN,
            said: &["entry 2 was changed"],
        },
        Tampering {
            what: "UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 3",
            undo: AUDIT_AGAIN,
            said: &["entry 3 was changed"],
        },
        Tampering {
            what: "DELETE FROM audit_log WHERE seq = 2",
            undo: AUDIT_AGAIN,
            said: &["entry 2 is missing"],
        },
        Tampering {
            what: "UPDATE audit_log SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3);
                   UPDATE audit_log SET seq = -seq WHERE seq < 0",
            undo: AUDIT_AGAIN,
            said: &["entry 2 was changed"],
        },
        Tampering {
            what: "DELETE FROM audit_log WHERE seq = 4",
            undo: AUDIT_AGAIN,
            said: &["it ends with entry 3, and its head is entry 4"],
        },
        // The tail with its head: only the anchor tells.
        Tampering {
            what: "DELETE FROM audit_log WHERE seq = 4;
                   UPDATE audit_heads h SET seq = 3, hash = l.hash FROM audit_log l
                     WHERE l.seq = 3 AND l.tenant_id = h.tenant_id",
            undo: AUDIT_AGAIN,
            said: &["it ends with entry 3, and entry 4 was anchored at"],
        },
        // All of it.
        Tampering {
            what: "TRUNCATE audit_log; DELETE FROM audit_heads",
            undo: AUDIT_AGAIN,
            said: &["it ends with entry 0, and entry 4 was anchored at"],
        },
        // Another entry put in its place, with a hash that fits.
        Tampering {
            what: "UPDATE audit_log SET action = 'client.delete' WHERE seq = 4;
                   UPDATE audit_log l SET hash = audit_entry_hash(l) WHERE seq = 4;
                   UPDATE audit_heads h SET hash = l.hash FROM audit_log l
                     WHERE l.seq = 4 AND l.tenant_id = h.tenant_id",
            undo: AUDIT_AGAIN,
            said: &["entry 4 is another one than was anchored at"],
        },
        // One put in at the end.
        Tampering {
            what: "INSERT INTO audit_log SELECT tenant_id, 5, gen_random_uuid(), at, actor_kind, actor_id, actor_name,
                     action, target_kind, target_id, target_name, detail, ip, request_id, hash, hash
                   FROM audit_log WHERE seq = 4",
            undo: AUDIT_AGAIN,
            said: &["entry 5 was changed", "it goes on to entry 5, beyond its head, entry 4"],
        },
        Tampering {
            what: "UPDATE recording_entries SET detail = detail || '{\"bytes\": 1}' WHERE seq = 2",
            undo: ENTRIES_AGAIN,
            said: &["entry 2 was changed"],
        },
        Tampering {
            what: "DELETE FROM recording_entries WHERE seq = 2",
            undo: ENTRIES_AGAIN,
            said: &["entry 2 is missing"],
        },
        Tampering {
            what: "DELETE FROM recording_entries WHERE seq = 6;
                   UPDATE recording_heads h SET seq = 5, hash = e.hash FROM recording_entries e
                     WHERE e.seq = 5 AND e.tenant_id = h.tenant_id",
            undo: ENTRIES_AGAIN,
            said: &["it ends with entry 5, and entry 6 was anchored at"],
        },
        Tampering {
            what: "UPDATE recordings SET tech_name = 'Somebody Else'",
            undo: LIST_AGAIN,
            said: &["is listed with another machine or person", "is listed with another machine or person"],
        },
        Tampering {
            what: "UPDATE recordings SET state = 'archived'",
            undo: LIST_AGAIN,
            said: &["is archived, which its chain does not say", "is archived, which its chain does not say"],
        },
        Tampering {
            what: "TRUNCATE recordings CASCADE",
            undo: LIST_AGAIN,
            said: &["is not listed any more", "is not listed any more"],
        },
    ];
    for Tampering { what, undo, said } in all {
        tamper(&server, what).await;
        let found = findings(&server, Some(&anchor)).await;
        for said in said {
            assert!(found.iter().any(|finding| finding.contains(said)), "{what}: {found:#?}");
        }
        assert!(found.len() >= said.len(), "{what}: {found:#?}");
        tamper(&server, undo).await;
        assert_eq!(findings(&server, Some(&anchor)).await, Vec::<String>::new(), "after {what}");
    }
}

#[tokio::test]
async fn every_tampering_with_an_object_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = with_entries(&folder.path().join("anchors.jsonl")).await;
    let all = objects(&server);
    let [one, other] = &all[..] else { panic!("{all:?}") };
    let (first, second) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    for bit in [0, 8 * first.len() / 2, 8 * first.len() - 1] {
        let mut changed = first.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(one, changed).unwrap();
        let found = findings(&server, None).await;
        assert!(found.len() == 1 && found[0].contains("was changed in the object store"), "{found:?}");
    }
    std::fs::write(one, &second).unwrap();
    std::fs::write(other, &first).unwrap();
    assert_eq!(findings(&server, None).await.len(), 2, "swapped");
    std::fs::write(other, &second).unwrap();
    std::fs::remove_file(one).unwrap();
    let found = findings(&server, None).await;
    assert!(found.len() == 1 && found[0].contains("is missing from the object store"), "{found:?}");
    std::fs::write(one, &first).unwrap();
    let planted = one.with_file_name("00000002-0000000000000000");
    std::fs::write(&planted, &second).unwrap();
    let found = findings(&server, None).await;
    assert!(found.len() == 1 && found[0].contains("was put there by somebody else"), "{found:?}");
    std::fs::remove_file(&planted).unwrap();
    // What a write that failed half-way left is no finding: this server sealed it for this place.
    std::fs::write(one.with_file_name("00000001-0000000000000000"), &first).unwrap();
    let report = chain::verify(server.app(), What::default()).await.unwrap();
    assert_eq!((report.findings.len(), report.notes.len()), (0, 1), "{report:?}");
}

#[tokio::test]
async fn anchors_are_written_when_something_moved_and_are_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchors.jsonl");
    let (server, machine) = with_entries(&anchor).await;
    let lines = || std::fs::read_to_string(&anchor).unwrap_or_default().lines().count();
    chain::keep_in_file(server.app()).await.unwrap();
    assert_eq!(lines(), 2, "the audit log's and the recordings'");
    chain::keep_in_file(server.app()).await.unwrap();
    assert_eq!(lines(), 2, "nothing moved");
    record(&server, &machine, Uuid::now_v7()).await;
    chain::keep_in_file(server.app()).await.unwrap();
    assert_eq!(lines(), 3, "one moved");
    let whole = std::fs::read_to_string(&anchor).unwrap();
    let forged = whole.replacen("\"seq\":4", "\"seq\":3", 1);
    assert_ne!(forged, whole);
    std::fs::write(&anchor, forged).unwrap();
    let found = findings(&server, Some(&anchor)).await;
    assert!(found.len() == 1 && found[0].contains("was not written by this installation"), "{found:?}");
    std::fs::write(&anchor, whole).unwrap();
    assert_eq!(findings(&server, Some(&anchor)).await, Vec::<String>::new());

    // The store's own are looked at without being named.
    chain::keep_in_store(server.app()).await.unwrap();
    let stored = server.recordings_dir().join("anchors");
    assert_eq!(std::fs::read_dir(&stored).unwrap().count(), 2);
    tamper(&server, "TRUNCATE audit_log; DELETE FROM audit_heads").await;
    let found = findings(&server, None).await;
    assert!(found.len() == 1 && found[0].contains("was anchored at"), "{found:?}");
}

#[tokio::test]
async fn many_writers_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (server, machine) = with_entries(&folder.path().join("anchors.jsonl")).await;
    let admin = server.client_as(&acme::ADMIN).await;
    let clients = (0..8).map(async |writer| {
        for number in 0..10 {
            let name = format!("Client {writer}-{number}");
            admin.post("/api/v1/clients", json!({ "name": name })).await.expect(201);
        }
    });
    let sessions = (0..8).map(async |_| record(&server, &machine, Uuid::now_v7()).await);
    tokio::join!(futures_util::future::join_all(clients), futures_util::future::join_all(sessions));
    let report = chain::verify(server.app(), What::default()).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    assert_eq!((report.entries, report.objects, report.chains), (84 + 30, 10, 2));
}
