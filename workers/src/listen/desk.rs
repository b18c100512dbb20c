//! Whom a shared worker takes work from, and how much of it: the answers that gRPC has for this are given before a byte is read.
//!
//! A worker that is supervised has one edge, which knows what it asks for. One that listens has several that know nothing of each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_enhancer::EnhanceError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::instruments::Instruments;
use crate::wire;

/// Questions beside segments (what a stream looks like, comparisons, files of networks) at one time: none of them is urgent.
const BESIDE_LIMIT: usize = 4;

/// At the time itself the library's own clock, and that of callers that use the same one, says CANCELLED. So much before it (a tenth of the
/// time, if that is less) the right word is said and has arrived.
const BEFORE: Duration = Duration::from_millis(100);

/// Takes calls, or does not.
pub(crate) struct Desk {
    /// Segments that may wait or be made.
    limit: u32,
    /// How long a call may take, whatever it says itself.
    longest: Duration,
    in_hand: Arc<AtomicU32>,
    is_draining: AtomicBool,
    /// Segments that were taken.
    taken: AtomicU64,
    /// When what the enhancer holds was handed to it.
    held: Mutex<BTreeMap<u64, Instant>>,
    beside: Arc<Semaphore>,
    ended: watch::Sender<bool>,
    pub(super) instruments: Instruments,
    /// Tells this process from the one that will be here after it.
    pub(crate) instance: u64,
}

/// What became of a call, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The segment was made.
    Made,
    /// The enhancer refused it.
    Refused,
    /// There were too many.
    Full,
    /// The worker is being stopped.
    Draining,
    /// Its time was over.
    Deadline,
    /// Nobody waits for it any more.
    Gone,
}

impl Outcome {
    pub(super) const ALL: [Self; 6] =
        [Self::Made, Self::Refused, Self::Full, Self::Draining, Self::Deadline, Self::Gone];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Refused => "refused",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Deadline => "deadline",
            Self::Gone => "gone",
        }
    }
}

/// A segment that was taken. Says what became of it when it is dropped.
pub(crate) struct Place {
    desk: Arc<Desk>,
    /// When its time is over.
    pub(crate) deadline: Instant,
    pub(crate) outcome: Outcome,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.in_hand.fetch_sub(1, Ordering::AcqRel);
        self.desk.instruments.call(self.outcome);
    }
}

/// Something that the enhancer holds, called or not.
pub(crate) struct Held {
    desk: Arc<Desk>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.desk.held().remove(&self.number);
    }
}

impl Desk {
    pub(super) fn new(
        (limit, longest): (u32, Duration),
        in_hand: Arc<AtomicU32>,
        instance: u64,
        instruments: Instruments,
    ) -> Self {
        Self {
            limit,
            longest,
            in_hand,
            is_draining: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            held: Mutex::default(),
            beside: Arc::new(Semaphore::new(BESIDE_LIMIT)),
            ended: watch::channel(false).0,
            instruments,
            instance,
        }
    }

    /// Takes a segment's call.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if there are too many, UNAVAILABLE if this worker is being stopped.
    pub(crate) fn take(self: &Arc<Self>, metadata: &MetadataMap) -> Result<Place, Status> {
        let before = self.in_hand.fetch_add(1, Ordering::AcqRel);
        let time = said_timeout(metadata).map_or(self.longest, |said| said.min(self.longest));
        let deadline = Instant::now() + time.saturating_sub(BEFORE.min(time / 10));
        let mut place = Place { desk: Arc::clone(self), deadline, outcome: Outcome::Gone };
        // Looked at after it was counted: a drain waits for what is counted.
        if self.is_draining() {
            place.outcome = Outcome::Draining;
            return Err(wire::status(&EnhanceError::ShuttingDown));
        }
        if before >= self.limit {
            place.outcome = Outcome::Full;
            let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
            return Err(wire::status(&EnhanceError::QueueFull { limit }));
        }
        self.taken.fetch_add(1, Ordering::AcqRel);
        Ok(place)
    }

    /// Takes a question that is no segment.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub(crate) fn beside(&self) -> Result<OwnedSemaphorePermit, Status> {
        if self.is_draining() {
            return Err(Status::unavailable("the worker is being stopped"));
        }
        let permit = Arc::clone(&self.beside).try_acquire_owned();
        permit.map_err(|_| {
            Status::resource_exhausted(format!("{BESIDE_LIMIT} such questions are being answered"))
        })
    }

    /// The enhancer gets something.
    pub(crate) fn holds(self: &Arc<Self>) -> Held {
        let mut held = self.held();
        let number = held.last_key_value().map_or(0, |(last, _)| last + 1);
        held.insert(number, Instant::now());
        Held { desk: Arc::clone(self), number }
    }

    /// For how long the enhancer has held what it has held longest.
    pub(super) fn longest_held(&self) -> Duration {
        self.held().values().next().map(Instant::elapsed).unwrap_or_default()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        // What is behind it is changed in single steps: a panic elsewhere leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether segments are taken; else why not, in a word.
    pub(super) fn readiness(&self) -> Result<(), &'static str> {
        match (self.is_draining(), self.instruments.serving.get()) {
            (true, _) => Err("draining"),
            (false, 1) => Ok(()),
            (false, _) => Err("starting"),
        }
    }

    /// Takes nothing more from now on.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    pub(super) fn in_hand(&self) -> u32 {
        self.in_hand.load(Ordering::Acquire)
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Ends the calls that have no end of their own.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Returns when these are to end.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // Without its sender it has ended as well.
            drop(ended.wait_for(|ended| *ended).await.map(drop));
        }
    }
}

/// gRPC's `grpc-timeout`: at most eight digits and a unit.
fn said_timeout(metadata: &MetadataMap) -> Option<Duration> {
    let said = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = said.split_at_checked(said.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::Code;

    use super::*;

    fn desk(limit: u32) -> Arc<Desk> {
        let instruments = Instruments::register(&prometheus::Registry::new()).unwrap();
        Arc::new(Desk::new((limit, Duration::from_secs(60)), Arc::default(), 1, instruments))
    }

    #[test]
    fn time_outs_as_grpc_says_them() {
        for (said, seconds) in [
            ("2S", Some(2.0)),
            ("1500m", Some(1.5)),
            ("3M", Some(180.0)),
            ("1H", Some(3600.0)),
            ("250000u", Some(0.25)),
            ("S", None),
            ("", None),
            ("5", None),
            ("-5S", None),
            ("123456789S", None),
            ("5X", None),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", said.parse().unwrap());
            assert_eq!(said_timeout(&metadata).map(|time| time.as_secs_f64()), seconds, "{said}");
        }
        assert_eq!(said_timeout(&MetadataMap::new()), None);
    }

    #[test]
    fn too_many_are_told_so_and_so_are_those_who_come_too_late() {
        let (desk, none) = (desk(2), MetadataMap::new());
        let places = [desk.take(&none).unwrap(), desk.take(&none).unwrap()];
        let code = |desk: &Arc<Desk>| desk.take(&none).map(drop).unwrap_err().code();
        assert_eq!(code(&desk), Code::ResourceExhausted);
        drop(places);
        assert!(desk.take(&none).is_ok());
        desk.drain();
        assert_eq!((code(&desk), desk.in_hand(), desk.taken()), (Code::Unavailable, 0, 3));
    }

    #[test]
    fn what_is_held_longest_is_known() {
        let desk = desk(2);
        assert_eq!(desk.longest_held(), Duration::ZERO);
        let (first, second) = (desk.holds(), desk.holds());
        drop(first);
        assert!(desk.longest_held() < Duration::from_secs(1));
        drop((second, desk.holds()));
        assert_eq!(desk.longest_held(), Duration::ZERO);
    }
}
