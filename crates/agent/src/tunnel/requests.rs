//! Channels of requests and replies. Several requests may be under way; what is beyond that waits, and is not granted again.

use super::channel::{Channel, ChannelSender, Gone, Incoming};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, Opened};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::marker::PhantomData;
use tokio::task::JoinSet;

/// Requests of one channel that are dealt with at a time.
const UNDER_WAY: usize = 8;
/// What the items of one part may take as JSON; the rest of the frame is for what is around them.
const PART_BYTES: usize = 48 * 1024;

/// Who asked one thing, and is answered.
#[derive(Debug)]
pub struct Asker<A> {
    id: u32,
    sender: ChannelSender,
    answers: PhantomData<fn(A)>,
}

impl<A: Serialize> Asker<A> {
    /// More follows.
    pub async fn part(&self, part: A) -> Result<(), ChannelError> {
        self.say(Answer::Part(part)).await.map_err(over)
    }

    /// All of these, in as few parts as hold them: at most `per_part` in one.
    pub async fn parts<T: Serialize>(
        &self,
        items: Vec<T>,
        per_part: usize,
        make: impl Fn(Vec<T>) -> A,
    ) -> Result<(), ChannelError> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        for item in items {
            let size = serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
            if !part.is_empty() && (part.len() >= per_part || bytes + size > PART_BYTES) {
                self.part(make(std::mem::take(&mut part))).await?;
                bytes = 0;
            }
            part.push(item);
            bytes += size;
        }
        if part.is_empty() { Ok(()) } else { self.part(make(part)).await }
    }

    async fn say(&self, answer: Answer<A>) -> Result<(), Gone> {
        self.sender.message(&Response { id: self.id, answer }).await
    }
}

fn over(_: Gone) -> ChannelError {
    ChannelError::new(ErrorCode::Closed, "nobody waits for it any more")
}

/// Serves a channel: `work` gives the reply to each request, after the parts that it sends itself. Who attaches asks anew:
/// what was under way for those before is dropped.
pub async fn serve<R, A, W, F>(mut channel: Channel, work: W) -> ChannelEnd
where
    R: DeserializeOwned,
    A: Serialize + Send + Sync + 'static,
    W: Fn(R, Asker<A>) -> F,
    F: Future<Output = Result<A, ChannelError>> + Send + 'static,
{
    let sender = channel.sender.clone();
    let mut under_way = JoinSet::new();
    let mut waiting: VecDeque<(Request<R>, u32)> = VecDeque::new();
    if sender.opened(Opened::default()).await.is_err() {
        return ChannelEnd::default();
    }
    loop {
        while under_way.len() < UNDER_WAY
            && let Some((Request { id, request }, cost)) = waiting.pop_front()
        {
            let asker = Asker { id, sender: sender.clone(), answers: PhantomData };
            let (answers, asked) = (sender.clone(), work(request, asker));
            under_way.spawn(async move {
                let answer: Answer<A> = asked.await.map_or_else(Answer::Error, Answer::Reply);
                // Who is gone needs no answer.
                let _ = answers.message(&Response { id, answer }).await;
            });
            if sender.grant(cost).await.is_err() {
                return ChannelEnd::default();
            }
        }
        let incoming = tokio::select! {
            incoming = channel.incoming.recv() => incoming,
            Some(_) = under_way.join_next() => continue,
        };
        match incoming {
            None => return ChannelEnd::default(),
            Some(Incoming::Message(body)) => {
                let cost = u32::try_from(body.len()).unwrap_or(u32::MAX);
                match serde_json::from_slice(&body) {
                    Ok(request) => waiting.push_back((request, cost)),
                    Err(_) => return invalid("the request is not understood"),
                }
            }
            Some(Incoming::Data { .. }) => return invalid("there is no stream in this channel"),
            Some(Incoming::Attach(_)) => {
                under_way.abort_all();
                for (_, cost) in waiting.drain(..) {
                    let _ = sender.grant(cost).await;
                }
                let _ = sender.opened(Opened::default()).await;
            }
        }
    }
}

fn invalid(detail: &str) -> ChannelEnd {
    ChannelError::new(ErrorCode::Invalid, detail).into()
}
