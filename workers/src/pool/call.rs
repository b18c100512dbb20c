//! One segment through the pool: asked of one worker, and of one more if that one is lost.
//!
//! Some of the segment may have been sent on to players by then. It is then made again by the same model, and goes on behind what has been
//! sent if its begin is that, byte for byte: an encoder that is given the same pictures writes the same bytes. If it is not, what was
//! sent is the begin of nothing, and players are told so as with any transfer that breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use acuity_enhancer::{EnhanceError, EnhanceRequest, EnhancedSegment, Haste, Pieces, Upscaler};
use bytes::{Bytes, BytesMut};
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Streaming};

use super::member::Member;
use super::{Not, Shared};
use crate::trail;
use crate::wire::v1::enhance_reply::Reply;
use crate::wire::v1::part::Kind;
use crate::wire::{self, v1};

/// Workers that a segment is asked of.
const ATTEMPTS: usize = 2;

/// The same of one that has begun to be sent, and how long each waits for a worker: there is no other way left, and a pause in a transfer
/// is less than its end. Players give a segment up after twenty seconds.
const ATTEMPTS_BEGUN: usize = 5;
const PATIENCE_BEGUN: Duration = Duration::from_secs(15);

/// How long a segment without a deadline waits for a worker: a spare one needs no time at all, a start takes seconds. One with a deadline
/// waits until then and no longer: the source's own bytes are better than a stall.
const PATIENCE: Duration = Duration::from_millis(500);

/// By how much a call's own deadline is behind the time that a segment may take.
const CALL_MORE: Duration = Duration::from_secs(1);

/// Between two looks at whether a segment is late and its worker silent.
const LOOK: Duration = Duration::from_millis(100);

/// A segment of more bytes is none: it would be four times what the largest source at the highest rate comes to.
const OUTPUT_LIMIT: usize = 512 << 20;

/// Why one attempt came to nothing.
enum Failure {
    /// The worker has said so.
    Refused(EnhanceError),
    /// The worker is lost, or talks nonsense.
    Lost,
    /// It was made again, and it is not the same.
    Differs,
    /// The deadline is over, and the worker gives no sign of life.
    Quiet,
}

/// What has been sent on already.
#[derive(Default)]
struct Sent {
    made_by: Option<String>,
    bytes: Bytes,
}

impl Shared {
    /// Has a segment made. `raised` tells that its demand has risen.
    pub(super) async fn enhance(
        &self,
        mut request: EnhanceRequest,
        mut pieces: Option<Pieces>,
        raised: Arc<Notify>,
    ) -> Result<EnhancedSegment, EnhanceError> {
        if self.hurt.is_shunned(&request.segment) {
            self.instruments.shunned.inc();
            return Err(EnhanceError::WorkerLost);
        }
        let mut sent = Sent::default();
        let (mut not, mut is_again) = (Not::default(), false);
        // What is said where nobody else can be asked.
        let mut turned_away = None;
        request.without = self.memory.without(&request.spec, Instant::now());
        if !self.is_calm() {
            pieces = None;
        }
        for attempt in 0..ATTEMPTS_BEGUN {
            let has_begun = !sent.bytes.is_empty();
            if attempt >= ATTEMPTS && !has_begun {
                break;
            }
            if self.is_closed() {
                return Err(EnhanceError::ShuttingDown);
            }
            let now = Instant::now();
            // Who comes meanwhile may need it sooner.
            let give_up = || match request.wish().deadline {
                deadline if has_begun => deadline.max(Some(now + PATIENCE_BEGUN)).unwrap_or(now),
                // Nothing else can be given, or another node has begun to send it.
                Some(deadline) if !request.demand.yields() => deadline.max(now + PATIENCE_BEGUN),
                Some(deadline) => deadline,
                // As a second try, after a network that came to nothing, the plain scaler takes who is there.
                None if request.spec.upscaler == Upscaler::Bicubic && request.demand.yields() => now,
                None => now + PATIENCE,
            };
            let Some(member) = self.pick(&request.spec, not, give_up, &raised).await else {
                let none = if self.is_closed() { EnhanceError::ShuttingDown } else { EnhanceError::NoWorker };
                return Err(turned_away.unwrap_or(none));
            };
            // What another machine makes is sent when it is whole: ways break off, and what was begun has to go on.
            if member.far.is_some() {
                pieces = None;
            }
            let span =
                trail::child("acuity.worker.v1.Worker/Enhance", SpanKind::Client, called(&member, attempt));
            let asked = self.ask(&member, &request, (&mut pieces, &mut sent), &raised);
            let asked = trail::within(span.as_ref(), asked).await;
            ended(span.as_ref(), &asked);
            let outcome = match &asked {
                Ok(_) => "made",
                Err(Failure::Refused(_)) => "refused",
                Err(Failure::Lost | Failure::Differs | Failure::Quiet) => "lost",
            };
            if is_again {
                self.instruments.again(outcome);
            }
            match asked {
                Ok(made) => {
                    self.hurt.cleared(&request.segment);
                    if member.has_made(&made.report) && member.far.is_some() {
                        self.instruments.far.trouble("failing");
                    }
                    return Ok(made);
                }
                Err(Failure::Refused(why)) => {
                    let Some(far) = member.far.as_ref().filter(|_| turns_away(&why)) else { return Err(why) };
                    far.avoid();
                    self.instruments.far.trouble("turned_away");
                    let is_full = matches!(why, EnhanceError::QueueFull { .. });
                    not.number = Some(member.number);
                    if is_full && self.best(Some(&request.spec), not).is_none() {
                        return Err(why);
                    }
                    turned_away = Some(why);
                }
                Err(Failure::Quiet) => {
                    if let Some(far) = &member.far {
                        far.avoid();
                    }
                    return Err(EnhanceError::NoWorker);
                }
                Err(Failure::Differs) => {
                    let made_by = sent.made_by.as_deref();
                    let bytes = sent.bytes.len();
                    tracing::warn!(
                        made_by,
                        bytes,
                        "a segment of which the begin was sent came out differently"
                    );
                    return Err(EnhanceError::WorkerLost);
                }
                Err(Failure::Lost) => {
                    match &member.far {
                        // Whether it has ended, or merely the way to it, shows when there is one again.
                        Some(far) => {
                            far.avoid();
                            far.suspect(self.hurt.key(&request.segment));
                        }
                        None => self.is_gone(&member, &request.segment).await,
                    }
                    (not.number, is_again, turned_away) = (Some(member.number), true, None);
                    // What has begun goes on behind the very same bytes, which this edge's own workers write alike.
                    not.far = !sent.bytes.is_empty();
                    request.again_by = sent.made_by.clone();
                }
            }
        }
        Err(turned_away.unwrap_or(EnhanceError::WorkerLost))
    }

    /// A worker of this edge's own has ended, or is about to, with a segment in its hands.
    async fn is_gone(&self, member: &Arc<Member>, segment: &Bytes) {
        // Nobody else is to wait for it meanwhile.
        if !member.is_leaving.swap(true, Ordering::AcqRel) {
            self.changed();
        }
        if member.how_it_ended().await.is_some_and(super::member::End::may_be_a_segments) {
            self.hurt.by(segment);
        }
    }

    async fn ask(
        &self,
        member: &Arc<Member>,
        request: &EnhanceRequest,
        (pieces, sent): (&mut Option<Pieces>, &mut Sent),
        raised: &Notify,
    ) -> Result<EnhancedSegment, Failure> {
        let _in_hand = member.takes_one();
        let (sender, messages) = mpsc::unbounded_channel();
        // It fails only where the worker is gone, which is seen below.
        let send = |message| drop(sender.send(message));
        send(wire::begin(request, pieces.is_some()));
        let inputs = request.init.iter().map(|init| (Kind::Init, init));
        let inputs = inputs.chain(request.lead_in.iter().map(|segment| (Kind::LeadIn, segment)));
        for (kind, bytes) in inputs.chain([(Kind::Segment, &request.segment)]) {
            wire::parts(kind, bytes.clone()).into_iter().for_each(send);
        }
        let later = sender.clone();
        request.following.when_here(move |segment| {
            let parts = wire::parts(Kind::Following, segment.clone());
            parts.into_iter().for_each(|part| drop(later.send(part)));
        });
        let mut call = Request::new(UnboundedReceiverStream::new(messages));
        // The client's own end of it would come first, and nobody would know that the worker is stuck.
        call.set_timeout(self.config.segment_timeout + CALL_MORE);
        trail::inject(call.metadata_mut());
        let mut client = member.client();
        let has_begun = AtomicBool::new(!sent.bytes.is_empty());
        let mut taken = Taken { whole: BytesMut::new(), pieces, sent, has_begun: &has_begun };
        let work = async {
            let replies = client.enhance(call).await.map_err(|status| failure(&status))?.into_inner();
            taken.take(replies).await
        };
        let too_long = sleep_until((Instant::now() + self.config.segment_timeout).into());
        tokio::pin!(work, too_long);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                made = &mut work => return made,
                () = raised.notified() => {
                    let wish = request.wish();
                    let raise = v1::Raise {
                        deadline_ms: wish.deadline.map(wire::millis_from_now),
                        is_start: wish.haste == Haste::Start,
                        audience: wish.audience,
                    };
                    send(v1::EnhanceMessage { message: Some(v1::enhance_message::Message::Raise(raise)) });
                }
                _ = look.tick(), if request.demand.yields() => {
                    let is_over = request.wish().deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    // It may be about to be killed for it, but whoever asks has no time to see that.
                    if is_over && member.is_quiet() && !has_begun.load(Ordering::Acquire) {
                        return Err(Failure::Quiet);
                    }
                }
                () = &mut too_long => {
                    member.is_stuck.notify_one();
                    return Err(Failure::Lost);
                }
            }
        }
    }
}

/// What is told of a call, of the attempts at a segment the `attempt`th from 0.
fn called(member: &Member, attempt: usize) -> Vec<KeyValue> {
    let attempt = i64::try_from(attempt).unwrap_or(i64::MAX);
    let far = member.far.as_ref();
    let address = far.map(|far| KeyValue::new("server.address", far.address.to_string()));
    let mut told = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", "acuity.worker.v1.Worker/Enhance"),
        KeyValue::new("acuity.worker", i64::try_from(member.number).unwrap_or(i64::MAX)),
        KeyValue::new("acuity.attempt", attempt),
    ];
    told.extend(address);
    told
}

/// Ends a call's span, below which stand the stages that the worker tells of.
fn ended(span: Option<&Context>, asked: &Result<EnhancedSegment, Failure>) {
    let failed = match asked {
        Ok(made) => {
            trail::stages(span, &made.report, SystemTime::now());
            None
        }
        Err(Failure::Refused(why)) => Some(why.label()),
        Err(Failure::Lost) => Some("worker_lost"),
        Err(Failure::Quiet) => Some("no_worker"),
        Err(Failure::Differs) => Some("differs"),
    };
    trail::end(span, [], failed);
}

/// Whether a worker says no more than that somebody else should be asked.
fn turns_away(why: &EnhanceError) -> bool {
    matches!(why, EnhanceError::QueueFull { .. } | EnhanceError::ShuttingDown)
}

/// A status is the enhancer's word if it says so, and else the worker's end.
fn failure(status: &tonic::Status) -> Failure {
    wire::refusal(status).map_or(Failure::Lost, Failure::Refused)
}

/// What has come of a segment.
struct Taken<'a> {
    whole: BytesMut,
    pieces: &'a mut Option<Pieces>,
    sent: &'a mut Sent,
    /// Whether some of it was sent on.
    has_begun: &'a AtomicBool,
}

impl Taken<'_> {
    async fn take(&mut self, mut replies: Streaming<v1::EnhanceReply>) -> Result<EnhancedSegment, Failure> {
        loop {
            let reply = replies.message().await.map_err(|status| failure(&status))?;
            match reply.and_then(|reply| reply.reply) {
                Some(Reply::Piece(piece)) => self.piece(&piece)?,
                Some(Reply::Done(done)) => {
                    if done.bytes != self.whole.len() as u64 {
                        return Err(Failure::Lost);
                    }
                    if self.sent.bytes.len() > self.whole.len() {
                        return Err(Failure::Differs);
                    }
                    let report = done.report.ok_or(Failure::Lost)?;
                    let report = wire::report(report).map_err(|_| Failure::Lost)?;
                    return Ok(EnhancedSegment { bytes: std::mem::take(&mut self.whole).freeze(), report });
                }
                // It ended without its end.
                None => return Err(Failure::Lost),
            }
        }
    }

    /// Takes a piece, and sends on what is new of it if anything is to be sent on before the whole is there.
    fn piece(&mut self, piece: &v1::Piece) -> Result<(), Failure> {
        let from = self.whole.len();
        if from + piece.data.len() > OUTPUT_LIMIT || piece.made_by.len() > wire::NAME_LIMIT {
            return Err(Failure::Lost);
        }
        self.whole.extend_from_slice(&piece.data);
        let known = self.sent.bytes.get(from..).unwrap_or_default();
        let again = known.len().min(piece.data.len());
        if known.get(..again) != piece.data.get(..again) {
            return Err(Failure::Differs);
        }
        let has_begun = !self.sent.bytes.is_empty();
        let news = piece.data.slice(again..);
        let Some(pieces) = self.pieces.as_mut().filter(|_| has_begun || !piece.made_by.is_empty()) else {
            return Ok(());
        };
        if news.is_empty() {
            return Ok(());
        }
        let made_by = self.sent.made_by.get_or_insert_default();
        // Where it was cut short comes to be known with the bytes.
        if !piece.made_by.is_empty() {
            made_by.clone_from(&piece.made_by);
        }
        pieces(news, made_by);
        self.has_begun.store(true, Ordering::Release);
        // What was sent is what there is: nothing was held back before it.
        self.sent.bytes = Bytes::copy_from_slice(&self.whole);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes `pieces` (text and whether it is for sending on); gives what was sent on, or `None` where it differs.
    fn take(sent: &mut Sent, pieces: &[(&str, bool)]) -> Option<String> {
        let news: Arc<Mutex<String>> = Arc::default();
        let taker = Arc::clone(&news);
        let mut out: Option<Pieces> = Some(Box::new(move |piece: Bytes, _: &str| {
            taker.lock().unwrap().push_str(std::str::from_utf8(&piece).unwrap());
        }));
        let has_begun = AtomicBool::new(false);
        let mut taken = Taken { whole: BytesMut::new(), pieces: &mut out, sent, has_begun: &has_begun };
        for (text, is_early) in pieces {
            let made_by = if *is_early { "model".to_owned() } else { String::new() };
            let piece = v1::Piece { data: Bytes::copy_from_slice(text.as_bytes()), made_by };
            taken.piece(&piece).ok()?;
        }
        Some(news.lock().unwrap().clone())
    }

    #[test]
    fn what_goes_on_elsewhere_goes_on_where_it_stopped() {
        let mut sent = Sent::default();
        assert_eq!(take(&mut sent, &[("abc", true), ("de", true)]).unwrap(), "abcde");
        assert_eq!(sent.made_by.as_deref(), Some("model"));
        // Other pieces, the same bytes, and nothing early this time.
        assert_eq!(take(&mut sent, &[("ab", false), ("cdefg", false), ("h", false)]).unwrap(), "fgh");
        assert_eq!(sent.bytes, "abcdefgh");
        assert_eq!(take(&mut sent, &[("abcX", false)]), None, "something else");
    }

    #[test]
    fn what_is_not_for_sending_on_is_kept_back() {
        let mut sent = Sent::default();
        assert_eq!(take(&mut sent, &[("abc", false), ("de", false)]).unwrap(), "");
        assert!(sent.bytes.is_empty());
    }
}
