//! What the channels of techs' sessions are for.

use super::{events, files, forward, processes, registry, services, terminal};
use crate::tunnel::Serving;
use crate::tunnel::channel::Channel;
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, OpenChannel, TunnelRules};
use std::sync::Arc;

/// Does what a channel was opened for. What the policy allows at all was looked at before.
pub fn serve(open: OpenChannel, rules: Arc<TunnelRules>, channel: Channel) -> Serving {
    Box::pin(async move {
        match open {
            OpenChannel::Terminal(open) => terminal::run(open, channel).await,
            OpenChannel::Files {} => files::serve(&rules, channel).await,
            OpenChannel::Download(open) => files::download(open, &rules, channel).await,
            OpenChannel::Upload(open) => files::upload(open, &rules, channel).await,
            OpenChannel::Processes {} => processes::run(channel).await,
            OpenChannel::Services {} => services::run(channel).await,
            OpenChannel::Registry {} => registry::run(channel).await,
            OpenChannel::Events(open) => events::run(open, channel).await,
            OpenChannel::Forward(open) => forward::run(open, &rules, channel).await,
            OpenChannel::Unknown => unknown(),
        }
    })
}

fn unknown() -> ChannelEnd {
    ChannelError::new(ErrorCode::Unsupported, "this agent does not know such channels").into()
}
