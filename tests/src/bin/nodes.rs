//! Three nodes of a region, each with a crowd of clients for the same cold segments: how often each segment is made, and what clients see,
//! first with all of them, then with one that is cut off from its neighbours in the middle, then with one that is cut off from everybody.
//!
//! Nodes run in network namespaces with links that are cut, where this process may make such; else on the loopback interface, where a node
//! that is cut off is one that is stopped (SIGSTOP).
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // the terminal is what it is for

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acuity_tests::Result;
use acuity_tests::metrics::Metrics;
use acuity_tests::netns::{Link, Network};
use acuity_tests::origin::Origin;
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::{Media, Player};
use acuity_tests::region::Region;
use acuity_tests::tiny::{Shape, Tiny};
use acuity_tests::world::{Edge, WorldBuilder, world};
use clap::Parser;
use futures::future::join_all;
use futures::stream::{StreamExt as _, iter};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};

const NODES: usize = 3;
/// The node that is cut off.
const CUT: usize = 1;
/// Clients that get no answer for so long go to another node, and so do all others of that node from then on, as a load balancer would have
/// it.
const CLIENT_PATIENCE: Duration = Duration::from_secs(15);

/// Three nodes and their crowds.
#[derive(Parser)]
struct Arguments {
    /// Cold segments.
    #[arg(long, default_value_t = 200)]
    segments: usize,
    /// Clients at each node for each segment.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Segments that are asked for at one time.
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// On the loopback interface, though namespaces could be made.
    #[arg(long)]
    loopback: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Whoever stops it finds nothing left behind.
    let stopped = async {
        let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    let done = tokio::select! {
        done = run(Arguments::parse()) => done,
        () = stopped => Err("stopped".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: nodes: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The nodes, and how they are cut off.
struct Running {
    origin: Origin,
    nodes: Vec<Edge>,
    network: Option<Network>,
    _folder: tempfile::TempDir,
}

/// How a node is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Not,
    /// From its neighbours; clients and origin are there.
    Neighbours,
    /// From everybody.
    All,
}

async fn run(arguments: Arguments) -> Result<bool> {
    let shape =
        Shape { width: 160, height: 90, fps: 12, segments: arguments.segments, segment_s: 1, kbps: 120 };
    let tiny = Tiny::make(shape).await?;
    let running = Running::start(&arguments, &tiny).await?;
    println!(
        "{NODES} nodes {}, {} segments of 1 s ({}x{} to twice that), {} clients at each node",
        if running.network.is_some() { "in network namespaces" } else { "on the loopback interface" },
        arguments.segments,
        shape.width,
        shape.height,
        arguments.clients
    );
    let player = Player::new()?;
    let medias = running.medias(&player).await?;
    let source = player.media(&running.origin.url("/vod/index.m3u8").parse()?).await?;
    let mut is_well = true;
    for (name, cut) in [
        ("all nodes", Cut::Not),
        ("cut off from its neighbours half way", Cut::Neighbours),
        ("cut off from everybody half way", Cut::All),
    ] {
        if cut == Cut::Neighbours && running.network.is_none() {
            continue;
        }
        is_well &= phase(&arguments, &running, &medias, &source, (name, cut)).await?;
    }
    println!("{}", if is_well { "every bar is kept" } else { "a bar is NOT kept" });
    Ok(is_well)
}

impl Running {
    async fn start(arguments: &Arguments, tiny: &Tiny) -> Result<Self> {
        // Time enough: this is about how often things are made, on a machine that may be busy.
        let told = world()
            .set("enhancer.deadline.fraction", 10.0)
            .set("enhancer.deadline.startup_fraction", 10.0)
            .set("enhancer.deadline.longest", "\"60s\"")
            .set("enhancer.lanes", 1)
            .set("nodes.answer_within", "\"2s\"")
            .set("nodes.share_of_deadline", 1.0)
            .set("log.access", "\"off\"");
        let network = if arguments.loopback { Err("as asked".into()) } else { Network::new(NODES as u8) };
        match network {
            Ok(network) => Self::in_namespaces(network, tiny, &told).await,
            Err(why) => {
                println!("no network namespaces ({why}): on the loopback interface, SIGSTOP for a cut");
                let origin = Origin::start().await?;
                origin.folder("/vod", tiny.folder().join("ts"));
                let region = Region::start(NODES, origin, &told, |_, told| told).await?;
                // Wires are not needed to be cut here; they live as long as the process.
                let Region { origin, nodes, wires, .. } = region;
                Box::leak(Box::new(wires));
                Ok(Self { origin, nodes, network: None, _folder: tempfile::tempdir()? })
            }
        }
    }

    async fn in_namespaces(network: Network, tiny: &Tiny, told: &WorldBuilder) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-region-").tempdir()?;
        let secret = folder.path().join("nodes.key");
        std::fs::write(&secret, "the secret of this region")?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let origin = Origin::start_at(SocketAddr::new(network.outside(), 0)).await?;
        origin.folder("/vod", tiny.folder().join("ts"));
        let of = |at: u8, link, port| SocketAddr::new(network.address(at, link), port);
        let members: Vec<String> =
            (0..NODES as u8).map(|at| of(at, Link::Neighbours, 7070).to_string()).collect();
        let base = origin.base()?.to_string();
        let told: Vec<WorldBuilder> = (0..NODES as u8)
            .map(|at| {
                let words = network.on(at);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                told.clone()
                    .at(of(at, Link::World, 8080), of(at, Link::World, 9090))
                    .set("admin.unprotected", true)
                    .set("nodes.listen", format!("\"{}\"", of(at, Link::Neighbours, 7070)))
                    .set("nodes.members", format!("{members:?}"))
                    .set("nodes.secret_file", format!("{secret:?}"))
                    .through(&words)
            })
            .collect();
        let nodes = join_all(told.iter().map(|told| told.start_before(&base))).await;
        let nodes = nodes.into_iter().collect::<Result<_>>()?;
        Ok(Self { origin, nodes, network: Some(network), _folder: folder })
    }

    /// The enhanced rendition's playlist at each node.
    async fn medias(&self, player: &Player) -> Result<Vec<Media>> {
        let mut medias = Vec::new();
        for node in &self.nodes {
            let started = Instant::now();
            let media = loop {
                let master = player.open(&node.url("/vod/master.m3u8")).await?;
                if let Some(variant) = master.enhanced().first() {
                    break player.media(&master.url_of(variant)?).await?;
                }
                if started.elapsed() > Duration::from_secs(20) {
                    return Err(format!("nothing enhanced is offered\n{}", node.events()).into());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            medias.push(media);
        }
        Ok(medias)
    }

    fn cut(&self, how: Cut, joined: bool) -> Result<()> {
        let at = CUT as u8;
        match (&self.network, how) {
            (_, Cut::Not) => Ok(()),
            (Some(network), Cut::Neighbours) => network.set(at, Link::Neighbours, joined),
            (Some(network), Cut::All) => {
                network.set(at, Link::Neighbours, joined)?;
                network.set(at, Link::World, joined)
            }
            (None, _) => self.nodes[CUT].signal(if joined { "CONT" } else { "STOP" }),
        }
    }

    /// How often each source was fetched to be enhanced. What is passed through for a client says whose it is.
    fn fetches(&self) -> HashMap<String, usize> {
        let mut fetches = HashMap::new();
        for seen in self.origin.seen() {
            if !seen.headers.contains_key("x-forwarded-host") {
                *fetches.entry(seen.path).or_default() += 1;
            }
        }
        fetches
    }

    async fn metrics(&self) -> Result<Vec<Metrics>> {
        join_all(self.nodes.iter().map(Edge::metrics)).await.into_iter().collect()
    }

    /// Everything is cold again, and everybody is there.
    async fn forget(&self, player: &Player) -> Result<()> {
        let started = Instant::now();
        loop {
            let up: f64 = self
                .metrics()
                .await?
                .iter()
                .map(|metrics| metrics.sum("acuity_node_members", &[("state", "up")]))
                .sum();
            if up as usize == NODES * (NODES - 1) {
                break;
            }
            if started.elapsed() > Duration::from_secs(60) {
                return Err("the nodes do not see each other".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let url = format!("{}/purge?all=true", self.nodes[0].admin);
        let answer = player.request(reqwest::Method::POST, &url, &[]).await?;
        if answer.status.is_success() && answer.text().contains("\"not_reached\":[]") {
            return Ok(());
        }
        Err(format!("not everything was forgotten: {}", answer.text()).into())
    }
}

/// What clients saw of one segment.
struct Seen {
    bodies: HashMap<[u8; 32], bytes::Bytes>,
    failed: Vec<String>,
    slowest_s: f64,
}

async fn phase(
    arguments: &Arguments,
    running: &Running,
    medias: &[Media],
    source: &Media,
    (name, cut): (&str, Cut),
) -> Result<bool> {
    let checker = Player::new()?;
    running.forget(&checker).await?;
    let before = running.metrics().await?;
    let before_fetches = running.fetches();
    let crowds: Vec<Vec<Player>> = (0..NODES)
        .map(|_| (0..arguments.clients).map(|_| Player::new()).collect::<Result<_>>())
        .collect::<Result<_>>()?;
    let crowds = Arc::new(crowds);
    let (moved, asked, is_lost) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let cut_at = if cut == Cut::Not { usize::MAX } else { arguments.segments / 2 };
    let started = Instant::now();
    let one = async |index: usize| {
        // Those of the middle are in flight when it happens.
        if index == cut_at {
            running.cut(cut, false)?;
        }
        asked.fetch_add(NODES * arguments.clients, Ordering::Relaxed);
        ask(&crowds, medias, index, (&moved, &is_lost)).await
    };
    let seen: Vec<Result<Seen>> =
        iter(0..arguments.segments).map(one).buffered(arguments.at_once).collect().await;
    let took = started.elapsed();
    running.cut(cut, true)?;
    let after = running.metrics().await?;
    let sum = |metric: &str, labels: &[(&str, &str)]| -> f64 {
        let of = |all: &[Metrics]| all.iter().map(|metrics| metrics.sum(metric, labels)).sum::<f64>();
        of(&after) - of(&before)
    };
    let after_fetches = running.fetches();
    let of = |fetches: &HashMap<String, usize>, at: usize| {
        fetches.get(&format!("/vod/{at:03}.ts")).copied().unwrap_or_default()
    };
    let makings: Vec<usize> =
        (0..arguments.segments).map(|at| of(&after_fetches, at) - of(&before_fetches, at)).collect();
    let made = sum("acuity_enhancer_segments_total", &[]);
    let server_errors = sum("acuity_responses_total", &[("status", "5xx"), ("by", "edge")]);
    // Of a node that has no origin any more, to clients that do not hear it.
    let origins_errors = sum("acuity_responses_total", &[("status", "5xx"), ("by", "origin")]);
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    makings.iter().for_each(|count| *times.entry(*count).or_default() += 1);
    let (mut failed, mut different, mut corrupt, mut slowest_s) = (Vec::new(), 0, 0, 0_f64);
    for (index, seen) in seen.into_iter().enumerate() {
        let seen = seen?;
        failed.extend(seen.failed);
        different += usize::from(seen.bodies.len() > 1);
        slowest_s = slowest_s.max(seen.slowest_s);
        let own = checker.segment(source, index).await?;
        let from = Probe::of(None, &own.clear).await?;
        for body in seen.bodies.values() {
            let to = Probe::of(None, body).await?;
            corrupt += usize::from(*body == own.clear || !differences(&from, &to, 2).is_empty());
        }
    }
    println!("\n{name}");
    println!(
        "  requests   {} in {:.0} s, {} failed, answers 5xx: {server_errors} of the nodes' own, {origins_errors} for want of an origin; slowest {slowest_s:.2} s; {} went on at another node",
        asked.into_inner(),
        took.as_secs_f64(),
        failed.len(),
        moved.into_inner()
    );
    println!(
        "  bodies     {corrupt} not whole or not enhanced; {different} segments came in more than one form"
    );
    let by_count: Vec<String> =
        times.iter().map(|(count, segments)| format!("{segments} segments {count}x")).collect();
    println!("  made       {made} by the nodes' count; by fetches of their sources: {}", by_count.join(", "));
    let mean_ms = |metric: &str| {
        1000.0 * sum(&format!("{metric}_sum"), &[]) / sum(&format!("{metric}_count"), &[]).max(1.0)
    };
    println!(
        "  from nodes first byte after {:.0} ms, last after {:.0} ms (means; making included)",
        mean_ms("acuity_node_first_byte_seconds"),
        mean_ms("acuity_node_request_seconds")
    );
    for metric in ["acuity_node_requests_total", "acuity_node_served_total", "acuity_fallbacks_total"] {
        let label = if metric == "acuity_fallbacks_total" { "reason" } else { "outcome" };
        for line in after
            .iter()
            .flat_map(|metrics| metrics.text().lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                Some(line.strip_prefix(metric)?.split_once('"')?.1.split_once('"')?.0.to_owned())
            })
            .collect::<std::collections::BTreeSet<_>>()
        {
            let count = sum(metric, &[(label, &line)]);
            if count > 0.0 {
                println!("             {metric}{{{label}={line:?}}} {count}");
            }
        }
    }
    failed.iter().take(5).for_each(|why| println!("  failed     {why}"));
    let most = if cut == Cut::Not { 1 } else { 2 };
    let each_once =
        makings.iter().all(|count| (1..=most).contains(count)) && made as usize <= makings.iter().sum();
    // Whoever is heard has his origin.
    let heard_errors = if cut == Cut::All { 0.0 } else { origins_errors };
    Ok(failed.is_empty() && corrupt == 0 && server_errors + heard_errors == 0.0 && each_once)
}

/// All clients of all nodes ask for a segment at once. Who gets no answer at all goes to the next node.
async fn ask(
    crowds: &[Vec<Player>],
    medias: &[Media],
    index: usize,
    (moved, is_lost): (&AtomicUsize, &AtomicBool),
) -> Result<Seen> {
    let url = |node: usize| -> Result<String> {
        let media = &medias[node];
        Ok(media.fetched.url.join(&media.playlist.segments[index].uri)?.to_string())
    };
    let urls: Vec<String> = (0..NODES).map(url).collect::<Result<_>>()?;
    let get = async |node: usize, player: &Player| {
        let mut last = String::new();
        for step in 0..NODES {
            let at = (node + step) % NODES;
            if at == CUT && is_lost.load(Ordering::Relaxed) {
                moved.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            match tokio::time::timeout(CLIENT_PATIENCE, player.get(&urls[at])).await {
                Ok(Ok(got)) if got.status.is_success() => return Ok(got),
                // An answer is an answer.
                Ok(Ok(got)) => return Err(format!("segment {index} at node {node}: {}", got.status)),
                Ok(Err(error)) if at != CUT => return Err(format!("segment {index} at node {at}: {error}")),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) if at != CUT => return Err(format!("segment {index} at node {at}: no answer")),
                Err(_) => "no answer".clone_into(&mut last),
            }
            is_lost.store(true, Ordering::Relaxed);
            moved.fetch_add(1, Ordering::Relaxed);
        }
        Err(last)
    };
    let all =
        crowds.iter().enumerate().flat_map(|(node, crowd)| crowd.iter().map(move |player| (node, player)));
    let answers = join_all(all.map(|(node, player)| get(node, player))).await;
    let mut seen = Seen { bodies: HashMap::new(), failed: Vec::new(), slowest_s: 0.0 };
    for answer in answers {
        match answer {
            Ok(got) => {
                seen.slowest_s = seen.slowest_s.max(got.seconds);
                seen.bodies.entry(Sha256::digest(&got.body).into()).or_insert(got.body);
            }
            Err(why) => seen.failed.push(why),
        }
    }
    Ok(seen)
}
