//! One segment: its parts in, its pieces out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use acuity_enhancer::{
    CancelFlag, Demand, EnhanceError, EnhanceRequest, EnhancedSegment, Following, Haste, Pieces, Priority,
    Unsupported,
};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Sleep, sleep_until, timeout_at};
use tonic::{Code, Status, Streaming};

use super::CancelOnDrop;
use crate::listen::{self, Desk, Held, Outcome};
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
    place: Place,
    /// When its time is over, if anybody has said so.
    over: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Stream for Replies {
    type Item = Result<v1::EnhanceReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(reply) = self.replies.poll_recv(context) {
            match &reply {
                Some(Ok(v1::EnhanceReply { reply: Some(Reply::Done(_)) })) => {
                    self.place.came_to(Outcome::Made)
                }
                Some(Err(_)) => self.place.came_to(Outcome::Refused),
                Some(Ok(_)) | None => {}
            }
            return Poll::Ready(reply);
        }
        match self.over.as_mut().map(|over| over.as_mut().poll(context)) {
            Some(Poll::Ready(())) => {
                self.is_over = true;
                self.place.came_to(Outcome::Deadline);
                Poll::Ready(Some(Err(over())))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

fn over() -> Status {
    Status::deadline_exceeded("the call's time is over")
}

/// A segment's place among those in hand.
pub(super) enum Place {
    /// Of the one edge there is.
    Own(#[allow(dead_code)] InHand), // held, not read
    /// By leave of a desk.
    Shared(listen::Place),
}

/// A segment in hand.
pub(super) struct InHand(Arc<AtomicU32>);

impl Place {
    pub(super) fn own(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self::Own(InHand(Arc::clone(count)))
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Own(_) => None,
            Self::Shared(place) => Some(place.deadline),
        }
    }

    fn came_to(&mut self, outcome: Outcome) {
        if let Self::Shared(place) = self {
            place.outcome = outcome;
        }
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
    mut place: Place,
    desk: Option<Arc<Desk>>,
    messages: Streaming<v1::EnhanceMessage>,
) -> Result<Replies, Status> {
    let deadline = place.deadline();
    let taken = match deadline {
        None => take(local, desk, messages).await,
        Some(deadline) => {
            let taken = timeout_at(deadline.into(), take(local, desk, messages)).await;
            taken.unwrap_or_else(|_| {
                place.came_to(Outcome::Deadline);
                Err(over())
            })
        }
    };
    let (replies, cancel) = taken.inspect_err(|status| {
        if status.code() != Code::DeadlineExceeded {
            place.came_to(Outcome::Refused);
        }
    })?;
    let over = deadline.map(|deadline| Box::pin(sleep_until(deadline.into())));
    Ok(Replies { replies, _cancel: cancel, place, over, is_over: false })
}

type Answers = UnboundedReceiver<Result<v1::EnhanceReply, Status>>;

async fn take(
    local: &Local,
    desk: Option<Arc<Desk>>,
    mut messages: Streaming<v1::EnhanceMessage>,
) -> Result<(Answers, CancelOnDrop), Status> {
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
        without: super::tiers(&begin.without_tiers)?,
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
    let held = desk.as_ref().map(Desk::holds);
    submit(local, request, begin.takes_pieces, (sender, held));
    Ok((replies, cancel))
}

fn haste(is_start: bool) -> Haste {
    if is_start { Haste::Start } else { Haste::Steady }
}

/// Hands it in. What is made waits in memory for the edge to take it: the segment's own size, no more.
fn submit(
    local: &Local,
    request: EnhanceRequest,
    takes_pieces: bool,
    (sender, held): (UnboundedSender<Result<v1::EnhanceReply, Status>>, Option<Held>),
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
    let finish = move |result: Result<EnhancedSegment, EnhanceError>| {
        drop(held);
        answer(&sender, &sent, result);
    };
    local.enhancer.submit_in_pieces(request, pieces, Box::new(finish));
}

/// What is left of a segment, or why there is none.
fn answer(
    sender: &UnboundedSender<Result<v1::EnhanceReply, Status>>,
    sent: &AtomicUsize,
    result: Result<EnhancedSegment, EnhanceError>,
) {
    match result {
        Ok(EnhancedSegment { mut bytes, report }) => {
            let total = bytes.len() as u64;
            let rest = bytes.split_off(sent.load(Ordering::Relaxed).min(bytes.len()));
            for data in chunks(rest) {
                send(sender, Reply::Piece(v1::Piece { data, made_by: String::new() }));
            }
            let report = Some(wire::report_message(&report));
            send(sender, Reply::Done(v1::Done { report, bytes: total }));
        }
        // If nobody listens any more it was cancelled.
        Err(error) => drop(sender.send(Err(wire::status(&error)))),
    }
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
