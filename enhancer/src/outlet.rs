//! A segment's bytes on their way out while it is being made.
//!
//! A player that gets the begin of a segment early starts sooner. But it also measures: a segment that arrives as slowly as it is
//! made looks like a slow network, and the player leaves the rendition. So nothing is handed out before what is left
//! can be made so fast that the transfer, from its first byte to its last, is `pace` times as quick as the film; on a machine
//! that is quick enough that is at once.
//!
//! Nor is anything begun where a network has been cut short, for want of time or after a fault: that is known of what makes it when the
//! first bytes go out. Where it is cut later is said with the bytes, so that another worker could go on with them.

use std::time::Instant;

use bytes::Bytes;

use crate::begun;
use crate::schedule::Limit;

/// Gets the pieces of a segment in order; together they are [`crate::EnhancedSegment::bytes`]. The text says what makes them: a model's
/// id, or `plain`, and where that was cut short. Called from the enhancer's threads: must not block.
pub type Pieces = Box<dyn FnMut(Bytes, &str) + Send>;

/// Pictures after which the pace of making is believed.
const TELLING_PICTURES: usize = 8;

/// Smaller pieces wait for the next picture: each is a write to every player that waits.
const PIECE_BYTES: usize = 16 << 10;

pub(crate) struct Outlet {
    pieces: Option<Pieces>,
    made_by: String,
    bytes: Vec<u8>,
    /// What of `bytes` has been handed out.
    sent: usize,
    is_open: bool,
    started: Instant,
    pictures: usize,
    done: usize,
    /// Seconds that the transfer of the whole may take.
    transfer_seconds: f64,
    limit: Limit,
}

impl Outlet {
    /// For a segment of `pictures` that last `media_seconds`, made by a model or `plain`; without `pieces` it only collects.
    pub(crate) fn new(
        pieces: Option<Pieces>,
        made_by: String,
        pictures: usize,
        media_seconds: f64,
        pace: f64,
        limit: Limit,
    ) -> Self {
        Self {
            pieces,
            made_by,
            bytes: Vec::new(),
            sent: 0,
            is_open: false,
            started: Instant::now(),
            pictures,
            done: 0,
            transfer_seconds: media_seconds / pace.max(0.1),
            limit,
        }
    }

    /// Where the segment's bytes go.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Another picture is in the segment: hands out what may be.
    pub(crate) fn one_more_picture(&mut self) {
        self.done += 1;
        if self.pieces.is_some() && (self.is_open || self.is_due()) {
            self.is_open = true;
            if self.bytes.len() - self.sent >= PIECE_BYTES {
                self.hand_out();
            }
        }
    }

    /// The segment is complete.
    pub(crate) fn finish(mut self) -> Bytes {
        if self.is_open {
            self.hand_out();
        }
        Bytes::from(self.bytes)
    }

    fn is_due(&self) -> bool {
        let left = self.pictures.saturating_sub(self.done) as f64;
        // The last picture makes the whole, which is better sent as one: its length is known.
        self.done >= TELLING_PICTURES
            && self.done < self.pictures
            && self.limit.cuts() == self.limit.cuts_before()
            && self.started.elapsed().as_secs_f64() / self.done as f64 * left <= self.transfer_seconds
    }

    fn hand_out(&mut self) {
        if let (Some(pieces), Some(news)) = (&mut self.pieces, self.bytes.get(self.sent..))
            && !news.is_empty()
        {
            pieces(Bytes::copy_from_slice(news), &begun::text(&self.made_by, self.limit.cuts()));
            self.sent = self.bytes.len();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Hands out 20 pictures of 20 KiB; gives the sizes of the pieces.
    fn run(pace: f64, media_seconds: f64) -> (Vec<usize>, Bytes) {
        run_within(&Limit::default(), pace, media_seconds)
    }

    fn run_within(limit: &Limit, pace: f64, media_seconds: f64) -> (Vec<usize>, Bytes) {
        let got: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let taker = Arc::clone(&got);
        let pieces: Pieces = Box::new(move |piece, _| taker.lock().unwrap().push(piece));
        let mut outlet = Outlet::new(Some(pieces), "model".into(), 20, media_seconds, pace, limit.clone());
        for picture in 0..20 {
            outlet.buffer().extend(vec![picture; 20 << 10]);
            outlet.one_more_picture();
        }
        let whole = outlet.finish();
        let got = got.lock().unwrap();
        if !got.is_empty() {
            assert_eq!(got.concat(), whole);
        }
        (got.iter().map(Bytes::len).collect(), whole)
    }

    #[test]
    fn a_quick_machine_hands_out_from_the_start() {
        let (pieces, whole) = run(2.0, 60.0);
        assert_eq!((pieces[0], pieces.len(), whole.len()), (8 * (20 << 10), 13, 20 * (20 << 10)));
    }

    #[test]
    fn a_slow_one_only_when_the_rest_is_quick() {
        // No time at all for the transfer: it is the whole or nothing.
        let (pieces, whole) = run(1e12, 1.0);
        assert_eq!((pieces, whole.len()), (vec![], 20 * (20 << 10)));
    }

    #[test]
    fn what_was_cut_is_sent_when_it_is_whole() {
        let limit = Limit::default();
        limit.cut_network(3);
        let (pieces, whole) = run_within(&limit, 2.0, 60.0);
        assert_eq!((pieces, whole.len()), (vec![], 20 * (20 << 10)));
    }

    #[test]
    fn without_a_taker_it_collects() {
        let mut outlet = Outlet::new(None, "plain".into(), 1, 1.0, 2.0, Limit::default());
        outlet.buffer().extend(b"all");
        outlet.one_more_picture();
        assert_eq!(outlet.finish(), "all");
    }
}
