//! One session of a model on a card, and the thread that runs pictures of several lanes through it together.
//!
//! A small network leaves most of a large card idle with one picture, and each run costs the same words between driver and card. So
//! lanes hand their pictures to this thread, which runs as many at a time as [`Policy`] lets it. Copying is the lanes' work where that
//! is possible: each cuts out its own pictures, and reads what was made of them where it lies.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::batch::{Policy, Turn, Waiting};
use super::fixed::Wanted;
use super::network::InferenceError;
use super::runner::{Output, Runner, Shape};

/// The thread, for as long as there is somebody to run for.
pub(super) struct Batcher {
    shared: Arc<Shared>,
    /// What every lane needs to know of the network.
    pub(super) facts: Facts,
}

/// What is known of a network once it is loaded.
#[derive(Clone)]
pub(super) struct Facts {
    /// What it knows of its cluster's pictures, as it stands in the file.
    pub(super) overlay: Option<String>,
    /// The file's batch is fixed at one, as the contract allows.
    pub(super) is_single: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Lanes that are at work with this network.
    active: usize,
    closed: bool,
}

struct Job {
    waiting: Waiting,
    samples: Vec<u8>,
    reply: SyncSender<Done>,
}

struct Done {
    made: Result<Part, InferenceError>,
    /// The job's memory, to be used again.
    samples: Vec<u8>,
}

/// A lane's part of what a run made.
pub(super) struct Part {
    output: Arc<Output>,
    /// Of all pictures of the run.
    first: usize,
    pictures: usize,
    all: usize,
}

impl Part {
    /// The lane's pictures, one after the other, dense.
    pub(super) fn samples(&self) -> Result<&[u8], InferenceError> {
        let samples = self.output.samples()?;
        let picture = samples.len() / self.all.max(1);
        Ok(samples.get(self.first * picture..(self.first + self.pictures) * picture).unwrap_or_default())
    }
}

impl Shared {
    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next run's jobs; `None` when nobody is left.
    fn next(&self, policy: &Policy) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let waiting: Vec<Waiting> = state.jobs.iter().map(|job| job.waiting).collect();
            let now = Instant::now();
            state = match policy.turn(&waiting, state.active, now) {
                Turn::Run(places) => {
                    let mut place = 0;
                    let taken = state.jobs.extract_if(.., |_| {
                        place += 1;
                        places.contains(&(place - 1))
                    });
                    return Some(taken.collect());
                }
                Turn::Idle if state.closed => return None,
                Turn::Idle => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Turn::Wait(until) => {
                    let longest = until.saturating_duration_since(now);
                    let waited = self.arrived.wait_timeout(state, longest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes no more, and lets go of who waits.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.jobs);
        drop(state);
        drop(left);
        self.arrived.notify_all();
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Batcher {
    /// Starts the thread, which owns `runner` and ends with the last handle.
    pub(super) fn start(runner: Runner, facts: Facts, policy: Policy) -> Result<Arc<Self>, InferenceError> {
        let shared = Arc::new(Shared::default());
        let closing = Closing(Arc::clone(&shared));
        let work = move || {
            let mut runner = runner;
            while let Some(jobs) = closing.0.next(&policy) {
                run(&mut runner, jobs);
            }
        };
        thread::Builder::new()
            .name("acuity-batch".to_owned())
            .spawn(work)
            .map_err(|error| InferenceError::Batch(error.to_string()))?;
        Ok(Arc::new(Self { shared, facts }))
    }

    /// Whether its thread has ended, or is about to.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// A lane's way to the network.
    pub(super) fn handle(self: &Arc<Self>) -> Handle {
        Handle { batcher: Arc::clone(self), is_active: false, samples: Vec::new() }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Runs all of them at once and tells each what was made of it.
fn run(runner: &mut Runner, jobs: Vec<Job>) {
    let Some(first) = jobs.first() else { return };
    let (wide, high) = first.waiting.size;
    let all = jobs.iter().map(|job| job.waiting.pictures).sum();
    let made = runner.run(&Wanted::whole([all, wide, high]), &mut |_, mut all| {
        for job in &jobs {
            let (own, rest) = all.split_at_mut(job.samples.len().min(all.len()));
            own.copy_from_slice(&job.samples[..own.len()]);
            all = rest;
        }
    });
    // Whoever has gone does not need to be told.
    match made.map(Arc::new) {
        Ok(output) => {
            let mut first = 0;
            for Job { waiting, samples, reply } in jobs {
                let pictures = waiting.pictures;
                let part = Part { output: Arc::clone(&output), first, pictures, all };
                first += pictures;
                let _ = reply.send(Done { made: Ok(part), samples });
            }
        }
        Err(error) => {
            let text = error.to_string();
            let mut error = Some(error).filter(|_| jobs.len() == 1);
            for Job { samples, reply, .. } in jobs {
                let error = error.take().unwrap_or_else(|| InferenceError::Batch(text.clone()));
                let _ = reply.send(Done { made: Err(error), samples });
            }
        }
    }
}

/// A lane's way to a network that it shares with others.
pub(super) struct Handle {
    batcher: Arc<Batcher>,
    is_active: bool,
    samples: Vec<u8>,
}

impl Handle {
    /// Runs the network on what `fill` writes, perhaps together with other lanes' pictures of that size. Waits for it.
    pub(super) fn run(
        &mut self,
        shape: Shape,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Part, InferenceError> {
        let [pictures, wide, high] = shape;
        let mut samples = std::mem::take(&mut self.samples);
        samples.resize(pictures * wide * high, 0);
        fill(&mut samples);
        let (reply, done) = sync_channel(1);
        let waiting = Waiting { size: (wide, high), pictures, since: Instant::now() };
        {
            let mut state = self.batcher.shared.lock();
            if state.closed {
                return Err(InferenceError::Batch("the thread that runs it has ended".into()));
            }
            if !self.is_active {
                self.is_active = true;
                state.active += 1;
            }
            state.jobs.push(Job { waiting, samples, reply });
        }
        self.batcher.shared.arrived.notify_one();
        let lost = |_| InferenceError::Batch("the thread that runs it was lost".into());
        let Done { made, samples } = done.recv().map_err(lost)?;
        self.samples = samples;
        made
    }

    /// The lane turns to something else: nobody is to wait for it.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.is_active) {
            let shared = &self.batcher.shared;
            let mut state = shared.lock();
            state.active = state.active.saturating_sub(1);
            drop(state);
            shared.arrived.notify_one();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
