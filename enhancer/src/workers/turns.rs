//! What the threads do: one segment after the other, and comparisons when there is nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Job, PendingComparison, Shared};
use crate::compare::Turnout;
use crate::lane::Lane;
use crate::library::Hand;
use crate::report::{MadeBy, Report};
use crate::schedule::Facts;
use crate::{CompareError, EnhanceError, FallbackReason};

/// How soon a segment that waits for a session of another lane is looked at again. The loader wakes lanes itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Shared {
    pub(super) fn work_on(&self, mut lane: Lane) {
        if lane.number() < self.lanes {
            self.ready_lanes.fetch_add(1, Ordering::AcqRel);
            self.wake();
        }
        while let Some(turn) = self.next(lane.number()) {
            match turn {
                Turn::Segment { job, hand, busy } => {
                    self.make(&mut lane, *job, hand, busy);
                    self.busy.fetch_sub(1, Ordering::AcqRel);
                }
                Turn::Comparison(pending) => self.compare(pending),
            }
        }
        self.metrics.ready.set(0);
    }

    fn make(&self, lane: &mut Lane, mut job: Job, hand: Hand, busy: usize) {
        let _behalf = job.request.context.clone().attach();
        let (number, queued_seconds) = (lane.number(), job.queued.elapsed().as_secs_f64());
        let decide = |facts: &Facts<'_>| {
            let verdict = self.board().decide(number, facts, Instant::now());
            self.metrics.decided(&verdict);
            let stream = job.request.demand.stream();
            tracing::debug!(lane = number, stream, choice = ?verdict.choice, why = verdict.why.label(), "decided");
            verdict
        };
        let pieces = job.pieces.take();
        let enhance = || lane.enhance(&job.request, hand, queued_seconds, (busy, &decide), pieces);
        let mut result = if job.request.cancel.is_cancelled() {
            Err(EnhanceError::Cancelled)
        } else {
            // A panic is a bug, and it costs this segment, not the lane: what a lane keeps between segments
            // (scalers, picture memory) and what it hands back (sessions) is valid after any of its operations.
            catch_unwind(AssertUnwindSafe(enhance)).unwrap_or(Err(EnhanceError::WorkerLost))
        };
        let (closing, reserve) = {
            let (mut board, now) = (self.board(), Instant::now());
            let plain = result.as_ref().ok().and_then(|made| is_plain(&made.report));
            (board.finished(number, plain, now), board.reserve(now))
        };
        if let Some(closing) = closing {
            let (stream, late) = (job.request.demand.stream(), closing.late_seconds);
            let (took, predicted) = (closing.took, closing.predicted);
            tracing::debug!(
                lane = number,
                stream,
                took,
                ?predicted,
                late,
                dropped = closing.dropped,
                "closed"
            );
            if closing.dropped && matches!(result, Err(EnhanceError::Cancelled)) {
                result = Err(EnhanceError::MadeRoom);
            }
            self.metrics.closed(&closing, result.as_ref().map(|made| &made.report), reserve);
        }
        match &result {
            Ok(made) => self.metrics.made(&made.report),
            Err(error) => self.metrics.failed(error),
        }
        (job.reply)(result);
    }

    /// Goes on with a comparison until there is something else to do.
    fn compare(&self, PendingComparison { work, reply }: PendingComparison) {
        let pause = || {
            self.busy.load(Ordering::Acquire) > 0
                || self.closed.load(Ordering::Acquire)
                || self.board().len() > 0
        };
        let turnout = catch_unwind(AssertUnwindSafe(|| work.go_on(&self.library, &pause)));
        match turnout.unwrap_or(Turnout::Finished(Err(CompareError::WorkerLost))) {
            Turnout::Finished(result) => reply(result),
            Turnout::Unfinished(_) if self.closed.load(Ordering::Acquire) => {
                reply(Err(CompareError::ShuttingDown));
            }
            Turnout::Unfinished(work) => self.put_aside(PendingComparison { work, reply }),
        }
    }

    /// Leaves a comparison to whichever lane is idle next. One whose caller has gone makes room.
    pub(super) fn put_aside(&self, pending: PendingComparison) {
        let mut slot = self.comparison();
        let waits = slot.as_ref().is_some_and(|other| !other.work.is_cancelled());
        let (refused, why) = if waits {
            (Some(pending), CompareError::Busy)
        } else {
            (slot.replace(pending), CompareError::Cancelled)
        };
        drop(slot);
        if let Some(PendingComparison { reply, .. }) = refused {
            reply(Err(why));
        }
    }

    /// Waits for the next thing to do. A segment whose session is still being made lets others go first; a comparison is only
    /// gone on with while nothing else is done at all.
    fn next(&self, lane: usize) -> Option<Turn> {
        let mut board = self.board();
        loop {
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            let late = board.shed(Instant::now());
            if !late.is_empty() {
                drop(board);
                late.into_iter().for_each(|job| job.refuse(&self.metrics, EnhanceError::TooLate));
                board = self.board();
                continue;
            }
            let is_ready = self.library.installs() > 0;
            let hand = |job: &Job| {
                let hand = self.library.hand(&job.request, job.queued);
                // Who goes away does not wait for anything.
                if job.request.cancel.is_cancelled() { Some(hand.unwrap_or_default()) } else { hand }
            };
            let stop = |job: &Job| job.request.cancel.clone();
            let is_spare = lane >= self.lanes;
            let taken = match (is_ready, is_spare) {
                (true, true) => board.take_spare(Instant::now(), stop).map(|job| (job, Hand::default())),
                (true, false) => board.take(lane, Instant::now(), hand, stop),
                (false, _) => None,
            };
            if let Some((job, hand)) = taken {
                let (stream, left) = (job.request.demand.stream(), seconds_left(&job, Instant::now()));
                let (queued, sessions) = (job.queued.elapsed().as_secs_f64(), hand.sessions());
                tracing::debug!(lane, stream, queued, left, sessions, others = board.len(), "taken");
                self.metrics.queue_depth.set(i64::try_from(board.len()).unwrap_or(i64::MAX));
                self.busy.fetch_add(1, Ordering::AcqRel);
                return Some(Turn::Segment { job: Box::new(job), hand, busy: board.busy() });
            }
            let is_idle = is_ready && !is_spare && board.len() == 0 && self.busy.load(Ordering::Acquire) == 0;
            let mut waits = is_ready && board.len() > 0;
            if is_idle {
                let mut slot = self.comparison();
                let is_due = |pending: &mut PendingComparison| pending.work.is_due(Instant::now());
                if let Some(pending) = slot.take_if(is_due) {
                    return Some(Turn::Comparison(pending));
                }
                waits = slot.is_some();
            }
            // What waits though a lane is free waits for a session, which another lane may give back without a word.
            board = if waits {
                let waited = self.work.wait_timeout(board, LOOK_AGAIN);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.work.wait(board).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

/// What a lane does next.
enum Turn {
    Segment {
        job: Box<Job>,
        hand: Hand,
        /// Lanes that work, this one included.
        busy: usize,
    },
    Comparison(PendingComparison),
}

/// Seconds to its deadline; infinite without one.
fn seconds_left(job: &Job, now: Instant) -> f64 {
    let deadline = job.request.wish().deadline;
    deadline.map_or(f64::INFINITY, |by| {
        by.saturating_duration_since(now).as_secs_f64() - now.saturating_duration_since(by).as_secs_f64()
    })
}

/// Whether a segment was scaled plainly for want of time, or by a model; `None`: for another reason, which says nothing about who
/// came off badly.
fn is_plain(report: &Report) -> Option<bool> {
    match (&report.made_by, report.fallback) {
        (MadeBy::Model { .. }, _) => Some(false),
        (MadeBy::Plain, Some(FallbackReason::DeadlineShort)) => Some(true),
        _ => None,
    }
}
