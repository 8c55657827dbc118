//! Processes that run until their standard input ends, and say in lines of JSON what they did so far.

use crate::stack::wait_for;
use anyhow::Context as _;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Such a process. Dropped, it is told to end, and waited for.
pub struct Reporter {
    child: Child,
    said: Arc<Mutex<Value>>,
    reader: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let said = Arc::new(Mutex::new(Value::Null));
        let saying = Arc::clone(&said);
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Ok(counts) = serde_json::from_str(&line) {
                    *saying.lock().unwrap_or_else(PoisonError::into_inner) = counts;
                }
            }
        });
        Ok(Self { child, said, reader: Some(reader) })
    }

    /// One of its counters, as it said it last.
    pub fn count(&self, name: &str) -> u64 {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)[name].as_u64().unwrap_or(0)
    }

    /// Tells it to end, and waits until it has said its last.
    ///
    /// # Errors
    /// When it does not end, or fails.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let ended = self.wait()?;
        anyhow::ensure!(ended.success(), "a process ended with {ended}");
        // It ends with the output.
        if self.reader.take().is_some_and(|reader| reader.join().is_err()) {
            anyhow::bail!("what a process said was not read");
        }
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        wait_for("a process's end", Duration::from_secs(60), || self.child.try_wait().ok().flatten())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // Its standard input ends with this.
        drop(self.child.stdin.take());
        if self.wait().is_err() {
            let _ended_meanwhile = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
