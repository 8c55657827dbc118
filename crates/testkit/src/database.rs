//! A database per test, copied from a template that was migrated once.

use crate::{postgres, world};
use gururmm_server::db;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use std::path::Path;
use uuid::Uuid;

/// Everyone who makes a template waits for this lock of the maintenance database.
const TEMPLATE_LOCK: i64 = 0x6775_7275;

/// A migrated database of one's own; gone when dropped.
pub struct TestDatabase {
    name: String,
    /// Another one drops it.
    is_borrowed: bool,
}

impl TestDatabase {
    /// As after the first start: migrated, and nobody has an account.
    pub async fn empty() -> Self {
        Self::copy_of(&template("empty", None).await).await
    }

    /// With the people and places of [`world`].
    pub async fn with_world() -> Self {
        let empty = template("empty", None).await;
        Self::copy_of(&template("world", Some(&empty)).await).await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut maintenance = connect(&options("postgres", "postgres")).await;
        execute(&mut maintenance, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name, is_borrowed: false }
    }

    /// The same for another server; it is gone when the first one is dropped.
    pub fn borrowed(&self) -> Self {
        Self { name: self.name.clone(), is_borrowed: true }
    }

    /// As the owner, who is bound by no row-level security.
    pub fn owner_options(&self) -> PgConnectOptions {
        options("postgres", &self.name)
    }

    /// As the server works.
    pub fn app_options(&self) -> PgConnectOptions {
        options(db::APP_ROLE, &self.name)
    }

    /// A connection as the owner, to arrange things and to look behind the server's back.
    pub async fn owner(&self) -> PgConnection {
        connect(&self.owner_options()).await
    }

    /// A connection as the server's role.
    pub async fn app(&self) -> PgConnection {
        connect(&self.app_options()).await
    }

    /// A pool as the server's role.
    pub async fn app_pool(&self, most: u32) -> PgPool {
        PgPoolOptions::new().max_connections(most).connect_with(self.app_options()).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.is_borrowed {
            return;
        }
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A thread with a runtime of its own: this may be dropped inside of one.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut maintenance = connect(&options("postgres", "postgres")).await;
                maintenance.execute(AssertSqlSafe(statement)).await
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the test's database stays behind: {error}");
        }
    }
}

/// The name of a template that is ready to be copied; made when it is not there.
async fn template(kind: &str, base: Option<&str>) -> String {
    let name = format!("template_{kind}_{}", fingerprint());
    let mut maintenance = connect(&options("postgres", "postgres")).await;
    if exists(&mut maintenance, &name).await {
        return name;
    }
    sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut maintenance).await.unwrap();
    if exists(&mut maintenance, &name).await {
        return name;
    }
    let draft = format!("draft_of_{name}");
    execute(&mut maintenance, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
    execute(&mut maintenance, format!("CREATE DATABASE {draft} TEMPLATE {}", base.unwrap_or("template1")))
        .await;
    match base {
        None => drop(db::migrate(options("postgres", &draft)).await.unwrap()),
        Some(_) => {
            let mut connection = connect(&options("postgres", &draft)).await;
            world::seed(&mut connection).await;
            connection.close().await.unwrap();
        }
    }
    execute(&mut maintenance, format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    name
}

/// What a template is made of: the migrations and the world, as they lie there now.
fn fingerprint() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut hasher = blake3::Hasher::new();
    for file in xtask::migrations::files(root).unwrap() {
        hasher.update(&std::fs::read(file).unwrap());
    }
    hasher.update(include_bytes!("world.rs"));
    hasher.finalize().to_hex()[..16].to_owned()
}

async fn exists(maintenance: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(maintenance)
        .await
        .unwrap()
}

async fn execute(connection: &mut PgConnection, statement: String) {
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    options.connect().await.unwrap()
}

fn options(role: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(postgres::socket_folder())
        .port(5432)
        .ssl_mode(PgSslMode::Disable)
        .username(role)
        .database(database)
}
