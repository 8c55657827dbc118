// What each fuzz target does with its input. Shared with `tests/fuzz_corpus.rs`, which replays the corpus with the
// ordinary compiler.

use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse, HelloRequest, HelloResponse};
use gururmm_protocol::limits::{MAX_LIST_ITEMS, MAX_LOG_PART_BYTES, MAX_TEXT_CHARS};
use gururmm_protocol::tunnel::events::EventsMessage;
use gururmm_protocol::tunnel::files::{FileAnswer, FileRequest, UploadMessage};
use gururmm_protocol::tunnel::processes::{ProcessAnswer, ProcessRequest};
use gururmm_protocol::tunnel::registry::{RegistryAnswer, RegistryRequest};
use gururmm_protocol::tunnel::request::{Request, Response};
use gururmm_protocol::tunnel::services::{ServiceAnswer, ServiceRequest};
use gururmm_protocol::tunnel::terminal::TerminalMessage;
use gururmm_protocol::tunnel::{Attach, ChannelEnd, Frame, FrameKind, Open, Opened, Ping, Presence};
use gururmm_protocol::{
    AgentMessage, Decoded, ServerMessage, Version, decode_agent_message, decode_server_message, encode,
};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const ALL: &[(&str, Target)] = &[
    ("agent_message", agent_message),
    ("server_message", server_message),
    ("bootstrap", bootstrap),
    ("version", version),
    ("channel_frame", channel_frame),
];

/// What an agent may send: decoded, brought within limits, and still a message afterwards.
pub fn agent_message(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(Decoded::Known(mut message)) = decode_agent_message(text) else { return };
    match &mut message {
        AgentMessage::Hello(hello) => {
            hello.system.clean();
            hello.identity.clean();
        }
        AgentMessage::Metrics { sample, .. } => {
            sample.clean();
            assert!(sample.cpu_percent.is_finite() && sample.interval_seconds.is_finite());
            assert!(sample.disk_percent().is_none_or(|percent| (0.0..=100.0).contains(&percent)));
            assert!(sample.memory_percent().is_none_or(|percent| (0.0..=100.0).contains(&percent)));
            let readings = sample.sensors.iter().flat_map(|sensors| &sensors.readings);
            assert!(readings.clone().count() <= MAX_LIST_ITEMS);
            assert!(readings.flat_map(|s| [Some(s.value), s.high]).flatten().all(f32::is_finite));
        }
        AgentMessage::NetworkState { state, .. } => state.clean(),
        AgentMessage::LogEnd(end) => end.clean(),
        AgentMessage::UninstallReport(report) => {
            report.clean();
            assert!(report.error.as_ref().is_none_or(|error| error.chars().count() <= MAX_TEXT_CHARS));
        }
        AgentMessage::FollowReport(report) => {
            report.clean();
            assert!(report.error.as_ref().is_none_or(|error| error.chars().count() <= MAX_TEXT_CHARS));
        }
        AgentMessage::Gap(gap) => {
            gap.clean();
            assert!(gap.from <= gap.to && gap.error.as_ref().is_none_or(|error| !error.contains('\0')));
        }
        AgentMessage::TunnelReady(ready) => {
            ready.clean();
            assert!(ready.channels.len() <= MAX_LIST_ITEMS && ready.shells.len() <= MAX_LIST_ITEMS);
        }
        AgentMessage::TunnelRefused(refused) => {
            refused.clean();
            assert!(refused.detail.chars().count() <= MAX_TEXT_CHARS && !refused.detail.contains('\0'));
        }
        AgentMessage::CrashReport(report) => {
            report.clean();
            assert!(report.log.0.len() <= MAX_LOG_PART_BYTES);
        }
        _ => {}
    }
    if let Ok(text) = encode(&message) {
        assert!(matches!(decode_agent_message(&text), Ok(Decoded::Known(_))));
    }
}

/// What a server may send.
pub fn server_message(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(Decoded::Known(message)) = decode_server_message(text) else { return };
    assert_ne!(message, ServerMessage::Unknown);
    if let Ok(text) = encode(&message) {
        assert!(matches!(decode_server_message(&text), Ok(Decoded::Known(_))));
    }
}

/// The bodies of the calls without a socket.
pub fn bootstrap(input: &[u8]) {
    let _ = serde_json::from_slice::<HelloRequest>(input);
    let _ = serde_json::from_slice::<HelloResponse>(input);
    let _ = serde_json::from_slice::<EnrollResponse>(input);
    if let Ok(mut request) = serde_json::from_slice::<EnrollRequest>(input) {
        request.identity.clean();
        assert!(request.identity.machine_uid.chars().count() <= 128);
    }
}

/// A version that is read is written the same way, but for leading zeros.
pub fn version(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
}

/// A channel's frame, as either side may send it, and every body that its kind can have.
pub fn channel_frame(input: &[u8]) {
    if let Ok((session, frame)) = Frame::read_of_session(input) {
        assert_eq!(frame.to_bytes_of_session(session).len(), input.len());
    }
    bodies(input);
    let Ok(frame) = Frame::read(input) else { return };
    assert_eq!(Frame::read(&frame.to_bytes()), Ok(frame));
    match frame.kind {
        FrameKind::Data => assert!(frame.data().is_ok()),
        FrameKind::Credit => assert!(frame.credit().is_ok()),
        _ => bodies(frame.body),
    }
}

fn bodies(body: &[u8]) {
    macro_rules! read {
        ($($body:ty),* $(,)?) => { $(let _ = serde_json::from_slice::<$body>(body);)* };
    }
    read!(
        Ping,
        Presence,
        Open,
        Opened,
        Attach,
        ChannelEnd,
        TerminalMessage,
        UploadMessage,
        Request<FileRequest>,
        Response<FileAnswer>,
        Request<ProcessRequest>,
        Response<ProcessAnswer>,
        Request<ServiceRequest>,
        Response<ServiceAnswer>,
        Request<RegistryRequest>,
        Response<RegistryAnswer>,
        EventsMessage,
    );
}
