//! An office at work: what people ask of the servers while something happens to them.

use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two requests of a busy office.
const REQUESTS_EVERY: Duration = Duration::from_millis(100);
/// Every so many of them is somebody who signs in.
const SIGN_IN_EVERY: usize = 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fifty of all machines, those with the busiest processors.
    List,
    Machine,
    /// An order, until it is taken.
    Command,
    SignIn,
}

/// One request.
pub struct Asked {
    pub kind: Kind,
    pub at: Instant,
    pub took: Duration,
    pub is_answered: bool,
}

impl Asked {
    /// Milliseconds.
    pub fn ms(&self) -> f64 {
        self.took.as_secs_f64() * 1_000.0
    }
}

/// People who know some machines, and which servers there are.
pub struct Office {
    apis: Vec<Api>,
    machines: Vec<String>,
}

impl Office {
    /// People who have signed in and ask these servers.
    ///
    /// # Errors
    /// When there is no server, or no machine.
    pub fn new(apis: Vec<Api>) -> anyhow::Result<Self> {
        let first = apis.first().context("there is no server")?.get("/api/v1/agents?limit=50")?;
        let items = first["items"].as_array().into_iter().flatten();
        let machines: Vec<String> =
            items.filter_map(|agent| agent["id"].as_str().map(str::to_owned)).collect();
        anyhow::ensure!(!machines.is_empty(), "there are no machines");
        Ok(Self { apis, machines })
    }

    /// Asks for the list, for a machine, gives it a command, and signs in, ten times a second, until it is told that it is
    /// over.
    pub fn ask(&self, ended: &AtomicBool) -> Vec<Asked> {
        let order = json!({ "command_type": "shell", "command": "hostname", "timeout_seconds": 30 });
        let mut all = Vec::new();
        for (number, id) in self.machines.iter().cycle().enumerate() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            let (kind, server) = request(number, self.apis.len());
            let api = &self.apis[server];
            let at = Instant::now();
            let answer = match kind {
                Kind::SignIn => api.sign_in(EMAIL, PASSWORD).map(|_| Value::Null),
                Kind::List => api.get("/api/v1/agents?limit=50&sort=cpu&order=desc"),
                Kind::Machine => api.get(&format!("/api/agents/{id}")),
                Kind::Command => api.post(&format!("/api/agents/{id}/command"), &order),
            };
            all.push(Asked { kind, at, took: at.elapsed(), is_answered: answer.is_ok() });
            thread::sleep(REQUESTS_EVERY.saturating_sub(at.elapsed()));
        }
        all
    }
}

/// What is asked for in a turn, and which of so many servers: each kind comes to each of them.
fn request(number: usize, servers: usize) -> (Kind, usize) {
    let kind = match number % 3 {
        _ if number.is_multiple_of(SIGN_IN_EVERY) => Kind::SignIn,
        0 => Kind::List,
        1 => Kind::Machine,
        _ => Kind::Command,
    };
    let round = match kind {
        Kind::SignIn => number / SIGN_IN_EVERY,
        _ => number / 3,
    };
    (kind, round % servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_request_comes_to_each_server() {
        for servers in 1..=4 {
            for kind in [Kind::List, Kind::Machine, Kind::Command, Kind::SignIn] {
                let asked =
                    |server| (0..200).filter(|number| request(*number, servers) == (kind, server)).count();
                let least = (0..servers).map(asked).min();
                let most = (0..servers).map(asked).max();
                assert!(least > Some(0) && most <= least.map(|least| least + 4), "{kind:?} of {servers}");
            }
        }
    }
}
