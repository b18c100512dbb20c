//! One thing that is wanted of a route's origins: which is asked now, which would be next, and what came of each.
//!
//! Each origin is asked once. Who goes on to the next takes from the [`Budget`](super::retries::Budget).

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::{OriginConfig, RouteTimeouts, Timeouts};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use url::Url;

use super::instruments::Passing;
use super::pool::{Pool, Pools, Upstream};
use super::retries::Retry;

/// How long a request that is passed through waits for others to end before it goes to another origin, or is refused. Requests end in
/// fractions of that where an origin is well.
const BRIEFLY: Duration = Duration::from_millis(250);

/// What has been asked, and what is left to ask.
pub struct Tries {
    pools: Arc<Pools>,
    pool: Option<Arc<Pool>>,
    /// Where the first origin has it.
    first_url: Url,
    /// Where the one that is asked now has it.
    url: Url,
    /// Places in the pool.
    order: Vec<usize>,
    /// So many of these are well.
    usable: usize,
    at: usize,
    began: Instant,
    retry: Option<Retry>,
}

/// Leave to pass a request through; given back when dropped.
#[derive(Default)]
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _passing: Option<Passing>,
}

impl Tries {
    pub(super) fn new(
        pools: &Arc<Pools>,
        pool: &Arc<Pool>,
        url: &Url,
        order: Vec<usize>,
        usable: usize,
    ) -> Self {
        let mut tries = Self {
            pools: Arc::clone(pools),
            pool: Some(Arc::clone(pool)),
            first_url: url.clone(),
            url: url.clone(),
            order,
            usable,
            at: 0,
            began: Instant::now(),
            retry: None,
        };
        tries.settle();
        tries
    }

    /// What belongs to no route has one origin: its own.
    pub(super) fn alone(pools: &Arc<Pools>, url: &Url) -> Self {
        Self {
            pools: Arc::clone(pools),
            pool: None,
            first_url: url.clone(),
            url: url.clone(),
            order: Vec::new(),
            usable: 0,
            at: 0,
            began: Instant::now(),
            retry: None,
        }
    }

    /// Where the origin that is asked now has it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How long it may take.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        let default = || RouteTimeouts::default().over(&OriginConfig::default());
        self.pool.as_ref().map_or_else(default, |pool| pool.timeouts)
    }

    /// Whether this origin has other paths than the first.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let first = self.pool.as_ref().and_then(|pool| pool.upstreams.first());
        first.zip(self.upstream()).is_some_and(|(first, now)| !first.base.is_alike(&now.base))
    }

    /// Whether any origin is left.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.at + 1 < self.order.len()
    }

    /// Whether one is left that is well: then this one need not be waited for as long.
    #[must_use]
    pub fn has_well_next(&self) -> bool {
        self.at + 1 < self.usable
    }

    /// Whether the origin is one of several.
    #[must_use]
    pub fn has_several(&self) -> bool {
        self.order.len() > 1
    }

    /// The one that is asked now has answered, be it that there is no such thing.
    pub fn answered(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.answered(&self.pools, self.began);
        }
        // One that was a retry gives that back, and no more.
        if self.retry.take().is_none() {
            self.pools.budget.answered();
        }
    }

    /// It has not, or not well.
    pub fn failed(&mut self, why: &'static str) {
        if let Some(retry) = self.retry.take() {
            retry.failed();
        }
        if let Some(upstream) = self.upstream() {
            upstream.failed(&self.pools, why);
        }
    }

    /// Goes on to the next origin, if there is one and the budget allows it. `why`: what the one before did.
    pub fn next(&mut self, why: &'static str) -> bool {
        if !self.has_next() {
            return false;
        }
        let Some(retry) = self.pools.budget.take() else {
            self.pools.instruments.exhausted();
            return false;
        };
        self.retry = Some(retry);
        self.go_on(why)
    }

    /// Leave to pass a request through to this origin, or to the next that has room; `None`: all are full.
    pub async fn slot(&mut self) -> Option<Slot> {
        let mut patience = BRIEFLY;
        loop {
            let Some(upstream) = self.upstream() else { return Some(Slot::default()) };
            if let Ok(Ok(permit)) = timeout(patience, Arc::clone(&upstream.slots).acquire_owned()).await {
                let passing = self.pools.instruments.passing(&upstream.label);
                return Some(Slot { _permit: Some(permit), _passing: Some(passing) });
            }
            self.pools.instruments.full(&upstream.label);
            patience = Duration::ZERO;
            // Nothing was asked of this one: it costs no retry.
            if !(self.has_next() && self.go_on("full")) {
                return None;
            }
        }
    }

    fn go_on(&mut self, why: &'static str) -> bool {
        if let Some(upstream) = self.upstream() {
            self.pools.instruments.retried(&upstream.label, why);
        }
        self.at += 1;
        self.settle();
        true
    }

    /// The URL at the origin that is asked now.
    fn settle(&mut self) {
        self.began = Instant::now();
        let first = self.pool.as_ref().and_then(|pool| pool.upstreams.first());
        let url = first
            .zip(self.upstream())
            .and_then(|(first, now)| now.base.counterpart(&first.base, &self.first_url));
        // What is not below the first one's base was asked of it by name, and stays what it is.
        self.url = url.unwrap_or_else(|| self.first_url.clone());
    }

    fn upstream(&self) -> Option<&Arc<Upstream>> {
        self.pool.as_ref()?.upstreams.get(*self.order.get(self.at)?)
    }
}
