//! Which cluster of models a stream gets: decided once, at its multivariant playlist, for all its renditions.
//!
//! In this order: a rule of the route (or the one name it always takes), what the origin says in the playlist
//! (`EXT-X-SESSION-DATA` with `DATA-ID="org.acuity.cluster"`), what it says in the response header `Acuity-Cluster`, what
//! the first segment looks like ([`Assign`]), and `generic`. Who is named but has no usable models is `generic` too, and
//! the metric says so.
//!
//! All of it is pure but [`Assign`], which is somebody else's work behind a small door.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use acuity_config::{ClusterChoice, RouteConfig};
use acuity_enhancer::OfferedInterpolator;
use acuity_playlist::token::{CLUSTER_BYTES_MAX, GENERIC_CLUSTER, PLAIN_CLUSTER};
use acuity_workers::{Engine, Uses};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::plan::ModelChoice;

/// `DATA-ID` by which an origin names a stream's cluster in its multivariant playlist.
pub const CLUSTER_DATA_ID: &str = "org.acuity.cluster";

/// Tells the cluster of content that nobody has named, by its looks.
pub trait Assign: Send + Sync {
    /// The cluster of a source, from the clear bytes of one segment and of the initialisation section that goes with it; `None`
    /// where nothing is near. Called on a thread that may be kept busy, once for each source as long as it is remembered.
    fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String>;
}

impl Assign for Engine {
    fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String> {
        let init = init.map(Bytes::copy_from_slice);
        Handle::current().block_on(Engine::cluster_of(self, init, segment))
    }
}

/// What a stream looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looks {
    /// Like this cluster.
    Like(String),
    /// Like none, or nobody can tell.
    Unlike,
    /// Not known yet; it is being found out.
    Late,
}

/// Who named the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// A rule of the route, or the route itself.
    Rule,
    /// The origin, in the playlist.
    Playlist,
    /// The origin, in a header.
    Header,
    /// The pictures.
    Auto,
    /// Nobody.
    Generic,
}

impl By {
    /// Every way.
    pub const ALL: [Self; 5] = [Self::Rule, Self::Playlist, Self::Header, Self::Auto, Self::Generic];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Playlist => "playlist",
            Self::Header => "header",
            Self::Auto => "auto",
            Self::Generic => "generic",
        }
    }
}

/// Why a stream is `generic` although it could be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// It is what it was meant to be.
    None,
    /// The cluster that was named has no usable model, of any scale the route allows or between pictures.
    NoModel,
    /// Its looks are not known yet.
    Late,
}

impl Fallback {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoModel => "no_model",
            Self::Late => "late",
        }
    }
}

/// A name and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Who.
    pub by: By,
    /// The cluster, whether there is one of that name or not: `[a-z0-9_]`, at most 32 bytes.
    pub cluster: String,
}

/// What is known of a stream before its pictures are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stream<'a> {
    /// The host it is asked for under; empty if no route or rule names it.
    pub host: &'a str,
    /// Edge path of the multivariant playlist, without query.
    pub path: &'a str,
    /// `VALUE` of [`CLUSTER_DATA_ID`].
    pub playlist: Option<&'a str>,
    /// `Acuity-Cluster`.
    pub header: Option<&'a str>,
}

/// The cluster that somebody names.
#[must_use]
pub fn named(route: &RouteConfig, stream: Stream<'_>) -> Option<Named> {
    let rule = route.cluster_rules.iter().find(|rule| rule.holds(stream.host, stream.path));
    let always = match &route.cluster {
        ClusterChoice::Always(cluster) => Some(cluster),
        ClusterChoice::Auto => None,
    };
    if let Some(cluster) = rule.map(|rule| &rule.cluster).or(always) {
        return Some(Named { by: By::Rule, cluster: cluster.clone() });
    }
    let said = |by, text: Option<&str>| Some(Named { by, cluster: name(text?)? });
    said(By::Playlist, stream.playlist).or_else(|| said(By::Header, stream.header))
}

/// A cluster's name in what an origin says; `None` where it is none, which is as if nothing were said. `plain` is for
/// operators to choose: it would withhold an origin's rendition for a scaled one.
fn name(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let sound = (1..=CLUSTER_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
    (sound && text != "auto" && text != PLAIN_CLUSTER).then_some(text)
}

/// Whether any stream of these routes may be enhanced by a network at all.
#[must_use]
pub fn uses_models(routes: &[RouteConfig]) -> bool {
    let plain = |route: &RouteConfig| {
        route.cluster == ClusterChoice::Always(PLAIN_CLUSTER.to_owned())
            && route.cluster_rules.iter().all(|rule| rule.cluster == PLAIN_CLUSTER)
    };
    !routes.iter().all(plain)
}

/// What the enhancer is there for with these routes.
#[must_use]
pub fn uses(routes: &[RouteConfig]) -> Uses {
    Uses {
        models: uses_models(routes),
        looks: routes.iter().any(|route| route.cluster == ClusterChoice::Auto),
    }
}

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Who named it; [`By::Generic`] if nobody did.
    pub by: By,
    /// The cluster whose models are used: one that there is, `generic` or `plain`.
    pub cluster: String,
    /// Whether that is less than was meant.
    pub fallback: Fallback,
    /// The name that has no models.
    pub without_model: Option<String>,
}

/// The clusters that have something of their own for a route: a network that enlarges by one of `scales`, or one that makes
/// pictures between others, where these are asked for.
#[must_use]
pub fn usable(
    models: &[ModelChoice],
    scales: &[u32],
    interpolators: &[OfferedInterpolator],
) -> BTreeSet<String> {
    let enlarge = models.iter().filter(|set| scales.contains(&set.scale)).map(|set| &set.cluster);
    enlarge.chain(interpolators.iter().map(|set| &set.cluster)).cloned().collect()
}

/// Whether there is anything to assign a stream to: a cluster of its own among those that are usable.
#[must_use]
pub fn may_assign(route: &RouteConfig, usable: &BTreeSet<String>) -> bool {
    route.cluster == ClusterChoice::Auto && usable.iter().any(|cluster| cluster != GENERIC_CLUSTER)
}

/// The cluster to use, of those that are usable. `looks` counts only where nobody has named one.
#[must_use]
pub fn settle(named: Option<Named>, looks: Looks, usable: &BTreeSet<String>) -> Settled {
    let generic = |by, fallback, without_model| Settled {
        by,
        cluster: GENERIC_CLUSTER.to_owned(),
        fallback,
        without_model,
    };
    let Named { by, cluster } = match (named, looks) {
        (Some(named), _) => named,
        (None, Looks::Like(cluster)) => Named { by: By::Auto, cluster },
        (None, Looks::Unlike) => return generic(By::Generic, Fallback::None, None),
        (None, Looks::Late) => return generic(By::Generic, Fallback::Late, None),
    };
    if cluster == PLAIN_CLUSTER || cluster == GENERIC_CLUSTER || usable.contains(&cluster) {
        return Settled { by, cluster, fallback: Fallback::None, without_model: None };
    }
    generic(by, Fallback::NoModel, Some(cluster))
}

/// Names without models that the log has told of: once each, and not for ever, because origins may say anything.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<String>>);

/// Far above what anybody misspells.
const TOLD_LIMIT: usize = 64;

impl Told {
    /// Whether this is the first time.
    pub fn first(&self, cluster: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_LIMIT && told.insert(cluster.to_owned())
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
