//! Watches through an edge for as long as it is told while everything around it goes wrong by turns: origins that are slow, fail, cut or lie,
//! workers that are killed and stopped, reloads, purges, viewers who leave. Then compares what the edge has with the source, packet by packet.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use acuity_tests::Result;
use acuity_tests::mutations::Dice;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::{Media, Player};
use acuity_tests::processes::{Hurt, hurt, resident_kib, workers};
use acuity_tests::tiny::{Shape, Tiny, Wrapping};
use acuity_tests::viewers::{Habit, Stall, Watched, watch};
use acuity_tests::world::{World, world};
use clap::Parser;
use futures::future::try_join_all;
use reqwest::Method;
use tokio::time::{Instant, sleep};

/// Watches through an edge while everything around it goes wrong by turns.
#[derive(Parser)]
struct Arguments {
    /// For how long, in minutes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Viewers, by turns of transport streams and fragmented MP4; every fourth one leaves and comes back all the time.
    #[arg(long, default_value_t = 8)]
    viewers: usize,
    /// Between two troubles, in seconds.
    #[arg(long, default_value_t = 3.0)]
    every: f64,
    /// What decides what goes wrong when; the same does the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where memory is written to, as "seconds,edge KiB,workers KiB" (CSV).
    #[arg(long)]
    memory: Option<std::path::PathBuf>,
}

const SHAPE: Shape = Shape { width: 320, height: 180, fps: 24, segments: 40, segment_s: 2, kbps: 250 };
const SEGMENT: Duration = Duration::from_secs(2);
const BUFFER: Duration = Duration::from_secs(12);
/// How long a stream's origin is in trouble.
const TROUBLE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One stream of one viewer.
struct Stream {
    name: String,
    wrapping: Wrapping,
    player: Player,
    /// As the edge has it, and as the origin has it.
    enhanced: Media,
    source: Media,
    /// What its origin sends may be wrong in itself, so that what was made of it may be.
    is_damaged: bool,
    leaves: bool,
}

async fn run(arguments: Arguments) -> Result<bool> {
    let tiny = Tiny::make(SHAPE).await?;
    let disk = tempfile::tempdir()?;
    let origin = Origin::start().await?;
    let world = world()
        .set("workers.count", 1)
        .set("workers.spare", 1)
        // Less than is watched, so that segments go and are made anew or read again.
        .set("cache.budget_bytes", "\"16MiB\"")
        .set("cache.disk.path", format!("{:?}", disk.path()))
        .set("cache.disk.max_bytes", "\"64MiB\"")
        .set("log.access", "\"off\"")
        .start(origin)
        .await?;
    let mut streams = Vec::new();
    for number in 0..arguments.viewers {
        streams.push(stream(&world, &tiny, number).await?);
    }
    let until = Instant::now() + Duration::from_secs_f64(60.0 * arguments.minutes);
    let watching = streams.iter().enumerate().map(|(number, stream)| {
        let habit = Habit {
            segment: SEGMENT,
            buffer: BUFFER,
            first: number * 5,
            leaves_every: if stream.leaves { 4 } else { 0 },
            tries: 6,
        };
        watch(&stream.player, &stream.enhanced, habit, until)
    });
    let (watched, troubles, memory) = tokio::join!(
        try_join_all(watching),
        troubles(&world, &tiny, &streams, &arguments, until),
        memory(&world, until)
    );
    let corrupt = compare(&streams).await?;
    if let Some(file) = &arguments.memory {
        let lines = memory.iter().map(|[seconds, edge, workers]| format!("{seconds},{edge},{workers}\n"));
        std::fs::write(file, format!("seconds,edge_kib,workers_kib\n{}", lines.collect::<String>()))?;
    }
    report(&world, &streams, &watched?, &troubles?, &memory, &corrupt).await
}

async fn stream(world: &World, tiny: &Tiny, number: usize) -> Result<Stream> {
    let wrapping = if number.is_multiple_of(2) { Wrapping::Ts } else { Wrapping::Fmp4 };
    let name = format!("viewer-{number}");
    world.origin.folder(&format!("/{name}"), tiny.folder().join(wrapping.name()));
    let player = Player::new()?;
    let master = world.enhanced(&player, &format!("/{name}/master.m3u8")).await?;
    let variant = *master.enhanced().first().ok_or("nothing enhanced is offered")?;
    let enhanced = player.media(&master.url_of(variant)?).await?;
    let source = player.media(&world.origin.url(&format!("/{name}/index.m3u8")).parse()?).await?;
    Ok(Stream {
        name,
        wrapping,
        player,
        enhanced,
        source,
        is_damaged: number % 8 == 2,
        leaves: number % 4 == 3,
    })
}

/// What went wrong.
#[derive(Default)]
struct Troubles {
    /// How often, by name.
    counts: std::collections::BTreeMap<&'static str, usize>,
    /// Of origins: whose, from when and until when.
    origins: Vec<(String, Instant, Instant)>,
}

impl Troubles {
    /// Whether a stream's own origin was in trouble while a segment was fetched: who has less in advance than that lasts stands still,
    /// whatever is between.
    fn explain(&self, stream: &str, stall: &Stall) -> bool {
        let meanwhile =
            |(_, from, until): &&(String, Instant, Instant)| stall.asked <= *until && *from <= stall.came;
        self.origins.iter().filter(|(of, ..)| of == stream).any(|trouble| meanwhile(&trouble))
    }
}

/// Makes something go wrong every few seconds.
async fn troubles(
    world: &World,
    tiny: &Tiny,
    streams: &[Stream],
    arguments: &Arguments,
    until: Instant,
) -> Result<Troubles> {
    let mut dice = Dice::new(arguments.seed);
    let mut all = Troubles::default();
    let (whole, damaged): (Vec<&Stream>, Vec<&Stream>) =
        streams.iter().partition(|stream| !stream.is_damaged);
    let operator = Player::new()?;
    while Instant::now() < until {
        let next = Instant::now() + Duration::from_secs_f64(arguments.every);
        let (kind, bytes) = (dice.below(11), 2000 + dice.below(4000));
        let (name, fault) = match kind {
            0 => ("origin slow", Some(Fault::Latency(Duration::from_millis(1500)))),
            1 => ("origin answers 503", Some(Fault::Status(503))),
            2 => ("origin cuts", Some(Fault::CutConnection { after_bytes: bytes })),
            3 => ("origin pauses", Some(Fault::Stall { after_bytes: bytes, pause: Duration::from_secs(1) })),
            4 => ("origin sends a part as the whole", Some(Fault::Truncated { keep_bytes: bytes })),
            5 => ("origin sends garbage", Some(Fault::Corrupt { from_byte: bytes, every_bytes: 300 })),
            6 => ("worker killed", None),
            7 => ("worker stopped", None),
            8 => ("worker crashed", None),
            9 => ("configuration read again", None),
            _ => ("everything purged", None),
        };
        *all.counts.entry(name).or_default() += 1;
        if let Some(fault) = fault {
            let damages = matches!(fault, Fault::Truncated { .. } | Fault::Corrupt { .. });
            let among = if damages { &damaged } else { &whole };
            if let Some(stream) = among.get(dice.below(among.len())) {
                let (paths, from) = (paths(tiny, stream), Instant::now());
                paths.iter().for_each(|path| world.origin.fault(path, fault.clone()));
                sleep(TROUBLE).await;
                paths.iter().for_each(|path| world.origin.heal(path));
                all.origins.push((stream.name.clone(), from, Instant::now()));
            }
        }
        let victim = workers(world.edge.process_id()).first().copied();
        match (kind, victim) {
            (6, Some(id)) => hurt(id, Hurt::Kill)?,
            (7, Some(id)) => hurt(id, Hurt::Stop)?,
            (8, Some(id)) => hurt(id, Hurt::Crash)?,
            (9, _) => world.edge.signal("HUP")?,
            (10, _) => {
                let url = format!("{}/purge?all=true", world.edge.admin);
                let answer = operator.request(Method::POST, &url, &[]).await?;
                if !answer.status.is_success() {
                    return Err(format!("purging was answered {}: {}", answer.status, answer.text()).into());
                }
            }
            _ => {}
        }
        tokio::time::sleep_until(next).await;
    }
    Ok(all)
}

/// Of all of a stream's segments at the origin.
fn paths(tiny: &Tiny, stream: &Stream) -> Vec<String> {
    (0..tiny.segments).map(|index| format!("/{}/{}", stream.name, stream.wrapping.file(index))).collect()
}

/// Seconds, and KiB of the edge and of its workers.
async fn memory(world: &World, until: Instant) -> Vec<[usize; 3]> {
    let (started, mut memory) = (Instant::now(), Vec::new());
    while Instant::now() < until {
        let (edge, workers) = resident_kib(world.edge.process_id());
        memory.push([started.elapsed().as_secs() as usize, edge, workers]);
        sleep(Duration::from_secs(10)).await;
    }
    memory
}

/// What of the edge's is not what its source is, of all whose source was never damaged.
async fn compare(streams: &[Stream]) -> Result<Vec<String>> {
    let mut corrupt = Vec::new();
    for stream in streams.iter().filter(|stream| !stream.is_damaged) {
        for index in 0..stream.source.playlist.segments.len() {
            let made = stream.player.segment(&stream.enhanced, index).await?;
            let own = stream.player.segment(&stream.source, index).await?;
            if made.clear == own.clear {
                continue;
            }
            let from = Probe::of(own.init.as_deref(), &own.clear).await?;
            let to = Probe::of(made.init.as_deref(), &made.clear).await?;
            let found = differences(&from, &to, 2);
            if !found.is_empty() {
                corrupt.push(format!("{} segment {index}: {found:?}", stream.name));
            }
        }
    }
    Ok(corrupt)
}

/// Prints what came of it; whether nobody had to pay.
async fn report(
    world: &World,
    streams: &[Stream],
    watched: &[Watched],
    troubles: &Troubles,
    memory: &[[usize; 3]],
    corrupt: &[String],
) -> Result<bool> {
    let metrics = world.edge.metrics().await?;
    let mut words = String::new();
    for (name, count) in &troubles.counts {
        write!(words, "{}{name} {count}", if words.is_empty() { "" } else { ", " })?;
    }
    println!("troubles   {words}");
    let all = Watched::all(watched.iter().cloned());
    println!(
        "viewers    {}: {} segments, {} from the cache; {} requests left, {} tried again; {} stalls, {:.1} s together",
        streams.len(),
        all.segments,
        all.hits,
        all.left,
        all.tried_again,
        all.stalls.len(),
        all.stalled().as_secs_f64()
    );
    let each = streams.iter().zip(watched);
    let each = each.flat_map(|(stream, watched)| watched.stalls.iter().map(move |stall| (stream, stall)));
    let unexplained: Vec<_> = each.filter(|(stream, stall)| !troubles.explain(&stream.name, stall)).collect();
    println!(
        "           {} stalls while the stream's own origin was well{}",
        unexplained.len(),
        if unexplained.is_empty() { "" } else { ":" }
    );
    for (stream, stall) in &unexplained {
        let waited = (stall.came - stall.asked).as_secs_f64();
        println!(
            "             {}{}: {:.2} s, for a segment that took {waited:.2} s",
            stream.name,
            if stream.leaves { ", who leaves and comes back" } else { "" },
            stall.lasted().as_secs_f64()
        );
    }
    println!(
        "           median {:.2} s, p99 {:.2} s, worst {:.2} s",
        all.percentile(0.5),
        all.percentile(0.99),
        all.percentile(1.0)
    );
    // What an origin sends that is no segment is passed on as it is.
    let (own, origins): (Vec<_>, Vec<_>) = streams
        .iter()
        .zip(watched)
        .flat_map(|(stream, watched)| watched.faults.iter().map(|fault| (stream.is_damaged, fault)))
        .partition(|(is_damaged, _)| !is_damaged);
    println!(
        "faults     {} segments that did not come in six tries, and {} that the origin damaged",
        own.len(),
        origins.len()
    );
    own.iter().map(|(_, fault)| fault).take(10).for_each(|fault| println!("             {fault}"));
    println!("corrupt    {} of what the edge has", corrupt.len());
    corrupt.iter().take(10).for_each(|words| println!("             {words}"));
    for (name, of) in [("edge", 1), ("workers", 2)] {
        let mib = |at: usize| memory.get(at).and_then(|row| row.get(of)).copied().unwrap_or(0) >> 10;
        let most = memory.iter().filter_map(|row| row.get(of)).max().copied().unwrap_or(0) >> 10;
        let (middle, last) = (memory.len() / 2, memory.len().saturating_sub(1));
        println!(
            "{name:<10} {} MiB, {} in the middle, {} at the end, {most} at most",
            mib(0),
            mib(middle),
            mib(last)
        );
    }
    for name in [
        "acuity_enhancer_segments_total",
        "acuity_fallbacks_total",
        "acuity_worker_exits_total",
        "acuity_responses_total",
    ] {
        for line in metrics.text().lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0")) {
            println!("  {line}");
        }
    }
    Ok(corrupt.is_empty() && own.is_empty() && unexplained.is_empty())
}
