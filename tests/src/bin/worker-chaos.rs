//! Kills, stops and crashes an edge's workers under load for as long as it is told, checks every segment that is served, and says what
//! came of it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::process::ExitCode;
use std::time::{Duration, Instant};

use acuity_tests::Result;
use acuity_tests::mutations::Dice;
use acuity_tests::origin::Origin;
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::{Media, Player};
use acuity_tests::processes::{Hurt, hurt, workers};
use acuity_tests::tiny::{Shape, Tiny};
use acuity_tests::world::{World, world};
use clap::Parser;

/// Hurts worker processes under load.
#[derive(Parser)]
struct Arguments {
    /// For how long, in seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Between two blows, in seconds.
    #[arg(long, default_value_t = 2.0)]
    every: f64,
    /// `workers.count` of the edge.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// `workers.spare` of the edge.
    #[arg(long, default_value_t = 1)]
    spare: usize,
    /// Players that ask for one segment after the other.
    #[arg(long, default_value_t = 3)]
    players: usize,
}

#[derive(Default)]
struct Served {
    segments: usize,
    enhanced: usize,
    hits: usize,
    slowest_s: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: worker-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let shape = Shape { width: 320, height: 180, fps: 24, segments: 20, segment_s: 2, kbps: 120 };
    let tiny = Tiny::make(shape).await?;
    let origin = Origin::start().await?;
    origin.folder("/vod", tiny.folder().join("ts"));
    let world = world()
        .set("workers.count", arguments.workers)
        .set("workers.spare", arguments.spare)
        // Room for some: what is served comes from workers and from the cache.
        .set("cache.budget_bytes", "\"4MiB\"")
        .set("log.access", "\"off\"")
        .start(origin)
        .await?;
    let player = Player::new()?;
    let master = world.enhanced(&player, "/vod/master.m3u8").await?;
    let variant = *master.enhanced().first().ok_or("nothing enhanced is offered")?;
    let media = player.media(&master.url_of(variant)?).await?;
    let source = player.media(&world.origin.url("/vod/index.m3u8").parse()?).await?;
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let loads = (0..arguments.players).map(|first| load(&media, &source, first * 7, until));
    let (served, blows) = tokio::join!(futures::future::join_all(loads), hurting(&world, &arguments, until));
    let mut all = Served::default();
    for one in served {
        let one = one?;
        all.segments += one.segments;
        all.enhanced += one.enhanced;
        all.hits += one.hits;
        all.slowest_s = all.slowest_s.max(one.slowest_s);
    }
    report(&world, &all, blows?).await
}

/// Asks for segments in no order, so that some are still in the cache, and compares each with its source, packet by packet.
async fn load(media: &Media, source: &Media, first: usize, until: Instant) -> Result<Served> {
    let player = Player::new()?;
    let mut served = Served::default();
    let mut dice = Dice::new(first as u64);
    while Instant::now() < until {
        let index = dice.below(media.playlist.segments.len());
        let made = player.segment(media, index).await?;
        let own = player.segment(source, index).await?;
        if made.clear != own.clear {
            let (from, to) = (Probe::of(None, &own.clear).await?, Probe::of(None, &made.clear).await?);
            let found = differences(&from, &to, 2);
            if !found.is_empty() {
                return Err(format!("segment {index} is corrupt: {found:#?}").into());
            }
            served.enhanced += 1;
        }
        served.segments += 1;
        served.hits += usize::from(made.fetched.header("cache-status").contains("; hit"));
        served.slowest_s = served.slowest_s.max(made.fetched.seconds);
    }
    Ok(served)
}

/// What came of one blow.
struct Blow {
    how: Hurt,
    /// Until it was noticed, and until as many made segments as should.
    noticed_s: f64,
    whole_s: f64,
}

async fn hurting(world: &World, arguments: &Arguments, until: Instant) -> Result<Vec<Blow>> {
    const WAYS: [Hurt; 3] = [Hurt::Kill, Hurt::Stop, Hurt::Crash];
    let edge = world.edge.process_id();
    let mut blows: Vec<Blow> = Vec::new();
    while Instant::now() < until {
        let next = tokio::time::Instant::now() + Duration::from_secs_f64(arguments.every);
        let all = workers(edge);
        // The oldest makes segments; by turns it and another are hit.
        let victim = all.get(blows.len() % all.len().max(1)).copied();
        if let Some((id, how)) = victim.zip(WAYS.get(blows.len() % WAYS.len()).copied()) {
            let before = world.edge.metrics().await?.sum("acuity_worker_exits_total", &[]);
            hurt(id, how)?;
            let struck = Instant::now();
            let mut blow = Blow { how, noticed_s: f64::NAN, whole_s: f64::NAN };
            while tokio::time::Instant::now() < next {
                let metrics = world.edge.metrics().await?;
                if blow.noticed_s.is_nan() && metrics.sum("acuity_worker_exits_total", &[]) > before {
                    blow.noticed_s = struck.elapsed().as_secs_f64();
                }
                let active = metrics.sum("acuity_workers", &[("state", "active")]);
                if !blow.noticed_s.is_nan() && active >= arguments.workers as f64 {
                    blow.whole_s = struck.elapsed().as_secs_f64();
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            blows.push(blow);
        }
        tokio::time::sleep_until(next).await;
    }
    Ok(blows)
}

async fn report(world: &World, served: &Served, blows: Vec<Blow>) -> Result<()> {
    let metrics = world.edge.metrics().await?;
    let Served { segments, enhanced, hits, slowest_s } = served;
    println!("segments   {segments} served, none failed, none corrupt; {hits} from the cache");
    println!("           {enhanced} enhanced, {} as the source has them", segments - enhanced);
    let server_errors = metrics.sum("acuity_responses_total", &[("status", "5xx")]);
    println!("           slowest {slowest_s:.2} s; answers 5xx: {server_errors}");
    for how in [Hurt::Kill, Hurt::Stop, Hurt::Crash] {
        let of = |value: fn(&Blow) -> f64| {
            let values =
                blows.iter().filter(|blow| blow.how == how).map(value).filter(|value| !value.is_nan());
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            let at = |part: f64| {
                values.get(((values.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(f64::NAN)
            };
            format!("median {:.2} s, worst {:.2} s ({} seen)", at(0.5), at(1.0), values.len())
        };
        let count = blows.iter().filter(|blow| blow.how == how).count();
        println!("{how:?} x{count}: noticed after {}", of(|blow| blow.noticed_s));
        println!("           at full strength after {}", of(|blow| blow.whole_s));
    }
    for name in [
        "acuity_worker_exits_total",
        "acuity_worker_again_total",
        "acuity_fallbacks_total",
        "acuity_worker_recovery_seconds",
        "acuity_worker_start_seconds",
    ] {
        for line in metrics.text().lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0")) {
            println!("  {line}");
        }
    }
    if server_errors > 0.0 {
        return Err(format!("{server_errors} answers 5xx").into());
    }
    Ok(())
}
