//! An agent that never stops sending a command's output, past its limit and without waiting to be heard, while those
//! who look at it do not read.

use super::{PART, Server, requests_for, under, watched};
use crate::api::Api;
use crate::bench::{Row, percentile};
use crate::stack::Stack;
use anyhow::Context as _;
use chrono::Utc;
use gururmm_protocol::command::{Bytes, OutputChunk, Stream};
use gururmm_protocol::limits::MAX_OUTPUT_CHUNK_BYTES;
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{
    AgentMessage, CommandId, Decoded, SUPPORTED, ServerMessage, decode_server_message, encode,
};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// The flooding agent, a viewer that does not read, one that reads a byte a second, and a download at that speed.
const SESSIONS: f64 = 4.0;
const MEBIBYTE: f64 = 1024.0 * 1024.0;
const ALL_OF_IT: u64 = 1024 * 1024 * 1024;
const HOSTNAME: &str = "flood";

/// Quiet, a flood at another port of this machine, the flood at the server: in turns, as with the strangers.
pub fn run(stack: &Stack, api: &Api, server: Server, rounds: usize, gib: u64) -> anyhow::Result<Vec<Row>> {
    let rounds: Vec<Round> = (1..=rounds.max(1))
        .map(|round| Round::run(stack, api, server, round, gib))
        .collect::<Result<_, _>>()?;
    let median = |of: fn(&Round) -> f64| percentile(&mut rounds.iter().map(of).collect::<Vec<_>>(), 0.5);
    let (quiet, elsewhere, here) =
        (median(|round| round.quiet), median(|round| round.elsewhere), median(|round| round.here));
    let most = |of: fn(&Round) -> f64| rounds.iter().map(of).fold(0.0, f64::max);
    Ok(vec![
        Row::alone(
            "flood: server memory growth (RSS) per session",
            most(|round| round.growth) / SESSIONS,
            "MiB",
            Some(16.0),
        ),
        Row::alone(
            "flood: output taken before it was cut off",
            most(|round| round.flood.output as f64) / MEBIBYTE,
            "MiB",
            Some(512.0),
        ),
        Row::alone("flood: output kept", most(|round| round.kept as f64) / MEBIBYTE, "MiB", Some(17.0)),
        Row::alone(
            "flood: the agent was sent away after",
            most(|round| round.flood.lasted.as_secs_f64()),
            "s",
            Some(120.0),
        ),
        Row::against("flood: request p99 (theirs: quiet)", here, quiet, "ms", None),
        Row::against("flood: request p99 (theirs: at another port)", here, elsewhere, "ms", Some(1.1)),
    ])
}

/// What was measured in one round: milliseconds, MiB, bytes.
struct Round {
    quiet: f64,
    elsewhere: f64,
    here: f64,
    growth: f64,
    kept: usize,
    flood: Flood,
}

impl Round {
    fn run(stack: &Stack, api: &Api, server: Server, number: usize, gib: u64) -> anyhow::Result<Self> {
        let mut agent = FloodingAgent::enroll(stack, server, number)?;
        let order = json!({ "command_type": "shell", "command": "yes" });
        let ordered = api.post(&format!("/api/agents/{}/command", agent.id), &order)?;
        let id = ordered["command_id"].as_str().context("no command_id")?.to_owned();
        let command_id = agent.start_command()?;

        let quiet = percentile(&mut requests_for(api, PART)?, 0.99);
        let before = crate::bench::process::rss_mebibytes(server.pid)?;
        let _does_not_read = viewer(api, server, &id)?;
        let slow = viewer(api, server, &id)?;
        let reads_slowly = SlowReader::of(slow.get_ref().try_clone()?);
        let attack = || {
            watched(server.pid, || {
                thread::scope(|scope| {
                    let flood = scope.spawn(|| agent.flood(command_id, gib * ALL_OF_IT));
                    // By then the output is as long as it may be, or nearly.
                    thread::sleep(PART);
                    let download = download(api, server, &id)?;
                    let slow = SlowReader::of(download.try_clone()?);
                    let flood = flood.join().map_err(|_| anyhow::anyhow!("the flood failed"))??;
                    thread::sleep(PART);
                    download.shutdown(Shutdown::Both)?;
                    drop(slow);
                    Ok(flood)
                })
            })
        };
        let (mut times, (flood, peak)) = under(api, attack)?;
        slow.get_ref().shutdown(Shutdown::Both)?;
        drop(reads_slowly);
        let here = percentile(&mut times, 0.99);

        let command = api.get(&format!("/api/commands/{id}"))?;
        let kept = command["stdout"].as_str().map_or(0, str::len);
        anyhow::ensure!(command["truncated"] == true, "the command is not said to be truncated");

        let mut agent = besieger_of_nobody(&flood)?;
        let as_long = || {
            agent.flood(command_id, flood.output)?;
            thread::sleep(PART);
            Ok(())
        };
        let (mut times, ()) = under(api, as_long)?;
        let elsewhere = percentile(&mut times, 0.99);
        Ok(Self { quiet, elsewhere, here, growth: peak - before, kept, flood })
    }
}

/// What a flood came to.
struct Flood {
    /// Bytes of output that were taken.
    output: u64,
    /// The same as it was sent, in bytes.
    wire: u64,
    lasted: Duration,
}

/// An agent made of nothing but its socket.
struct FloodingAgent {
    id: String,
    socket: WebSocket<TcpStream>,
}

impl FloodingAgent {
    /// Another machine in every round: its predecessor was sent away.
    fn enroll(stack: &Stack, server: Server, number: usize) -> anyhow::Result<Self> {
        let identity = MachineIdentity {
            machine_uid: format!("{number:040x}"),
            machine_uid_source: UidSource::OsId,
            board_serial: None,
            disk_serial: None,
        };
        let (site_code, enrollment_key) = stack.enrollment()?;
        let asked = json!({ "site_code": site_code, "enrollment_key": enrollment_key, "hostname": HOSTNAME,
            "os_type": "linux", "os_version": "12", "arch": "x86_64", "agent_version": "0.1.0",
            "machine_uid": identity.machine_uid, "machine_uid_source": "os_id" });
        let enrolled = stack.api()?.post("/api/enroll", &asked)?;
        let text = |name: &str| enrolled[name].as_str().context("the enrollment has no id or key");
        let headers = [
            ("authorization", format!("Bearer {}", text("agent_key")?)),
            ("x-gururmm-agent", text("agent_id")?.to_owned()),
        ];
        let mut socket = open(server, "/api/v1/agent/socket", &headers)?;
        let system = SystemInfo {
            hostname: HOSTNAME.into(),
            os_type: OsType::Linux,
            os_version: "12".into(),
            arch: "x86_64".into(),
            kernel: None,
            cpu_model: None,
            cpu_cores: None,
            memory_bytes: None,
            manufacturer: None,
            model: None,
            serial: None,
            boot_time: None,
            virtualization: None,
        };
        let hello = Hello {
            protocols: SUPPORTED.to_vec(),
            agent_version: "0.1.0".into(),
            system,
            identity,
            commands: Vec::new(),
            update: None,
            tunnels: Vec::new(),
        };
        socket.send(Message::text(encode(&AgentMessage::Hello(hello))?))?;
        let mut agent = Self { id: text("agent_id")?.to_owned(), socket };
        agent.next(|message| matches!(message, ServerMessage::Welcome(_)).then_some(()))?;
        Ok(agent)
    }

    fn next<T>(&mut self, mut pick: impl FnMut(ServerMessage) -> Option<T>) -> anyhow::Result<T> {
        loop {
            if let Message::Text(text) = self.socket.read()?
                && let Decoded::Known(message) = decode_server_message(&text)?
                && let Some(picked) = pick(message)
            {
                return Ok(picked);
            }
        }
    }

    fn start_command(&mut self) -> anyhow::Result<CommandId> {
        let pick = |message| match message {
            ServerMessage::CommandStart(start) => Some(start.command_id),
            _ => None,
        };
        let command_id = self.next(pick)?;
        let started = AgentMessage::CommandStarted { command_id, started_at: Utc::now() };
        self.socket.send(Message::text(encode(&started)?))?;
        Ok(command_id)
    }

    /// Sends until the server has enough, or `most` bytes of output.
    fn flood(&mut self, command_id: CommandId, most: u64) -> anyhow::Result<Flood> {
        let started = Instant::now();
        let stream = self.socket.get_mut();
        let mut answers = stream.try_clone()?;
        let mut sink = [0; 64 * 1024];
        let read_away = thread::spawn(move || while answers.read(&mut sink).is_ok_and(|read| read > 0) {});
        let frames = Frames::of(command_id)?;
        let (mut seq, mut output, mut wire) = (0, 0, 0);
        while output < most {
            seq += 1;
            let frame = frames.number(seq);
            if stream.write_all(&frame).is_err() {
                break;
            }
            wire += frame.len() as u64;
            output += MAX_OUTPUT_CHUNK_BYTES as u64;
        }
        let lasted = started.elapsed();
        drop(stream.shutdown(Shutdown::Both));
        drop(read_away.join());
        Ok(Flood { output, wire, lasted })
    }
}

/// Pieces of output as they go over the wire, made beforehand: the time of this machine's two or three processors is
/// the server's and its callers', not the flood's.
struct Frames {
    before_seq: String,
    after_seq: String,
}

impl Frames {
    fn of(command_id: CommandId) -> anyhow::Result<Self> {
        // Control characters are the most expensive text there is: six bytes each in JSON.
        let data = Bytes(vec![1; MAX_OUTPUT_CHUNK_BYTES]);
        let chunk = OutputChunk { command_id, seq: 1, stream: Stream::Stdout, data };
        let text = encode(&AgentMessage::CommandOutput(chunk))?;
        let (before, after) = text.split_once("\"seq\":1").context("a piece of output has no seq")?;
        Ok(Self { before_seq: format!("{before}\"seq\":"), after_seq: after.to_owned() })
    }

    /// One whole text message, masked with zeros, which changes nothing of it.
    fn number(&self, seq: u64) -> Vec<u8> {
        let seq = seq.to_string();
        let length = (self.before_seq.len() + seq.len() + self.after_seq.len()) as u64;
        let header = [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        [&header, self.before_seq.as_bytes(), seq.as_bytes(), self.after_seq.as_bytes()].concat()
    }
}

/// The flooding agent at a port next door, where somebody reads as fast as the server did and does nothing with it: what
/// making and sending the flood costs this machine, and no more.
fn besieger_of_nobody(flood: &Flood) -> anyhow::Result<FloodingAgent> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let socket = WebSocket::from_raw_socket(TcpStream::connect(listener.local_addr()?)?, Role::Client, None);
    let (mut taken, _) = listener.accept()?;
    let (started, lasted, all) = (Instant::now(), flood.lasted, flood.wire as f64);
    // It ends with the connection.
    thread::spawn(move || {
        let (mut so_far, mut sink) = (0.0, [0; 64 * 1024]);
        while let Ok(read) = taken.read(&mut sink)
            && read > 0
        {
            so_far += read as f64;
            thread::sleep(lasted.mul_f64(so_far / all).saturating_sub(started.elapsed()));
        }
    });
    Ok(FloodingAgent { id: String::new(), socket })
}

/// A page that looks at the command.
fn viewer(api: &Api, server: Server, command_id: &str) -> anyhow::Result<WebSocket<TcpStream>> {
    let headers = [("authorization", api.authorization()), ("origin", format!("http://{}", server.address))];
    let mut socket = open(server, "/api/v1/live", &headers)?;
    let topic = json!({ "kind": "command_output", "command_id": command_id });
    socket.send(Message::text(json!({ "op": "subscribe", "sub": 1, "topic": topic }).to_string()))?;
    Ok(socket)
}

/// A request for the whole output, whose answer waits to be read.
fn download(api: &Api, server: Server, command_id: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server.address)?;
    let authorization = api.authorization();
    write!(
        stream,
        "GET /api/commands/{command_id} HTTP/1.1\r\nhost: {}\r\nauthorization: {authorization}\r\n\r\n",
        server.address
    )?;
    Ok(stream)
}

/// Reads a byte a second until it is dropped. Closing its socket is not enough: what has arrived can still be read then,
/// which takes a day.
struct SlowReader(Arc<AtomicBool>);

impl SlowReader {
    fn of(mut stream: TcpStream) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) && stream.read(&mut [0]).is_ok_and(|read| read == 1) {
                thread::sleep(Duration::from_secs(1));
            }
        });
        Self(is_over)
    }
}

impl Drop for SlowReader {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open(
    server: Server,
    path: &str,
    headers: &[(&'static str, String)],
) -> anyhow::Result<WebSocket<TcpStream>> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
    }
    let stream = TcpStream::connect(server.address)?;
    let (socket, _) =
        tungstenite::client(request, stream).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    Ok(socket)
}
