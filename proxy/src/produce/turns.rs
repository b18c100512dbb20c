//! Whose turn it is among work done ahead.
//!
//! The order is that in which work was *launched*, fixed at that moment. Left to the tasks themselves it would be the runtime's:
//! it runs the task that was spawned last first, so that the farther of two segments would be made before the nearer, which
//! the player asks for next and would then find behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

/// So many pieces of work at one time. Clones share the line.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// A place in the line.
pub(super) enum Place {
    /// It is its turn; without a permit if the line was closed, which nobody does.
    First(Option<OwnedSemaphorePermit>),
    /// It has to wait.
    Later(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// A place behind all that were given before and are still in use.
    pub(super) fn line_up(&self) -> Place {
        // A future is in the line once it was polled; a task's budget must not keep it from that.
        let mut later = Box::pin(unconstrained(Arc::clone(&self.0).acquire_owned()));
        match later.as_mut().now_or_never() {
            Some(permit) => Place::First(permit.ok()),
            None => Place::Later(later),
        }
    }
}

impl Place {
    /// Waits until it is its turn, which lasts until the permit is dropped.
    pub(super) async fn turn(self) -> Option<OwnedSemaphorePermit> {
        match self {
            Self::First(permit) => permit,
            Self::Later(later) => later.await.ok(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// The order in which pieces of work that were launched one after the other from a task have their turns.
    async fn order(at_once: usize, pieces: usize) -> Vec<usize> {
        let turns = Arc::new(Turns::new(at_once));
        let had = Arc::new(Mutex::new(Vec::new()));
        let launched = {
            let had = Arc::clone(&had);
            tokio::spawn(async move {
                let launch = |piece: usize| {
                    let (place, had) = (turns.line_up(), Arc::clone(&had));
                    tokio::spawn(async move {
                        let turn = place.turn().await;
                        had.lock().unwrap().push(piece);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        drop(turn);
                    })
                };
                (0..pieces).map(launch).collect::<Vec<_>>()
            })
        };
        for piece in launched.await.unwrap() {
            piece.await.unwrap();
        }
        had.lock().unwrap().clone()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_launched_first_has_the_first_turn() {
        for _ in 0..50 {
            assert_eq!(order(1, 5).await, [0, 1, 2, 3, 4]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_place_that_is_given_up_lets_the_next_one_go() {
        let turns = Turns::new(1);
        let (first, second, third) = (turns.line_up(), turns.line_up(), turns.line_up());
        assert!(matches!(first, Place::First(_)) && matches!(second, Place::Later(_)));
        drop(second);
        let turn = tokio::spawn(third.turn());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(5), turn).await.unwrap().unwrap().is_some());
    }
}
