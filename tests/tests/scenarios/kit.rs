//! What several scenarios say in the same words.

use std::collections::BTreeSet;
use std::path::Path;

use acuity_tests::clips::Clip;
use acuity_tests::origin::Origin;
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::{Media, Multivariant, Player, Segment};
use acuity_tests::world::{World, WorldBuilder, world};

/// A clip at `/vod/` behind an edge told by `world`.
pub(crate) async fn serve(clip: &Clip, world: WorldBuilder) -> World {
    serve_folder(clip.folder(), world).await
}

/// Any folder at `/vod/` behind an edge told by `world`.
pub(crate) async fn serve_folder(folder: &Path, world: WorldBuilder) -> World {
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", folder);
    world.start(origin).await.unwrap()
}

/// A clip at `/vod/` behind an edge with a generous deadline: these scenarios are about what is made, and must not
/// depend on how busy the machine is.
pub(crate) async fn serve_at_leisure(clip: &Clip) -> World {
    serve(clip, one_rendition()).await
}

/// The clips' small variant is enhanced and nothing else is, with all the time it takes.
pub(crate) fn one_rendition() -> WorldBuilder {
    at_leisure().route("max_source_lines", 200)
}

/// An edge that has all the time it wants.
pub(crate) fn at_leisure() -> WorldBuilder {
    let deadlines = [("fraction", "10.0"), ("startup_fraction", "10.0"), ("longest", "\"60s\"")];
    deadlines
        .into_iter()
        .fold(world(), |world, (key, value)| world.set(&format!("enhancer.deadline.{key}"), value))
}

/// A player and its media playlist of the enhanced rendition.
pub(crate) async fn open_enhanced(world: &World) -> (Player, Multivariant, Media) {
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let media = {
        let enhanced = master.enhanced();
        assert_eq!(enhanced.len(), 1, "one enhanced rendition is expected:\n{}", master.fetched.text());
        player.media(&master.url_of(enhanced[0]).unwrap()).await.unwrap()
    };
    (player, master, media)
}

/// The source's media playlist, straight from the origin.
pub(crate) async fn open_source(world: &World, player: &Player, name: &str) -> Media {
    let url = world.origin.url(&format!("/vod/{name}/index.m3u8"));
    player.media(&url.parse().unwrap()).await.unwrap()
}

/// Fetches a segment twice, from the origin and from the edge, and compares every packet.
pub(crate) async fn compare(
    player: &Player,
    source: &Media,
    enhanced: &Media,
    index: usize,
) -> (Probe, Probe, Segment) {
    compare_by(player, source, enhanced, index, 2).await
}

/// As [`compare`], for a rendition of another scale.
pub(crate) async fn compare_by(
    player: &Player,
    source: &Media,
    enhanced: &Media,
    index: usize,
    scale: u32,
) -> (Probe, Probe, Segment) {
    let from = player.segment(source, index).await.unwrap();
    let made = player.segment(enhanced, index).await.unwrap();
    let from_probe = Probe::of(from.init.as_deref(), &from.clear).await.unwrap();
    let made_probe = Probe::of(made.init.as_deref(), &made.clear).await.unwrap();
    let found = differences(&from_probe, &made_probe, scale);
    assert!(found.is_empty(), "segment {index}: {found:#?}");
    (from_probe, made_probe, made)
}

/// Compares every segment of a rendition, and what must be one for all of them.
pub(crate) async fn compare_all(player: &Player, source: &Media, enhanced: &Media) -> Vec<Segment> {
    assert_eq!(source.playlist.segments.len(), enhanced.playlist.segments.len());
    let mut parameter_sets = BTreeSet::new();
    let mut segments = Vec::new();
    for index in 0..source.playlist.segments.len() {
        let (_, made_probe, made) = compare(player, source, enhanced, index).await;
        parameter_sets.extend(made_probe.parameter_sets());
        segments.push(made);
    }
    assert_eq!(parameter_sets.len(), sets_of(&segments), "one SPS and one PPS for the whole rendition");
    segments
}

/// How many parameter sets a rendition has: an SPS and a PPS, and in an initialisation those of the source beside them.
pub(crate) fn sets_of(segments: &[Segment]) -> usize {
    if segments.iter().any(|segment| segment.init.is_some()) { 4 } else { 2 }
}

/// Path of an enhanced segment below the edge, for requests by hand.
pub(crate) fn segment_url(media: &Media, index: usize) -> String {
    media.fetched.url.join(&media.playlist.segments[index].uri).unwrap().to_string()
}
