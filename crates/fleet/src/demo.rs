//! A few hundred machines that enroll for real, bring a day of history with them, and live.

use crate::agent::{Agent, Manner, Shared};
use crate::enroll::enroll;
use crate::load;
use crate::wire::{Place, source};
use crate::world::World;
use anyhow::{Context as _, bail};
use chrono::{TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gururmm_server::private_file;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::interval;

/// Enrollments at a time: each costs the server a slow hash.
const AT_ONCE: usize = 4;
/// Between samples of the past.
const PAST_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// Whom the demonstration signs in as.
pub struct Owner {
    pub email: String,
    pub password: String,
}

/// Ids and keys of machines that have enrolled, by number: kept, so that the next run is the same fleet.
#[derive(Default, Serialize, Deserialize)]
struct Enrolled(BTreeMap<usize, (String, String)>);

/// Sets clients, sites and machines up where they are not there yet, then runs the machines until `stop`. `say` tells a
/// person how far it is.
///
/// # Errors
/// When the server refuses something, or the state cannot be kept.
pub async fn demo(
    place: Place,
    owner: &Owner,
    state: &Path,
    world: World,
    history: TimeDelta,
    say: impl Fn(&str),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let known: Enrolled = match std::fs::read(state) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", state.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Enrolled::default(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", state.display())),
    };
    let missing: Vec<_> =
        world.machines.iter().filter(|machine| !known.0.contains_key(&machine.number)).collect();
    let mut enrolled = known;
    let mut new = std::collections::BTreeSet::new();
    if !missing.is_empty() {
        say(&format!("{} machines enroll.", missing.len()));
        let sites = Setup::sign_in(&place, owner).await?.sites(&world).await?;
        let enrolling = missing.into_iter().map(|machine| {
            let site = sites.get(&(machine.client, machine.site));
            let place = &place;
            async move {
                let (code, key) = site.context("a machine without a site")?;
                let answer = enroll(place, machine, code, key).await?;
                anyhow::Ok((machine.number, (answer.agent_id.to_string(), answer.agent_key)))
            }
        });
        let answers: Vec<_> = stream::iter(enrolling).buffer_unordered(AT_ONCE).try_collect().await?;
        new.extend(answers.iter().map(|(number, _)| *number));
        enrolled.0.extend(answers);
        private_file::write(state, &serde_json::to_vec(&enrolled)?)
            .with_context(|| format!("cannot write {}", state.display()))?;
    }
    let now = Utc::now();
    let agents: Vec<Agent> = world
        .machines
        .into_iter()
        .filter_map(|machine| {
            let (id, key) = enrolled.0.get(&machine.number)?.clone();
            let is_new = new.contains(&machine.number);
            let mut agent = Agent::new(machine, id, key);
            if is_new {
                agent.remember(now - history, now, PAST_INTERVAL);
            }
            Some(agent)
        })
        .collect();
    let awake = agents.iter().filter(|agent| agent.machine.is_awake(now));
    let past = awake.map(|agent| agent.remembered() as u64).sum();
    let manner = Manner { lives: true, ..Manner::default() };
    load::run(agents, load::PER_SECOND / 10, vec![place], manner, async |shared| {
        tokio::select! {
            () = tell(shared, past, say) => Ok(()),
            () = stop => Ok(()),
        }
    })
    .await
    .map(drop)
}

/// Says, once, when nearly all of the past is stored.
async fn tell(shared: &Shared, past: u64, say: impl Fn(&str)) {
    let mut second = interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let now = shared.counts.now();
        // Some may be on a line that is cut just now.
        if past > 0 && now.samples_stored >= past / 100 * 95 {
            let (connected, stored) = (now.connected, now.samples_stored);
            say(&format!("{connected} machines are connected, {stored} samples of their past are stored."));
            return std::future::pending().await;
        }
    }
}

/// The partner's owner, signed in as a script.
struct Setup<'a> {
    place: &'a Place,
    token: String,
}

impl<'a> Setup<'a> {
    async fn sign_in(place: &'a Place, owner: &Owner) -> anyhow::Result<Self> {
        let body = json!({ "email": owner.email, "password": owner.password });
        let (status, answer) = place.post(source(0), "/api/auth/login", None, &body).await?;
        if status != StatusCode::OK {
            bail!("signing in as {} is refused with {status}", owner.email);
        }
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer["token"].as_str().context("the sign-in has no token")?.to_owned();
        Ok(Self { place, token })
    }

    /// Code and a new key of every site of the world, by client and site.
    async fn sites(&self, world: &World) -> anyhow::Result<BTreeMap<(usize, usize), (String, String)>> {
        let clients = self.all("/api/v1/clients?limit=200").await?;
        let sites = self.all("/api/v1/sites?limit=200").await?;
        let mut found = BTreeMap::new();
        for (at, client) in world.clients.iter().enumerate() {
            let known = clients.iter().find(|known| known["name"] == client.name.as_str()).cloned();
            let client_id = match known {
                Some(known) => id_of(&known)?,
                None => id_of(&self.post("/api/v1/clients", &json!({ "name": client.name })).await?)?,
            };
            for (number, name) in client.sites.iter().enumerate() {
                let is_it = |site: &&Value| site["client_id"] == client_id.as_str() && site["name"] == *name;
                let site = match sites.iter().find(is_it) {
                    Some(known) => known.clone(),
                    None => {
                        let body = json!({ "client_id": client_id, "name": name });
                        self.post("/api/v1/sites", &body).await?
                    }
                };
                let path = format!("/api/v1/sites/{}/enrollment-keys", id_of(&site)?);
                let made =
                    self.post(&path, &json!({ "label": "Demonstration", "expires_in_hours": 24 })).await?;
                let code = site["code"].as_str().context("a site has no code")?.to_owned();
                let secret = made["secret"].as_str().context("a key has no secret")?.to_owned();
                found.insert((at, number), (code, secret));
            }
        }
        Ok(found)
    }

    async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (status, body) = self.place.get(source(0), path, Some(&self.token)).await?;
        if status != StatusCode::OK {
            bail!("{path} is refused with {status}");
        }
        let mut page: Value = serde_json::from_slice(&body)?;
        match page["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} is no list"),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.place.post(source(0), path, Some(&self.token), body).await?;
        if status != StatusCode::CREATED {
            bail!("{path} is refused with {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

fn id_of(thing: &Value) -> anyhow::Result<String> {
    Ok(thing["id"].as_str().context("something has no id")?.to_owned())
}
