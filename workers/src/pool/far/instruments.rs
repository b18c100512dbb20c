//! What an edge counts of workers on other machines. What these count themselves they tell whoever asks them: several edges would add it
//! up several times.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::tls::Distrust;

/// What a worker is to this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It makes segments.
    Active,
    /// It is there and takes none: it starts, or drains.
    NotServing,
    /// There is no way to it.
    Unreachable,
    /// Certificates are not what they should be, on one side or the other.
    Distrusted,
}

impl State {
    const ALL: [Self; 4] = [Self::Active, Self::NotServing, Self::Unreachable, Self::Distrusted];

    fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotServing => "not_serving",
            Self::Unreachable => "unreachable",
            Self::Distrusted => "distrusted",
        }
    }
}

/// Troubles beside those of [`Distrust`].
pub(super) const OTHERS: [&str; 9] =
    ["resolve", "connect", "own_files", "silent", "ended", "nonsense", "turned_away", "restarted", "failing"];

#[derive(Clone)]
pub(in crate::pool) struct Fars {
    workers: IntGaugeVec,
    troubles: IntCounterVec,
}

impl Fars {
    pub(in crate::pool) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let fars = Self {
            workers: IntGaugeVec::new(
                Opts::new(
                    "acuity_remote_workers",
                    "Workers on other machines, by address: active (make segments), not_serving (start or drain), unreachable, \
                     distrusted (by certificate)",
                ),
                &["state"],
            )?,
            troubles: IntCounterVec::new(
                Opts::new(
                    "acuity_remote_worker_troubles_total",
                    "What went wrong between this edge and workers on other machines, by reason",
                ),
                &["reason"],
            )?,
        };
        for state in State::ALL {
            fars.workers.with_label_values(&[state.label()]);
        }
        for reason in Distrust::ALL.map(Distrust::label).into_iter().chain(OTHERS) {
            fars.troubles.with_label_values(&[reason]);
        }
        registry.register(Box::new(fars.workers.clone()))?;
        registry.register(Box::new(fars.troubles.clone()))?;
        Ok(fars)
    }

    pub(in crate::pool) fn trouble(&self, reason: &'static str) {
        self.troubles.with_label_values(&[reason]).inc();
    }

    /// One more worker, which is not reached yet.
    pub(super) fn one_more(&self) -> Shown {
        self.workers.with_label_values(&[State::Unreachable.label()]).inc();
        Shown { fars: self.clone(), state: State::Unreachable }
    }
}

/// A worker in the gauge, for as long as it is known.
pub(super) struct Shown {
    fars: Fars,
    state: State,
}

impl Shown {
    pub(super) fn is(&mut self, state: State) {
        let gauge = |state: State| self.fars.workers.with_label_values(&[state.label()]);
        gauge(self.state).dec();
        gauge(state).inc();
        self.state = state;
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.fars.workers.with_label_values(&[self.state.label()]).dec();
    }
}
