//! Asking another node for an object, and what is believed of its answer.
//!
//! Frames are checked as they come ([`super::seal`]), the whole by its own sums when it is there: only then it is kept. What is being made
//! there is handed on meanwhile. Where a node is lost after that, what was handed on is not: whoever makes the object then is told what
//! made its begin, and it goes on behind that if it begins with the very same bytes, as with workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::{Response, StatusCode};
use tokio::time::{timeout, timeout_at};

use super::members::Member;
use super::wire::{self, Begin, End, Frames, Kind, ObjectAsked, Refusal, Which};
use super::{Nodes, Shared};
use crate::cache::depot::format;
use crate::cache::flow::{Flow, FlowEnd};
use crate::cache::store::{MP4, Object, TRANSPORT_STREAM};
use crate::deadline::Hurry;
use crate::wanted::Wanted;

/// A larger object is none: what the depot takes, too.
const OBJECT_LIMIT_BYTES: usize = 256 << 20;
/// No object takes this long, whatever signs of life there are.
const LOST_AFTER: Duration = Duration::from_secs(180);
/// What a head is believed to be older than: nothing, since it says how old its object is, and that is as fresh as it says.
const ANY_AGE: Duration = Duration::from_secs(366 * 24 * 3600);

/// What is asked.
pub(crate) struct Ask<'a> {
    pub(crate) wanted: &'a Wanted,
    /// When the viewer asked.
    pub(crate) asked: Instant,
    pub(crate) hurry: Hurry,
    /// Nobody here has been at the segments before.
    pub(crate) is_first: bool,
    pub(crate) audience: u32,
    /// When this node makes it itself, if nothing has come by then.
    pub(crate) late: Instant,
}

/// Why nothing came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No connection.
    Unreachable,
    /// No sign of life.
    Silent,
    /// The answer broke off, or was not what a node sends.
    Broken,
    /// This node's secret is not that one's.
    Forbidden,
    /// Not from there.
    Refused(Refusal),
    /// It is still at it, and the viewer's time is running out.
    Late,
    /// The same, and it has not been heard of for a while, though not for so long that it is out.
    Quiet,
    /// As many are asked as may.
    Crowded,
}

impl Miss {
    /// The metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Broken => "broken",
            Self::Forbidden => "forbidden",
            Self::Refused(why) => why.label(),
            Self::Late | Self::Quiet => "late",
            Self::Crowded => "crowded",
        }
    }

    /// Whether the next on the ring is to be asked: nobody knows whether this one is there, and the others will ask that one too.
    pub(crate) fn is_for_the_next(self) -> bool {
        self.is_nodes() || self == Self::Quiet
    }

    /// Whether the node is not to be asked for a while.
    pub(crate) fn is_nodes(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Silent
                | Self::Broken
                | Self::Forbidden
                | Self::Refused(Refusal::Leaving)
        )
    }
}

/// What of an object has been handed on before it was whole.
pub(crate) struct Sent<'a> {
    /// Shows it to those who wait.
    pub(crate) show: &'a (dyn Fn(&Arc<Flow>) + Send + Sync),
    pub(crate) flow: Option<Arc<Flow>>,
    pub(crate) bytes: BytesMut,
}

impl Sent<'_> {
    /// What made it.
    pub(crate) fn made_by(&self) -> Option<Arc<str>> {
        self.flow.as_ref()?.made_by()
    }

    /// Whether anything has been.
    pub(crate) fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Hands on what is new of a piece that begins at `from`; `false` if it is not what was handed on before.
    fn more(&mut self, begin: Option<&(&'static str, Begin)>, from: usize, piece: &Bytes) -> bool {
        let known = self.bytes.get(from..).unwrap_or_default();
        let again = known.len().min(piece.len());
        if known.get(..again) != piece.get(..again) {
            return false;
        }
        let news = piece.slice(again..);
        let Some((content_type, begin)) = begin.filter(|_| !news.is_empty()) else { return true };
        // What is not handed on piece by piece has no gaps.
        if from + again != self.bytes.len() {
            return true;
        }
        let fresh_for = Duration::from_millis(begin.fresh_for_ms);
        let flow = self.flow.get_or_insert_with(|| Flow::new(content_type, fresh_for, false));
        self.bytes.extend_from_slice(&news);
        if flow.push(news, &begin.made_by) {
            (self.show)(flow);
        }
        true
    }

    /// The object is there, wherever it came from: what was handed on goes on behind that and ends well, or breaks off where it is the
    /// begin of something else.
    pub(crate) fn whole(&mut self, object: &Object) {
        let Some(flow) = &self.flow else { return };
        let is_same = object.bytes.starts_with(&self.bytes);
        if is_same && object.bytes.len() > self.bytes.len() {
            flow.push(object.bytes.slice(self.bytes.len()..), &object.made_by);
        }
        flow.end(if is_same { FlowEnd::Whole } else { FlowEnd::Broken });
    }
}

impl Drop for Sent<'_> {
    /// Whoever gives up leaves nobody waiting.
    fn drop(&mut self) {
        if let Some(flow) = &self.flow {
            flow.end(FlowEnd::Broken);
        }
    }
}

impl Nodes {
    /// Asks `member` for an object. Those who wait get it as it comes, by `sent`.
    ///
    /// # Errors
    /// Why it has to be had elsewhere.
    pub(crate) async fn fetch(
        &self,
        member: &Member,
        ask: &Ask<'_>,
        sent: &mut Sent<'_>,
    ) -> Result<Object, Miss> {
        let Some(shared) = &self.0 else { return Err(Miss::Crowded) };
        let fetched = shared.fetch(member, ask, sent).await;
        let label = match &fetched {
            Ok(object) if &*object.made_by == crate::produce::SOURCE => "source_bytes",
            Ok(_) => "fetched",
            Err(miss) => miss.label(),
        };
        shared.instruments.asked.with_label_values(&[label]).inc();
        if let Err(miss) = &fetched
            && miss.is_nodes()
        {
            shared.failed(member, miss.label());
        }
        fetched
    }
}

impl Shared {
    async fn fetch(&self, member: &Member, ask: &Ask<'_>, sent: &mut Sent<'_>) -> Result<Object, Miss> {
        let started = Instant::now();
        // What has begun to be sent has no other way.
        let late = if sent.has_begun() { started + LOST_AFTER } else { ask.late };
        let Ok(Ok(_place)) = timeout_at(late.into(), self.asking.acquire()).await else {
            return Err(Miss::Crowded);
        };
        let answer_within = self.config.load().answer_within;
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let body = ObjectAsked {
            which: Which::new(ask.wanted, &self.settings),
            buffer_ms: ask.hurry.buffer.map(millis),
            first_byte_ms: ask.hurry.first_byte.map(millis),
            urgent: ask.hurry.urgent,
            waited_ms: millis(started.saturating_duration_since(ask.asked)),
            is_first: ask.is_first,
            audience: ask.audience,
            again_by: sent.made_by().map(|made_by| made_by.to_string()),
            beat_ms: millis(answer_within / 3),
        };
        let reading = async {
            let asking = self.send(member, wire::OBJECT, &body, answer_within);
            let (response, frames) = timeout_at(late.into(), asking).await.map_err(|_| Miss::Quiet)??;
            let mut reader = Reader { response, frames, patience: answer_within };
            self.read(&mut reader, ask, sent, (started, late)).await
        };
        timeout(LOST_AFTER, reading).await.unwrap_or(Err(Miss::Silent))
    }

    async fn read(
        &self,
        reader: &mut Reader,
        ask: &Ask<'_>,
        sent: &mut Sent<'_>,
        (started, late): (Instant, Instant),
    ) -> Result<Object, Miss> {
        let mut whole = BytesMut::new();
        let (mut begin, mut head, mut has_come) = (None, None, false);
        let mut heard = Instant::now();
        loop {
            // Being late counts until the first byte; from then on only silence does.
            let next = match has_come {
                true => reader.next().await,
                false => timeout_at(late.into(), reader.next()).await.unwrap_or_else(|_| {
                    // Two signs of life are missing.
                    Err(if heard.elapsed() > reader.patience * 2 / 3 { Miss::Quiet } else { Miss::Late })
                }),
            };
            let (kind, payload) = next?;
            heard = Instant::now();
            if !has_come && matches!(kind, Kind::Piece | Kind::Head) {
                has_come = true;
                self.instruments.first_byte_seconds.observe(started.elapsed().as_secs_f64());
            }
            match kind {
                Kind::Working => {}
                Kind::Begin => begin = Some(read_begin(&payload)?),
                Kind::Piece => {
                    self.instruments.received_bytes.inc_by(payload.len() as u64);
                    if whole.len() + payload.len() > OBJECT_LIMIT_BYTES {
                        return Err(Miss::Broken);
                    }
                    if !sent.more(begin.as_ref(), whole.len(), &payload) {
                        return Err(Miss::Refused(Refusal::Differs));
                    }
                    whole.extend_from_slice(&payload);
                }
                Kind::Head => head = Some(payload),
                Kind::End => {
                    let end: End = serde_json::from_slice(&payload).map_err(|_| Miss::Broken)?;
                    let head = head.as_ref().ok_or(Miss::Broken)?;
                    let object = assemble(ask.wanted, head, &whole, &end).await?;
                    self.instruments.seconds.observe(started.elapsed().as_secs_f64());
                    return Ok(object);
                }
                Kind::Refused => return Err(Miss::Refused(Refusal::read(&payload))),
            }
        }
    }

    /// Sends a signed request; gives the answer once its head is there.
    pub(super) async fn send(
        &self,
        member: &Member,
        path: &str,
        body: &(impl serde::Serialize + Sync),
        within: Duration,
    ) -> Result<(Response, Frames), Miss> {
        let way = member.way.as_ref().ok_or(Miss::Unreachable)?;
        let body = serde_json::to_vec(body).map_err(|_| Miss::Broken)?;
        let until = tokio::time::Instant::now() + within;
        let post = || {
            let (value, binding) = self.sign(path, &body);
            let request = way.client.post(format!("{}{path}", way.base)).header(super::seal::NODE, value);
            (request.body(body.clone()).send(), binding)
        };
        let (sending, mut binding) = post();
        let mut answer = timeout_at(until, sending).await;
        if matches!(&answer, Ok(Err(error)) if !error.is_connect()) {
            // A connection that lay idle may have been closed while it was taken for this, as by a process that hands over to another.
            let (sending, again) = post();
            (answer, binding) = (timeout_at(until, sending).await, again);
        }
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(Miss::Unreachable),
            Ok(Err(_)) => return Err(Miss::Broken),
            Err(_) => return Err(Miss::Silent),
        };
        match response.status() {
            StatusCode::OK => Ok((response, Frames::new(binding))),
            StatusCode::FORBIDDEN => Err(Miss::Forbidden),
            StatusCode::SERVICE_UNAVAILABLE => Err(Miss::Refused(Refusal::Busy)),
            _ => Err(Miss::Broken),
        }
    }
}

/// An answer, frame by frame.
pub(super) struct Reader {
    pub(super) response: Response,
    pub(super) frames: Frames,
    /// Each frame has to be there within this.
    pub(super) patience: Duration,
}

impl Reader {
    pub(super) async fn next(&mut self) -> Result<(Kind, Bytes), Miss> {
        let until = tokio::time::Instant::now() + self.patience;
        loop {
            if let Some(frame) = self.frames.next().map_err(|_| Miss::Broken)? {
                return Ok(frame);
            }
            match timeout_at(until, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.frames.push(&bytes),
                Ok(Ok(None) | Err(_)) => return Err(Miss::Broken),
                Err(_) => return Err(Miss::Silent),
            }
        }
    }
}

fn read_begin(payload: &[u8]) -> Result<(&'static str, Begin), Miss> {
    let begin: Begin = serde_json::from_slice(payload).map_err(|_| Miss::Broken)?;
    let known = [MP4, TRANSPORT_STREAM].into_iter().find(|known| *known == begin.content_type);
    Ok((known.ok_or(Miss::Broken)?, begin))
}

/// The object, if it is the one that was asked for and all sums are right.
async fn assemble(wanted: &Wanted, head: &Bytes, body: &[u8], end: &End) -> Result<Object, Miss> {
    let bytes = Bytes::from([head, body].concat());
    let (key, named) = (wanted.key, wanted.named());
    // Sums over a megabyte, and a copy of it.
    let read =
        tokio::task::spawn_blocking(move || format::read(&bytes, &key, wire::epoch(), ANY_AGE, |_, _| false));
    let mut object = read.await.map_err(|_| Miss::Broken)?.map_err(|_| Miss::Broken)?;
    if object.named != named {
        return Err(Miss::Broken);
    }
    object.improve_after = end.improve_after_ms.map(Duration::from_millis);
    if object.improve_after.is_some() {
        // Its owner makes it anew when it is asked after that.
        object.fresh_for = object.lifetime(Instant::now());
    }
    Ok(object)
}
