//! Sends commands and notes every answer it gets, as a script of a tech would.

use crate::api::Api;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const FINAL: [&str; 6] = ["completed", "failed", "timeout", "cancelled", "interrupted", "expired"];

/// One command the driver asked for.
pub struct Submitted {
    /// Unique word the command writes into the ledger.
    pub mark: String,
    pub agent_id: String,
    /// Known once the server answered.
    pub id: Option<String>,
    pub asked_at: SystemTime,
    pub lines: u32,
    pub cancelled: bool,
    /// The first final answer seen: (status, stdout).
    pub first_final: Option<(String, String)>,
    /// The newest answer seen.
    pub last: Option<Value>,
}

impl Submitted {
    /// Whether the server has said that it ended. One that was never accepted has nothing to end.
    pub fn is_final(&self) -> bool {
        self.id.is_none() || self.first_final.is_some()
    }

    /// Exactly what the command prints.
    pub fn expected_output(&self) -> String {
        (1..=self.lines).map(|line| format!("{} line {line}\n", self.mark)).collect()
    }
}

/// What a command runs to put a line into the ledger: mark, word and the time in nanoseconds since 1970. A command
/// that is killed while it asks for the time writes nothing.
fn note(mark: &str, word: &str, ledger: &Path) -> String {
    format!("now=$(date +%s%N) && echo '{mark} {word} '$now >> '{}'", ledger.display())
}

/// All commands of a run.
pub struct Driver {
    /// Every server.
    apis: Vec<Api>,
    asked: usize,
    ledger: PathBuf,
    submitted: Vec<Submitted>,
}

impl Driver {
    /// Asks the servers in turn for what there is, and any of them to do something.
    pub fn new(apis: Vec<Api>, folder: &Path) -> Self {
        Self { apis, asked: 0, ledger: folder.join("ledger"), submitted: Vec::new() }
    }

    pub fn submitted(&self) -> &[Submitted] {
        &self.submitted
    }

    /// Asks for one command of a random kind on an agent, and cancels some.
    pub fn submit(&mut self, agent_id: &str, rng: &mut StdRng) {
        let mark = format!("mark-{}-{:08x}", self.submitted.len(), rng.random::<u32>());
        let (lines, pause) = match rng.random_range(0..4) {
            0 => (1, "0"),
            1 => (20, "0.05"),
            2 => (5, "0.4"),
            _ => (2_000, "0"),
        };
        let sleep = if pause == "0" { String::new() } else { format!("sleep {pause}; ") };
        let command = format!(
            "{start}; i=1; while [ $i -le {lines} ]; do echo \"{mark} line $i\"; {sleep}i=$((i+1)); done; {end}",
            start = note(&mark, "start", &self.ledger),
            end = note(&mark, "end", &self.ledger),
        );
        let body = json!({ "command_type": "shell", "command": command, "timeout_seconds": 60, "expires_in_seconds": 600 });
        let asked_at = SystemTime::now();
        let api = &self.apis[rng.random_range(0..self.apis.len())];
        let answer = api.post(&format!("/api/agents/{agent_id}/command"), &body).ok();
        let id = answer.as_ref().and_then(|answer| answer["command_id"].as_str()).map(str::to_owned);
        let cancelled = rng.random_range(0..8) == 0;
        if let (true, Some(id)) = (cancelled, &id) {
            // Whether the cancel arrives or not, the command has to end.
            let api = &self.apis[rng.random_range(0..self.apis.len())];
            let _ = api.post(&format!("/api/commands/{id}/cancel"), &json!({}));
        }
        self.submitted.push(Submitted {
            mark,
            agent_id: agent_id.to_owned(),
            id,
            asked_at,
            lines,
            cancelled,
            first_final: None,
            last: None,
        });
    }

    /// Asks for the state of every command and keeps the answers.
    pub fn observe(&mut self) {
        for command in &mut self.submitted {
            let Some(id) = &command.id else { continue };
            let api = &self.apis[self.asked % self.apis.len()];
            self.asked += 1;
            let Ok(answer) = api.get(&format!("/api/commands/{id}")) else { continue };
            let status = answer["status"].as_str().unwrap_or_default().to_owned();
            if FINAL.contains(&status.as_str()) && command.first_final.is_none() {
                let stdout = answer["stdout"].as_str().unwrap_or_default().to_owned();
                command.first_final = Some((status, stdout));
            }
            command.last = Some(answer);
        }
    }

    /// A request whose answer was lost may have been accepted: finds those commands by their mark.
    pub fn find_unanswered(&mut self) -> anyhow::Result<()> {
        if self.submitted.iter().all(|command| command.id.is_some()) {
            return Ok(());
        }
        let mut cursor = String::new();
        loop {
            let page = self.apis[0].get(&format!("/api/v1/commands?limit=200&cursor={cursor}"))?;
            for known in page["items"].as_array().into_iter().flatten() {
                let text = known["command"].as_str().unwrap_or_default();
                let lost = self.submitted.iter_mut().filter(|command| command.id.is_none());
                for command in lost.filter(|command| text.contains(&format!("'{} start '", command.mark))) {
                    command.id = known["id"].as_str().map(str::to_owned);
                }
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return Ok(()),
            }
        }
    }
}
