//! One segment: its parts in, its pieces out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use acuity_enhancer::{
    CancelFlag, Demand, EnhanceError, EnhanceRequest, EnhancedSegment, Following, Haste, Pieces, Priority,
    Unsupported,
};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::{Status, Streaming};

use super::CancelOnDrop;
use crate::local::Local;
use crate::wire::v1::enhance_message::Message;
use crate::wire::v1::enhance_reply::Reply;
use crate::wire::v1::part::Kind;
use crate::wire::{self, Nonsense, v1};

/// Lead-in segments that are taken; an edge sends three at most.
const LEAD_INS_LIMIT: u32 = 8;

/// What a call is answered with. Dropping it stops the work.
pub(super) struct Replies {
    replies: UnboundedReceiver<Result<v1::EnhanceReply, Status>>,
    _cancel: CancelOnDrop,
    _in_hand: InHand,
}

impl Stream for Replies {
    type Item = Result<v1::EnhanceReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll_recv(context)
    }
}

/// A segment in hand.
struct InHand(Arc<AtomicU32>);

impl InHand {
    fn one_more(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a request in and hands it to the enhancer.
pub(super) async fn enhance(
    local: &Local,
    in_hand: &Arc<AtomicU32>,
    mut messages: Streaming<v1::EnhanceMessage>,
) -> Result<Replies, Status> {
    let in_hand = InHand::one_more(in_hand);
    let Some(Message::Begin(begin)) = next(&mut messages).await? else {
        return Err(Nonsense("a call that does not begin").into());
    };
    let limit = usize::try_from(local.config.max_segment_bytes).unwrap_or(usize::MAX);
    let mut take = async |kind| part(&mut messages, kind, limit).await;
    let init = if begin.has_init { Some(take(Kind::Init).await?) } else { None };
    if begin.lead_ins > LEAD_INS_LIMIT {
        return Err(Nonsense("too many lead-in segments").into());
    }
    let mut lead_in = Vec::new();
    for _ in 0..begin.lead_ins {
        lead_in.push(take(Kind::LeadIn).await?);
    }
    let segment = take(Kind::Segment).await?;
    let wanted = begin.demand.unwrap_or_default();
    let haste = haste(wanted.is_start);
    let media = wanted.media_ms.map(Duration::from_millis);
    let demand = Demand::new(wanted.stream, media, haste, wanted.audience);
    let request = EnhanceRequest {
        init,
        lead_in,
        segment,
        following: Following::default(),
        spec: wire::spec(begin.rendition)?,
        deadline: wanted.deadline_ms.map(wire::from_now),
        priority: if wanted.is_viewer { Priority::Viewer } else { Priority::Ahead },
        // What has begun to be sent has to go on.
        demand: if wanted.yields && begin.again_by.is_none() { demand.or_else() } else { demand },
        again_by: begin.again_by,
        cancel: CancelFlag::default(),
        context: opentelemetry::Context::current(),
    };
    let cancel = CancelOnDrop(request.cancel.clone());
    let (later, enhancer) = ((request.demand.clone(), request.following.clone()), local.enhancer.clone());
    tokio::spawn(async move {
        let (demand, following) = later;
        while let Ok(Some(message)) = next(&mut messages).await {
            match message {
                Message::Raise(raise) => {
                    let deadline = raise.deadline_ms.map(wire::from_now);
                    demand.raise(deadline, self::haste(raise.is_start), raise.audience);
                    enhancer.reconsider();
                }
                Message::Part(first) if first.kind() == Kind::Following => {
                    let Ok(segment) = rest(&mut messages, Kind::Following, limit, first).await else { break };
                    following.is(segment);
                }
                Message::Part(_) | Message::Begin(_) => break,
            }
        }
    });
    let (sender, replies) = unbounded_channel();
    submit(local, request, begin.takes_pieces, sender);
    Ok(Replies { replies, _cancel: cancel, _in_hand: in_hand })
}

fn haste(is_start: bool) -> Haste {
    if is_start { Haste::Start } else { Haste::Steady }
}

/// Hands it in. What is made waits in memory for the edge to take it: the segment's own size, no more.
fn submit(
    local: &Local,
    request: EnhanceRequest,
    takes_pieces: bool,
    sender: UnboundedSender<Result<v1::EnhanceReply, Status>>,
) {
    let sent = Arc::new(AtomicUsize::new(0));
    let pieces = takes_pieces.then(|| {
        let (sent, sender) = (Arc::clone(&sent), sender.clone());
        let hand_out = move |piece: Bytes, made_by: &str| {
            sent.fetch_add(piece.len(), Ordering::Relaxed);
            for data in chunks(piece) {
                send(&sender, Reply::Piece(v1::Piece { data, made_by: made_by.to_owned() }));
            }
        };
        Box::new(hand_out) as Pieces
    });
    let finish = move |result: Result<EnhancedSegment, EnhanceError>| match result {
        Ok(EnhancedSegment { mut bytes, report }) => {
            let total = bytes.len() as u64;
            let rest = bytes.split_off(sent.load(Ordering::Relaxed).min(bytes.len()));
            for data in chunks(rest) {
                send(&sender, Reply::Piece(v1::Piece { data, made_by: String::new() }));
            }
            let report = Some(wire::report_message(&report));
            send(&sender, Reply::Done(v1::Done { report, bytes: total }));
        }
        // If nobody listens any more it was cancelled.
        Err(error) => drop(sender.send(Err(wire::status(&error)))),
    };
    local.enhancer.submit_in_pieces(request, pieces, Box::new(finish));
}

fn send(sender: &UnboundedSender<Result<v1::EnhanceReply, Status>>, reply: Reply) {
    // If nobody listens any more it was cancelled.
    let _ = sender.send(Ok(v1::EnhanceReply { reply: Some(reply) }));
}

fn chunks(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let chunk = bytes.split_to(bytes.len().min(wire::PIECE_BYTES));
        (!chunk.is_empty()).then_some(chunk)
    })
}

async fn next(messages: &mut Streaming<v1::EnhanceMessage>) -> Result<Option<Message>, Status> {
    match messages.message().await? {
        Some(v1::EnhanceMessage { message: Some(message) }) => Ok(Some(message)),
        Some(v1::EnhanceMessage { message: None }) => Err(Nonsense("an empty message").into()),
        None => Ok(None),
    }
}

async fn part(
    messages: &mut Streaming<v1::EnhanceMessage>,
    kind: Kind,
    limit: usize,
) -> Result<Bytes, Status> {
    match next(messages).await? {
        Some(Message::Part(first)) if first.kind() == kind => rest(messages, kind, limit, first).await,
        _ => Err(Nonsense("a part out of order").into()),
    }
}

/// A part of which the first message has come.
async fn rest(
    messages: &mut Streaming<v1::EnhanceMessage>,
    kind: Kind,
    limit: usize,
    first: v1::Part,
) -> Result<Bytes, Status> {
    let too_large = || wire::status(&EnhanceError::Unsupported(Unsupported::TooLarge));
    if first.ends {
        return if first.data.len() > limit { Err(too_large()) } else { Ok(first.data) };
    }
    let mut data = BytesMut::from(first.data);
    loop {
        let Some(Message::Part(more)) = next(messages).await? else {
            return Err(Nonsense("a part that does not end").into());
        };
        if more.kind() != kind {
            return Err(Nonsense("a part out of order").into());
        }
        if data.len() + more.data.len() > limit {
            return Err(too_large());
        }
        data.extend_from_slice(&more.data);
        if more.ends {
            return Ok(data.freeze());
        }
    }
}
