//! Networks that interpolate against generic ones and against the mean of both pictures, on the source's own pictures.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use acuity_enhancer::{
    CancelFlag, CompareHalvesRequest, EnhanceRequest, Interpolation, Interpolator, Keeping, RenditionSpec,
    Upscaler,
};
use acuity_models::Tier;
use bytes::Bytes;

use crate::clips::{Content, LOW, Recipe, Segment};
use crate::kit::{self, Model, World, shipped};
use crate::onnx::moving;
use crate::{Compared, HOUR, only};

/// The clips' picture moves by so much from one to the next of three.
const RIGHT: i64 = 2;
const WRONG: i64 = 0;

const PANNING: Recipe = Recipe { content: Content::Panning, ..LOW };

fn world(game: i64, generic: Option<i64>) -> World {
    let mut models = vec![Model::between("game", moving(game))];
    models.extend(generic.map(|by| Model::between("generic", moving(by))));
    World::new(&models)
}

fn digest(world: &World, cluster: &str) -> String {
    let offered = world.enhancer.interpolators();
    offered.iter().find(|set| set.cluster == cluster).map(|set| set.digest.clone()).unwrap_or_default()
}

fn request(world: &World, source: &Segment) -> CompareHalvesRequest {
    CompareHalvesRequest {
        init: source.init.clone(),
        segment: source.bytes.clone(),
        cluster: "game".into(),
        digest: digest(world, "game"),
        tiers: vec![Tier::Small],
        frames: 6,
        cancel: CancelFlag::default(),
    }
}

fn submit(world: &World, request: CompareHalvesRequest) -> Receiver<Compared> {
    let (sender, receiver) = channel();
    world.enhancer.compare_halves(request, Box::new(move |result| drop(sender.send(result))));
    receiver
}

fn compare(world: &World, request: CompareHalvesRequest) -> Compared {
    submit(world, request).recv_timeout(Duration::from_secs(120)).expect("a reply")
}

#[test]
fn who_knows_the_motion_wins() {
    let source = PANNING.make();
    let good = world(RIGHT, Some(WRONG));
    let found = compare(&good, request(&good, &source)).unwrap();
    let tier = only(&found);
    assert_eq!((found.frames, tier.tier), (6, Tier::Small));
    assert!(tier.own_db > found.plain_db + 3.0, "{found:?}");
    assert!(tier.own_db > tier.generic_db.unwrap() + 3.0, "{found:?}");

    let bad = world(WRONG, Some(RIGHT));
    let found = compare(&bad, request(&bad, &source)).unwrap();
    assert!(only(&found).own_db + 1.0 < found.plain_db, "{found:?}");
    assert!(only(&found).own_db + 3.0 < only(&found).generic_db.unwrap(), "{found:?}");

    // More pictures, other container, other clock: about the same. Without a generic one there is the mean to beat.
    let alone = world(WRONG, None);
    let all = Recipe { fmp4: true, ..PANNING }.make();
    let all = compare(&alone, CompareHalvesRequest { frames: 500, ..request(&alone, &all) }).unwrap();
    assert_eq!((all.frames, only(&all).generic_db), (48, None));
    assert!((all.plain_db - found.plain_db).abs() < 2.0, "{all:?} {found:?}");
    assert!(only(&all).own_db + 1.0 < all.plain_db, "{all:?}");
}

#[test]
fn what_says_nothing_about_motion_is_refused() {
    let world = world(RIGHT, None);
    let source = PANNING.make();
    let of = |content: Content| request(&world, &Recipe { content, ..PANNING }.make());
    let junk = Segment { init: None, bytes: Bytes::from_static(b"<html>404</html>") };
    let cancelled = CancelFlag::default();
    cancelled.cancel();
    for (request, label) in [
        (of(Content::Still), "flat"),
        (of(Content::Grey), "flat"),
        (of(Content::Repeating), "flat"),
        (request(&world, &Recipe { pictures: 2, ..PANNING }.make()), "times"),
        (request(&world, &junk), "unreadable"),
        (CompareHalvesRequest { digest: "00000000".into(), ..request(&world, &source) }, "no_model"),
        (CompareHalvesRequest { tiers: vec![Tier::Medium], ..request(&world, &source) }, "no_model"),
        (CompareHalvesRequest { tiers: Vec::new(), ..request(&world, &source) }, "no_model"),
        (CompareHalvesRequest { cancel: cancelled, ..request(&world, &source) }, "cancelled"),
    ] {
        let found = compare(&world, request);
        assert_eq!(found.as_ref().map_err(|why| why.label()).err(), Some(label), "{found:?}");
    }
    assert!(compare(&world, request(&world, &source)).is_ok(), "and the lane goes on");
}

/// The kit's segment with twice the pictures, by a set that interpolates: what made them, and why it was not the set's.
fn make(world: &World, cluster: &str, digest: &str) -> (String, Option<&'static str>) {
    let plain = kit::request("", "");
    let by = Interpolator::Model { cluster: cluster.into(), digest: digest.into() };
    let spec = RenditionSpec {
        width: 160,
        height: 90,
        scale: 1,
        frame_rate_milli: 50_000,
        upscaler: Upscaler::Bicubic,
        interpolation: Some(Interpolation { factor: 2, by }),
        ..plain.spec
    };
    let reply = world.submit(EnhanceRequest { spec, ..plain });
    let made = reply.recv_timeout(Duration::from_secs(120)).unwrap().unwrap();
    assert!(made.report.between.made > 0, "{:?}", made.report);
    (made.report.interpolator.unwrap(), made.report.fallback.map(|reason| reason.label()))
}

#[test]
fn segments_go_before_it_and_it_is_finished_after_them() {
    let world = world(RIGHT, Some(WRONG));
    let long = CompareHalvesRequest { frames: 48, ..request(&world, &PANNING.make()) };
    let comparison = submit(&world, long.clone());
    let mut between = 0;
    for _ in 0..3 {
        assert_eq!(make(&world, "game", &digest(&world, "game")), ("game-i2-s".into(), None));
        between += usize::from(comparison.try_recv().is_err_and(|why| why == TryRecvError::Empty));
    }
    assert!(between > 0, "the comparison was over before the segments");
    let found = comparison.recv_timeout(Duration::from_secs(120)).unwrap().unwrap();
    assert_eq!(found.frames, 48);
    assert_eq!(found, compare(&world, long).unwrap(), "interruptions change nothing");
}

#[test]
fn a_withdrawn_model_is_stood_in_for_until_it_is_another() {
    let missing = Some("model_missing");
    let game = |by: i64| Model::between("game", moving(by));
    let generic = || Model::between("generic", moving(WRONG));
    let world = World::with(&[game(RIGHT), Model::new("generic", shipped())], 1, Keeping::default());
    let own = digest(&world, "game");
    assert_eq!(make(&world, "game", &own), ("game-i2-s".into(), None));
    assert!(!world.enhancer.withdraw_interpolator("game", "00000000", Tier::Small, HOUR));
    assert!(!world.enhancer.withdraw_interpolator("game", &own, Tier::Medium, HOUR));
    assert!(world.enhancer.withdraw_interpolator("game", &own, Tier::Small, HOUR));
    assert!(world.enhancer.interpolators().is_empty());
    assert_eq!(make(&world, "game", &own), ("blend".into(), missing), "what is left");

    // A rendition goes on with what stands in when it is first looked for.
    world.install(&[game(RIGHT), generic()]);
    assert_eq!(digest(&world, "game"), "", "the same again, too soon");
    assert_eq!(make(&world, "game", &own), ("generic-i2-s".into(), missing));
    assert_eq!(make(&world, "game", "0a0b0c0d"), ("generic-i2-s".into(), missing), "nobody knows it");

    world.install(&[game(4), generic()]);
    let other = digest(&world, "game");
    assert_eq!(make(&world, "game", &other), ("game-i2-s".into(), None));
    assert_eq!(make(&world, "game", &own), ("generic-i2-s".into(), missing), "never the new one");

    // With its time over, a new catalogue brings it back.
    assert!(world.enhancer.withdraw_interpolator("game", &other, Tier::Small, Duration::ZERO));
    assert_eq!(make(&world, "game", &other), ("generic-i2-s".into(), missing));
    world.install(&[game(4), generic()]);
    assert_eq!(make(&world, "game", &other), ("game-i2-s".into(), None));

    // A generic set that is gone has no stand-in, and one that was removed is not used any more.
    let first = digest(&world, "generic");
    world.install(&[game(4)]);
    assert_eq!(make(&world, "generic", &first), ("blend".into(), missing));
}
