//! Asks an edge for ten times what it can make, for minutes, and says what became of everybody.
//!
//! First it measures what the edge makes in a second when it is asked without a pause. Then so many viewers come, each with a stream of
//! its own, that they ask for the given multiple of it. Beside them others ask for segments that are in the cache, and are timed.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use acuity_tests::Result;
use acuity_tests::origin::Origin;
use acuity_tests::player::{Media, Player};
use acuity_tests::processes::resident_kib;
use acuity_tests::tiny::{Shape, Tiny};
use acuity_tests::viewers::{Habit, Watched, check, percentile, watch};
use acuity_tests::world::{World, world};
use clap::Parser;
use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Asks an edge for many times what it can make.
#[derive(Parser)]
struct Arguments {
    /// For how long, in seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Times of what it can make.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Requests a second for what is in the cache.
    #[arg(long, default_value_t = 40)]
    hot: u32,
    /// `workers.count` of the edge.
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

const SHAPE: Shape = Shape { width: 640, height: 360, fps: 30, segments: 150, segment_s: 2, kbps: 600 };
const SEGMENT: Duration = Duration::from_secs(2);
/// What a film's player has in advance.
const BUFFER: Duration = Duration::from_secs(12);
/// How long the edge is asked without a pause to learn what it can make.
const PROBE: Duration = Duration::from_secs(20);
/// Who asks then: always one more than is being made, and no more, because what would wait for longer is not made.
const PROBERS: usize = 2;
/// Segments that are in the cache.
const HOT_SEGMENTS: usize = 12;
/// Who asks for them.
const HOT_CLIENTS: u32 = 4;
const MADE: &str = "acuity_enhancer_segments_total";

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: overload: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let tiny = Tiny::make(SHAPE).await?;
    let origin = Origin::start().await?;
    let world = world()
        .set("workers.count", arguments.workers)
        .set("cache.budget_bytes", "\"256MiB\"")
        .set("log.access", "\"off\"")
        .set("log.level", "\"error\"")
        .start(origin)
        .await?;
    let stream = async |name: String| -> Result<(Player, Media)> {
        world.origin.folder(&format!("/{name}"), tiny.folder().join("ts"));
        let player = Player::new()?;
        let master = world.enhanced(&player, &format!("/{name}/master.m3u8")).await?;
        let variant = *master.enhanced().first().ok_or("nothing enhanced is offered")?;
        let media = player.media(&master.url_of(variant)?).await?;
        Ok((player, media))
    };

    let (hot_player, hot) = stream("hot".to_owned()).await?;
    for index in 0..HOT_SEGMENTS {
        hot_player.segment(&hot, index).await?;
    }
    let rate = capacity(&world, &stream).await?;
    let viewers = (rate * arguments.times * SEGMENT.as_secs_f64()).ceil().max(1.0) as usize;
    println!("it makes   {rate:.1} segments a second ({:.1} times real time)", rate * SEGMENT.as_secs_f64());
    let mut streams = Vec::new();
    for number in 0..viewers {
        streams.push(stream(format!("viewer-{number}")).await?);
    }
    println!(
        "viewers    {viewers}, who want {:.0} a second together",
        viewers as f64 / SEGMENT.as_secs_f64()
    );

    let before = world.edge.metrics().await?;
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let watching = streams.iter().enumerate().map(|(number, (player, media))| async move {
        // Not all in the same moment.
        sleep(SEGMENT.mul_f64(number as f64 / viewers as f64)).await;
        let habit = Habit { segment: SEGMENT, buffer: BUFFER, first: number * 7, leaves_every: 0, tries: 1 };
        watch(player, media, habit, until).await
    });
    let (watched, hot, most_kib) =
        tokio::join!(try_join_all(watching), ask_again(&hot, arguments.hot, until), memory(&world, until));
    report(&world, &before, &Watched::all(watched?), &hot?, most_kib).await
}

/// Segments a second that the edge makes when it is asked without a pause.
async fn capacity(world: &World, stream: &impl AsyncFn(String) -> Result<(Player, Media)>) -> Result<f64> {
    let streams = try_join_all((0..PROBERS).map(|number| stream(format!("probe-{number}")))).await?;
    let made = async || Ok::<f64, acuity_tests::BoxError>(world.edge.metrics().await?.sum(MADE, &[]));
    let (before, started) = (made().await?, Instant::now());
    let asking = streams.iter().map(|(player, media)| async move {
        let mut index = 0;
        while started.elapsed() < PROBE && index < media.playlist.segments.len() {
            player.segment(media, index).await?;
            index += 1;
        }
        Ok::<(), acuity_tests::BoxError>(())
    });
    try_join_all(asking).await?;
    Ok((made().await? - before) / started.elapsed().as_secs_f64())
}

/// What became of requests for what is in the cache.
#[derive(Default)]
struct Hot {
    seconds: Vec<f64>,
    hits: usize,
    faults: Vec<String>,
}

/// Asks for what is in the cache, at its own pace whatever the answers take.
async fn ask_again(media: &Media, a_second: u32, until: Instant) -> Result<Hot> {
    let next = AtomicUsize::new(0);
    let clients = (0..HOT_CLIENTS).map(|number| {
        let next = &next;
        async move {
            let player = Player::new()?;
            let mut hot = Hot::default();
            sleep(Duration::from_secs(1) * number / a_second.max(1)).await;
            let mut ticks = interval(Duration::from_secs(1) * HOT_CLIENTS / a_second.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while Instant::now() < until {
                ticks.tick().await;
                let index = next.fetch_add(1, Ordering::Relaxed) % HOT_SEGMENTS;
                let entry = media.playlist.segments.get(index).ok_or("a short playlist")?;
                let answer = player.get(media.fetched.url.join(&entry.uri)?.as_str()).await;
                match answer.map_err(|error| error.to_string()).and_then(|it| check(&it).map(|()| it)) {
                    Ok(fetched) => {
                        hot.hits += usize::from(fetched.header("cache-status").contains("; hit"));
                        hot.seconds.push(fetched.seconds);
                    }
                    Err(fault) => hot.faults.push(fault),
                }
            }
            Ok::<Hot, acuity_tests::BoxError>(hot)
        }
    });
    let mut all = Hot::default();
    for one in join_all(clients).await {
        let one = one?;
        all.seconds.extend(one.seconds);
        all.hits += one.hits;
        all.faults.extend(one.faults);
    }
    Ok(all)
}

/// The most memory that the edge and its workers held together, KiB.
async fn memory(world: &World, until: Instant) -> usize {
    let mut most = 0;
    while Instant::now() < until {
        let (edge, workers) = resident_kib(world.edge.process_id());
        most = most.max(edge + workers);
        sleep(Duration::from_secs(1)).await;
    }
    most
}

async fn report(
    world: &World,
    before: &acuity_tests::metrics::Metrics,
    watched: &Watched,
    hot: &Hot,
    most_kib: usize,
) -> Result<()> {
    let metrics = world.edge.metrics().await?;
    let since = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels) - before.sum(name, labels);
    let Watched { segments, stalls, faults, .. } = watched;
    println!("segments   {segments} to viewers, {} made by the enhancer", since(MADE, &[]));
    for line in metrics.text().lines().filter(|line| line.starts_with(MADE) && !line.ends_with(" 0")) {
        println!("             {line}");
    }
    println!(
        "           median {:.2} s, p95 {:.2} s, worst {:.2} s; {} stalls, {:.1} s together",
        watched.percentile(0.5),
        watched.percentile(0.95),
        watched.percentile(1.0),
        stalls.len(),
        watched.stalled().as_secs_f64()
    );
    println!(
        "cached     {} answers, {} of them hits: median {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        hot.seconds.len(),
        hot.hits,
        1000.0 * percentile(&hot.seconds, 0.5),
        1000.0 * percentile(&hot.seconds, 0.95),
        1000.0 * percentile(&hot.seconds, 0.99),
        1000.0 * percentile(&hot.seconds, 1.0),
    );
    let server_errors = since("acuity_responses_total", &[("status", "5xx")]);
    println!(
        "5xx        {server_errors}; faults seen by viewers {}, by who asks for what is cached {}",
        faults.len(),
        hot.faults.len()
    );
    for fault in faults.iter().chain(&hot.faults).take(10) {
        println!("             {fault}");
    }
    println!("memory     {} MiB at most, the cache's 256 among them", most_kib >> 10);
    for name in ["acuity_fallbacks_total", "acuity_limited_total"] {
        for line in metrics.text().lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0")) {
            println!("  {line}");
        }
    }
    match (stalls.len(), server_errors > 0.0, faults.len() + hot.faults.len()) {
        (0, false, 0) => Ok(()),
        (stalls, _, faults) => {
            Err(format!("viewers paid: {stalls} stalls, {server_errors} answers 5xx, {faults} faults").into())
        }
    }
}
