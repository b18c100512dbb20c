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
        let flight = shared.flights.join(
            source.clone(),
            |_| true,
            |_, _| {
                let shared = Arc::clone(shared);
                async move { shared.look(source).await }
            },
        );
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use acuity_config::Config;
    use bytes::Bytes;
    use prometheus::Registry;
    use url::Url;

    use super::*;
    use crate::metrics::Metrics;
    use crate::origin::Origins;
    use crate::site::Sites;

    const SOON: Duration = Duration::from_secs(20);

    /// Says what the segment's text says, slowly if it is told to, and counts.
    #[derive(Default)]
    struct Reader {
        asked: AtomicUsize,
        pause: Duration,
    }

    impl Assign for Reader {
        fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(self.pause);
            assert!(init.is_none(), "a transport stream has none");
            match std::str::from_utf8(&segment).unwrap() {
                "panic" => panic!("told to"),
                "nothing" => None,
                name => Some(name.to_owned()),
            }
        }
    }

    /// Streams of one segment each, named after what is in it, read from files.
    fn streams(folder: &Path, names: &[&str], reader: Arc<Reader>) -> Appearances {
        for name in names {
            let media = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}.ts\n#EXT-X-ENDLIST\n");
            std::fs::write(folder.join(format!("{name}.m3u8")), media).unwrap();
            std::fs::write(folder.join(format!("{name}.ts")), name).unwrap();
        }
        let mut config = Config::for_origin("http://localhost/").unwrap();
        let root = Url::from_directory_path(folder).unwrap();
        config.routes[0].origin = root.clone();
        let metrics = Arc::new(Metrics::register(&Registry::new()).unwrap());
        let origins = Arc::new(Origins::new(config.origin.clone(), std::iter::once(&root), metrics).unwrap());
        let sites = Arc::new(Sites::new(&config.routes));
        let playlists = Playlists::new(Arc::clone(&origins), Arc::clone(&sites), config.cache.clone());
        let inputs = Inputs::new(origins, sites, &config);
        Appearances::new(Some(reader), playlists, inputs, &config.cache)
    }

    #[tokio::test]
    async fn a_source_is_looked_at_once_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let reader = Arc::new(Reader::default());
        let looks = streams(folder.path(), &["doom", "nothing", "panic"], Arc::clone(&reader));
        let of = async |name: &str| looks.of(&Site::default(), &format!("/{name}.m3u8"), SOON).await;
        let (first, joined) = tokio::join!(of("doom"), of("doom"));
        assert_eq!((first, joined), (Looks::Like("doom".into()), Looks::Like("doom".into())));
        assert_eq!(of("doom").await, Looks::Like("doom".into()));
        assert_eq!(reader.asked.load(Ordering::SeqCst), 1);
        for unlike in ["nothing", "nothing", "panic", "panic"] {
            assert_eq!(of(unlike).await, Looks::Unlike, "{unlike}");
        }
        assert_eq!(reader.asked.load(Ordering::SeqCst), 3, "what is unlike is remembered as well");
        assert_eq!(of("gone").await, Looks::Late, "what cannot be fetched now may be in a moment");
        looks.forget();
        assert_eq!(of("doom").await, Looks::Like("doom".into()));
        assert_eq!(reader.asked.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_he_will() {
        let folder = tempfile::tempdir().unwrap();
        let reader = Arc::new(Reader { pause: Duration::from_millis(200), ..Reader::default() });
        let looks = streams(folder.path(), &["doom"], Arc::clone(&reader));
        let site = Site::default();
        assert_eq!(looks.of(&site, "/doom.m3u8", Duration::from_millis(5)).await, Looks::Late);
        assert_eq!(looks.of(&site, "/doom.m3u8", SOON).await, Looks::Like("doom".into()));
        assert_eq!(reader.asked.load(Ordering::SeqCst), 1, "it went on behind");
        let blind = Appearances(None).of(&site, "/doom.m3u8", SOON);
        assert_eq!(blind.await, Looks::Unlike);
    }
}
