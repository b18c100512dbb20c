//! The origins of each route: what is known of each, and which are asked for one thing, in which order.
//!
//! All of a route's origins have the same content. Things are named by the first one's URL, whichever serves: that is what keys,
//! playlists and signatures are made of, and nothing outside this room knows of the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use acuity_config::{BreakerConfig, HealthCheckConfig, OriginConfig, RetriesConfig, RouteConfig, Timeouts};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use url::Url;

use super::breaker::{Breaker, Checks, Standing};
use super::instruments::Instruments;
use super::retries::Budget;
use super::tries::Tries;
use crate::process;
use crate::route::Base;

/// Where nobody says how many files may be open, `origin.max_passed_through = "auto"` is this.
const UNLIMITED: usize = 50_000;

/// The origins of all routes.
pub struct Pools {
    /// By the route's index.
    pools: Vec<Arc<Pool>>,
    pub(super) breaker: BreakerConfig,
    pub(super) budget: Budget,
    retries: RetriesConfig,
    pub(super) instruments: Instruments,
    /// What makes probes and checks.
    pub(super) client: Client,
    pub(super) watching: Mutex<Option<Vec<AbortHandle>>>,
}

/// The origins of one route.
pub(super) struct Pool {
    pub(super) upstreams: Vec<Arc<Upstream>>,
    spread: bool,
    pub(super) timeouts: Timeouts,
}

/// One origin; routes that name it share it.
pub(super) struct Upstream {
    pub(super) base: Base,
    pub(super) url: Url,
    /// Its URL as metrics, logs and operators have it.
    pub(super) label: String,
    pub(super) check: Option<HealthCheckConfig>,
    /// Of what is passed through.
    pub(super) slots: Arc<Semaphore>,
    most_slots: usize,
    health: Arc<Mutex<Health>>,
}

/// What is known of an origin. It survives reloads.
#[derive(Default)]
struct Health {
    breaker: Breaker,
    checks: Checks,
    last_failure: Option<(&'static str, Instant)>,
}

/// What an origin was found to be, as order goes by it.
#[derive(Debug, Clone, Copy)]
struct Found {
    standing: Standing,
    is_up: bool,
}

impl Pools {
    /// The origins of these routes; what is known of those that `before` had too is kept.
    #[must_use]
    pub fn new(
        config: &OriginConfig,
        routes: &[RouteConfig],
        client: Client,
        instruments: Instruments,
        before: Option<&Self>,
    ) -> Self {
        let auto = || process::max_files().map_or(UNLIMITED, |most| (most / 4).max(16));
        let most_slots = config.max_passed_through.unwrap_or_else(auto);
        let mut known: HashMap<Url, Arc<Upstream>> = HashMap::new();
        let check = |url: &Url| {
            routes.iter().find(|route| route.health_check.is_some() && route.origins().any(|own| own == url))
        };
        let mut upstream = |url: &Url| {
            let new = || {
                let had = before.and_then(|before| before.upstream(url));
                let check = check(url).and_then(|route| route.health_check.clone());
                Arc::new(Upstream::new(url, check, most_slots, had))
            };
            Arc::clone(known.entry(url.clone()).or_insert_with(new))
        };
        let pools = routes.iter().map(|route| {
            Arc::new(Pool {
                upstreams: route.origins().map(&mut upstream).collect(),
                spread: route.spread_origins,
                timeouts: route.timeouts.over(config),
            })
        });
        let pools: Vec<_> = pools.collect();
        let budget = match before.filter(|before| before.retries == config.retries) {
            Some(before) => before.budget.clone(),
            None => Budget::new(&config.retries),
        };
        let pools = Self {
            pools,
            breaker: config.breaker.clone(),
            budget,
            retries: config.retries.clone(),
            instruments,
            client,
            watching: Mutex::default(),
        };
        pools.show();
        pools
    }

    /// What there is to ask for `url`, which is where the first origin of route `route` has it. `probes`: the request is one that could be
    /// made once more to find out how an origin is.
    #[must_use]
    pub fn tries(self: &Arc<Self>, route: usize, url: &Url, probes: bool) -> Tries {
        let Some(pool) = self.pools.get(route) else { return Tries::alone(self, url) };
        let preference = pool.preference(url);
        let now = Instant::now();
        let found: Vec<Found> = preference.iter().map(|&at| pool.upstreams[at].found(now)).collect();
        let (order, usable) = order(&found);
        if pool.upstreams.len() > 1 {
            for (at, found) in preference.iter().zip(&found) {
                let upstream = &pool.upstreams[*at];
                if probes && let Standing::Open { due: true, .. } = found.standing {
                    self.probe(upstream, pool, url);
                }
            }
            if let (Some(first), Some(preferred)) = (order.first(), preference.first())
                && *first != 0
            {
                let reason = if found[0].is_up { "breaker" } else { "check" };
                self.instruments.skipped(&pool.upstreams[*preferred].label, reason);
            }
        }
        let order = order.into_iter().map(|place| preference[place]).collect();
        Tries::new(self, pool, url, order, usable)
    }

    /// What operators see of a route's origins.
    #[must_use]
    pub fn report(&self, route: usize) -> Value {
        let now = Instant::now();
        let origins = self.pools.get(route).map(|pool| pool.upstreams.iter());
        origins.into_iter().flatten().map(|upstream| upstream.report(now)).collect()
    }

    /// All origins, each once.
    pub(super) fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        let mut all: Vec<&Arc<Upstream>> = Vec::new();
        for upstream in self.pools.iter().flat_map(|pool| &pool.upstreams) {
            if !all.iter().any(|other| Arc::ptr_eq(other, upstream)) {
                all.push(upstream);
            }
        }
        all
    }

    fn upstream(&self, url: &Url) -> Option<&Arc<Upstream>> {
        self.pools.iter().flat_map(|pool| &pool.upstreams).find(|upstream| upstream.url == *url)
    }

    /// Shows what there is, and nothing that there is no more.
    fn show(&self) {
        let all = self.upstreams();
        self.instruments.keep(all.iter().map(|upstream| upstream.label.as_str()));
        all.iter().for_each(|upstream| upstream.show(&upstream.health(), &self.instruments));
    }
}

impl Pool {
    /// The places of the origins in the order in which they are wanted.
    fn preference(&self, url: &Url) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.upstreams.len()).collect();
        if self.spread && places.len() > 1 {
            // A folder's playlist and segments come from one origin: another one may be a segment behind.
            let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            places.sort_by_cached_key(|&at| {
                let mut hasher = DefaultHasher::new();
                (folder, &self.upstreams[at].label).hash(&mut hasher);
                hasher.finish()
            });
        }
        places
    }
}

/// The places in `found` in the order in which they are asked, and how many of them are well. Those that are not come last, in case that
/// all others fail: those that checks find up before others, and of these the one that has been left alone for longest.
fn order(found: &[Found]) -> (Vec<usize>, usize) {
    let is_well = |place: &usize| found[*place].is_up && found[*place].standing == Standing::Closed;
    let (mut order, mut others): (Vec<usize>, Vec<usize>) = (0..found.len()).partition(is_well);
    let usable = order.len();
    others.sort_by_key(|&place| {
        let Found { standing, is_up } = found[place];
        let since = match standing {
            Standing::Closed => None,
            Standing::Open { since, .. } => Some(since),
        };
        (!is_up, since)
    });
    order.extend(others);
    (order, usable)
}

impl Upstream {
    fn new(url: &Url, check: Option<HealthCheckConfig>, most_slots: usize, had: Option<&Arc<Self>>) -> Self {
        let slots = had.filter(|had| had.most_slots == most_slots).map(|had| Arc::clone(&had.slots));
        let health: Arc<Mutex<Health>> = had.map(|had| Arc::clone(&had.health)).unwrap_or_default();
        if check.is_none() {
            // Nobody would ever find it up again.
            let mut health = health.lock().unwrap_or_else(PoisonError::into_inner);
            health.checks = Checks::default();
        }
        Self {
            base: Base::new(url),
            url: url.clone(),
            label: url.as_str().trim_end_matches('/').to_owned(),
            check,
            slots: slots.unwrap_or_else(|| Arc::new(Semaphore::new(most_slots))),
            most_slots,
            health,
        }
    }

    /// It answered what was asked at `began`.
    pub(super) fn answered(&self, pools: &Pools, began: Instant) {
        pools.instruments.attempt(&self.label, "ok");
        let mut health = self.health();
        if health.breaker.answered(&pools.breaker, began, Instant::now()) {
            self.show(&health, &pools.instruments);
            drop(health);
            tracing::info!(origin = self.label, "the origin answers again");
        }
    }

    /// It did not, or not well.
    pub(super) fn failed(&self, pools: &Pools, why: &'static str) {
        pools.instruments.attempt(&self.label, why);
        let now = Instant::now();
        let mut health = self.health();
        health.last_failure = Some((why, now));
        if health.breaker.failed(&pools.breaker, now, chance()) {
            let failures = health.breaker.in_a_row();
            self.show(&health, &pools.instruments);
            drop(health);
            pools.instruments.opened(&self.label);
            tracing::warn!(
                origin = self.label,
                why,
                failures,
                "the origin fails and is left alone for a while where there is another"
            );
        }
    }

    /// Whether the caller is to probe it, which takes until `until` at most.
    pub(super) fn claim_probe(&self, pools: &Pools, until: Instant) -> bool {
        let mut health = self.health();
        let claimed = health.breaker.probe(Instant::now(), until);
        if claimed {
            self.show(&health, &pools.instruments);
        }
        claimed
    }

    /// What a probe found.
    pub(super) fn probed(&self, pools: &Pools, well: bool) {
        let mut health = self.health();
        let closed = health.breaker.probed(&pools.breaker, well, Instant::now(), chance());
        self.show(&health, &pools.instruments);
        drop(health);
        if closed {
            tracing::info!(origin = self.label, "the origin was probed and is well again");
        }
    }

    /// What a check found.
    pub(super) fn checked(&self, pools: &Pools, check: &HealthCheckConfig, well: bool, said: &str) {
        let mut health = self.health();
        let changed = health.checks.observe(well, check.rise, check.fall);
        if changed.is_some() {
            self.show(&health, &pools.instruments);
        }
        drop(health);
        match changed {
            Some(true) => tracing::info!(origin = self.label, "the origin is up by its health check"),
            Some(false) => {
                tracing::warn!(origin = self.label, said, "the origin is down by its health check")
            }
            None => {}
        }
    }

    fn found(&self, now: Instant) -> Found {
        let health = self.health();
        Found { standing: health.breaker.standing(now), is_up: health.checks.is_up() }
    }

    fn show(&self, health: &Health, instruments: &Instruments) {
        let breaker = match health.breaker.standing(Instant::now()) {
            Standing::Closed => 0,
            Standing::Open { .. } if health.breaker.is_probing() => 1,
            Standing::Open { .. } => 2,
        };
        instruments.state(&self.label, health.checks.is_up() && breaker == 0, breaker);
    }

    fn report(&self, now: Instant) -> Value {
        let health = self.health();
        let (breaker, is_closed) = match health.breaker.standing(now) {
            Standing::Closed => ("closed", true),
            Standing::Open { .. } if health.breaker.is_probing() => ("probing", false),
            Standing::Open { .. } => ("open", false),
        };
        let check = self.check.as_ref().map(|_| if health.checks.is_up() { "up" } else { "down" });
        let last_failure = health.last_failure.map(
            |(why, at)| json!({ "why": why, "seconds_ago": now.saturating_duration_since(at).as_secs() }),
        );
        json!({
            "url": self.url.as_str(),
            "up": is_closed && health.checks.is_up(),
            "breaker": breaker,
            "check": check,
            "failures_in_a_row": health.breaker.in_a_row(),
            "last_failure": last_failure,
        })
    }

    /// What is changed under this lock is whole after each step.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 0 to 1. Nothing depends on its being good.
pub(super) fn chance() -> f64 {
    f64::from(u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0))
        / f64::from(u32::MAX)
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
