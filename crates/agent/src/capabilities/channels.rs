//! What the channels of techs' sessions are for.

use super::terminal;
use crate::tunnel::Serving;
use crate::tunnel::channel::Channel;
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, OpenChannel, TunnelRules};
use std::sync::Arc;

/// Does what a channel was opened for. What the policy allows at all was looked at before.
pub fn serve(open: OpenChannel, _rules: Arc<TunnelRules>, channel: Channel) -> Serving {
    Box::pin(async move {
        match open {
            OpenChannel::Terminal(open) => terminal::run(open, channel).await,
            _ => unknown(),
        }
    })
}

fn unknown() -> ChannelEnd {
    ChannelError::new(ErrorCode::Unsupported, "this agent does not know such channels").into()
}
