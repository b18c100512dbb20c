//! What `make run` prints: fetches the enhanced rendition as a player would and says, segment by segment, what it cost
//! and what it gained against the origin's own rendition of that size.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use acuity_tests::Result;
use acuity_tests::player::{Media, Multivariant, Player, Segment};
use acuity_tests::psnr::luma_psnr_db;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Plays the enhanced rendition of a stream through a running edge and prints what each segment cost and gained.
#[derive(Parser)]
struct Arguments {
    /// Multivariant playlist at the origin.
    #[arg(long)]
    origin: String,
    /// The same playlist through the edge.
    #[arg(long)]
    edge: String,
    /// The edge's admin address, asked until it is ready.
    #[arg(long)]
    admin: String,
    /// Address of the comparison page, printed at the end.
    #[arg(long)]
    page: Option<String>,
    /// How many segments to fetch.
    #[arg(long, default_value_t = 20)]
    segments: usize,
}

/// One line of the table.
struct Row {
    media_s: f64,
    from_origin_bytes: usize,
    to_player_bytes: usize,
    /// As the edge says; nothing when it had the segment ready before it was asked.
    made_s: Option<f64>,
    /// The model's id, or `plain` where there was no time for one.
    made_by: String,
    bicubic_db: Option<f64>,
    enhanced_db: Option<f64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match tour(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour(arguments: &Arguments) -> Result<()> {
    let player = Player::new()?;
    until_ready(&player, &arguments.admin).await?;
    let through_edge = until_offered(&player, &arguments.edge).await?;
    let at_origin = player.open(&arguments.origin).await?;

    let best = through_edge
        .enhanced()
        .into_iter()
        .max_by_key(|variant| variant.resolution.map_or(0, |size| size.height))
        .ok_or("the edge offers nothing enhanced")?;
    let size = best.resolution.ok_or("the enhanced rendition has no RESOLUTION")?;
    let enhanced = player.media(&through_edge.url_of(best)?).await?;
    let source = media_of_height(&player, &at_origin, size.height / 2).await?;
    let source = source.ok_or("the origin has no variant of half the enhanced one's height")?;
    let reference = media_of_height(&player, &at_origin, size.height).await?;

    let count = enhanced.playlist.segments.len().min(arguments.segments);
    let scratch = tempfile::tempdir()?;
    let mut rows = Vec::with_capacity(count);
    let bar = progress(count, "fetching the enhanced rendition");
    for index in 0..count {
        let made = player.segment(&enhanced, index).await?;
        keep(scratch.path(), "enhanced", index, &made).await?;
        rows.push(Row {
            media_s: f64::from(enhanced.playlist.segments.get(index).map_or(0.0, |segment| segment.duration)),
            from_origin_bytes: 0,
            to_player_bytes: made.fetched.body.len(),
            made_s: made_s(&made.fetched.header("server-timing")),
            made_by: made_by(&made.fetched.header("cache-status")),
            bicubic_db: None,
            enhanced_db: None,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();

    let bar = progress(count, "comparing with the origin's own rendition");
    for (index, row) in rows.iter_mut().enumerate() {
        let from = player.segment(&source, index).await?;
        row.from_origin_bytes = from.fetched.body.len();
        if let Some(reference) = &reference {
            let truth =
                keep(scratch.path(), "reference", index, &player.segment(reference, index).await?).await?;
            let low = keep(scratch.path(), "source", index, &from).await?;
            let high = scratch.path().join(format!("enhanced-{index}"));
            row.bicubic_db = Some(luma_psnr_db(&low, &truth, size.width, size.height).await?);
            row.enhanced_db = Some(luma_psnr_db(&high, &truth, size.width, size.height).await?);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(&rows, size.width, size.height, &arguments.edge)?;
    if let Some(page) = &arguments.page {
        println!("\n  Compare them with your own eyes:  {page}\n");
    }
    Ok(())
}

async fn until_ready(player: &Player, admin: &str) -> Result<()> {
    let url = format!("{}/readyz", admin.trim_end_matches('/'));
    let spinner = spinner("waiting until the edge has loaded and warmed its models");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if player.get(&url).await.is_ok_and(|fetched| fetched.status.is_success()) {
            spinner.finish_and_clear();
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{url} is not green after a minute").into())
}

/// Probing a cold origin is bounded in time, so the first answer may offer less than the next.
async fn until_offered(player: &Player, url: &str) -> Result<Multivariant> {
    let spinner = spinner("asking for the multivariant playlist");
    let start = Instant::now();
    loop {
        let master = player.open(url).await?;
        if !master.enhanced().is_empty() {
            spinner.finish_and_clear();
            return Ok(master);
        }
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("{url} offers nothing enhanced:\n{}", master.fetched.text()).into());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn media_of_height(player: &Player, master: &Multivariant, height: u64) -> Result<Option<Media>> {
    let Some(variant) = master.of_height(height) else { return Ok(None) };
    Ok(Some(player.media(&master.url_of(variant)?).await?))
}

/// Writes a segment, its init before it, where FFmpeg can read it.
async fn keep(folder: &Path, name: &str, index: usize, segment: &Segment) -> Result<PathBuf> {
    let file = folder.join(format!("{name}-{index}"));
    let mut whole = segment.init.clone().unwrap_or_default().to_vec();
    whole.extend_from_slice(&segment.clear);
    tokio::fs::write(&file, whole).await?;
    Ok(file)
}

/// What the edge says about the making in its Server-Timing header (`total;dur=1502.1, make;dur=1500.3`), in seconds.
fn made_s(server_timing: &str) -> Option<f64> {
    let make = server_timing.split(',').find_map(|metric| metric.trim().strip_prefix("make;"))?;
    let dur_ms = make.split(';').find_map(|parameter| parameter.trim().strip_prefix("dur="))?;
    Some(dur_ms.parse::<f64>().ok()? / 1000.0)
}

/// What the edge says made it: the `detail` of its Cache-Status header (`acuity; hit; detail="generic-x2-s"`).
fn made_by(cache_status: &str) -> String {
    let detail = cache_status.split(';').find_map(|part| part.trim().strip_prefix("detail="));
    detail.map_or_else(|| "-".to_owned(), |detail| detail.trim_matches('"').to_owned())
}

fn print(rows: &[Row], width: u64, height: u64, edge: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let db = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    let gain = |row: &Row| row.enhanced_db.zip(row.bicubic_db).map(|(ours, theirs)| ours - theirs);
    writeln!(out, "\n  {edge}, enhanced to {width}x{height}")?;
    writeln!(
        out,
        "  luma PSNR in dB against the origin's own {height}p; bicubic is the source as a player scales it\n"
    )?;
    writeln!(
        out,
        "  {:>7} {:>7} {:>9} {:>9} {:>9} {:>7} {:>14} {:>8} {:>8} {:>6}",
        "segment",
        "seconds",
        "origin kB",
        "player kB",
        "made in s",
        "x speed",
        "made by",
        "bicubic",
        "enhanced",
        "gain"
    )?;
    let seconds = |row: &Row| row.made_s.map_or_else(|| "ahead".to_owned(), |made| format!("{made:.2}"));
    let speed = |media_s: f64, made_s: Option<f64>| {
        made_s.map_or_else(|| "-".to_owned(), |made| format!("{:.2}", media_s / made))
    };
    let mut line = |name: &str,
                    media_s: f64,
                    bytes: (usize, usize),
                    made: [String; 3],
                    quality: [String; 3]| {
        let ([seconds, speed, by], [bicubic, enhanced, gain]) = (made, quality);
        let (from, to) = (bytes.0 / 1000, bytes.1 / 1000);
        writeln!(
            out,
            "  {name:>7} {media_s:>7.2} {from:>9} {to:>9} {seconds:>9} {speed:>7} {by:>14} {bicubic:>8} {enhanced:>8} {gain:>6}"
        )
    };
    let signed = |gain: Option<f64>| gain.map_or_else(|| "-".to_owned(), |gain| format!("{gain:+.2}"));
    for (number, row) in (1..).zip(rows) {
        let made = [seconds(row), speed(row.media_s, row.made_s), row.made_by.clone()];
        let quality = [db(row.bicubic_db), db(row.enhanced_db), signed(gain(row))];
        line(&number.to_string(), row.media_s, (row.from_origin_bytes, row.to_player_bytes), made, quality)?;
    }
    // means of the figures that are there; the speed counts only segments whose making was timed
    let mean = |of: &dyn Fn(&Row) -> Option<f64>| {
        let figures: Vec<f64> = rows.iter().filter_map(of).collect();
        (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
    };
    let timed = rows.iter().filter_map(|row| Some((row.media_s, row.made_s?)));
    let (timed_s, made_s) = timed.fold((0.0, 0.0), |(media, made), (m, s)| (media + m, made + s));
    let bytes =
        rows.iter().fold((0, 0), |(from, to), row| (from + row.from_origin_bytes, to + row.to_player_bytes));
    line(
        "all",
        rows.iter().map(|row| row.media_s).sum(),
        bytes,
        [format!("{made_s:.2}"), speed(timed_s, Some(made_s).filter(|made| *made > 0.0)), String::new()],
        [db(mean(&|row| row.bicubic_db)), db(mean(&|row| row.enhanced_db)), signed(mean(&gain))],
    )?;
    Ok(())
}

fn progress(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {msg} {wide_bar} {pos}/{len} {elapsed}");
    let bar = ProgressBar::new(length as u64).with_message(what);
    bar.tick();
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_making_is_found_in_the_headers() {
        assert_eq!(made_s("total;dur=1502.10, make;dur=1500"), Some(1.5));
        assert_eq!(made_s("total;dur=0.20"), None);
        assert_eq!(made_s(""), None);
        assert_eq!(made_by("acuity; fwd=uri-miss; stored; ttl=59; detail=\"generic-x2-s\""), "generic-x2-s");
        assert_eq!(made_by("acuity; hit"), "-");
    }
}
