//! Requests that nobody waits for, by which it is found out how origins are: probes of those that are left alone, and health checks.
//!
//! A probe asks for what a viewer asked for just then, so that it meets what viewers meet; the viewer is served by another origin meanwhile.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::HealthCheckConfig;
use http::header::{RANGE, USER_AGENT};
use tokio::time::sleep;
use url::Url;

use super::pool::{Pool, Pools, Upstream, chance};

const OWN_NAME: &str = concat!("acuity/", env!("CARGO_PKG_VERSION"));

impl Pools {
    /// Probes an origin with what its route's first origin has at `url`, unless somebody else does.
    pub(super) fn probe(self: &Arc<Self>, upstream: &Arc<Upstream>, pool: &Pool, url: &Url) {
        let limit = pool.timeouts.first_byte;
        let Some(url) = pool.upstreams.first().and_then(|first| upstream.base.counterpart(&first.base, url))
        else {
            return;
        };
        if !upstream.claim_probe(self, Instant::now() + limit) {
            return;
        }
        let (pools, upstream) = (Arc::clone(self), Arc::clone(upstream));
        tokio::spawn(async move {
            let well = answers(&pools, url, limit).await;
            pools.instruments.probed(&upstream.label, well);
            upstream.probed(&pools, well);
        });
    }

    /// Begins to check the origins that are to be checked. Within the runtime that serves; once.
    pub fn start(self: &Arc<Self>) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        if watching.is_some() {
            return;
        }
        let tasks = self.upstreams().into_iter().filter_map(|upstream| {
            let check = upstream.check.clone()?;
            let checking = checking(Arc::clone(self), Arc::clone(upstream), check);
            Some(tokio::spawn(checking).abort_handle())
        });
        *watching = Some(tasks.collect());
    }

    /// Ends it: these origins are in force no more.
    pub fn stop(&self) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.get_or_insert_default().drain(..).for_each(|task| task.abort());
    }
}

/// Whether an origin answers, as far as one byte of a body tells.
async fn answers(pools: &Pools, url: Url, limit: Duration) -> bool {
    let asked = pools.client.get(url).header(USER_AGENT, OWN_NAME).header(RANGE, "bytes=0-0").timeout(limit);
    let Ok(mut response) = asked.send().await else { return false };
    !response.status().is_server_error() && response.chunk().await.is_ok()
}

async fn checking(pools: Arc<Pools>, upstream: Arc<Upstream>, check: HealthCheckConfig) {
    let url = format!("{}{}", upstream.label, check.path);
    loop {
        let asked = pools.client.get(&url).header(USER_AGENT, OWN_NAME).timeout(check.timeout).send().await;
        let (well, said) = match asked {
            Ok(response) => {
                let status = u32::from(response.status().as_u16());
                (check.status.contains(&status), format!("status {status}"))
            }
            Err(error) if error.is_timeout() => (false, "no answer in time".to_owned()),
            Err(_) => (false, "cannot be reached".to_owned()),
        };
        pools.instruments.checked(&upstream.label, well);
        upstream.checked(&pools, &check, well, &said);
        sleep(jittered(check.interval)).await;
    }
}

/// A tenth more or less.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance())
}
