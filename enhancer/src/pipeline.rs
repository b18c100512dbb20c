//! The path of pictures: decode, stages, encode, each on a thread of its own, joined by short channels.
//!
//! This file knows no codec and no network, only three small traits. A recipe is a [`Stage`]: it maps pictures
//! to pictures and may hold some back, so that one that needs its neighbours (interpolation) or changes what a
//! picture is (colourisation) fits as well as one that enlarges; stages are chained with [`Then`].
//!
//! Places, not timestamps, travel with the pictures: the place of a picture in the segment's presentation
//! order. The encoder's side fills places that got no picture (see [`Hold`]), so whatever is lost on the way,
//! the number of pictures that come out is the number that the timeline has.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use opentelemetry::Context;

use crate::timeline::{Hold, Timeline};
use crate::{CancelFlag, EnhanceError};

/// Pictures that may wait between two threads: enough to ride out one slow picture, few enough to keep memory
/// flat (a 720p picture is 1.4 MB).
const CHANNEL_PICTURES: usize = 4;

/// A picture and its place in presentation order.
pub(crate) struct Placed<P> {
    pub(crate) index: usize,
    pub(crate) picture: P,
}

/// Where a stage puts what it makes.
pub(crate) type Emit<'a, P> = &'a mut dyn FnMut(Placed<P>) -> Result<(), EnhanceError>;

/// Gives a segment's pictures in presentation order.
pub(crate) trait Decode {
    type Picture: Send;
    /// Decodes everything, a picture at a time. `emit` fails when nobody listens any more: stop then.
    fn run(self, emit: Emit<'_, Self::Picture>) -> Result<(), EnhanceError>;
}

/// Maps pictures to pictures. Runs on the caller's thread.
pub(crate) trait Stage {
    type In: Send;
    type Out: Send;
    /// Takes a picture and emits what is ready, in presentation order.
    fn push(&mut self, placed: Placed<Self::In>, emit: Emit<'_, Self::Out>) -> Result<(), EnhanceError>;
    /// The end of the segment: emits what was held back.
    fn finish(&mut self, _emit: Emit<'_, Self::Out>) -> Result<(), EnhanceError> {
        Ok(())
    }
}

/// Two stages in a row.
pub(crate) struct Then<A, B>(pub(crate) A, pub(crate) B);

impl<A: Stage, B: Stage<In = A::Out>> Stage for Then<A, B> {
    type In = A::In;
    type Out = B::Out;

    fn push(&mut self, placed: Placed<A::In>, emit: Emit<'_, B::Out>) -> Result<(), EnhanceError> {
        let Self(first, second) = self;
        first.push(placed, &mut |between| second.push(between, emit))
    }

    fn finish(&mut self, emit: Emit<'_, B::Out>) -> Result<(), EnhanceError> {
        let Self(first, second) = self;
        first.finish(&mut |between| second.push(between, emit))?;
        second.finish(emit)
    }
}

/// Takes pictures in presentation order, and makes of them what the whole is for.
pub(crate) trait Encode: Sized {
    type Picture: Send;
    type Output: Send;
    /// Encodes the next picture. A picture may come again (held).
    fn push(&mut self, picture: &mut Self::Picture, pts_90k: i64, idr: bool) -> Result<(), EnhanceError>;
    /// A picture to show when there is none at all.
    fn blank(&mut self) -> Result<Self::Picture, EnhanceError>;
    /// A picture is done with; its memory may serve again.
    fn recycle(&mut self, picture: Self::Picture);
    /// Ends the stream.
    fn finish(self) -> Result<Self::Output, EnhanceError>;
}

/// What came out, and how long each thread was busy.
#[derive(Debug)]
pub(crate) struct Made<O> {
    pub(crate) output: O,
    /// Places that show another place's picture.
    pub(crate) held: usize,
    /// Whether there was no picture at all, so that blank ones keep the time.
    pub(crate) blank: bool,
    pub(crate) decode_seconds: f64,
    pub(crate) encode_seconds: f64,
}

/// Runs a segment. The decoder and the encoder are made on their own threads, named `acuity-decode-LANE` and
/// `acuity-encode-LANE`; `stage` runs on the calling thread.
pub(crate) fn run<D, S, E>(
    lane: usize,
    timeline: &Timeline,
    cancel: &CancelFlag,
    decoder: impl FnOnce() -> Result<D, EnhanceError> + Send,
    stage: &mut S,
    encoder: impl FnOnce() -> Result<E, EnhanceError> + Send,
) -> Result<Made<E::Output>, EnhanceError>
where
    D: Decode,
    S: Stage<In = D::Picture>,
    E: Encode<Picture = S::Out>,
{
    let behalf = Context::current();
    thread::scope(|scope| {
        let (decoded_in, decoded_out) = sync_channel(CHANNEL_PICTURES);
        let (made_in, made_out) = sync_channel(CHANNEL_PICTURES);
        let decoding = thread::Builder::new()
            .name(format!("acuity-decode-{lane}"))
            .spawn_scoped(scope, {
                let behalf = behalf.clone();
                move || {
                    let _behalf = behalf.attach();
                    decode(decoder, decoded_in)
                }
            })
            .map_err(|_| EnhanceError::WorkerLost)?;
        let encoding = thread::Builder::new()
            .name(format!("acuity-encode-{lane}"))
            .spawn_scoped(scope, move || {
                let _behalf = behalf.attach();
                encode(encoder, timeline, made_out)
            })
            .map_err(|_| EnhanceError::WorkerLost)?;
        let staged = stages(stage, cancel, decoded_out, made_in);
        // A stage that stopped has dropped both channel ends by now, so both threads come to an end.
        let decode_seconds = decoding.join().map_err(|_| EnhanceError::WorkerLost)?;
        let encoded = encoding.join().map_err(|_| EnhanceError::WorkerLost)?;
        // The encoder's failure is the cause where both failed: the stage then only found nobody listening.
        let mut made = encoded?;
        staged?;
        made.decode_seconds = decode_seconds?;
        Ok(made)
    })
}

/// Sent to a thread that is gone. Never reaches a caller: the other thread's error does.
fn nobody_listens<T>(_: T) -> EnhanceError {
    EnhanceError::Cancelled
}

fn decode<D: Decode>(
    decoder: impl FnOnce() -> Result<D, EnhanceError>,
    out: SyncSender<Placed<D::Picture>>,
) -> Result<f64, EnhanceError> {
    let started = Instant::now();
    let mut waited = 0.0;
    let mut gone = false;
    let result = decoder()?.run(&mut |placed| {
        let at = Instant::now();
        let sent = out.send(placed);
        waited += at.elapsed().as_secs_f64();
        gone = sent.is_err();
        sent.map_err(nobody_listens)
    });
    match result {
        Err(_) if gone => Ok(0.0),
        Err(error) => Err(error),
        Ok(()) => Ok(started.elapsed().as_secs_f64() - waited),
    }
}

fn stages<S: Stage>(
    stage: &mut S,
    cancel: &CancelFlag,
    from: Receiver<Placed<S::In>>,
    to: SyncSender<Placed<S::Out>>,
) -> Result<(), EnhanceError> {
    let mut emit = |placed| to.send(placed).map_err(nobody_listens);
    for placed in from {
        if cancel.is_cancelled() {
            return Err(EnhanceError::Cancelled);
        }
        stage.push(placed, &mut emit)?;
    }
    stage.finish(&mut emit)
}

fn encode<E: Encode>(
    encoder: impl FnOnce() -> Result<E, EnhanceError>,
    timeline: &Timeline,
    from: Receiver<Placed<E::Picture>>,
) -> Result<Made<E::Output>, EnhanceError> {
    let mut busy = Busy::default();
    let mut encoder = busy.count(encoder)?;
    let mut hold = Hold::new(timeline.len());
    let mut last: Option<E::Picture> = None;
    for Placed { index, mut picture } in from {
        let Some(due) = hold.arrive(index) else {
            encoder.recycle(picture);
            continue;
        };
        busy.count(|| {
            if let Some(before) = &mut last {
                for place in due.held {
                    encoder.push(before, timeline.encoder_pts_90k(place), timeline.is_idr(place))?;
                }
            }
            for place in due.fresh {
                encoder.push(&mut picture, timeline.encoder_pts_90k(place), timeline.is_idr(place))?;
            }
            Ok::<_, EnhanceError>(())
        })?;
        if let Some(before) = last.replace(picture) {
            encoder.recycle(before);
        }
    }
    busy.count(|| {
        let blank = last.is_none();
        let mut picture = match last.take() {
            Some(picture) => picture,
            None => encoder.blank()?,
        };
        for place in hold.rest() {
            encoder.push(&mut picture, timeline.encoder_pts_90k(place), timeline.is_idr(place))?;
        }
        encoder.recycle(picture);
        let output = encoder.finish()?;
        Ok(Made { output, held: hold.held(), blank, decode_seconds: 0.0, encode_seconds: 0.0 })
    })
    .map(|made| Made { encode_seconds: busy.seconds, ..made })
}

#[derive(Default)]
struct Busy {
    seconds: f64,
}

impl Busy {
    fn count<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.seconds += started.elapsed().as_secs_f64();
        result
    }
}

#[cfg(test)]
mod tests;
