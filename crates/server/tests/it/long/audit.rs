//! A long history is verified in a minute.

use gururmm_server::chain::{self, What};
use gururmm_testkit::TestServer;
use gururmm_testkit::world::acme;
use std::time::{Duration, Instant};

const ENTRIES: i64 = 1_000_000;
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_million_entries_are_verified_within_a_minute() {
    let server = TestServer::start().await;
    // As `audit_append` writes them, without a million updates of the head's row.
    let write = format!(
        "DO $$
         DECLARE entry audit_log; before bytea := '\\x';
         BEGIN
           FOR number IN 1..{ENTRIES} LOOP
             entry := ROW('{}', number, gen_random_uuid(), clock_timestamp(), 'user', gen_random_uuid(), 'Adam Admin',
               'agent.update', 'agent', gen_random_uuid(), 'web-01', jsonb_build_object('from', number, 'to', number + 1),
               '192.0.2.7'::inet, 'request', before, '\\x'::bytea);
             entry.hash := audit_entry_hash(entry);
             before := entry.hash;
             INSERT INTO audit_log SELECT (entry).*;
           END LOOP;
           INSERT INTO audit_heads VALUES ('{}', {ENTRIES}, before);
         END $$",
        acme::PARTNER.id,
        acme::PARTNER.id
    );
    sqlx::query(sqlx::AssertSqlSafe(write)).execute(&mut server.owner().await).await.unwrap();
    let started = Instant::now();
    let report = chain::verify(server.app(), What::default()).await.unwrap();
    let took = started.elapsed();
    assert_eq!((report.findings.len(), report.entries), (0, ENTRIES as u64), "{report:?}");
    assert!(took < WITHIN, "it took {took:?}");
    eprintln!("{ENTRIES} entries in {took:?}");
}
