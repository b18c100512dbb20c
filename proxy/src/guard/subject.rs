//! Which sets a rendition names that have something to beat, and which of their models made a segment of it.

use std::time::Duration;

use acuity_enhancer::{FallbackReason, Interpolator, MadeBy, Report};
use acuity_models::{Task, Tier};
use acuity_playlist::RenditionToken;
use acuity_playlist::token::GENERIC_CLUSTER;
use acuity_workers::Engine;

/// The scale of sets that interpolate, as the catalogue has it: two pictures for one.
const INTERPOLATING_SCALE: u32 = 2;

/// A set of models for one kind of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What they do.
    pub task: Task,
    /// Their cluster; never the generic one, which they are judged against.
    pub cluster: String,
    /// Enlargement per axis, or pictures for one.
    pub scale: u32,
    /// The set's digest, 8 hexadecimal digits.
    pub digest: String,
}

/// The sets that a rendition names and that are judged: one that enlarges, one that interpolates, both or none.
#[must_use]
pub fn subjects(token: &RenditionToken) -> Vec<Subject> {
    let enlarging = (!token.is_plain()).then(|| Subject {
        task: Task::Upscale,
        cluster: token.cluster.clone(),
        scale: token.scale,
        digest: token.digest.clone(),
    });
    let interpolating = token.interpolation.as_ref().and_then(|interpolation| match &interpolation.by {
        Interpolator::Model { cluster, digest } => Some(Subject {
            task: Task::Interpolate,
            cluster: cluster.clone(),
            scale: INTERPOLATING_SCALE,
            digest: digest.clone(),
        }),
        Interpolator::Repeat | Interpolator::Blend => None,
    });
    let all = enlarging.into_iter().chain(interpolating);
    all.filter(|subject| subject.cluster != GENERIC_CLUSTER).collect()
}

/// The id of the model that did this to a segment, from its begin to its end.
#[must_use]
pub fn maker(task: Task, report: &Report) -> Option<&str> {
    // Where the set for one task is missing, another's model is named for that one, and the other is as it should be.
    if !matches!(report.fallback, None | Some(FallbackReason::ModelMissing)) {
        return None;
    }
    match (task, &report.made_by) {
        (Task::Upscale, MadeBy::Model { id, .. }) => Some(id),
        (Task::Upscale, MadeBy::Plain | MadeBy::Untouched) => None,
        (Task::Interpolate, _) => report.interpolator.as_deref().filter(|_| report.between.made > 0),
    }
}

/// Ids and tiers of a set's models.
pub(super) type Models = Vec<(String, Tier)>;

/// What there is now of a cluster for a task and scale: digests and models.
pub(super) fn offers(engine: &Engine, task: Task, cluster: &str, scale: u32) -> Vec<(String, Models)> {
    match task {
        Task::Upscale => {
            let sets = engine.offered().into_iter();
            let own = sets.filter(|set| (set.cluster.as_str(), set.scale) == (cluster, scale));
            own.map(|set| (set.digest, set.models)).collect()
        }
        Task::Interpolate => {
            let sets = engine.interpolators().into_iter();
            sets.filter(|set| set.cluster == cluster).map(|set| (set.digest, set.models)).collect()
        }
    }
}

impl Subject {
    /// Those of its models that new playlists may name; none once it was replaced.
    pub(super) fn models(&self, engine: &Engine) -> Models {
        let mut offers = offers(engine, self.task, &self.cluster, self.scale).into_iter();
        offers.find(|(digest, _)| *digest == self.digest).map(|(_, models)| models).unwrap_or_default()
    }

    /// Stops using one of its tiers.
    pub(super) fn withdraw(&self, engine: &Engine, tier: Tier, at_least: Duration) {
        let Self { task, cluster, scale, digest } = self;
        let scale = match task {
            Task::Upscale => Some(*scale),
            Task::Interpolate => None,
        };
        engine.withdraw((cluster, digest), scale, tier, at_least);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use acuity_enhancer::{Between, StageSeconds};

    use super::*;

    const PLAYLIST: &str = "L29jZWFuLzM2MHAvMzYwcC5tM3U4";

    fn watched(names: &str) -> Vec<String> {
        let token = format!("v1.{names}.{PLAYLIST}").parse().unwrap();
        let said =
            |subject: Subject| format!("{} {}-{}", subject.task.label(), subject.cluster, subject.digest);
        subjects(&token).into_iter().map(said).collect()
    }

    #[test]
    fn specialised_sets_are_watched_each_by_itself() {
        for (names, expected) in [
            ("x2.1280x720.30000.2800.game-1a2b3c4d", vec!["upscale game-1a2b3c4d"]),
            ("x2.1280x720.30000.2800.generic-1a2b3c4d", vec![]),
            ("x2.1280x720.30000.2800.plain-00000000", vec![]),
            ("x2.1280x720.60000.2800.generic-1a2b3c4d.i2-game-0a0b0c0d", vec!["interpolate game-0a0b0c0d"]),
            ("x1.640x360.60000.2800.plain-00000000.i2-game-0a0b0c0d", vec!["interpolate game-0a0b0c0d"]),
            (
                "x2.1280x720.60000.2800.game-1a2b3c4d.i2-game-0a0b0c0d",
                vec!["upscale game-1a2b3c4d", "interpolate game-0a0b0c0d"],
            ),
            ("x2.1280x720.60000.2800.game-1a2b3c4d.i2-generic-0a0b0c0d", vec!["upscale game-1a2b3c4d"]),
            ("x2.1280x720.60000.2800.game-1a2b3c4d.i2-blend", vec!["upscale game-1a2b3c4d"]),
        ] {
            assert_eq!(watched(names), expected, "{names}");
        }
    }

    fn report(fallback: Option<FallbackReason>, made: u32) -> Report {
        Report {
            frames: 100,
            held_frames: 0,
            between: Between { places: 50, made, ..Between::default() },
            interpolator: Some("game-i2-s".to_owned()),
            made_by: MadeBy::Model {
                id: "game-x2-s".to_owned(),
                tier: "s".to_owned(),
                provider: "cpu",
                precision: "float",
            },
            fallback,
            decoder: "cpu",
            encoder: "cpu",
            stages: StageSeconds::default(),
            source_bytes: 0,
            media_seconds: 2.0,
        }
    }

    #[test]
    fn only_what_was_made_from_begin_to_end_is_judged() {
        use FallbackReason::{DeadlineShort, ModelFailed, ModelMissing};
        let made = |fallback, between| {
            let report = report(fallback, between);
            (maker(Task::Upscale, &report).is_some(), maker(Task::Interpolate, &report).is_some())
        };
        assert_eq!(made(None, 49), (true, true));
        assert_eq!(made(None, 0), (true, false), "nothing moved");
        assert_eq!(made(Some(DeadlineShort), 20), (false, false));
        assert_eq!(made(Some(ModelFailed), 20), (false, false));
        assert_eq!(made(Some(ModelMissing), 49), (true, true), "whose it is, the id says");
        let plain = Report { made_by: MadeBy::Plain, ..report(None, 49) };
        assert_eq!(
            (maker(Task::Upscale, &plain), maker(Task::Interpolate, &plain)),
            (None, Some("game-i2-s"))
        );
    }
}
