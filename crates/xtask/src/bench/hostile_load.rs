//! What hostile peers cost the server and everyone else: strangers who take sockets, and an agent that floods a
//! command's output while nobody reads. Rows 15 and 29 of the threats this product is held to.

mod flood;
mod strangers;

use super::{Row, percentile, process};
use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD, Stack};
use anyhow::Context as _;
use clap::Args;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Sockets of strangers
    #[arg(long, default_value_t = 10_000)]
    strangers: usize,
    /// How often strangers and the flood come; figures are medians, memory and times the worst
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Passwords that strangers try
    #[arg(long, default_value_t = 1_000)]
    guesses: usize,
    /// What the flooding agent tries to send, in GiB
    #[arg(long, default_value_t = 10)]
    flood_gib: u64,
}

/// How long requests are timed in each part of a round: a little longer than strangers may stay.
const PART: Duration = Duration::from_secs(12);
/// Between two honest requests: a busy office.
const REQUESTS_EVERY: Duration = Duration::from_millis(5);

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start(bin_dir, &root.join(format!("target/bench-{}", std::process::id())))?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let server =
        Server { pid: stack.server_pid().context("the server does not run")?, address: stack.address() };
    // What every request needs once: connections to the database, prepared statements, buffers.
    requests_for(&api, PART)?;
    let mut rows = vec![strangers_guess(server, options.guesses)?];
    rows.extend(strangers_come(&api, server, options)?);
    rows.extend(flood::run(&stack, &api, server, options.rounds, options.flood_gib)?);
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// The server under attack.
#[derive(Debug, Clone, Copy)]
struct Server {
    pid: u32,
    address: SocketAddr,
}

/// What trying many passwords at once leaves the server with.
fn strangers_guess(server: Server, count: usize) -> anyhow::Result<Row> {
    let before = process::rss_mebibytes(server.pid)?;
    let ((), peak) = watched(server.pid, || strangers::guess(server.address, count))?;
    Ok(Row::alone("strangers: server memory growth, guessing (RSS)", peak - before, "MiB", Some(64.0)))
}

/// Quiet, a crowd at another port of this machine, the crowd at the server: in turns, so that whatever else this
/// machine does meets all three. The crowd next door costs the processor what the crowd here costs it; what is left
/// between the two is the server's own.
fn strangers_come(api: &Api, server: Server, options: &Options) -> anyhow::Result<Vec<Row>> {
    let next_door = TcpListener::bind("127.0.0.1:0")?;
    let other_port = next_door.local_addr()?;
    let turning_away = thread::spawn(move || next_door.incoming().for_each(drop));
    let before = process::rss_mebibytes(server.pid)?;
    let (mut quiet, mut crowd_elsewhere, mut crowd_here) = (Vec::new(), Vec::new(), Vec::new());
    let (mut longest, mut peak) = (0.0_f64, before);
    for _ in 0..options.rounds.max(1) {
        quiet.push(percentile(&mut requests_for(api, PART)?, 0.99));
        let (mut times, _) = under(api, || strangers::come(other_port, options.strangers))?;
        crowd_elsewhere.push(percentile(&mut times, 0.99));
        let attack = || watched(server.pid, || strangers::come(server.address, options.strangers));
        let (mut times, (stayed, most)) = under(api, attack)?;
        crowd_here.push(percentile(&mut times, 0.99));
        longest = stayed.into_iter().fold(longest, f64::max);
        peak = peak.max(most);
    }
    // It ends with this program: it waits for nobody.
    drop(turning_away);
    let median = |values: &mut Vec<f64>| percentile(values, 0.5);
    let (quiet, elsewhere, here) =
        (median(&mut quiet), median(&mut crowd_elsewhere), median(&mut crowd_here));
    Ok(vec![
        Row::alone("strangers: the last socket closed after", longest, "s", Some(10.0)),
        Row::alone("strangers: server memory growth (RSS)", peak - before, "MiB", Some(64.0)),
        Row::against("strangers: request p99 (theirs: quiet)", here, quiet, "ms", None),
        Row::against("strangers: request p99 (theirs: at another port)", here, elsewhere, "ms", Some(1.2)),
    ])
}

/// Honest requests, one after the other, timed in milliseconds.
fn requests_for(api: &Api, time: Duration) -> anyhow::Result<Vec<f64>> {
    let until = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        api.get("/api/v1/session")?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        thread::sleep(REQUESTS_EVERY);
    }
    Ok(times)
}

/// Times honest requests while `attack` runs, and for [`PART`] at least.
fn under<T: Send>(
    api: &Api,
    attack: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<(Vec<f64>, T)> {
    thread::scope(|scope| {
        let attack = scope.spawn(attack);
        let mut times = requests_for(api, PART)?;
        while !attack.is_finished() {
            times.extend(requests_for(api, Duration::from_millis(500))?);
        }
        let outcome = attack.join().map_err(|_| anyhow::anyhow!("the attack failed"))??;
        Ok((times, outcome))
    })
}

/// The most memory a process had while `work` ran, in MiB.
fn watched<T: Send>(pid: u32, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, f64)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(process::rss_mebibytes(pid)?);
                thread::sleep(Duration::from_millis(50));
            }
            anyhow::Ok(peak)
        });
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        let peak = peak.join().map_err(|_| anyhow::anyhow!("the memory could not be watched"))??;
        Ok((outcome?, peak))
    })
}
