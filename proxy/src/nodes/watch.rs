//! Looking at the other nodes every so often, and at who they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::NodesConfig;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::members::{Member, Region, difference};
use super::{Miss, NodesFault, Shared, wire};

/// For as long as the process runs.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        let config = shared.config.load_full();
        let looking = async {
            let mut ticks = interval(config.check_every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                look(&shared, &config).await;
            }
        };
        tokio::select! {
            () = looking => {}
            () = resolving(&shared, &config) => {}
            () = shared.changed.notified() => {}
        }
    }
}

/// Learns who the nodes are, once or again and again.
async fn resolving(shared: &Shared, config: &NodesConfig) {
    loop {
        let before = shared.region.load_full();
        let found = if config.discover {
            Region::discovered(config, &before, |name, error| {
                shared.instruments.resolve_failures.inc();
                tracing::debug!(%name, %error, "a node's name cannot be resolved");
            })
            .await
        } else {
            Region::named(config, &before)
        };
        learn(shared, &before, found);
        if !config.discover {
            return std::future::pending().await;
        }
        sleep(config.resolve_every).await;
    }
}

fn learn(shared: &Shared, before: &Region, found: Result<Region, NodesFault>) {
    match found {
        Ok(found) if found.is_as(before) && found.own_name() == before.own_name() => {}
        Ok(found) => {
            let (joined, left) = difference(before, &found);
            let own = found.own_name().map(ToString::to_string);
            if own.is_none() {
                tracing::warn!(nodes = found.names(), "this node is none of the members: it owns nothing");
            }
            tracing::info!(nodes = found.names(), joined, left, own, "the nodes of the region");
            shared.region.store(Arc::new(found));
            shared.show_members();
        }
        Err(fault) => tracing::error!(%fault, "the nodes of the region stay as they were"),
    }
}

/// Looks at each of the others at the same time.
async fn look(shared: &Shared, config: &NodesConfig) {
    let region = shared.region.load_full();
    let now = Instant::now();
    let due = region.others().filter(|member| member.health.is_due(now));
    futures::future::join_all(due.map(|member| look_at(shared, config, member))).await;
}

async fn look_at(shared: &Shared, config: &NodesConfig, member: &Member) {
    let answer = shared.tell(member, wire::ALIVE, &(), config.answer_within).await;
    // One that is busy lives.
    let lives = matches!(answer, Ok(()) | Err(Miss::Refused(super::Refusal::Busy)));
    // One that says that it is not there yet knows best when it is.
    let says_no = matches!(answer, Err(Miss::Refused(super::Refusal::Leaving)));
    let down_for = if says_no { Duration::ZERO } else { config.down_for };
    let why = answer.err().map_or("", Miss::label);
    shared.tell_of(member, member.health.checked(lives, Instant::now(), down_for), why);
}
