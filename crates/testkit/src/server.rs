//! The whole server, in process, on a real loopback port.

use crate::client::ApiClient;
use crate::database::TestDatabase;
use crate::endpoint::Endpoint;
use crate::logs;
use crate::world::{PASSWORD, Person, Site};
use gururmm_server::AppState;
use gururmm_server::auth::credential::{self, SESSION_PREFIX, SessionKind};
use gururmm_server::database::DatabaseChoice;
use gururmm_server::keys::{PEPPER_KEY_ID, Purpose, random_token};
use gururmm_server::serve::{Peers, ServeOptions, Server};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use sqlx::PgConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// A running server with its own database; stopped and looked over when dropped.
pub struct TestServer {
    pub database: TestDatabase,
    /// For what this arranges by itself.
    arranging: PgPool,
    server: Option<Server>,
    data_dir: tempfile::TempDir,
}

/// A session that was put into the database.
#[derive(Debug, Clone)]
pub struct IssuedSession {
    pub id: Uuid,
    pub token: String,
    pub csrf_token: String,
}

/// A machine that is in the database, with its key.
#[derive(Debug, Clone)]
pub struct SeededAgent {
    pub id: Uuid,
    /// Its number in the sample tables.
    pub num: i64,
    pub key: String,
    pub hostname: String,
    pub machine_uid: String,
    pub site: Site,
}

impl TestServer {
    /// With the people and places of [`world`](crate::world).
    pub async fn start() -> Self {
        Self::start_with(TestDatabase::with_world().await, |_| {}).await
    }

    /// Before setup: nobody has an account.
    pub async fn start_empty() -> Self {
        Self::start_with(TestDatabase::empty().await, |_| {}).await
    }

    /// With a database and settings of one's own.
    pub async fn start_with(database: TestDatabase, configure: impl FnOnce(&mut ServeOptions)) -> Self {
        logs::listen();
        logs::keep_secret(PASSWORD);
        let data_dir = tempfile::tempdir().unwrap();
        let server = Self::launch(&database, &data_dir, configure).await;
        let arranging = PgPoolOptions::new().max_connections(1).connect_lazy_with(database.owner_options());
        Self { database, arranging, server: Some(server), data_dir }
    }

    /// Another server of the same installation: on this one's database, with its keys.
    pub async fn start_beside(&self, configure: impl FnOnce(&mut ServeOptions)) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let keys = data_dir.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for file in std::fs::read_dir(self.keys_dir()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), keys.join(file.file_name())).unwrap();
        }
        let database = self.database.borrowed();
        let server = Self::launch(&database, &data_dir, configure).await;
        let arranging = PgPoolOptions::new().max_connections(1).connect_lazy_with(database.owner_options());
        Self { database, arranging, server: Some(server), data_dir }
    }

    /// Stops the server in order and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same with settings of one's own.
    pub async fn restart_with(&mut self, configure: impl FnOnce(&mut ServeOptions)) {
        if let Some(server) = self.server.take() {
            server.stop().await.unwrap();
        }
        self.server = Some(Self::launch(&self.database, &self.data_dir, configure).await);
    }

    /// Stops the server in order; the database stays until this is dropped.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await.unwrap();
        }
    }

    async fn launch(
        database: &TestDatabase,
        data_dir: &tempfile::TempDir,
        configure: impl FnOnce(&mut ServeOptions),
    ) -> Server {
        let mut options = ServeOptions {
            data_dir: data_dir.path().to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_listen: None,
            spans: None,
            tls: None,
            database: DatabaseChoice::Ready(Box::new(database.app_options())),
            public_url: None,
            trusted_proxies: Vec::new(),
            agent_binary: None,
            dist: None,
            invites_local_agent: false,
            node_name: None,
            peers: Peers::None,
            sockets: gururmm_server::app::Sockets::default(),
            recordings: gururmm_server::recordings::Options::default(),
        };
        configure(&mut options);
        Server::start(options).await.unwrap()
    }

    /// The running server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("the server was stopped")
    }

    /// Its parts.
    pub fn app(&self) -> &AppState {
        self.server().app()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server().local_addr()
    }

    /// The database as its owner.
    pub async fn owner(&self) -> PgConnection {
        self.database.owner().await
    }

    /// Nobody.
    pub fn anonymous(&self) -> ApiClient {
        let client = ApiClient::anonymous(self.address());
        match self.app().config.ca_fingerprint {
            Some(_) => client.over_tls(self.trusting_own_authority()),
            None => client,
        }
    }

    /// TLS as an agent speaks it that was told the server's own authority.
    fn trusting_own_authority(&self) -> TlsConnector {
        let authority = std::fs::read(self.keys_dir().join("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Where the server keeps its keys.
    pub fn keys_dir(&self) -> PathBuf {
        self.data_dir.path().join("keys")
    }

    /// Where recordings of sessions lie.
    pub fn recordings_dir(&self) -> PathBuf {
        self.data_dir.path().join(gururmm_server::recordings::FOLDER)
    }

    /// A script of this person, with a token of the API.
    pub async fn client_as(&self, person: &Person) -> ApiClient {
        let session = self.session_of(person, SessionKind::Api).await;
        self.anonymous().with_bearer(&session.token)
    }

    /// This person's browser, signed in to the dashboard.
    pub async fn browser_as(&self, person: &Person) -> ApiClient {
        let session = self.session_of(person, SessionKind::Dashboard).await;
        self.browser_with(&session)
    }

    /// A browser with this session.
    pub fn browser_with(&self, session: &IssuedSession) -> ApiClient {
        self.anonymous().with_cookie(credential::cookie_name(self.app()), &session.token, &session.csrf_token)
    }

    /// A live session of this person, put into the database without signing in.
    pub async fn session_of(&self, person: &Person, kind: SessionKind) -> IssuedSession {
        let (id, token) = (Uuid::now_v7(), random_token(SESSION_PREFIX).to_string());
        logs::keep_secret(&token);
        sqlx::query(
            "INSERT INTO sessions (id, user_id, tenant_id, kind, token_digest, expires_at)
             VALUES ($1, $2, $3, $4, $5, now() + interval '1 hour')",
        )
        .bind(id)
        .bind(person.id)
        .bind(person.membership.map(|membership| membership.partner))
        .bind(kind.as_str())
        .bind(self.app().keys.digest(Purpose::SessionToken, &token).as_slice())
        .execute(&self.arranging)
        .await
        .unwrap();
        IssuedSession { id, csrf_token: credential::csrf_token(self.app(), id), token }
    }

    /// An approved machine at a site, as if it had enrolled.
    pub async fn seed_agent(&self, site: &Site, hostname: &str) -> SeededAgent {
        let (id, key) = (Uuid::now_v7(), random_token("cak_").to_string());
        logs::keep_secret(&key);
        let machine_uid = blake3_hex(id.as_bytes());
        let num: i64 = sqlx::query_scalar(
            "INSERT INTO agents (id, tenant_id, client_id, site_id, state, hostname, os_type, os_version, arch,
               agent_version, machine_uid, machine_uid_source, key_digest, digest_key_id)
             VALUES ($1, $2, $3, $4, 'active', $5, 'linux', 'Debian GNU/Linux 12 (bookworm)', 'x86_64', '0.1.0', $6,
               'smbios_uuid', $7, $8)
             RETURNING num",
        )
        .bind(id)
        .bind(site.partner)
        .bind(site.client)
        .bind(site.id)
        .bind(hostname)
        .bind(&machine_uid)
        .bind(self.app().keys.digest(Purpose::AgentKey, &key).as_slice())
        .bind(PEPPER_KEY_ID)
        .fetch_one(&self.arranging)
        .await
        .unwrap();
        sqlx::query("INSERT INTO agent_status (agent_id, tenant_id) VALUES ($1, $2)")
            .bind(id)
            .bind(site.partner)
            .execute(&self.arranging)
            .await
            .unwrap();
        SeededAgent { id, num, key, hostname: hostname.to_owned(), machine_uid, site: *site }
    }
}

impl Endpoint for TestServer {
    fn anonymous(&self) -> ApiClient {
        Self::anonymous(self)
    }

    fn origin(&self) -> String {
        self.app().config.public_url.origin().ascii_serialization()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's last words ---\n{}\n---", logs::tail());
            return;
        }
        let complaints = logs::complaints();
        assert!(complaints.is_empty(), "the test went well, but: {complaints:#?}\n{}", logs::tail());
    }
}

fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
