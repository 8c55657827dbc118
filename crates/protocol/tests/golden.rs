//! The bytes of every released protocol version: a build that reads or writes them otherwise breaks agents out there.
//!
//! A file is never edited once its version is released: then `SHA256SUMS` stands beside it, and `xtask tidy` compares. A
//! new version gets a folder of its own.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]

use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse, HelloRequest, HelloResponse};
use gururmm_protocol::tunnel::events::EventsMessage;
use gururmm_protocol::tunnel::files::{FileAnswer, FileRequest, UploadMessage};
use gururmm_protocol::tunnel::processes::{ProcessAnswer, ProcessRequest};
use gururmm_protocol::tunnel::registry::{RegistryAnswer, RegistryRequest};
use gururmm_protocol::tunnel::request::{Request, Response};
use gururmm_protocol::tunnel::services::{ServiceAnswer, ServiceRequest};
use gururmm_protocol::tunnel::terminal::TerminalMessage;
use gururmm_protocol::tunnel::{Attach, ChannelEnd, Open, Opened, Ping, Presence};
use gururmm_protocol::{
    AgentMessage, Decoded, SUPPORTED, ServerMessage, decode_agent_message, decode_server_message, encode,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn golden(folder: &str) -> Vec<(PathBuf, String)> {
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = SUPPORTED
        .iter()
        .flat_map(|version| fs::read_dir(versions.join(format!("v{version}")).join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Decoding and encoding again gives the same JSON: nothing is lost, renamed or added.
fn assert_round_trip(path: &Path, text: &str, encoded: &str) {
    let before: Value = serde_json::from_str(text).unwrap();
    let after: Value = serde_json::from_str(encoded).unwrap();
    assert_eq!(before, after, "{}", path.display());
}

#[test]
fn agents_messages_of_every_version_are_read_and_written_as_ever() {
    for (path, text) in golden("to_server") {
        let Decoded::Known(message) = decode_agent_message(&text).unwrap() else {
            panic!("{path:?} is unknown")
        };
        assert_round_trip(&path, &text, &encode(&message).unwrap());
    }
}

#[test]
fn servers_messages_of_every_version_are_read_and_written_as_ever() {
    for (path, text) in golden("to_agent") {
        let Decoded::Known(message) = decode_server_message(&text).unwrap() else {
            panic!("{path:?} is unknown")
        };
        assert_round_trip(&path, &text, &encode(&message).unwrap());
    }
}

#[test]
fn bootstrap_bodies_of_every_version_are_read_and_written_as_ever() {
    fn body<B: DeserializeOwned + Serialize>(path: &Path, text: &str) {
        let body: B = serde_json::from_str(text).unwrap();
        assert_round_trip(path, text, &serde_json::to_string(&body).unwrap());
    }
    for (path, text) in golden("bootstrap") {
        match path.file_stem().and_then(|stem| stem.to_str()).unwrap().split('-').next().unwrap() {
            "hello_request" => body::<HelloRequest>(&path, &text),
            "hello_response" => body::<HelloResponse>(&path, &text),
            "enroll_request" => body::<EnrollRequest>(&path, &text),
            "enroll_response" => body::<EnrollResponse>(&path, &text),
            other => panic!("no body is called {other}"),
        }
    }
}

/// The bodies of channels' frames. The dashboard's tests read the same files.
#[test]
fn bodies_of_channels_frames_are_read_and_written_as_ever() {
    fn body<B: DeserializeOwned + Serialize>(path: &Path, text: &str) {
        let body: B = serde_json::from_str(text).unwrap();
        assert_round_trip(path, text, &serde_json::to_string(&body).unwrap());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.1/channel");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        match path.file_stem().and_then(|stem| stem.to_str()).unwrap().split('-').next().unwrap() {
            "ping" => body::<Ping>(&path, &text),
            "presence" => body::<Presence>(&path, &text),
            "open" => body::<Open>(&path, &text),
            "opened" => body::<Opened>(&path, &text),
            "attach" => body::<Attach>(&path, &text),
            "end" => body::<ChannelEnd>(&path, &text),
            "terminal_message" => body::<TerminalMessage>(&path, &text),
            "upload_message" => body::<UploadMessage>(&path, &text),
            "file_request" => body::<Request<FileRequest>>(&path, &text),
            "file_answer" => body::<Response<FileAnswer>>(&path, &text),
            "process_request" => body::<Request<ProcessRequest>>(&path, &text),
            "process_answer" => body::<Response<ProcessAnswer>>(&path, &text),
            "service_request" => body::<Request<ServiceRequest>>(&path, &text),
            "service_answer" => body::<Response<ServiceAnswer>>(&path, &text),
            "registry_request" => body::<Request<RegistryRequest>>(&path, &text),
            "registry_answer" => body::<Response<RegistryAnswer>>(&path, &text),
            "events_message" => body::<EventsMessage>(&path, &text),
            other => panic!("no body is called {other}"),
        }
        assert!(!text.contains("unknown"), "{path:?}");
        files += 1;
    }
    assert!(files > 60, "{files}");
}

/// The kind of every golden file, and of every variant of the enum, as this build writes it.
fn kinds(folder: &str) -> BTreeSet<String> {
    let kind = |text: &str| serde_json::from_str::<Value>(text).unwrap()["type"].as_str().unwrap().to_owned();
    golden(folder).iter().map(|(_, text)| kind(text)).collect()
}

#[test]
fn every_kind_has_a_golden_file() {
    // A new variant does not compile here until it stands below, and fails until it has a file.
    let _ = |message: &AgentMessage| match message {
        AgentMessage::Hello(_)
        | AgentMessage::Heartbeat { .. }
        | AgentMessage::Metrics { .. }
        | AgentMessage::NetworkState { .. }
        | AgentMessage::CommandStarted { .. }
        | AgentMessage::CommandOutput(_)
        | AgentMessage::CommandEnded(_)
        | AgentMessage::LogPart(_)
        | AgentMessage::LogEnd(_)
        | AgentMessage::CrashReport(_)
        | AgentMessage::UpdateReport(_)
        | AgentMessage::UninstallReport(_)
        | AgentMessage::FollowReport(_)
        | AgentMessage::Gap(_)
        | AgentMessage::TunnelReady(_)
        | AgentMessage::TunnelRefused(_)
        | AgentMessage::Goodbye {}
        | AgentMessage::Unknown => {}
    };
    let to_server = [
        "hello",
        "heartbeat",
        "metrics",
        "network_state",
        "command_started",
        "command_output",
        "command_ended",
        "log_part",
        "log_end",
        "crash_report",
        "update_report",
        "uninstall_report",
        "follow_report",
        "gap",
        "tunnel_ready",
        "tunnel_refused",
        "goodbye",
    ];
    let _ = |message: &ServerMessage| match message {
        ServerMessage::Welcome(_)
        | ServerMessage::HeartbeatAck { .. }
        | ServerMessage::MetricsAck { .. }
        | ServerMessage::NetworkStateAck { .. }
        | ServerMessage::CommandStart(_)
        | ServerMessage::CommandCancel { .. }
        | ServerMessage::CommandOutputAck { .. }
        | ServerMessage::CommandEndAck { .. }
        | ServerMessage::ConfigUpdate { .. }
        | ServerMessage::LiveMetrics { .. }
        | ServerMessage::LogRequest(_)
        | ServerMessage::CrashReportAck { .. }
        | ServerMessage::UpdateOrder(_)
        | ServerMessage::UpdateReportAck { .. }
        | ServerMessage::UninstallOrder(_)
        | ServerMessage::UninstallCancel { .. }
        | ServerMessage::UninstallReportAck { .. }
        | ServerMessage::FollowMe(_)
        | ServerMessage::FollowReportAck { .. }
        | ServerMessage::GapAck { .. }
        | ServerMessage::TunnelOpen(_)
        | ServerMessage::TunnelClose(_)
        | ServerMessage::Goodbye { .. }
        | ServerMessage::Unknown => {}
    };
    let to_agent = [
        "welcome",
        "heartbeat_ack",
        "metrics_ack",
        "network_state_ack",
        "command_start",
        "command_cancel",
        "command_output_ack",
        "command_end_ack",
        "config_update",
        "live_metrics",
        "log_request",
        "crash_report_ack",
        "update_order",
        "update_report_ack",
        "uninstall_order",
        "uninstall_cancel",
        "uninstall_report_ack",
        "follow_me",
        "follow_report_ack",
        "gap_ack",
        "tunnel_open",
        "tunnel_close",
        "goodbye",
    ];
    assert_eq!(kinds("to_server"), to_server.map(str::to_owned).into());
    assert_eq!(kinds("to_agent"), to_agent.map(str::to_owned).into());
}

/// Adds a field no version knows to every object of a message.
fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(with_unknown_fields);
            fields.insert("from_the_future".into(), serde_json::json!({"any": ["thing", 1, null]}));
        }
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        _ => {}
    }
}

#[test]
fn unknown_fields_are_ignored_wherever_they_stand() {
    fn check(path: &Path, text: &str, read: impl Fn(&str) -> String) {
        let mut value: Value = serde_json::from_str(text).unwrap();
        with_unknown_fields(&mut value);
        // An environment is free text by name: there an unknown name is one more variable, and must be a text.
        if let Some(environment) = value.get_mut("environment").and_then(Value::as_object_mut) {
            environment.remove("from_the_future");
        }
        assert_eq!(read(&value.to_string()), read(text), "{}", path.display());
    }
    for (path, text) in golden("to_server") {
        check(&path, &text, |text| format!("{:?}", decode_agent_message(text).unwrap()));
    }
    for (path, text) in golden("to_agent") {
        check(&path, &text, |text| format!("{:?}", decode_server_message(text).unwrap()));
    }
}

#[test]
fn unknown_kinds_are_named_and_ignored() {
    let text = r#"{"type":"from_the_future","seq":1,"nested":{"type":"hello"}}"#;
    let kind = "from_the_future".to_owned();
    assert_eq!(decode_agent_message(text).unwrap(), Decoded::Unknown { kind: kind.clone() });
    assert_eq!(decode_server_message(text).unwrap(), Decoded::Unknown { kind });
    let long = format!(r#"{{"type":"{}\u001b"}}"#, "x".repeat(1_000));
    let Decoded::Unknown { kind } = decode_agent_message(&long).unwrap() else { panic!("known") };
    assert_eq!(kind.len(), 64);
}

#[test]
fn a_frame_beyond_the_limit_is_neither_read_nor_written() {
    use gururmm_protocol::DecodeError;
    use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
    let padding = " ".repeat(MAX_CONTROL_FRAME_BYTES);
    let text = format!(r#"{{"type":"heartbeat"}}{padding}"#);
    assert!(matches!(decode_agent_message(&text), Err(DecodeError::TooLarge { .. })));
    assert!(matches!(encode(&padding), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn the_largest_chunk_fits_into_a_frame() {
    use gururmm_protocol::command::{Bytes, OutputChunk, Stream};
    use gururmm_protocol::limits::MAX_OUTPUT_CHUNK_BYTES;
    let data = Bytes(vec![0xff; MAX_OUTPUT_CHUNK_BYTES]);
    let command_id = gururmm_protocol::CommandId::new();
    let chunk = OutputChunk { command_id, seq: u32::MAX, stream: Stream::Stderr, data };
    assert!(encode(&AgentMessage::CommandOutput(chunk)).is_ok());
}

#[test]
fn the_largest_piece_of_a_log_and_the_largest_crash_report_fit_into_a_frame() {
    use chrono::DateTime;
    use gururmm_protocol::command::Bytes;
    use gururmm_protocol::limits::{MAX_LOG_PART_BYTES, MAX_NAME_CHARS, MAX_TEXT_CHARS};
    use gururmm_protocol::log::{CrashCause, CrashReport, LogPart};
    use gururmm_protocol::{CrashId, LogId};
    let data = Bytes(vec![0xff; MAX_LOG_PART_BYTES]);
    let part = LogPart { log_id: LogId::new(), seq: u32::MAX, data: data.clone() };
    assert!(encode(&AgentMessage::LogPart(part)).is_ok());
    let mut report = CrashReport {
        crash_id: CrashId::new(),
        cause: CrashCause::Panic,
        crashed_at: DateTime::UNIX_EPOCH,
        agent_version: "\u{1}".repeat(2 * MAX_NAME_CHARS),
        message: Some("\u{1}".repeat(2 * MAX_TEXT_CHARS)),
        log: Bytes(vec![0xff; 2 * MAX_LOG_PART_BYTES]),
    };
    report.clean();
    assert!(encode(&AgentMessage::CrashReport(report)).is_ok());
}
