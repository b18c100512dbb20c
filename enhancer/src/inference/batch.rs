//! When pictures of several lanes are run together, and which. Pure: time comes in as an argument.
//!
//! A run takes pictures of one size. It starts when it is full, when nobody is left who could join it, or when its oldest
//! picture has waited as long as it may; while one is on its way the next gather by themselves. The oldest decides the size, so that
//! no size waits for ever beside a busier one.

use std::time::{Duration, Instant};

/// What may be run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Pictures in one run, at most.
    pub(super) most: usize,
    /// How long a picture waits for others, at most.
    pub(super) wait: Duration,
}

/// What one lane wants run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Width and height of each of its pictures.
    pub(super) size: (usize, usize),
    /// How many.
    pub(super) pictures: usize,
    pub(super) since: Instant,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Run these, by their places among those that wait.
    Run(Vec<usize>),
    /// Look again when somebody comes, and at this time at the latest.
    Wait(Instant),
    /// Nobody waits.
    Idle,
}

impl Policy {
    /// `waiting`: in the order in which they came; `active`: lanes that are at work with this network, those that wait included.
    pub(super) fn turn(&self, waiting: &[Waiting], active: usize, now: Instant) -> Turn {
        let Some(oldest) = waiting.first() else { return Turn::Idle };
        let mut together = Vec::new();
        let (mut pictures, mut is_full) = (0, false);
        for (place, one) in waiting.iter().enumerate().filter(|(_, one)| one.size == oldest.size) {
            // Whoever is first is run, however much it brings.
            if place > 0 && pictures + one.pictures > self.most {
                is_full = true;
                break;
            }
            together.push(place);
            pictures += one.pictures;
        }
        let due = oldest.since + self.wait;
        if is_full || pictures >= self.most || waiting.len() >= active || now >= due {
            Turn::Run(together)
        } else {
            Turn::Wait(due)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { most: 4, wait: Duration::from_micros(500) };
    const LARGE: (usize, usize) = (640, 360);
    const SMALL: (usize, usize) = (320, 180);

    struct World {
        start: Instant,
        waiting: Vec<Waiting>,
    }

    impl World {
        /// Size, pictures, and microseconds after the start at which they came.
        fn of(came: &[((usize, usize), usize, u64)]) -> Self {
            let start = Instant::now();
            let waiting = came.iter().map(|&(size, pictures, at)| Waiting {
                size,
                pictures,
                since: start + Duration::from_micros(at),
            });
            Self { start, waiting: waiting.collect() }
        }

        fn turn(&self, active: usize, at: u64) -> Turn {
            POLICY.turn(&self.waiting, active, self.start + Duration::from_micros(at))
        }
    }

    #[test]
    fn one_alone_waits_for_nobody() {
        let world = World::of(&[(LARGE, 1, 0)]);
        assert_eq!(world.turn(1, 0), Turn::Run(vec![0]));
        assert_eq!(World::of(&[]).turn(3, 0), Turn::Idle);
    }

    #[test]
    fn others_are_waited_for_as_long_as_it_may_be() {
        let world = World::of(&[(LARGE, 1, 100), (LARGE, 1, 300)]);
        assert_eq!(world.turn(3, 300), Turn::Wait(world.start + Duration::from_micros(600)));
        assert_eq!(world.turn(3, 600), Turn::Run(vec![0, 1]));
        assert_eq!(world.turn(2, 300), Turn::Run(vec![0, 1]), "nobody is left who could come");
    }

    #[test]
    fn a_full_run_starts_at_once() {
        let world = World::of(&[(LARGE, 1, 0), (LARGE, 2, 0), (LARGE, 1, 0), (LARGE, 1, 0)]);
        assert_eq!(world.turn(9, 0), Turn::Run(vec![0, 1, 2]));
        // What does not fit is left for the next; nobody overtakes within a size.
        let world = World::of(&[(LARGE, 3, 0), (LARGE, 2, 0), (LARGE, 1, 0)]);
        assert_eq!(world.turn(9, 0), Turn::Run(vec![0]));
        let world = World::of(&[(LARGE, 7, 0), (LARGE, 1, 0)]);
        assert_eq!(world.turn(9, 0), Turn::Run(vec![0]), "larger than any run, and still run");
    }

    #[test]
    fn sizes_do_not_mix_and_the_oldest_goes_first() {
        let world =
            World::of(&[(SMALL, 1, 0), (LARGE, 1, 10), (LARGE, 1, 20), (LARGE, 2, 30), (SMALL, 1, 40)]);
        assert_eq!(world.turn(9, 40), Turn::Wait(world.start + Duration::from_micros(500)));
        assert_eq!(world.turn(9, 500), Turn::Run(vec![0, 4]));
        assert_eq!(world.turn(5, 40), Turn::Run(vec![0, 4]), "all are here, of whatever size");
    }
}
