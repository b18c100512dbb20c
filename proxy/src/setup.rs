//! What follows from the configuration, as one value that is swapped as a whole.
//!
//! A request takes the setup that is in force when it begins and keeps it to its end, so that no request is routed by one configuration
//! and answered by another. What costs something to build or is being made lives longer than a setup and is handed from each to the
//! next ([`Lasting`]): the enhancer, the cache, what is in flight, the guard's book.

use std::sync::Arc;

use acuity_config::{Config, HealthCheckConfig, PrivateAddresses, RouteTimeouts};
use acuity_workers::Engine;

use crate::ahead::Ahead;
use crate::cache::depot::Depot;
use crate::cache::store::Store;
use crate::cluster::{Assign, Told, uses};
use crate::guard::Guard;
use crate::guard::instruments::Instruments;
use crate::inputs::Inputs;
use crate::journey::enhanced::EnhancedJourney;
use crate::journey::playlist::PlaylistJourney;
use crate::limits::admission::Admission;
use crate::looks::Appearances;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::origin::{Origins, Pools, Resolver};
use crate::peers::Peers;
use crate::planner::Planner;
use crate::playlists::Playlists;
use crate::probes::Probes;
use crate::produce::{Floor, Parts, Producer};
use crate::signed::RouteKeys;
use crate::site::Sites;
use crate::switches::Switches;

/// What outlives configurations. Clones share it.
#[derive(Clone)]
pub struct Lasting {
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Makes segments.
    pub engine: Engine,
    /// Enhanced objects.
    pub store: Store,
    /// The same, below memory.
    pub depot: Depot,
    /// What is being made.
    pub floor: Floor,
    /// The other nodes.
    pub nodes: Nodes,
    /// Routes that were switched off by hand.
    pub switches: Switches,
    /// The guard's instruments.
    pub guard_instruments: Instruments,
}

/// What requests are answered by.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Routing.
    pub sites: Arc<Sites>,
    /// Whose signatures open which routes.
    pub keys: RouteKeys,
    /// The limits on requests.
    pub admission: Admission,
    /// Where passed-through requests go.
    pub peers: Arc<Peers>,
    /// Playlists outside the edge's own prefix.
    pub playlist_journey: PlaylistJourney,
    /// Everything below a token.
    pub enhanced_journey: EnhancedJourney,
    /// Who compares renditions.
    pub guard: Guard,
    /// What was learned of streams.
    sources: Sources,
}

/// Ways to the origins, and what was learned on them.
#[derive(Clone)]
struct Sources {
    sites: Arc<Sites>,
    peers: Arc<Peers>,
    pools: Arc<Pools>,
    playlists: Playlists,
    inputs: Inputs,
    probes: Probes,
    /// Whether streams are assigned by their looks.
    assigns: bool,
    appearances: Appearances,
}

impl Setup {
    /// The setup of a configuration, instead of `before` if there was one.
    ///
    /// # Errors
    /// The client toward origins cannot be built.
    pub fn new(
        config: Config,
        keys: RouteKeys,
        lasting: &Lasting,
        before: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let config = Arc::new(config);
        let Lasting { metrics, engine, store, depot, floor, nodes, switches, guard_instruments } =
            lasting.clone();
        let sources = Sources::new(&config, &metrics, &engine, before)?;
        let Sources { sites, peers, playlists, inputs, probes, appearances, .. } = sources.clone();
        let guard = match before {
            Some(before) => before.guard.clone(),
            None => Guard::new(
                config.guard.clone(),
                playlists.clone(),
                inputs.clone(),
                engine.clone(),
                guard_instruments,
            ),
        };
        let producer = Producer::new(Parts {
            config: Arc::clone(&config),
            playlists: playlists.clone(),
            inputs,
            sites: Arc::clone(&sites),
            engine: engine.clone(),
            store: store.clone(),
            depot,
            guard: guard.clone(),
            metrics: Arc::clone(&metrics),
            floor,
            nodes,
            switches: switches.clone(),
        });
        let route_origins: Arc<[String]> =
            config.routes.iter().map(|route| route.origin.to_string()).collect();
        let reach = config.enhancer.look_ahead;
        let ahead = Ahead::new(playlists.clone(), producer.clone(), Arc::clone(&sites), route_origins, reach);
        let planner = Planner {
            probes,
            appearances,
            engine,
            probe_timeout: config.origin.probe_timeout,
            guard: guard.clone(),
            metrics: Arc::clone(&metrics),
            told: Told::default(),
        };
        let playlist_journey = PlaylistJourney::new(playlists.clone(), planner, switches);
        let enhanced_journey = EnhancedJourney {
            config: Arc::clone(&config),
            sites: Arc::clone(&sites),
            playlists,
            store,
            producer,
            ahead,
            metrics,
        };
        let admission = Admission::new(&config);
        Ok(Self { config, sites, keys, admission, peers, playlist_journey, enhanced_journey, guard, sources })
    }

    /// The origins of each route.
    #[must_use]
    pub fn origins(&self) -> &Arc<Pools> {
        &self.sources.pools
    }

    /// This setup is in force now: what outlives setups takes its sources from here.
    pub fn enter(&self) {
        self.guard.read_from(self.sources.playlists.clone(), self.sources.inputs.clone());
    }

    /// The models have changed: streams are assigned anew.
    pub fn forget_clusters(&self) {
        self.sources.appearances.forget();
    }

    /// What was fetched from origins is fetched anew.
    pub fn forget_sources(&self) {
        self.sources.playlists.forget();
        self.sources.inputs.forget();
    }

    /// Objects being made or waited for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.enhanced_journey.producer.in_flight()
    }
}

impl Sources {
    /// Those of `before` where they lead the same ways: what was learned of streams is not learned again because a key was rotated.
    fn new(
        config: &Config,
        metrics: &Arc<Metrics>,
        engine: &Engine,
        before: Option<&Setup>,
    ) -> Result<Self, reqwest::Error> {
        let sites = Arc::new(Sites::new(&config.routes));
        let assigns = uses(&config.routes).looks;
        let same = |before: &&Setup| {
            *before.sites == *sites
                && before.config.origin == config.origin
                && ways(&before.config).eq(ways(config))
                && before.config.cache == config.cache
                && before.sources.assigns == assigns
        };
        if let Some(before) = before.filter(same) {
            return Ok(before.sources.clone());
        }
        let resolver = Resolver::new(&config.routes, metrics.origin_addresses_refused.clone());
        let peers = Arc::new(Peers::new(resolver.clone()));
        let known = before.map(|before| &*before.sources.pools);
        let origins =
            Origins::resolving(config.origin.clone(), &config.routes, Arc::clone(metrics), resolver, known)?;
        let origins = Arc::new(origins);
        let pools = Arc::clone(origins.pools());
        let playlists = Playlists::new(Arc::clone(&origins), Arc::clone(&sites), config.cache.clone());
        let inputs = Inputs::new(origins, Arc::clone(&sites), config);
        let probes = Probes::new(playlists.clone(), inputs.clone(), config.enhancer.clone(), &config.cache);
        let assign = assigns.then(|| Arc::new(engine.clone()) as Arc<dyn Assign>);
        let appearances = Appearances::new(assign, playlists.clone(), inputs.clone(), &config.cache);
        Ok(Self { sites, peers, pools, playlists, inputs, probes, assigns, appearances })
    }
}

/// What routes say of their origins, beside their URLs.
fn ways(
    config: &Config,
) -> impl Iterator<Item = (PrivateAddresses, bool, &Option<HealthCheckConfig>, RouteTimeouts)> {
    config
        .routes
        .iter()
        .map(|route| (route.private_addresses, route.spread_origins, &route.health_check, route.timeouts))
}
