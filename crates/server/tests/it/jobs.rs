//! Background work that must not run twice at a time.

use gururmm_testkit::TestServer;

#[tokio::test]
async fn a_job_runs_in_one_place_at_a_time_and_a_dead_holder_blocks_nobody() {
    let server = TestServer::start().await;
    let db = &server.app().db;
    let held = db.singleton("a job").await.unwrap().unwrap();
    assert!(db.singleton("a job").await.unwrap().is_none());
    db.singleton("another job").await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    drop(db.singleton("a job").await.unwrap().unwrap());
    gururmm_testkit::eventually("the lock of a connection that is gone", async || {
        db.singleton("a job").await.unwrap()
    })
    .await;
}
