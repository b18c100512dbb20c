//! The configuration of Acuity: typed sections, each default with its reason, and a reader that reports every fault
//! at once instead of the first.
//!
//! Text in, [`Config`] or [`Faults`] out. The crate opens no file and reads no environment, so that what a
//! configuration means depends on its text alone (and, for `"auto"`, on the number of cores). `acuity.example.toml`
//! beside this crate lists every key; a test holds it to the code.

#![forbid(unsafe_code)]

mod bucket;
mod cache;
mod cluster;
mod depot;
mod detail;
mod document;
mod enhancer;
mod faults;
mod findings;
mod frame_rate;
mod gpu;
mod guard;
mod handover;
mod limits;
mod log;
mod model_store;
mod models;
mod nodes;
mod origin;
mod pattern;
mod reader;
mod reload;
mod remote;
mod route;
mod server;
mod signed_urls;
mod tracing;
mod units;
mod upstream;
mod weak;
mod words;
mod workers;

use std::net::SocketAddr;

pub use bucket::StoreConfig;
pub use cache::CacheConfig;
pub use cluster::{ClusterChoice, ClusterRule};
pub use depot::{DepotConfig, DepotPlace};
pub use detail::DetailShareOf;
pub use enhancer::{DeadlinePolicy, EnhancerConfig, Precision, Preset, Provider};
pub use faults::{Fault, Faults, Position};
pub use frame_rate::{FrameRateConfig, InterpolatorChoice};
pub use gpu::{CodecPlace, GpuConfig, GpuPrecision};
pub use guard::GuardConfig;
pub use handover::WorkerPart;
pub use ipnet::IpNet;
pub use limits::{ClientLimits, LimitsConfig};
pub use log::{AccessLog, LogConfig, LogFormat, LogLevel};
pub use model_store::{
    DEFAULT_CHANNEL, Follow, ModelStoreConfig, ModelStorePlace, ModelStoreUrl, channel as model_channel,
};
pub use models::ModelsConfig;
pub use nodes::{NodeName, NodesConfig, NodesTls};
pub use origin::OriginConfig;
pub use pattern::Pattern;
pub use reload::Reloaded;
pub use remote::{ListenConfig, RemoteConfig, RemoteTls};
pub use route::{EnhanceFor, HostPattern, PrivateAddresses, RouteConfig};
pub use server::{AdminConfig, ServerConfig, TlsConfig};
pub use signed_urls::{SignedUrlsConfig, SigningKey};
pub use tracing::{TraceProtocol, TracingConfig};
pub use units::parse_duration;
pub use upstream::{BreakerConfig, HealthCheckConfig, RetriesConfig, RouteTimeouts, Timeouts};
pub use url::Url;
pub use weak::{CmcdCondition, NamedMatch, WeakRule};
pub use workers::{CpuSet, Sandbox, WorkersConfig};

/// All sections. Each room of the program takes its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where players are answered.
    pub server: ServerConfig,
    /// Where operators are answered.
    pub admin: AdminConfig,
    /// Which requests go where; at least one, no two with the same host and prefix.
    pub routes: Vec<RouteConfig>,
    /// How video is enhanced.
    pub enhancer: EnhancerConfig,
    /// The processes that do it.
    pub workers: WorkersConfig,
    /// Where networks are read from, and how soon new ones are used.
    pub models: ModelsConfig,
    /// Whether models are checked while they are used.
    pub guard: GuardConfig,
    /// What is kept.
    pub cache: CacheConfig,
    /// The other nodes of the region; none: this one is alone.
    pub nodes: Option<NodesConfig>,
    /// Patience with origins.
    pub origin: OriginConfig,
    /// What strangers may cost.
    pub limits: LimitsConfig,
    /// What is written out.
    pub log: LogConfig,
    /// Where traces are sent.
    pub tracing: TracingConfig,
}

/// What the command line says; it overrides the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    /// Origin of the route for every host and path: replaces that route's origin, or adds the route.
    pub origin: Option<&'a str>,
    /// Replaces `server.listen`.
    pub listen: Option<SocketAddr>,
    /// Replaces `admin.listen`.
    pub admin: Option<SocketAddr>,
}

/// Reads a configuration.
///
/// # Errors
/// All faults of the text at once.
pub fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse_with(text, &Overrides::default())
}

impl Config {
    /// The configuration of an edge that is told nothing but its origin.
    ///
    /// # Errors
    /// When `origin` is not the URL of an origin.
    pub fn for_origin(origin: &str) -> Result<Self, Faults> {
        Self::parse_with("", &Overrides { origin: Some(origin), ..Overrides::default() })
    }

    /// Reads a configuration of which the command line overrides parts.
    ///
    /// # Errors
    /// All faults of the text and of the overrides at once.
    pub fn parse_with(text: &str, overrides: &Overrides<'_>) -> Result<Self, Faults> {
        document::read(text, overrides)
    }

    /// Where operators reach the edge that runs with this text, and what token it asks for, whatever is wrong with the rest: what has become
    /// of a file since an edge was started with it is no reason not to find that edge.
    #[must_use]
    pub fn admin_of(text: &str) -> AdminConfig {
        document::walk(text, &Overrides::default(), &findings::Findings::new()).admin
    }
}

/// Cores this process may use; at least one.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests;
