//! What is shown, as values: the page and the JSON are two ways to write it down.

use std::time::{Duration, Instant, SystemTime};

use acuity_config::{Config, DepotPlace};
use acuity_enhancer::Readiness;
use acuity_playlist::RenditionToken;
use serde::Serialize;

use super::digest;
use super::figures::Figures;
use crate::app::App;

/// Everything that is shown of an edge.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) version: &'static str,
    pub(super) config_digest: String,
    /// When it was made, and when the edge began: seconds since 1970.
    pub(super) now_seconds: u64,
    pub(super) started_seconds: u64,
    pub(super) uptime_seconds: u64,
    pub(super) state: &'static str,
    pub(super) requests_in_progress: usize,
    pub(super) objects_being_made: f64,
    /// What `lately` is about.
    pub(super) window_seconds: u64,
    pub(super) lately: Lately,
    pub(super) streams: Vec<StreamView>,
    pub(super) gain: Vec<Gain>,
    pub(super) fallbacks: Vec<FallbackView>,
    pub(super) workers: Workers,
    pub(super) cache: Cache,
    pub(super) depot: Option<Depot>,
    pub(super) connections: f64,
    pub(super) limits: Vec<Counted>,
    pub(super) routes: Vec<Route>,
    pub(super) restart_needed: f64,
}

/// What has come in the last minutes.
#[derive(Debug, Serialize)]
pub(super) struct Lately {
    /// Bytes that players got of what was enhanced, and of everything; and what origins sent.
    pub(super) enhanced_bytes: f64,
    pub(super) player_bytes: f64,
    pub(super) origin_bytes: f64,
    /// Part of what players got that no origin sent; none where players got nothing.
    pub(super) saved_ratio: Option<f64>,
    /// Of the requests for enhanced objects, those that memory answered.
    pub(super) cache_hit_ratio: Option<f64>,
    /// Of the segments that somebody waited for, those that were late.
    pub(super) late_ratio: Option<f64>,
    pub(super) segments: Vec<Counted>,
    pub(super) fallbacks: Vec<Counted>,
    pub(super) answers: f64,
    /// Answers with 5xx: the origin's, and the edge's own.
    pub(super) origin_errors: f64,
    pub(super) own_errors: f64,
}

/// A rendition that is watched.
#[derive(Debug, Serialize)]
pub(super) struct StreamView {
    pub(super) host: String,
    pub(super) playlist: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames_per_second: f64,
    pub(super) cluster: String,
    pub(super) clients: usize,
    /// Requests of the last one to two minutes.
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) made_by: Vec<Counted>,
    pub(super) last_seconds_ago: u64,
}

/// Something, and how often.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub(super) name: String,
    pub(super) count: f64,
}

/// What the guard measured of a model.
#[derive(Debug, Serialize)]
pub(super) struct Gain {
    pub(super) task: String,
    pub(super) cluster: String,
    pub(super) scale: String,
    pub(super) tier: String,
    pub(super) over: String,
    pub(super) gain_db: f64,
    pub(super) is_stopped: bool,
}

/// A fall-back, or several alike in a row.
#[derive(Debug, Serialize)]
pub(super) struct FallbackView {
    pub(super) at_seconds: u64,
    pub(super) reason: &'static str,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) rendition: String,
    pub(super) cluster: String,
    pub(super) count: u64,
}

/// What makes segments.
#[derive(Debug, Serialize)]
pub(super) struct Workers {
    /// Processes of their own, as configured; 0: in the edge's.
    pub(super) configured: usize,
    pub(super) active: f64,
    pub(super) other: f64,
    /// On other machines, by state; empty: none are configured.
    pub(super) remote: Vec<Counted>,
    pub(super) resident_bytes: Vec<Counted>,
    /// Since the edge began.
    pub(super) exits: Vec<Counted>,
    pub(super) lanes: f64,
    pub(super) waiting: f64,
    /// Part of the machine's time that was left over lately.
    pub(super) reserve_ratio: f64,
    pub(super) models: usize,
}

/// Segments in memory.
#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub(super) bytes: f64,
    pub(super) budget_bytes: u64,
    pub(super) objects: f64,
}

/// Segments below memory.
#[derive(Debug, Serialize)]
pub(super) struct Depot {
    pub(super) place: &'static str,
    pub(super) bytes: f64,
    /// None: no limit of the edge's.
    pub(super) budget_bytes: Option<u64>,
    pub(super) objects: f64,
    /// What it is left alone for, because it fails.
    pub(super) paused: Vec<String>,
}

/// A route, and whether anything is enhanced there.
#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) origin: String,
    /// Switched off by hand.
    pub(super) is_switched_off: bool,
    /// Off by the configuration.
    pub(super) is_off: bool,
}

impl View {
    /// As it is now.
    pub(super) async fn of(app: &App) -> Self {
        app.show().await;
        let now = Figures::of(&app.metrics.gather(), |name| name.starts_with("acuity_"));
        let at = Instant::now();
        let (come, window) = app.status.history.since(at, &now);
        let setup = app.setup();
        let config = &*setup.config;
        let state = match (app.is_leaving(), app.readiness()) {
            (true, _) => "stopping",
            (false, Readiness::Ready) => "ready",
            (false, Readiness::Starting) => "starting",
            (false, Readiness::Stopped) => "stopped",
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            config_digest: digest(config),
            now_seconds: since_1970(SystemTime::now()),
            started_seconds: since_1970(app.status.began),
            uptime_seconds: app.status.started.elapsed().as_secs(),
            state,
            // This request is not one of the players'.
            requests_in_progress: app.requests_in_progress(),
            objects_being_made: now.sum("acuity_flights", &[]),
            window_seconds: window.as_secs(),
            lately: Lately::of(&come),
            streams: streams(app, at),
            gain: gain(&now),
            fallbacks: fallbacks(app),
            workers: Workers::of(&now, config),
            cache: Cache {
                bytes: now.sum("acuity_cache_bytes", &[]),
                budget_bytes: config.cache.budget_bytes,
                objects: now.sum("acuity_cache_entries", &[]),
            },
            depot: depot(&now, config),
            connections: now.sum("acuity_connections", &[]),
            limits: counted(&come, "acuity_limited_total", "limit"),
            routes: routes(app, config),
            restart_needed: now.sum("acuity_config_restart_needed", &[]),
        }
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// A part of a whole, where there is one.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// By a label, the most first; what never came is left out.
fn counted(figures: &Figures, name: &str, label: &str) -> Vec<Counted> {
    let all = figures.by(name, &[label]).into_iter().filter(|(_, count)| *count > 0.0);
    let mut all: Vec<_> = all.map(|(names, count)| Counted { name: names.join(" "), count }).collect();
    all.sort_by(|a, b| b.count.total_cmp(&a.count));
    all
}

impl Lately {
    fn of(come: &Figures) -> Self {
        let sum = |name: &str, labels: &[(&str, &str)]| come.sum(name, labels);
        let (player, origin) = (sum("acuity_player_bytes_total", &[]), sum("acuity_origin_bytes_total", &[]));
        let (hits, misses) = (sum("acuity_cache_hits_total", &[]), sum("acuity_cache_misses_total", &[]));
        let waited = |kept: &str| -> f64 {
            let of = |who| sum("acuity_enhancer_deadlines_total", &[("who", who), ("kept", kept)]);
            of("viewer") + of("start")
        };
        let enhanced = ["segment", "init"].map(|kind| sum("acuity_player_bytes_total", &[("kind", kind)]));
        let errors = |by| sum("acuity_responses_total", &[("status", "5xx"), ("by", by)]);
        Self {
            enhanced_bytes: enhanced.into_iter().sum(),
            player_bytes: player,
            origin_bytes: origin,
            saved_ratio: ratio(player - origin, player),
            cache_hit_ratio: ratio(hits, hits + misses),
            late_ratio: ratio(waited("no"), waited("no") + waited("yes")),
            segments: segments(come),
            fallbacks: counted(come, "acuity_fallbacks_total", "reason"),
            answers: sum("acuity_responses_total", &[]),
            origin_errors: errors("origin"),
            own_errors: errors("edge"),
        }
    }
}

/// Segments that were made, by tier: cheap to dear, then plain, then untouched.
fn segments(come: &Figures) -> Vec<Counted> {
    let name = |made_by: &str, tier: &str| match made_by {
        "model" => format!("network, tier {tier}"),
        "plain" => "plain scaler".to_owned(),
        other => other.to_owned(),
    };
    let by = come.by("acuity_enhancer_segments_total", &["made_by", "tier"]);
    let all = by.into_iter().filter(|(_, count)| *count > 0.0);
    all.map(|(labels, count)| Counted { name: name(&labels[0], &labels[1]), count }).collect()
}

fn frames_per_second(token: &RenditionToken) -> f64 {
    f64::from(token.frame_rate_milli) / 1000.0
}

fn streams(app: &App, at: Instant) -> Vec<StreamView> {
    let streams = app.status.streams.list(at).into_iter();
    let view = |stream: super::streams::Stream| StreamView {
        host: stream.site.name().to_owned(),
        playlist: crate::traces::path_of(&stream.token.playlist),
        width: stream.token.width,
        height: stream.token.height,
        frames_per_second: frames_per_second(&stream.token),
        cluster: stream.token.cluster.clone(),
        clients: stream.clients,
        requests: stream.requests,
        bytes: stream.bytes,
        made_by: stream
            .made_by
            .iter()
            .map(|(what, count)| Counted { name: what.to_string(), count: *count as f64 })
            .collect(),
        last_seconds_ago: at.saturating_duration_since(stream.last).as_secs(),
    };
    streams.map(view).collect()
}

fn gain(now: &Figures) -> Vec<Gain> {
    let labels = ["task", "cluster", "scale", "tier", "over"];
    let all = now.by("acuity_guard_gain_db", &labels).into_iter();
    all.filter_map(|(names, gain_db)| {
        let [task, cluster, scale, tier, over] = <[String; 5]>::try_from(names).ok()?;
        let same = [("task", &*task), ("cluster", &*cluster), ("scale", &*scale), ("tier", &*tier)];
        let is_stopped = now.sum("acuity_guard_stopped", &same) > 0.0;
        Some(Gain { task, cluster, scale, tier, over, gain_db, is_stopped })
    })
    .collect()
}

fn fallbacks(app: &App) -> Vec<FallbackView> {
    let all = app.metrics.recent_fallbacks.list().into_iter();
    all.map(|fallback| FallbackView {
        at_seconds: since_1970(fallback.last),
        reason: fallback.reason,
        host: fallback.site,
        path: fallback.path,
        rendition: format!("{}×{}", fallback.token.width, fallback.token.height),
        cluster: fallback.token.cluster.clone(),
        count: fallback.count,
    })
    .collect()
}

impl Workers {
    fn of(now: &Figures, config: &Config) -> Self {
        let state = |state| now.sum("acuity_workers", &[("state", state)]);
        Self {
            configured: config.workers.count,
            active: state("active"),
            other: state("other"),
            remote: match config.workers.remote {
                Some(_) => counted(now, "acuity_remote_workers", "state"),
                None => Vec::new(),
            },
            resident_bytes: counted(now, "acuity_worker_resident_bytes", "worker"),
            exits: counted(now, "acuity_worker_exits_total", "reason"),
            lanes: now.sum("acuity_enhancer_lanes", &[]),
            waiting: now.sum("acuity_enhancer_queue_depth", &[]),
            reserve_ratio: now.sum("acuity_enhancer_reserve_ratio", &[]),
            models: now.by("acuity_enhancer_model_info", &["id"]).len(),
        }
    }
}

fn depot(now: &Figures, config: &Config) -> Option<Depot> {
    let depot = config.cache.depot.as_ref()?;
    let (place, budget_bytes) = match &depot.place {
        DepotPlace::Disk { max_bytes, .. } => ("disk", Some(*max_bytes)),
        DepotPlace::Store(_) => ("store", None),
    };
    let paused = counted(now, "acuity_depot_paused", "what");
    Some(Depot {
        place,
        bytes: now.sum("acuity_depot_bytes", &[]),
        budget_bytes,
        objects: now.sum("acuity_depot_objects", &[]),
        paused: paused.into_iter().map(|paused| paused.name).collect(),
    })
}

fn routes(app: &App, config: &Config) -> Vec<Route> {
    let route = |route: &acuity_config::RouteConfig| Route {
        name: route.name.clone(),
        origin: route.origin.to_string(),
        is_switched_off: app.switches.is_off(&route.name),
        is_off: app.switches.stops(route),
    };
    config.routes.iter().map(route).collect()
}
