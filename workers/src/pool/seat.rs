//! A worker's place: a process is started there, watched, ended when it must be, and another one started.
//!
//! Signs of life are counted in ticks of this process's own clock, not in time that has passed: an edge that was stopped itself (a
//! debugger, a suspended machine) must not take its workers for dead when it goes on.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use acuity_config::WorkerPart;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::member::{End, Member};
use super::{Shared, lock, settled};
use crate::process::{
    CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, cpu_time, message_limit_of, resident_bytes,
};
use crate::wire::v1;
use crate::wire::v1::worker_client::WorkerClient;

const TICK: Duration = Duration::from_millis(100);

/// Until the first sign of life: libraries are loaded, cards opened.
const FIRST_SIGN: Duration = Duration::from_secs(60);

/// Until the first worker has found out what runs networks: it took two seconds and a half on two cores with eight busy loops beside it.
const FIRST_WAY: Duration = Duration::from_secs(60);

/// Until it is ready. TensorRT compiles networks for minutes.
const READY_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Ticks between two looks at a worker's memory and processor time: each costs a read of a small file.
const LOOK_TICKS: u32 = 5;

/// After the connection has ended, the process ends within this, or is ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Between two starts at one place, where the one before had been ready: a loop of crashes costs half a core at most.
const APART: Duration = Duration::from_secs(1);

/// The same where it had not: doubled with each, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Between two workers at one place that are replaced because networks fail them: where a network is at fault, and no card, the next
/// fails as well.
const FAILING_APART: Duration = Duration::from_secs(10 * 60);

/// What a worker gets of the edge's environment, by the begin of the names: where libraries are and how cards are seen. The rest may be
/// secrets.
const ENVIRONMENT: [&str; 10] =
    ["LD_LIBRARY_PATH", "PATH", "TZ", "CUDA_", "NVIDIA_", "ORT_", "OMP_", "OV_", "RUST_BACKTRACE", "TBB"];

/// Keeps a worker at this place for as long as the pool is open.
pub(super) async fn keep(shared: Arc<Shared>, place: usize) {
    let mut failures = 0_u32;
    let mut failing_from = Instant::now();
    if place > 0 {
        shared.way_is_known(place).await;
    }
    while !shared.is_closed() {
        let started = Instant::now();
        let end = live(&shared, place, failing_from).await;
        if end == End::Failing {
            failing_from = Instant::now() + FAILING_APART;
        }
        failures = if end == End::NotReady { failures.saturating_add(1) } else { 0 };
        let pause = match failures {
            0 => APART.saturating_sub(started.elapsed()),
            times => PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_PAUSE),
        };
        // Nobody waits for a pool that is going down.
        let _ = timeout(pause, shared.closed()).await;
    }
}

/// One worker's life. Before `failing_from` it is not replaced because networks fail it.
async fn live(shared: &Arc<Shared>, place: usize, failing_from: Instant) -> End {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    shared.instruments.starts.inc();
    let (mut process, client) = match Process::start(shared, place, number).await {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(worker = number, %error, "a worker cannot be started");
            shared.instruments.ended(End::NotReady);
            return End::NotReady;
        }
    };
    let member = Arc::new(Member::new(number, client, None));
    lock(&shared.members).push(Arc::clone(&member));
    let Watched { end, last_seen, has_left } =
        watch(shared, (place, failing_from), &member, &mut process).await;
    // Told first: who has just lost a segment to it asks.
    let _ = member.end.set(end);
    if has_left {
        // Its last segment was made since it was last asked what it had counted.
        shared.tally_of(&member).await;
    }
    process.end().await;
    shared.resident(place, 0);
    shared.instruments.ended(end);
    match end {
        End::Recycled | End::CpuTime | End::Stopped if has_left || end == End::Stopped => {
            tracing::info!(worker = number, why = end.label(), "a worker has ended")
        }
        End::Failing => {
            tracing::warn!(worker = number, "networks fail a worker, and another takes its place")
        }
        _ => tracing::warn!(
            worker = number,
            why = end.label(),
            in_hand = member.in_hand.load(Ordering::Acquire),
            asked = member.asked.load(Ordering::Acquire),
            "a worker is lost"
        ),
    }
    if !has_left && end != End::Stopped {
        *lock(&shared.last_loss) = Some(Instant::now());
    }
    shared.lost(&member, last_seen);
    end
}

struct Watched {
    end: End,
    last_seen: Instant,
    /// By plan: it got nothing more and finished what it had.
    has_left: bool,
}

/// Watches a worker until it has ended or has to.
async fn watch(
    shared: &Arc<Shared>,
    (place, failing_from): (usize, Instant),
    member: &Arc<Member>,
    process: &mut Process,
) -> Watched {
    let born = Instant::now();
    let mut last_seen = born;
    let (mut is_known, mut was_ready, mut is_spent) = (false, false, false);
    let (mut silent_ticks, mut ticks, mut leaving_ticks) = (0_u32, 0_u32, 0_u32);
    let (mut why_leaving, mut has_left) = (End::Recycled, false);
    let mut signs = signs(member);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let limits = &shared.config;
    let end = loop {
        tokio::select! {
            biased;
            status = process.child.wait() => break how(status.ok(), was_ready),
            sign = signs.recv() => {
                let Some(standing) = sign else {
                    let status = timeout(LAST_WORDS, process.child.wait()).await;
                    break how(status.ok().and_then(Result::ok), was_ready);
                };
                if let Err(nonsense) = shared.heard(member, standing) {
                    tracing::error!(worker = member.number, %nonsense, "a worker talks nonsense");
                    break End::Crash;
                }
                (silent_ticks, is_known, last_seen) = (0, true, Instant::now());
                if !was_ready && member.is_ready() {
                    was_ready = true;
                    shared.instruments.start_seconds.observe(born.elapsed().as_secs_f64());
                    tracing::info!(worker = member.number, seconds = born.elapsed().as_secs_f64(), "a worker is ready");
                }
            }
            () = member.is_stuck.notified() => break End::Stuck,
            () = shared.closed() => break End::Stopped,
            _ = tick.tick() => {
                (silent_ticks, ticks) = (silent_ticks + 1, ticks.wrapping_add(1));
                let patience = if is_known { limits.silence_limit } else { FIRST_SIGN };
                member.is_silent_for(TICK * silent_ticks);
                if TICK * silent_ticks > patience {
                    break if was_ready { End::Silent } else { End::NotReady };
                }
                if !was_ready && born.elapsed() > READY_LIMIT {
                    break End::NotReady;
                }
                if ticks.is_multiple_of(LOOK_TICKS) {
                    is_spent = is_over(process.cpu_time(), limits.cpu_time_limit);
                    let resident = process.resident_bytes();
                    shared.resident(place, resident);
                    if resident > limits.memory_limit {
                        break End::Memory;
                    }
                }
                let asked = member.asked.load(Ordering::Acquire);
                let is_failing = member.is_failing() && Instant::now() >= failing_from;
                let is_due = is_failing || is_spent || limits.recycle_after > 0 && asked >= limits.recycle_after;
                if is_due && !member.is_leaving.swap(true, Ordering::AcqRel) {
                    why_leaving = match (is_failing, is_spent) {
                        (true, _) => End::Failing,
                        (false, true) => End::CpuTime,
                        (false, false) => End::Recycled,
                    };
                    shared.changed();
                }
                if member.is_leaving.load(Ordering::Acquire) {
                    leaving_ticks += 1;
                    let is_done = member.in_hand.load(Ordering::Acquire) == 0;
                    if is_done || TICK * leaving_ticks > limits.segment_timeout {
                        has_left = true;
                        break why_leaving;
                    }
                }
            }
        }
    };
    Watched { end, last_seen, has_left }
}

/// Whether it has used more than it may, where there is a limit.
fn is_over(used: Duration, limit: Duration) -> bool {
    !limit.is_zero() && used > limit
}

/// Why a process ended that nobody here has ended.
fn how(status: Option<ExitStatus>, was_ready: bool) -> End {
    const KILL: i32 = 9;
    const TERM: i32 = 15;
    const XCPU: i32 = 24;
    match status.and_then(|status| status.signal()) {
        Some(KILL | TERM) => End::Killed,
        Some(XCPU) => End::CpuTime,
        _ if was_ready => End::Crash,
        Some(_) => End::Crash,
        None => End::NotReady,
    }
}

/// A worker's signs of life, as they come; ends with the connection.
fn signs(member: &Arc<Member>) -> mpsc::Receiver<v1::Standing> {
    // One that is not taken yet is as good as the next.
    let (sender, signs) = mpsc::channel(4);
    let mut client = member.client();
    tokio::spawn(async move {
        let Ok(standings) = client.watch(v1::WatchRequest {}).await else { return };
        let mut standings = standings.into_inner();
        while let Ok(Some(standing)) = standings.message().await {
            if sender.send(standing).await.is_err() {
                return;
            }
        }
    });
    signs
}

struct Process {
    child: Child,
}

impl Process {
    /// Starts one and tells it what it must know. The only way to it is a pair of sockets that nobody else can have: there is no path that
    /// could be found, and its end is seen on both sides.
    async fn start(
        shared: &Shared,
        place: usize,
        number: u64,
    ) -> std::io::Result<(Self, WorkerClient<Channel>)> {
        let part = shared.parts.get(place % shared.parts.len().max(1)).cloned().map(|mut part| {
            shared.settled.tell(&mut part.enhancer);
            part.log.level = *lock(&shared.log_level);
            part
        });
        let text = part.as_ref().map(WorkerPart::text).unwrap_or_default();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let environment = std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| ENVIRONMENT.iter().any(|begin| name.starts_with(begin)))
        });
        let child = Command::new(&shared.program)
            .args(["worker", "--supervised", &format!("worker-{number}")])
            .env_clear()
            .envs(environment)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // To where the edge itself writes: last words of a library that aborts are the only ones there are.
            .stderr(Stdio::inherit())
            // An interrupt at the terminal is for the edge, which drains; workers end with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut ours = UnixStream::from_std(ours)?;
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        ours.write_all(&length.to_be_bytes()).await?;
        ours.write_all(text.as_bytes()).await?;
        let client = client(ours, part.map_or(0, |part| part.enhancer.max_segment_bytes));
        Ok((Self { child }, client))
    }

    /// Ends it for good, stopped or not.
    async fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        let _ = timeout(LAST_WORDS * 10, self.child.wait()).await;
    }

    /// What it holds of the machine's memory; 0 where that cannot be read.
    fn resident_bytes(&self) -> u64 {
        let Some(id) = self.child.id() else { return 0 };
        resident_bytes(&std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default())
    }

    /// Processor time that it has used; zero where that cannot be read.
    fn cpu_time(&self) -> Duration {
        let Some(id) = self.child.id() else { return Duration::ZERO };
        cpu_time(&std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default())
    }
}

impl Shared {
    /// Waits until the first worker has found out what runs networks here, where that is left open: the others are told.
    async fn way_is_known(&self, place: usize) {
        let part = self.parts.get(place % self.parts.len().max(1));
        if !part.is_some_and(|part| settled::is_open(&part.enhancer)) {
            return;
        }
        let mut changes = self.changes.subscribe();
        let is_known = changes.wait_for(|_| {
            self.settled.is_known() || self.was_ready.load(Ordering::Acquire) || self.is_closed()
        });
        // Later is better than never.
        let _ = timeout(FIRST_WAY, is_known).await.map(drop);
    }

    fn resident(&self, place: usize, bytes: u64) {
        let gauge = self.instruments.resident_bytes.with_label_values(&[place.to_string().as_str()]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// A client over a connection that exists. When it is gone it is gone, and so is the worker.
fn client(connection: UnixStream, max_segment_bytes: u64) -> WorkerClient<Channel> {
    let mut connection = Some(connection);
    let connector = service_fn(move |_: Uri| {
        let taken = connection.take().map(TokioIo::new);
        async move { taken.ok_or_else(|| std::io::Error::other("the worker is gone")) }
    });
    // The name goes nowhere: there is one connection, and it is this one.
    let channel = Endpoint::from_static("http://worker.invalid")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector_lazy(connector);
    let limit = message_limit_of(max_segment_bytes);
    WorkerClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let signal = |number| Some(ExitStatus::from_raw(number));
        let code = |number: i32| Some(ExitStatus::from_raw(number << 8));
        for (status, was_ready, end) in [
            (signal(9), true, End::Killed),
            (signal(15), false, End::Killed),
            (signal(24), true, End::CpuTime),
            (signal(11), true, End::Crash),
            (signal(6), false, End::Crash),
            (code(1), false, End::NotReady),
            (code(0), true, End::Crash),
            (None, true, End::Crash),
        ] {
            assert_eq!(how(status, was_ready), end, "{status:?} {was_ready}");
        }
    }
}
