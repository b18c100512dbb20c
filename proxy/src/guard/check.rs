//! One check: what a model makes of a segment beside what would be used instead of it, and what follows from that.

use std::time::{Duration, Instant};

use acuity_enhancer::{CancelFlag, CompareError, CompareHalvesRequest, CompareRequest, Comparison};
use acuity_models::{Task, Tier};
use acuity_playlist::{MediaPlaylist, RenditionToken};
use acuity_workers::Uncompared;
use tokio::time::{sleep, timeout};

use super::book::{Judged, ModelName, Sample};
use super::counterpart::counterpart;
use super::subject::Subject;
use super::{Landed, Shared, lock};
use crate::rescue::Trouble;

/// How long a check waits for a moment at which nothing is being made. After that its segment is leaving a live playlist.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the enhancer may take over a comparison, interruptions included; what is held meanwhile is some tens of megabytes.
const COMPARE_PATIENCE: Duration = Duration::from_secs(120);

impl Shared {
    fn is_offered(&self, subject: &Subject, tier: Tier) -> bool {
        subject.models(&self.engine).iter().any(|(_, own)| *own == tier)
    }

    /// Checks a segment when its turn comes.
    pub(super) async fn check(&self, landed: Landed, is_quiet: impl Fn() -> bool) {
        let Ok(_turn) = self.turn.acquire().await else { return };
        let task = landed.subject.task;
        let compared = match task {
            Task::Upscale => self.compare(&landed, is_quiet).await,
            Task::Interpolate => self.compare_halves(&landed, is_quiet).await,
        };
        let outcome = match compared {
            Ok(comparison) => self.judge(&landed, &comparison),
            Err(why) => {
                tracing::debug!(uri = %landed.segment.uri, task = task.label(), why, "no check");
                why
            }
        };
        self.instruments.check(task, outcome);
    }

    /// What models make of a segment, against the origin's high rendition; or why that cannot be said.
    async fn compare(
        &self,
        landed: &Landed,
        is_quiet: impl Fn() -> bool,
    ) -> Result<Comparison, &'static str> {
        let Landed { site, token, segment, subject, .. } = landed;
        let known = self.counterparts.get(&(site.clone(), (**token).clone()));
        let path = known.ok_or("no_counterpart")?;
        quiet(is_quiet).await?;
        let half_frame_seconds = half_frame_seconds(token);
        let lists_it = |playlist: &MediaPlaylist| counterpart(segment, playlist, half_frame_seconds).is_ok();
        let sources = self.sources.load_full();
        let (playlists, inputs) = &*sources;
        let playlist = playlists.media_that(site, &path, lists_it).await.map_err(|why| label(&why))?;
        let high = counterpart(segment, &playlist, half_frame_seconds).map_err(|why| why.label())?;
        let high_segment = inputs.clear(site, high).await.map_err(|why| label(&why))?;
        let high_init = match &high.map {
            Some(map) => Some(inputs.init(site, map).await.map_err(|why| label(&why))?.clear),
            None => None,
        };
        let request = CompareRequest {
            init: landed.init.clone(),
            segment: landed.clear.clone(),
            high_init,
            high_segment,
            cluster: subject.cluster.clone(),
            scale: subject.scale,
            digest: subject.digest.clone(),
            tiers: vec![landed.tier],
            frames: self.config.frames,
            cancel: CancelFlag::default(),
        };
        ask(&request.cancel.clone(), self.engine.compare(request)).await
    }

    /// What models make of every other picture of a segment, against what it shows there; or why that cannot be said.
    async fn compare_halves(
        &self,
        landed: &Landed,
        is_quiet: impl Fn() -> bool,
    ) -> Result<Comparison, &'static str> {
        quiet(is_quiet).await?;
        let request = CompareHalvesRequest {
            init: landed.init.clone(),
            segment: landed.clear.clone(),
            cluster: landed.subject.cluster.clone(),
            digest: landed.subject.digest.clone(),
            tiers: vec![landed.tier],
            frames: self.config.frames,
            cancel: CancelFlag::default(),
        };
        ask(&request.cancel.clone(), self.engine.compare_halves(request)).await
    }

    /// Writes a comparison down, and acts if that settles it.
    fn judge(&self, landed: &Landed, comparison: &Comparison) -> &'static str {
        let Landed { subject, tier, .. } = landed;
        let found = comparison.tiers.iter().find(|found| found.tier == *tier);
        // It may have been stopped, replaced or removed meanwhile.
        let Some(found) = found.filter(|_| self.is_offered(subject, *tier)) else {
            return CompareError::NoModel.label();
        };
        let Subject { task, cluster, scale, digest } = subject;
        let name = ModelName { task: *task, cluster: cluster.clone(), scale: *scale, tier: *tier };
        let sample = Sample {
            over_generic_db: found.generic_db.map(|generic| found.own_db - generic),
            over_plain_db: found.own_db - comparison.plain_db,
        };
        let Judged { standing, wins, stop } = lock(&self.book).record(&name, digest, sample);
        self.instruments.standing(&name, &standing);
        tracing::debug!(
            task = task.label(),
            cluster,
            scale,
            tier = tier.label(),
            frames = comparison.frames,
            own_db = found.own_db,
            generic_db = found.generic_db,
            plain_db = comparison.plain_db,
            "checked against what the origin shows"
        );
        if stop {
            subject.withdraw(&self.engine, *tier, self.config.stopped_for);
            self.instruments.stopped(&name, true);
            tracing::warn!(
                task = task.label(),
                cluster,
                scale,
                tier = tier.label(),
                digest,
                checks = standing.checks,
                over_generic_db = standing.over_generic_db,
                over_plain_db = standing.over_plain_db,
                margin_db = self.config.margin_db,
                "a specialised model loses and is not used any more"
            );
        }
        if wins { "won" } else { "lost" }
    }
}

/// Waits for a comparison, for as long as one may take.
async fn ask(
    cancel: &CancelFlag,
    comparison: impl Future<Output = Result<Comparison, Uncompared>>,
) -> Result<Comparison, &'static str> {
    match timeout(COMPARE_PATIENCE, comparison).await {
        Ok(result) => result.map_err(|Uncompared(label)| label),
        Err(_) => {
            cancel.cancel();
            Err(CompareError::Cancelled.label())
        }
    }
}

/// Half of what a source's picture is shown for.
fn half_frame_seconds(token: &RenditionToken) -> f64 {
    let factor = token.interpolation.as_ref().map_or(1, |interpolation| interpolation.factor);
    500.0 * f64::from(factor) / f64::from(token.frame_rate_milli.max(1))
}

/// Waits until nothing is being made.
async fn quiet(is_quiet: impl Fn() -> bool) -> Result<(), &'static str> {
    let give_up = Instant::now() + QUIET_PATIENCE;
    while !is_quiet() {
        if Instant::now() >= give_up {
            return Err("busy");
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn label(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Key(_) | Trouble::Crypt(_) => "encrypted",
        Trouble::Origin(_)
        | Trouble::Enhance(_)
        | Trouble::Flight(_)
        | Trouble::NotListed
        | Trouble::SwitchedOff
        | Trouble::Private
        | Trouble::TooLong => "origin_failed",
    }
}
