//! `acuity enhance`: a film or an HLS stream in, the enhanced one out, made by the enhancer that serves.
//!
//! Whatever comes in is read as an HLS rendition: a stream as it is, any other file after it was cut at its key frames into
//! one (packets are copied, nothing is encoded twice). The enhanced segments are joined to one file at the end.

mod input;
mod report;
mod work;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{CodecPlace, Config, DetailShareOf, EnhancerConfig, Precision, Provider};
use acuity_enhancer::{Enhancer, Interpolation, Interpolator, Readiness, RenditionSpec, Upscaler, remux};
use acuity_models::{Catalogue, ModelSet};
use acuity_playlist::token::{GENERIC_CLUSTER, SIDE_PIXELS_MAX};
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use prometheus::Registry;

use super::locate::Places;
use super::{Failure, with_causes};
use input::Rendition;
use report::Summary;

/// Enhance a video file or an HLS stream
///
/// INPUT is a file (MP4, MKV, MPEG-TS, ... with H.264 video), an HLS playlist on disk, or an HLS URL; of a multivariant playlist
/// the best H.264 variant of at most 540 lines is taken. The output's name says its container: .mp4, .mkv, .ts. Audio is
/// copied. What enlarges the pictures is the best generic model of the catalogue unless --cluster, --model or --baseline says
/// otherwise.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// File, playlist or URL
    #[arg(value_name = "INPUT")]
    input: String,

    /// File to write
    #[arg(short, long, value_name = "OUTPUT")]
    output: PathBuf,

    /// Use the best model of this kind of content (see `acuity models`)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["baseline", "model"])]
    cluster: Option<String>,

    /// Use this model of the catalogue
    #[arg(long, value_name = "ID", conflicts_with = "baseline")]
    model: Option<String>,

    /// Enlargement per side, 2 to 4; 1 with --frame-rate alone [default: 2, or the named model's]
    #[arg(long, value_name = "N", conflicts_with = "model", value_parser = clap::value_parser!(u32).range(1..=4))]
    scale: Option<u32>,

    /// Make more pictures a second: x2 or x4
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    frame_rate: Option<u32>,

    /// What makes them: repeat (the picture before), blend (the mean of both neighbours), or a model of the catalogue [default: the
    /// best generic one, else blend]
    #[arg(long, value_name = "NAME", requires = "frame_rate")]
    interpolator: Option<String>,

    /// Use a plain scaler instead of a model, to compare with
    #[arg(long, value_name = "NAME")]
    baseline: Option<Baseline>,

    /// Peak video rate of the output in kbit/s [default: as the edge would choose]
    #[arg(long, value_name = "KBPS", value_parser = clap::value_parser!(u32).range(50..=50_000))]
    max_kbps: Option<u32>,

    /// Part of each picture that a dear tier makes anew, 0.05 to 1 [default: as the edge; 1 is all of it, which is best and slowest]
    #[arg(long, value_name = "SHARE")]
    detail_share: Option<f64>,

    /// Mean squared change up to which a part of a picture is not made again, 0 to 4 [default: as the edge; 0 is only what is the same]
    #[arg(long, value_name = "CHANGE")]
    still_limit: Option<f64>,

    /// Segments made at the same time [default: one for each core, which is quickest for a whole file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: Option<u16>,

    /// Threads that run one network, and as many that encode [default: as many as there are cores for each lane]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    lane_threads: Option<u16>,

    /// What runs the networks: auto, cpu, openvino, cuda or tensorrt [default: auto]
    #[arg(long, value_name = "NAME", value_parser = provider)]
    provider: Option<Provider>,

    /// Numbers they run with: auto, float or int8 [default: auto]
    #[arg(long, value_name = "NAME", value_parser = precision)]
    precision: Option<Precision>,

    /// Cards that run networks, as CUDA counts them, with commas between [default: 0]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=63))]
    devices: Vec<u32>,

    /// Pictures of all lanes in one run of a network on a card, at most [default: 8; 1 lets each lane run alone]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    batch: Option<u16>,

    /// Where TensorRT's compiled networks are kept between runs: a directory that only you may write to
    #[arg(long, value_name = "DIR")]
    engine_cache: Option<PathBuf>,

    /// What decodes: auto, cpu or card [default: auto]
    #[arg(long, value_name = "NAME", value_parser = codec_place)]
    decoder: Option<CodecPlace>,

    /// What encodes: auto, cpu or card; a card encodes MPEG-TS alone, so INPUT must be an HLS stream of it [default: cpu]
    #[arg(long, value_name = "NAME", value_parser = codec_place)]
    encoder: Option<CodecPlace>,

    /// Also write an account of the run as JSON: seconds a stage, times of single segments, memory, what made the pictures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Baseline {
    /// libswscale's bicubic, through the same encoder
    Bicubic,
}

fn factor(text: &str) -> Result<u32, String> {
    match text {
        "x2" => Ok(2),
        "x4" => Ok(4),
        _ => Err("is neither x2 nor x4".to_owned()),
    }
}

fn provider(name: &str) -> Result<Provider, String> {
    let known = Provider::ALL.into_iter().find(|provider| provider.as_str() == name);
    known.ok_or_else(|| format!("is not one of {}", Provider::ALL.map(Provider::as_str).join(", ")))
}

fn precision(name: &str) -> Result<Precision, String> {
    let known = Precision::ALL.into_iter().find(|precision| precision.as_str() == name);
    known.ok_or_else(|| format!("is not one of {}", Precision::ALL.map(Precision::as_str).join(", ")))
}

fn codec_place(name: &str) -> Result<CodecPlace, String> {
    let known = CodecPlace::ALL.into_iter().find(|place| place.as_str() == name);
    known.ok_or_else(|| format!("is not one of {}", CodecPlace::ALL.map(CodecPlace::as_str).join(", ")))
}

/// What is said of cards.
fn cards(enhancer: &mut EnhancerConfig, args: &Args) {
    let gpu = &mut enhancer.gpu;
    if !args.devices.is_empty() {
        gpu.devices.clone_from(&args.devices);
        gpu.devices.sort_unstable();
        gpu.devices.dedup();
    }
    gpu.batch = args.batch.map_or(gpu.batch, usize::from);
    gpu.engine_cache.clone_from(&args.engine_cache);
    gpu.decoder = args.decoder.unwrap_or(gpu.decoder);
    gpu.encoder = args.encoder.unwrap_or(gpu.encoder);
}

/// Lanes and their threads: a file is done soonest when every core works on a segment of its own.
fn share_out(enhancer: &mut EnhancerConfig, args: &Args) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(64);
    enhancer.lanes = args.lanes.map_or(cores, usize::from);
    let threads = args.lane_threads.map_or((cores / enhancer.lanes).max(1), usize::from);
    (enhancer.inference_threads, enhancer.encoder_threads) = (threads, threads.min(4));
}

/// Enlargement per side where nobody says another.
const SCALE: u32 = 2;

/// Cut longer files at the first key frame after this.
const SEGMENT_SECONDS: u32 = 2;

/// Between two looks at an enhancer that is starting.
const POLL: Duration = Duration::from_millis(20);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let scratch = tempfile::tempdir().map_err(Failure::running)?;
    let source = locate(&args.input, scratch.path())?;
    let mut config = Config::for_origin("http://localhost/").map_err(Failure::fault)?;
    config.enhancer.runtime_library = args.places.runtime_library(None);
    if let Some(share) = args.detail_share {
        config.enhancer.detail_share = share.clamp(0.05, 1.0);
        config.enhancer.detail_share_of = DetailShareOf::default();
    }
    if let Some(limit) = args.still_limit {
        config.enhancer.still_limit = limit.clamp(0.0, 4.0);
    }
    share_out(&mut config.enhancer, args);
    cards(&mut config.enhancer, args);
    if let Some(provider) = args.provider {
        config.enhancer.provider = provider;
    }
    if let Some(precision) = args.precision {
        config.enhancer.precision = precision;
    }
    let (catalogue, upscaler, scale) = upscaler(args)?;
    let rendition = Rendition::open(&source, &config)?;
    let larger = rendition.facts.width.max(rendition.facts.height).saturating_mul(scale);
    if larger > SIDE_PIXELS_MAX {
        return Err(Failure::Fault(format!(
            "x{scale} makes {larger} pixels of a side; {SIDE_PIXELS_MAX} is the most"
        )));
    }
    let interpolation = match args.frame_rate {
        Some(factor) => Some(Interpolation { factor, by: interpolator(args, &catalogue)? }),
        None => None,
    };
    let frame_rate_milli =
        rendition.frame_rate_milli()?.saturating_mul(interpolation.as_ref().map_or(1, |more| more.factor));
    let spec = RenditionSpec {
        width: rendition.facts.width * scale,
        height: rendition.facts.height * scale,
        scale,
        frame_rate_milli,
        max_video_kbps: args.max_kbps.unwrap_or_else(|| rendition.video_kbps(scale, frame_rate_milli)),
        upscaler,
        interpolation,
    };
    eprintln!(
        "{}x{} -> {}x{}, {:.3} fps, at most {} kbit/s of video, {}",
        rendition.facts.width,
        rendition.facts.height,
        spec.width,
        spec.height,
        f64::from(spec.frame_rate_milli) / 1000.0,
        spec.max_video_kbps,
        report::with_what(&spec, &catalogue),
    );
    let enhancer = start(&config, catalogue)?;
    let joined = scratch.path().join("enhanced.bin");
    let summary = enhance_all(&rendition, &enhancer, &config, &spec, &joined)?;
    enhancer.shutdown();
    remux::join(&joined, &args.output).map_err(|error| Failure::Running(with_causes(&error)))?;
    let bytes = std::fs::metadata(&args.output).map(|file| file.len()).unwrap_or_default();
    eprint!("{}", summary.text(&args.output, bytes));
    if let Some(path) = &args.json {
        let account = summary.account((rendition.facts.width, rendition.facts.height), &spec, bytes);
        std::fs::write(path, format!("{account:#}\n"))
            .map_err(|error| Failure::Running(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}

/// The URL of the playlist to read. A file that is none is cut into one.
fn locate(input: &str, scratch: &Path) -> Result<url::Url, Failure> {
    if input.starts_with("http://") || input.starts_with("https://") {
        return url::Url::parse(input).map_err(|error| Failure::Fault(format!("{input} is no URL: {error}")));
    }
    let path = std::path::absolute(input).map_err(Failure::fault)?;
    if !path.is_file() {
        return Err(Failure::Fault(format!("{input} is no file, and no http or https URL")));
    }
    let is_playlist = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("m3u8"));
    let playlist = if is_playlist {
        path
    } else {
        remux::package(&path, scratch, SEGMENT_SECONDS)
            .map_err(|error| Failure::Fault(with_causes(&error)))?
    };
    url::Url::from_file_path(&playlist).map_err(|()| Failure::Fault(format!("{input} has no absolute path")))
}

/// What enlarges and how much, and the catalogue that the enhancer is to know: one model alone if one was named.
fn upscaler(args: &Args) -> Result<(Catalogue, Upscaler, u32), Failure> {
    let scale = args.scale.unwrap_or(SCALE);
    if scale == 1 && args.frame_rate.is_none() {
        return Err(Failure::fault("--scale 1 leaves nothing to do without --frame-rate"));
    }
    if (args.baseline.is_some() || scale == 1) && !wants_interpolating_model(args) {
        return Ok((Catalogue::empty(), Upscaler::Bicubic, scale));
    }
    let directory = args.places.models(Path::new("models/zoo"));
    let hint = "(--models names another, --baseline bicubic needs none)";
    let all = Catalogue::load(&directory)
        .map_err(|error| Failure::Fault(format!("{} {hint}", with_causes(&error))))?;
    let all = match args.interpolator.as_deref().filter(|_| wants_interpolating_model(args)) {
        Some(id) => all.interpolating_up_to(id),
        None => all,
    };
    if args.baseline.is_some() || scale == 1 {
        return Ok((all.interpolating(), Upscaler::Bicubic, scale));
    }
    let catalogue = match &args.model {
        None => all,
        Some(id) => all.up_to(id).ok_or_else(|| {
            let known: Vec<&str> = all.entries().iter().map(|entry| entry.id.as_str()).collect();
            Failure::Fault(format!("there is no model {id}; the catalogue has {}", known.join(", ")))
        })?,
    };
    let sets = catalogue.sets();
    let set = match (&args.model, args.cluster.as_deref().unwrap_or(GENERIC_CLUSTER)) {
        (Some(_), _) => sets.first(),
        (None, cluster) => sets.iter().find(|set| set.cluster() == cluster && set.scale() == scale),
    };
    let set = set.ok_or_else(|| {
        let cluster = args.cluster.as_deref().unwrap_or(GENERIC_CLUSTER);
        let known: Vec<String> =
            sets.iter().map(|set| format!("{} x{}", set.cluster(), set.scale())).collect();
        let (directory, known) = (directory.display(), known.join(", "));
        Failure::Fault(format!("no model of {cluster} enlarges x{scale} in {directory}; there are: {known}"))
    })?;
    if let Some(entry) = set.entries().iter().find(|entry| entry.read_verified().is_err()) {
        let why = entry.read_verified().err().map(|error| with_causes(&error)).unwrap_or_default();
        return Err(Failure::Fault(format!("model {}: {why}", entry.id)));
    }
    let upscaler = Upscaler::Model { cluster: set.cluster().to_owned(), digest: set.digest() };
    let scale = set.scale();
    Ok((catalogue, upscaler, scale))
}

/// Whether what makes pictures between others is looked for in the catalogue.
fn wants_interpolating_model(args: &Args) -> bool {
    let built_in = args.interpolator.as_deref().is_some_and(|name| matches!(name, "repeat" | "blend"));
    args.frame_rate.is_some() && !built_in
}

/// What makes them: the one that is named, or the best that there is. Of a model's set the tiers above it do not count.
fn interpolator(args: &Args, catalogue: &Catalogue) -> Result<Interpolator, Failure> {
    let sets = catalogue.interpolators();
    let of = |set: &ModelSet| Interpolator::Model { cluster: set.cluster().to_owned(), digest: set.digest() };
    match args.interpolator.as_deref() {
        Some("repeat") => Ok(Interpolator::Repeat),
        Some("blend") => Ok(Interpolator::Blend),
        Some(id) => {
            let set = sets.iter().find(|set| set.entries().iter().any(|entry| entry.id == id));
            set.map(of).ok_or_else(|| {
                let known: Vec<&str> =
                    sets.iter().flat_map(ModelSet::entries).map(|entry| entry.id.as_str()).collect();
                Failure::Fault(format!(
                    "there is no interpolator {id}; there are repeat, blend {}",
                    known.join(" ")
                ))
            })
        }
        None => {
            let cluster = args.cluster.as_deref().unwrap_or(GENERIC_CLUSTER);
            let own = |cluster: &str| sets.iter().find(|set| set.cluster() == cluster);
            Ok(own(cluster).or_else(|| own(GENERIC_CLUSTER)).map_or(Interpolator::Blend, of))
        }
    }
}

fn start(config: &Config, catalogue: Catalogue) -> Result<Enhancer, Failure> {
    let enhancer =
        Enhancer::start(&config.enhancer, Arc::new(catalogue), &Registry::new()).map_err(Failure::fault)?;
    let spinner = ProgressBar::new_spinner().with_message("loading models");
    spinner.enable_steady_tick(POLL * 4);
    while enhancer.readiness() == Readiness::Starting {
        std::thread::sleep(POLL);
    }
    spinner.finish_and_clear();
    match enhancer.readiness() {
        Readiness::Ready => Ok(enhancer),
        Readiness::Starting | Readiness::Stopped => {
            Err(Failure::running("the enhancer stopped while starting"))
        }
    }
}

/// Enhances every segment and writes them one after the other.
fn enhance_all(
    rendition: &Rendition,
    enhancer: &Enhancer,
    config: &Config,
    spec: &RenditionSpec,
    to: &Path,
) -> Result<Summary, Failure> {
    let mut out = BufWriter::new(File::create(to).map_err(Failure::running)?);
    let bar = ProgressBar::new((rendition.seconds() * 10.0).ceil() as u64);
    // The template is a constant; if it were wrong the bar would be plain.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed} of about {duration}")
    {
        bar.set_style(style);
    }
    let mut summary = Summary::begin();
    if let Some(init) = rendition.init() {
        let enhanced =
            acuity_enhancer::enhanced_init(init, spec, &config.enhancer).map_err(Failure::running)?;
        out.write_all(&enhanced).map_err(Failure::running)?;
    }
    work::run(rendition, enhancer, spec, config.enhancer.lanes, &mut |segment| {
        out.write_all(&segment.bytes).map_err(Failure::running)?;
        summary.add(&segment.report);
        bar.set_position((summary.media_seconds * 10.0) as u64);
        bar.set_message(summary.pace());
        Ok(())
    })?;
    bar.finish_and_clear();
    out.flush().map_err(Failure::running)?;
    summary.end();
    Ok(summary)
}
