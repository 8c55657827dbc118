//! Connections are reused by everyone: nobody's context may stay behind on one.

use gururmm_server::auth::Scope;
use gururmm_server::bus::Bus;
use gururmm_server::db::{Db, PoolSizes};
use gururmm_testkit::TestDatabase;
use sqlx::Row as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

const TENANTS: usize = 50;
const TRANSACTIONS: usize = 10_000;
const WORKERS: usize = 20;

#[tokio::test]
async fn ten_thousand_interleaved_transactions_see_no_foreign_row() {
    let (_database, db, tenants) = fifty_tenants(PoolSizes { operators: 1, agents: 1, background: 5 }).await;
    let (db, tenants, seen) = (Arc::new(db), Arc::new(tenants), Arc::new(AtomicU64::new(0)));
    let workers = (0..WORKERS).map(|worker| {
        let (db, tenants, seen) = (db.clone(), tenants.clone(), seen.clone());
        tokio::spawn(async move {
            for turn in 0..TRANSACTIONS / WORKERS {
                // A stride that is coprime to the number of tenants: neighbours on the pool differ.
                let tenant = tenants[(worker * 7 + turn * 13) % TENANTS];
                let mut tx = db.begin(&Scope::system("test", tenant)).await.unwrap();
                let row = sqlx::query("SELECT count(*) FILTER (WHERE tenant_id = $1), count(*) FROM clients")
                    .bind(tenant)
                    .fetch_one(tx.conn())
                    .await
                    .unwrap();
                assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 1), "foreign rows, or none");
                seen.fetch_add(1, Ordering::Relaxed);
                // A third commit, a third roll back, a third are given up in the middle of a query.
                match turn % 3 {
                    0 => tx.commit().await.unwrap(),
                    1 => drop(tx),
                    _ => {
                        let sleep = sqlx::query("SELECT pg_sleep(0.001)").execute(tx.conn());
                        let _given_up = tokio::time::timeout(Duration::from_micros(100), sleep).await;
                    }
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert_eq!(seen.load(Ordering::Relaxed), TRANSACTIONS as u64);
}

#[tokio::test]
async fn no_context_stays_on_a_connection() {
    let (_database, db, tenants) = fifty_tenants(PoolSizes { operators: 1, agents: 1, background: 1 }).await;
    for ending in ["commit", "rollback", "error", "given up"] {
        // The agents' lane has the one way to a transaction without a context: ingest.
        let scope = Scope::agent(Uuid::now_v7(), tenants[0], "host");
        let mut tx = db.begin(&scope).await.unwrap();
        match ending {
            "commit" => tx.commit().await.unwrap(),
            "rollback" => drop(tx),
            "error" => {
                sqlx::query("SELECT 1 / 0").execute(tx.conn()).await.unwrap_err();
                drop(tx);
            }
            _ => {
                let sleep = sqlx::query("SELECT pg_sleep(0.2)").execute(tx.conn());
                tokio::time::timeout(Duration::from_millis(5), sleep).await.unwrap_err();
                drop(tx);
            }
        }
        let mut bare = db.begin_ingest().await.unwrap();
        let context: String = sqlx::query_scalar(
            "SELECT concat_ws('|', nullif(current_setting('app.tenant_id', true), ''), app_tenant(), app_user(),
               nullif(app_platform(), false), nullif(app_confined(), false))",
        )
        .fetch_one(&mut *bare)
        .await
        .unwrap();
        assert_eq!(context, "", "left behind after {ending}");
    }
}

async fn fifty_tenants(sizes: PoolSizes) -> (TestDatabase, Db, Vec<Uuid>) {
    let database = TestDatabase::empty().await;
    let tenants: Vec<Uuid> = (0..TENANTS).map(|_| Uuid::now_v7()).collect();
    let mut owner = database.owner().await;
    sqlx::query("INSERT INTO partners (id, name) SELECT id, 'Partner ' || id FROM unnest($1::uuid[]) AS id")
        .bind(&tenants)
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO clients (id, tenant_id, name) SELECT gen_random_uuid(), id, 'Client' FROM partners",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let db = Db::connect(database.app_options(), sizes, Bus::default()).await.unwrap();
    (database, db, tenants)
}
