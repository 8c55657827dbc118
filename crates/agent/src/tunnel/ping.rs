//! How long the way is: what came is sent back.

use super::lanes::{Lane, Lanes};
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::{Frame, FrameKind, Ping};

/// Sends a ping back; anything else on the session's own channel means nothing. One that finds no room is lost, as pings
/// are.
pub(super) fn echo(lanes: &Lanes, tunnel_id: TunnelId, frame: &Frame<'_>) {
    if frame.kind == FrameKind::Message && frame.json::<Ping>().is_ok() {
        let _ = lanes.of(Lane::First).try_send(frame.to_bytes_of_session(tunnel_id));
    }
}
