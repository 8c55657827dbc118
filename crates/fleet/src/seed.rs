//! Thousands of enrolled agents, written into the database of a server on this machine: enrolling each would measure the
//! slow hash of enrollment keys. What they can do afterwards is what any enrolled agent can.

use crate::machine::Machine;
use crate::world::World;
use anyhow::Context as _;
use chrono::{TimeDelta, Utc};
use gururmm_server::keys::{Keys, PEPPER_KEY_ID, Purpose};
use gururmm_server::private_file;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What a seeded agent's id and key follow from. It stands in the data folder: who can read it can read the server's own
/// keys.
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret of this data folder's seeded agents, made the first time.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn of(data_dir: &Path) -> anyhow::Result<Self> {
        let path: PathBuf = data_dir.join("keys/fleet");
        if !path.exists() {
            let fresh: [u8; 32] = rand::random();
            private_file::create(&path, &fresh)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self(bytes.try_into().map_err(|_| anyhow::anyhow!("{} is damaged", path.display()))?))
    }

    /// The agent's id.
    pub fn id(&self, number: usize) -> Uuid {
        let digest = self.digest("id", number);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(digest.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The agent's key.
    pub fn key(&self, number: usize) -> String {
        format!("cak_{}", self.digest("key", number).to_hex())
    }

    fn digest(&self, what: &str, number: usize) -> blake3::Hash {
        blake3::keyed_hash(&self.0, format!("{what} {number}").as_bytes())
    }
}

/// Writes clients, sites and agents into the partner that was first, of the database at this URL.
///
/// # Errors
/// When the database is not that of a server that has been set up.
pub async fn seed_first_partner(database_url: &str, data_dir: &Path, world: &World) -> anyhow::Result<()> {
    let (keys, secret) = (Keys::load_or_create(data_dir)?, Secret::of(data_dir)?);
    let options: PgConnectOptions = database_url.parse()?;
    let mut owner = options.disable_statement_logging().connect().await?;
    let partner = sqlx::query_scalar("SELECT id FROM partners ORDER BY created_at, id LIMIT 1")
        .fetch_optional(&mut owner)
        .await?
        .context("the server has not been set up: there is no partner")?;
    seed(&mut owner, partner, &keys, &secret, world).await?;
    owner.close().await?;
    Ok(())
}

/// Writes clients, sites and agents into a partner. Machines that are there already stay.
///
/// # Errors
/// When the database does not take them.
pub async fn seed(
    owner: &mut PgConnection,
    tenant: Uuid,
    keys: &Keys,
    secret: &Secret,
    world: &World,
) -> anyhow::Result<()> {
    let mut tx = owner.begin().await?;
    let places = places(&mut tx, tenant, world).await?;
    for machines in world.machines.chunks(1_000) {
        write(&mut tx, tenant, machines, &places, keys, secret).await?;
    }
    tx.commit().await?;
    // The lists' plans depend on it.
    sqlx::query("ANALYZE clients, sites, agents, agent_status").execute(owner).await?;
    Ok(())
}

/// Client and sites of each of the world's clients.
type Places = Vec<(Uuid, Vec<Uuid>)>;

async fn places(tx: &mut PgConnection, tenant: Uuid, world: &World) -> anyhow::Result<Places> {
    let mut places = Vec::with_capacity(world.clients.len());
    for client in &world.clients {
        let id: Uuid = sqlx::query_scalar(
            "WITH new AS (INSERT INTO clients (id, tenant_id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id)
             SELECT id FROM new UNION ALL SELECT id FROM clients WHERE tenant_id = $2 AND name = $3 LIMIT 1",
        )
        .bind(Uuid::now_v7())
        .bind(tenant)
        .bind(&client.name)
        .fetch_one(&mut *tx)
        .await?;
        let mut sites = Vec::with_capacity(client.sites.len());
        for name in &client.sites {
            let site: Uuid = sqlx::query_scalar(
                "WITH new AS (INSERT INTO sites (id, tenant_id, client_id, name, code) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT DO NOTHING RETURNING id)
                 SELECT id FROM new UNION ALL SELECT id FROM sites WHERE client_id = $3 AND name = $4 LIMIT 1",
            )
            .bind(Uuid::now_v7())
            .bind(tenant)
            .bind(id)
            .bind(name)
            .bind(Uuid::now_v7().simple().to_string())
            .fetch_one(&mut *tx)
            .await?;
            sites.push(site);
        }
        places.push((id, sites));
    }
    Ok(places)
}

async fn write(
    tx: &mut PgConnection,
    tenant: Uuid,
    machines: &[Machine],
    places: &Places,
    keys: &Keys,
    secret: &Secret,
) -> anyhow::Result<()> {
    let place = |machine: &Machine| {
        let (client, sites) = places.get(machine.client).context("a machine without a client")?;
        let site = sites.get(machine.site).context("a machine without a site")?;
        anyhow::Ok((*client, *site))
    };
    let placed: Vec<(Uuid, Uuid)> = machines.iter().map(place).collect::<Result<_, _>>()?;
    let ids: Vec<Uuid> = machines.iter().map(|machine| secret.id(machine.number)).collect();
    let digests: Vec<Vec<u8>> = machines
        .iter()
        .map(|machine| keys.digest(Purpose::AgentKey, &secret.key(machine.number)).to_vec())
        .collect();
    let column = |of: fn(&Machine) -> String| machines.iter().map(of).collect::<Vec<String>>();
    let systems: Vec<serde_json::Value> =
        machines.iter().map(|machine| serde_json::to_value(&machine.system)).collect::<Result<_, _>>()?;
    sqlx::query(
        "INSERT INTO agents (id, tenant_id, client_id, site_id, state, hostname, os_type, os_version, arch,
           agent_version, machine_uid, machine_uid_source, key_digest, digest_key_id, system)
         SELECT id, $1, client_id, site_id, 'active', hostname, os_type, os_version, arch, agent_version, machine_uid,
           'smbios_uuid', key_digest, $2, system
         FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
           $11::text[], $12::bytea[], $13::jsonb[])
           AS new (id, client_id, site_id, hostname, os_type, os_version, arch, agent_version, machine_uid, key_digest, system)
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(PEPPER_KEY_ID)
    .bind(&ids)
    .bind(placed.iter().map(|(client, _)| *client).collect::<Vec<_>>())
    .bind(placed.iter().map(|(_, site)| *site).collect::<Vec<_>>())
    .bind(column(|machine| machine.system.hostname.clone()))
    .bind(column(|machine| machine.system.os_type.as_str().to_owned()))
    .bind(column(|machine| machine.system.os_version.clone()))
    .bind(column(|machine| machine.system.arch.clone()))
    .bind(column(|machine| machine.agent_version().to_owned()))
    .bind(column(|machine| machine.identity.machine_uid.clone()))
    .bind(&digests)
    .bind(&systems)
    .execute(&mut *tx)
    .await?;
    write_status(tx, tenant, machines, &ids).await
}

/// What the lists show of each machine, as if it had just gone off.
async fn write_status(
    tx: &mut PgConnection,
    tenant: Uuid,
    machines: &[Machine],
    ids: &[Uuid],
) -> anyhow::Result<()> {
    let now = Utc::now();
    let samples: Vec<_> =
        machines.iter().map(|machine| machine.sample(now, TimeDelta::seconds(60), false)).collect();
    sqlx::query(
        "INSERT INTO agent_status (agent_id, tenant_id, last_seen, last_sample_at, cpu_percent, memory_percent,
           disk_percent, uptime_seconds, logged_in_user)
         SELECT id, $1, $2, $2, cpu, memory, disk, uptime, logged_in
         FROM unnest($3::uuid[], $4::real[], $5::real[], $6::real[], $7::bigint[], $8::text[])
           AS new (id, cpu, memory, disk, uptime, logged_in)
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(now)
    .bind(ids)
    .bind(samples.iter().map(|sample| sample.cpu_percent).collect::<Vec<_>>())
    .bind(samples.iter().map(|sample| sample.memory_percent()).collect::<Vec<_>>())
    .bind(samples.iter().map(|sample| sample.disk_percent()).collect::<Vec<_>>())
    .bind(samples.iter().map(|sample| sample.uptime_seconds.cast_signed()).collect::<Vec<_>>())
    .bind(samples.iter().map(|sample| sample.logged_in_user.clone()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
