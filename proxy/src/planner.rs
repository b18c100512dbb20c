//! Plans what a multivariant playlist offers: finds out about its variants, decides the stream's cluster, and asks the pure
//! [`plan`](crate::plan) with what models there are at this moment.
//!
//! Here a new model begins to be used: playlists written from now on name it. Those that players hold go on naming the
//! one they named.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::RouteConfig;
use acuity_enhancer::{Interpolation, Interpolator, output_codec_string};
use acuity_playlist::multivariant::Resolution;
use acuity_playlist::token::GENERIC_CLUSTER;
use acuity_playlist::uri::split_query;
use acuity_playlist::{Multivariant, RenditionToken};
use acuity_workers::Engine;
use futures::future::join_all;

use crate::asked::Asked;
use crate::cluster::{self, CLUSTER_DATA_ID, Looks, Settled, Stream, Told};
use crate::guard::Guard;
use crate::limits::clients::{Client, Slot};
use crate::looks::Appearances;
use crate::metrics::Metrics;
use crate::origin::Source;
use crate::plan::{self, Candidate, ModelChoice, Policy, Probe, Refusal, ServePlan, highest_bandwidth};
use crate::probes::Probes;
use crate::site::Site;
use crate::wanted::spec_of;

/// Makes plans.
pub struct Planner {
    /// Facts about variants.
    pub probes: Probes,
    /// What content looks like.
    pub appearances: Appearances,
    /// Whose models they are.
    pub engine: Engine,
    /// How long a playlist waits for what is not known yet.
    pub probe_timeout: Duration,
    /// Who compares renditions with the origin's own.
    pub guard: Guard,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Names without models that the log has told of.
    pub told: Told,
}

impl Planner {
    /// What to make of the multivariant playlist at `path` (edge path and query), for a client that gets more pictures a second or
    /// does not.
    pub async fn plan(
        &self,
        asked: &Asked<'_>,
        route: &RouteConfig,
        path: &str,
        source: &Source,
        playlist: &Multivariant,
    ) -> ServePlan {
        let give_up = Instant::now() + self.probe_timeout;
        let site = &asked.site;
        let mut policy = Policy::of(route, GENERIC_CLUSTER, asked.gets_frame_rate(route));
        let plan::Candidates { candidates, refused } = plan::candidates(playlist, &policy);
        let probed = self.probe((site, &asked.client), playlist, candidates, give_up).await;
        // One look at what there is: all of the plan is of one moment.
        let models = self.models(&policy.enlargements());
        let stream = Stream {
            host: site.host().unwrap_or_default(),
            path: split_query(path).0,
            playlist: playlist.session_value(CLUSTER_DATA_ID),
            header: source.cluster.as_deref(),
        };
        let named = cluster::named(route, stream);
        if policy.frame_rate.is_some() {
            policy.interpolators = self.engine.interpolators();
        }
        let usable = cluster::usable(&models, &policy.scales, &policy.interpolators);
        let looks = if named.is_none() && cluster::may_assign(route, &usable) {
            self.looks(site, playlist, &probed, give_up).await
        } else {
            Looks::Unlike
        };
        let settled = cluster::settle(named, looks, &usable);
        if probed.iter().any(|(_, probe)| matches!(probe, Probe::Ready(_))) {
            self.tell(&settled);
        }
        policy.cluster = settled.cluster;
        let codec = |token: &RenditionToken| output_codec_string(&spec_of(token));
        let mut plan = plan::plan(playlist, &policy, &models, &probed, &codec);
        plan.refused.extend(refused);
        for (_, refusal) in &plan.refused {
            self.metrics.variants_refused.with_label_values(&[refusal.label()]).inc();
        }
        self.metrics.variants_offered.inc_by(plan.enhanced.len() as u64);
        for token in plan.enhanced.iter().map(|enhanced| &enhanced.token).filter(|token| !token.is_plain()) {
            self.engine.prepare(&token.cluster, token.scale, &token.digest);
        }
        for token in plan.enhanced.iter().map(|enhanced| &enhanced.token) {
            if let Some(Interpolation { by: Interpolator::Model { cluster, digest }, .. }) =
                &token.interpolation
            {
                let (width, height) = (token.width / token.scale.max(1), token.height / token.scale.max(1));
                self.engine.prepare_interpolator(cluster, digest, width, height);
            }
        }
        for enhanced in &plan.enhanced {
            let variant = enhanced.counterpart.and_then(|index| playlist.variants.get(index));
            if let Some(path) = variant.and_then(|variant| variant.target.edge()) {
                self.guard.remember(site, &enhanced.token, path);
            }
        }
        plan
    }

    /// The sets of these scales that may be put into playlists now.
    fn models(&self, scales: &BTreeSet<u32>) -> Vec<ModelChoice> {
        let offered = self.engine.offered();
        let wanted = offered.iter().filter(|set| scales.contains(&set.scale));
        wanted
            .map(|set| ModelChoice {
                cluster: set.cluster.clone(),
                scale: set.scale,
                digest: set.digest.clone(),
            })
            .collect()
    }

    /// What the stream looks like: judged by its best source, for all of them.
    async fn looks(
        &self,
        site: &Site,
        playlist: &Multivariant,
        probed: &[(Candidate, Probe)],
        give_up: Instant,
    ) -> Looks {
        let ready = probed.iter().filter(|(_, probe)| matches!(probe, Probe::Ready(_)));
        // Of equal ones the first, as everywhere.
        let best = ready.rev().max_by_key(|(candidate, _)| highest_bandwidth(playlist, candidate));
        let Some((candidate, _)) = best else { return Looks::Unlike };
        let patience = give_up.saturating_duration_since(Instant::now());
        self.appearances.of(site, &candidate.playlist, patience).await
    }

    fn tell(&self, settled: &Settled) {
        let Settled { by, cluster, fallback, without_model } = settled;
        self.metrics.cluster_choices.with_label_values(&[by.label(), cluster, fallback.label()]).inc();
        if let Some(name) = without_model.as_deref().filter(|name| self.told.first(name)) {
            tracing::warn!(
                cluster = name,
                named_by = by.label(),
                "no usable model of this cluster: its streams are generic"
            );
        }
    }

    /// Probes the best candidate of each resolution, and the next best where that one cannot be a source: each costs the
    /// origin a playlist and a segment. All of it before it is time to `give_up`. A client's leave is asked for once for all of them, and only
    /// where something is not known.
    async fn probe(
        &self,
        (site, client): (&Site, &Client),
        playlist: &Multivariant,
        candidates: Vec<Candidate>,
        give_up: Instant,
    ) -> Vec<(Candidate, Probe)> {
        let mut probed: Vec<(Candidate, Probe)> = Vec::with_capacity(candidates.len());
        let mut slot: Option<Option<Slot>> = None;
        let ranks: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.rank).collect();
        for rank in ranks {
            let ready: HashSet<_> = probed
                .iter()
                .filter(|(_, probe)| matches!(probe, Probe::Ready(_)))
                .map(|(candidate, _)| place(playlist, candidate))
                .collect();
            let (spare, wanted): (Vec<_>, Vec<_>) = candidates
                .iter()
                .filter(|candidate| candidate.rank == rank)
                .partition(|candidate| rank > 0 && ready.contains(&place(playlist, candidate)));
            let outranked = |candidate: &Candidate| (candidate.clone(), Probe::Refused(Refusal::Outranked));
            probed.extend(spare.into_iter().map(outranked));
            let patience = give_up.saturating_duration_since(Instant::now());
            let is_new = |candidate: &&Candidate| !self.probes.has(site, &candidate.playlist);
            if slot.is_none() && wanted.iter().any(is_new) {
                slot = Some(client.slot_now());
            }
            let slot = slot.clone().unwrap_or_else(|| Some(Slot::default()));
            let probes = wanted.into_iter().map(|candidate| {
                let slot = slot.clone();
                async move {
                    let probe = self.probes.get(site, &candidate.playlist, patience, slot).await;
                    (candidate.clone(), probe)
                }
            });
            probed.extend(join_all(probes).await);
        }
        if probed.iter().any(|(_, probe)| matches!(probe, Probe::Refused(Refusal::ClientLimit))) {
            client.met_enhancements();
        }
        probed
    }
}

/// What candidates compete for: a resolution within a pathway.
fn place<'a>(playlist: &'a Multivariant, candidate: &Candidate) -> Option<(&'a str, Option<Resolution>)> {
    let variant = playlist.variants.get(*candidate.variants.first()?)?;
    Some((variant.pathway_id.as_str(), variant.resolution))
}
