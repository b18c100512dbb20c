//! Workers on other machines: found by their names, connected to for as long as they are there, asked how they are.
//!
//! Nobody here starts or ends them. A name may stand for several addresses, each of them a worker; names are resolved again from time to
//! time. Each connection is a member of the pool while it stands, beside this edge's own processes: it takes segments while gRPC's health
//! protocol says SERVING and the worker itself says that it is ready. What is counted in ticks is so for the reason that it is with
//! workers beside the edge: an edge that was stopped itself must not take others for dead.

pub(super) mod instruments;
mod line;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acuity_config::{NodeName, RemoteConfig};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::rustls::ClientConfig;
use tonic::server::NamedService as _;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::member::{End, Far, Member};
use super::{Shared, lock};
use crate::process::message_limit_of;
use crate::service::Service;
use crate::tls;
use crate::wire::v1;
use crate::wire::v1::worker_client::WorkerClient;
use crate::wire::v1::worker_server::WorkerServer;
use instruments::{Shown, State};
use line::{Line, NoLine};

const TICK: Duration = Duration::from_millis(100);

/// For a name server's answer.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);

/// Addresses that one name may stand for.
const ADDRESSES_LIMIT: usize = 256;

/// Answers of the name server without an address until its worker is left: one answer may be a part.
const MISSES: u32 = 3;

/// Between two tries, where the one before came to nothing: half as long again with each, up to the longest. gRPC waits for two minutes
/// at last; a machine that is back is wanted sooner.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LONGER: f64 = 1.5;

/// Share of a pause that is left to chance, so that edges do not come all at once to a worker that is back.
const JITTER: f64 = 0.4;

/// Until a worker has said how it is, once hands were shaken.
const FIRST_SIGN: Duration = Duration::from_secs(5);

/// Keeps members for one name of `workers.remote` for as long as the pool is open.
pub(super) async fn keep(shared: Arc<Shared>, name: NodeName) {
    let Some(remote) = shared.config.remote.clone() else { return };
    let mut known: HashMap<SocketAddr, (watch::Sender<bool>, u32)> = HashMap::new();
    let mut was_resolved = true;
    while !shared.is_closed() {
        match resolve(&name).await {
            Ok(addresses) => {
                was_resolved = true;
                for (_, misses) in known.values_mut() {
                    *misses += 1;
                }
                for address in addresses {
                    let (_, misses) = known.entry(address).or_insert_with(|| {
                        let (leave, left) = watch::channel(false);
                        let place = Place { name: name.clone(), address, remote: remote.clone() };
                        tokio::spawn(stay(Arc::clone(&shared), place, left));
                        (leave, 0)
                    });
                    *misses = 0;
                }
                // With its sender a worker's task hears that it is over.
                known.retain(|_, (_, misses)| *misses < MISSES);
            }
            Err(error) => {
                shared.instruments.far.trouble("resolve");
                if was_resolved {
                    tracing::warn!(%name, error, "a name of workers cannot be resolved: those that are known stay");
                }
                was_resolved = false;
            }
        }
        if name.address().is_some() {
            // It will resolve to itself.
            shared.closed().await;
            return;
        }
        let _ = timeout(remote.resolve_every, shared.closed()).await;
    }
}

async fn resolve(name: &NodeName) -> Result<Vec<SocketAddr>, String> {
    if let Some(address) = name.address() {
        return Ok(vec![address]);
    }
    let found = timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name.host.as_str(), name.port))).await;
    let found = found.map_err(|_| format!("no answer within {RESOLVE_LIMIT:?}"))?;
    Ok(found.map_err(|error| error.to_string())?.take(ADDRESSES_LIMIT).collect())
}

/// Where a worker is.
struct Place {
    name: NodeName,
    address: SocketAddr,
    remote: RemoteConfig,
}

/// What is known of a worker from one connection to the next.
struct Known {
    /// Which process it was; 0: none yet.
    instance: u64,
    suspects: Arc<Mutex<Vec<u64>>>,
    /// Files as they could be read last.
    config: Option<Arc<ClientConfig>>,
    shown: Shown,
    /// What was said of it last: it is said once.
    said: &'static str,
}

/// How a try came out.
enum Parted {
    /// It was of use until then.
    AfterAll,
    /// It came to nothing.
    Nothing,
    /// The name stands for it no more, or the edge is going down.
    ForGood,
}

async fn stay(shared: Arc<Shared>, place: Place, mut left: watch::Receiver<bool>) {
    let mut known = Known {
        instance: 0,
        suspects: Arc::default(),
        config: None,
        shown: shared.instruments.far.one_more(),
        said: "",
    };
    let chance = RandomState::new();
    let mut failures = 0_u32;
    loop {
        failures = match live(&shared, &place, &mut known, &mut left).await {
            Parted::ForGood => return,
            Parted::AfterAll => 0,
            Parted::Nothing => failures.saturating_add(1),
        };
        let jitter = (chance.hash_one(Instant::now()) % 1000) as f64 / 1000.0;
        let pause = pause(failures, jitter);
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.closed() => return,
            // The name stands for it no more.
            _ = left.changed() => return,
        }
    }
}

/// Before the try that follows so many failures; `jitter`: from 0 to 1.
fn pause(failures: u32, jitter: f64) -> Duration {
    let exponent = i32::try_from(failures.min(32)).unwrap_or(32);
    let middle = PAUSE.as_secs_f64() * LONGER.powi(exponent);
    let middle = middle.min(LONGEST_PAUSE.as_secs_f64());
    Duration::from_secs_f64(middle * (1.0 - JITTER / 2.0 + JITTER * jitter))
}

impl Known {
    /// Something went wrong that keeps a worker from being used; it is said when it is new.
    fn trouble(
        &mut self,
        shared: &Shared,
        place: &Place,
        (reason, said): (&'static str, &str),
        state: State,
    ) {
        shared.instruments.far.trouble(reason);
        self.shown.is(state);
        if std::mem::replace(&mut self.said, reason) != reason {
            tracing::warn!(worker = %place.name, address = %place.address, reason, said, "a worker on another machine cannot be used");
        }
    }

    /// Reads certificates and key again: they may have been renewed. One that is being exchanged is used as it was.
    async fn config(&mut self, place: &Place) -> Result<Arc<ClientConfig>, String> {
        let files = place.remote.tls.clone();
        let read = tokio::task::spawn_blocking(move || tls::client(&files)).await;
        match read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string()))
        {
            Ok(config) => self.config = Some(config),
            Err(error) if self.config.is_none() => return Err(error),
            Err(error) => tracing::warn!(error, "certificates of workers.tls stay as they were"),
        }
        self.config.clone().ok_or_else(|| "there is none".to_owned())
    }

    /// Segments that the process before this one was lost with may have ended it.
    fn meets(&mut self, shared: &Shared, instance: u64) {
        let suspects = std::mem::take(&mut *lock(&self.suspects));
        if self.instance != 0 && self.instance != instance {
            shared.instruments.far.trouble("restarted");
            suspects.into_iter().for_each(|key| shared.hurt.by_key(key));
        }
        self.instance = instance;
    }
}

/// One connection's life.
async fn live(
    shared: &Arc<Shared>,
    place: &Place,
    known: &mut Known,
    left: &mut watch::Receiver<bool>,
) -> Parted {
    let config = match known.config(place).await {
        Ok(config) => config,
        Err(said) => {
            known.trouble(shared, place, ("own_files", &said), State::Distrusted);
            return Parted::Nothing;
        }
    };
    let line = match Line::open((&place.name, place.address), &place.remote.tls, config).await {
        Ok(line) => line,
        Err(why) => {
            known.trouble(shared, place, (why.label(), &why.said), state_of(&why));
            return Parted::Nothing;
        }
    };
    let limit = message_limit_of(shared.parts.first().map_or(0, |part| part.enhancer.max_segment_bytes));
    let client = WorkerClient::new(line.channel.clone())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    let far = Far::new(place.address, Arc::clone(&known.suspects));
    let member = Arc::new(Member::new(number, client, Some(far)));
    let signs = signs(&member, &line);
    lock(&shared.members).push(Arc::clone(&member));
    let ended = watch_over(shared, place, (known, left), &member, signs).await;
    // Told first: who has just lost a segment to it asks.
    let _ = member.end.set(End::Stopped);
    line.close();
    let drained = ended.was_draining && member.in_hand.load(Ordering::Acquire) == 0;
    shared.parted(&member);
    match (ended.how, line.distrust()) {
        (How::Left, _) => return Parted::ForGood,
        (_, Some((why, said))) => {
            known.trouble(shared, place, (why.label(), &said), State::Distrusted);
        }
        (How::Silent, None) => {
            known.trouble(shared, place, ("silent", "it gives no sign of life"), State::Unreachable);
        }
        (How::Nonsense(said), None) => known.trouble(shared, place, ("nonsense", said), State::Unreachable),
        (How::Ended(_), None) if drained => {
            tracing::info!(worker = %place.name, address = %place.address, "a worker on another machine has drained");
            known.shown.is(State::Unreachable);
        }
        (How::Ended(said), None) => known.trouble(shared, place, ("ended", &said), State::Unreachable),
    }
    if !drained && ended.was_ready {
        *lock(&shared.last_loss) = Some(Instant::now());
    }
    if ended.was_ready { Parted::AfterAll } else { Parted::Nothing }
}

fn state_of(why: &NoLine) -> State {
    use crate::tls::Distrust::{Closed, Timeout};
    match why.distrust {
        None | Some(Timeout | Closed) => State::Unreachable,
        Some(_) => State::Distrusted,
    }
}

/// Why a connection is over.
enum How {
    Ended(String),
    Silent,
    Nonsense(&'static str),
    Left,
}

struct Ended {
    how: How,
    was_ready: bool,
    was_draining: bool,
}

/// Something that a worker has said of itself.
enum Sign {
    Standing(v1::Standing),
    /// By gRPC's health protocol.
    Serves(bool),
    Ended(Status),
}

async fn watch_over(
    shared: &Arc<Shared>,
    place: &Place,
    (known, left): (&mut Known, &mut watch::Receiver<bool>),
    member: &Arc<Member>,
    mut signs: mpsc::Receiver<Sign>,
) -> Ended {
    let (mut serves, mut was_ready, mut was_draining, mut is_met) = (false, false, false, false);
    let (mut silent_ticks, mut leaving_ticks) = (0_u32, 0_u32);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let how = loop {
        let is_leaving = member.is_leaving.load(Ordering::Acquire);
        tokio::select! {
            biased;
            sign = signs.recv() => match sign {
                Some(Sign::Standing(mut standing)) => {
                    silent_ticks = 0;
                    if !std::mem::replace(&mut is_met, true) {
                        known.meets(shared, standing.instance);
                    }
                    let state = v1::standing::State::try_from(standing.state).unwrap_or_default();
                    was_draining |= state == v1::standing::State::Draining;
                    if !serves {
                        // Both words count.
                        standing.state = v1::standing::State::Starting.into();
                    }
                    let before = member.is_ready();
                    if let Err(crate::wire::Nonsense(said)) = shared.heard(member, standing) {
                        break How::Nonsense(said);
                    }
                    let now = member.is_ready();
                    if now != before || !was_ready {
                        known.shown.is(if now { State::Active } else { State::NotServing });
                    }
                    if now && !before {
                        known.said = "";
                        tracing::info!(worker = %place.name, address = %place.address, "a worker on another machine takes segments");
                    }
                    was_ready |= now;
                }
                Some(Sign::Serves(now)) => {
                    serves = now;
                    if !now {
                        member.is_not_serving();
                        known.shown.is(State::NotServing);
                    }
                }
                Some(Sign::Ended(status)) => break How::Ended(status.message().chars().take(200).collect()),
                None => break How::Ended("it broke off".to_owned()),
            },
            () = shared.closed() => break How::Left,
            _ = left.changed(), if !is_leaving => {
                // It gets nothing more, and makes what it has.
                member.is_leaving.store(true, Ordering::Release);
                shared.changed();
            }
            _ = tick.tick() => {
                silent_ticks += 1;
                member.is_silent_for(TICK * silent_ticks);
                let patience = if is_met { shared.config.silence_limit } else { FIRST_SIGN };
                if TICK * silent_ticks > patience {
                    break How::Silent;
                }
                if is_leaving {
                    leaving_ticks += 1;
                    let is_done = member.in_hand.load(Ordering::Acquire) == 0;
                    if is_done || TICK * leaving_ticks > shared.config.segment_timeout {
                        break How::Left;
                    }
                }
            }
        }
    };
    Ended { how, was_ready, was_draining }
}

/// What a worker says of itself, as it comes; ends with the connection.
fn signs(member: &Arc<Member>, line: &Line) -> mpsc::Receiver<Sign> {
    let (sender, signs) = mpsc::channel(4);
    let (mut client, standings) = (member.client(), sender.clone());
    tokio::spawn(async move {
        let ended = async {
            let mut stream = client.watch(v1::WatchRequest {}).await?.into_inner();
            while let Some(standing) = stream.message().await? {
                if standings.send(Sign::Standing(standing)).await.is_err() {
                    break;
                }
            }
            Err::<(), _>(Status::unavailable("it says no more how it is"))
        };
        if let Err(status) = ended.await {
            // Nobody hears it only where all is over.
            let _ = standings.send(Sign::Ended(status)).await;
        }
    });
    let mut health = HealthClient::new(line.channel.clone());
    tokio::spawn(async move {
        let service = WorkerServer::<Service>::NAME.to_owned();
        let watched = async {
            let mut stream = health.watch(HealthCheckRequest { service }).await?.into_inner();
            while let Some(answer) = stream.message().await? {
                let serves = answer.status() == ServingStatus::Serving;
                if sender.send(Sign::Serves(serves)).await.is_err() {
                    break;
                }
            }
            Ok::<(), Status>(())
        };
        // By gRPC's convention who knows nothing of the protocol counts as well; what else ends it ends the other stream too.
        let serves = matches!(watched.await, Err(status) if status.code() == Code::Unimplemented);
        let _ = sender.send(Sign::Serves(serves)).await;
    });
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let whole = |failures| pause(failures, 0.5);
        assert_eq!(whole(0), PAUSE);
        assert!(whole(1) > whole(0) && whole(3) > whole(2));
        assert_eq!(whole(1000), LONGEST_PAUSE);
        let (least, most) = (pause(1000, 0.0), pause(1000, 1.0));
        assert_eq!((least.as_secs_f64().round(), most.as_secs_f64().round()), (8.0, 12.0));
    }
}
