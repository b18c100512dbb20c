//! Sends damaged segments through a real edge and its real workers, and says what came of it.
//!
//! The origin changes what is under a URL before each request; nothing is cached, so that each is fetched, taken apart, decoded, enlarged
//! and encoded, as far as it gets. Whatever it is, the player must get an answer, and the edge must stay up.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acuity_tests::Result;
use acuity_tests::mutations::{Dice, mutated};
use acuity_tests::origin::Origin;
use acuity_tests::player::Player;
use acuity_tests::processes::{resident_kib, status_line};
use acuity_tests::tiny::{Shape, Tiny, Wrapping};
use acuity_tests::world::{World, world};
use clap::Parser;

/// Sends damaged segments through an edge with worker processes.
#[derive(Parser)]
struct Arguments {
    /// Segments to send.
    #[arg(long, default_value_t = 100_000)]
    inputs: usize,
    /// Stop after so many seconds, whatever was sent by then.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// What decides what is damaged; the same does the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where memory is written to, as "inputs,edge KiB,workers KiB" (CSV).
    #[arg(long)]
    memory: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: worker-mutations: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let shape = Shape { width: 128, height: 72, fps: 10, segments: 12, segment_s: 1, kbps: 120 };
    let tiny = Tiny::make(shape).await?;
    let origin = Origin::start().await?;
    origin.folder("", tiny.folder());
    let world = world()
        .set("workers.count", 1)
        .set("cache.budget_bytes", 0)
        .set("cache.source_budget_bytes", 0)
        .set("log.access", "\"off\"")
        .set("log.level", "\"error\"")
        .start(origin)
        .await?;
    let player = Player::new()?;
    let mut urls = Vec::new();
    for wrapping in Wrapping::ALL {
        let master = world.enhanced(&player, &format!("/{}/master.m3u8", wrapping.name())).await?;
        let variant = *master.enhanced().first().ok_or("nothing enhanced is offered")?;
        let media = player.media(&master.url_of(variant)?).await?;
        for index in 0..tiny.segments {
            let uri = &media.playlist.segments.get(index).ok_or("a short playlist")?.uri;
            urls.push((wrapping, index, media.fetched.url.join(uri)?.to_string()));
        }
    }
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let limit = Duration::from_secs(arguments.seconds);
    let pristine: Vec<Vec<u8>> =
        urls.iter().map(|(wrapping, index, _)| tiny.read(*wrapping, *index)).collect::<Result<_>>()?;
    let mut memory = vec![memory(&world, 0)];
    // Each URL is asked for by one task: what is under it changes only when nobody asks.
    let shares = urls.chunks(urls.len().div_ceil(LANES)).enumerate();
    let work = shares.map(|(lane, share)| {
        let (world, player, pristine, next, arguments) = (&world, &player, &pristine, &next, &arguments);
        let (all, first) = (urls.len(), lane * urls.len().div_ceil(LANES));
        async move {
            let mut answers = 0_usize;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= arguments.inputs || started.elapsed() > limit {
                    return Ok::<usize, acuity_tests::BoxError>(answers);
                }
                let mut dice = Dice::new(arguments.seed.wrapping_mul(1 << 32).wrapping_add(number as u64));
                let place = dice.below(share.len());
                let Some((wrapping, index, url)) = share.get(place) else { return Ok(answers) };
                let own = pristine.get(first + place).map(Vec::as_slice).unwrap_or_default();
                let other = pristine.get(dice.below(all)).map(Vec::as_slice).unwrap_or_default();
                world.origin.put(
                    &format!("/{}/{}", wrapping.name(), wrapping.file(*index)),
                    mutated(own, other, &mut dice),
                );
                let answer = player.get(url).await.map_err(|error| format!("input {number}: {error}"))?;
                if !answer.status.is_success() {
                    return Err(format!("input {number} was answered {}", answer.status).into());
                }
                answers += 1;
            }
        }
    });
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let sent = next.load(Ordering::Relaxed).min(arguments.inputs);
            memory.push(self::memory(&world, sent));
            if let Some([sent, edge, workers]) = memory.last() {
                eprintln!("{sent} inputs, edge {} MiB, workers {} MiB", edge >> 10, workers >> 10);
            }
        }
    };
    let answers: Vec<usize> = tokio::select! {
        answers = futures::future::try_join_all(work) => answers?,
        () = watch => Vec::new(),
    };
    let sent: usize = answers.iter().sum();
    memory.push(self::memory(&world, sent));
    report(&world, sent, started.elapsed(), &memory).await?;
    if let Some(file) = &arguments.memory {
        let lines = memory.iter().map(|[sent, edge, workers]| format!("{sent},{edge},{workers}\n"));
        std::fs::write(file, format!("inputs,edge_kib,workers_kib\n{}", lines.collect::<String>()))?;
    }
    Ok(())
}

/// Requests at one time.
const LANES: usize = 4;

/// Inputs so far, and resident KiB of the edge and of its workers together.
fn memory(world: &World, sent: usize) -> [usize; 3] {
    let (edge, workers) = resident_kib(world.edge.process_id());
    [sent, edge, workers]
}

async fn report(world: &World, sent: usize, took: Duration, memory: &[[usize; 3]]) -> Result<()> {
    let metrics = world.edge.metrics().await?;
    let seconds = took.as_secs_f64();
    println!("inputs            {sent} in {seconds:.0} s ({:.0} a second)", sent as f64 / seconds);
    let is_up = status_line(world.edge.process_id(), "State").is_some();
    println!("answered 200      {sent}, edge up: {is_up}");
    for name in ["acuity_worker_exits_total", "acuity_enhancer_failures_total", "acuity_fallbacks_total"] {
        for line in metrics.text().lines().filter(|line| line.starts_with(name) && !line.ends_with(" 0")) {
            println!("  {line}");
        }
    }
    for name in
        ["acuity_worker_shunned_total", "acuity_enhancer_segments_total", "acuity_enhancer_held_frames_total"]
    {
        println!("  {name} {}", metrics.sum(name, &[]));
    }
    let mib = |at: usize, of: usize| memory.get(at).and_then(|row| row.get(of)).copied().unwrap_or(0) >> 10;
    let last = memory.len().saturating_sub(1);
    for (name, of) in [("edge", 1), ("workers", 2)] {
        let most = memory.iter().filter_map(|row| row.get(of)).max().copied().unwrap_or(0) >> 10;
        println!(
            "{name:<8} MiB      {} at the start, {} at the end, {most} at most",
            mib(0, of),
            mib(last, of)
        );
    }
    if !is_up {
        return Err("the edge has ended".into());
    }
    Ok(())
}
