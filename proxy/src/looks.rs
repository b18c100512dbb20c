//! What content looks like: the cluster that a source's first segment is assigned to, found out once and remembered as long
//! as the facts of a variant are.
//!
//! A multivariant playlist waits for it within the time it has for its variants' facts; if that is too short, the answer is
//! there for the next one who asks.

use std::sync::Arc;
use std::time::Duration;

use acuity_config::CacheConfig;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::flight::Flights;
use crate::cluster::{Assign, Looks};
use crate::inputs::Inputs;
use crate::playlists::Playlists;
use crate::probes::{Sample, Variant};
use crate::site::Site;

/// Sources that may be waiting to be looked at; one more is generic until it asks again.
const FLIGHTS_LIMIT: usize = 64;

/// Sources looked at at one time: it is decoding and a network, in competition with the lanes that make segments.
const AT_ONCE: usize = 1;

/// Clusters of sources, by media playlist. Clones share them.
#[derive(Clone)]
pub struct Appearances(Option<Arc<Shared>>);

struct Shared {
    assign: Arc<dyn Assign>,
    playlists: Playlists,
    inputs: Inputs,
    known: Cache<Variant, Looks>,
    flights: Flights<Variant, Looks>,
    turns: Semaphore,
}

impl Appearances {
    /// Nothing known yet; without `assign` nothing ever will be, and all content is unlike any.
    #[must_use]
    pub fn new(
        assign: Option<Arc<dyn Assign>>,
        playlists: Playlists,
        inputs: Inputs,
        config: &CacheConfig,
    ) -> Self {
        Self(assign.map(|assign| {
            let known =
                Cache::builder().max_capacity(config.probe_entries).time_to_live(config.probe_ttl).build();
            let (flights, turns) = (Flights::new(FLIGHTS_LIMIT), Semaphore::new(AT_ONCE));
            Arc::new(Shared { assign, playlists, inputs, known, flights, turns })
        }))
    }

    /// What the source at `playlist` (edge path and query) looks like, as far as it is known or can be found out within
    /// `patience`.
    pub async fn of(&self, site: &Site, playlist: &str, patience: Duration) -> Looks {
        let Some(shared) = &self.0 else { return Looks::Unlike };
        let source = Variant { site: site.clone(), playlist: playlist.to_owned() };
        if let Some(looks) = shared.known.get(&source) {
            return looks;
        }
        let flight = shared.flights.join(source.clone(), |_| {
            let shared = Arc::clone(shared);
            async move { shared.look(source).await }
        });
        match timeout(patience, flight).await {
            Ok(Ok((looks, _))) => looks,
            Ok(Err(_)) | Err(_) => Looks::Late,
        }
    }

    /// Forgets all: there are other clusters now.
    pub fn forget(&self) {
        if let Some(shared) = &self.0 {
            shared.known.invalidate_all();
        }
    }
}

impl Shared {
    async fn look(&self, source: Variant) -> Looks {
        // The semaphore is never closed; without a permit there would only be one more at a time than meant.
        let _turn = self.turns.acquire().await;
        // What cannot be fetched now may be in a moment.
        let Ok(Sample { init, clear, .. }) = Sample::take(&self.playlists, &self.inputs, &source).await
        else {
            return Looks::Late;
        };
        let assign = Arc::clone(&self.assign);
        let assigned = tokio::task::spawn_blocking(move || assign.cluster_of(init.as_deref(), clear)).await;
        // What the describer cannot stand is not shown to it again and again.
        let looks = assigned.ok().flatten().map_or(Looks::Unlike, Looks::Like);
        self.known.insert(source, looks.clone());
        looks
    }
}
