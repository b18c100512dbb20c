//! New, replaced, removed and broken models while segments are being made: real sessions of real ONNX files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

#[allow(dead_code)]
mod kit;
#[allow(dead_code)]
mod onnx;

use std::time::{Duration, Instant};

use acuity_enhancer::{Keeping, Readiness, RefusalReason};
use acuity_models::{Catalogue, Watch, WatchEvent};

use kit::{Made, Model, World, eventually, publish, request, shipped};
use onnx::{Small, brighter};

/// The models of a cluster, version by version.
fn game(version: u8) -> Model {
    Model::new("game", brighter(&shipped(), f32::from(version) * 3.0))
}

fn generic(version: u8) -> Model {
    Model::new("generic", brighter(&shipped(), f32::from(version) * -3.0))
}

#[test]
fn a_swap_under_load_mixes_nothing() {
    let world = World::with(&[game(1), generic(1)], 2, Keeping::default());
    let old = world.digest("game");
    let before = world.make("game", &old);
    assert_eq!(before.how(), ("game-x2-s", None));

    let replies: Vec<_> = (0..24)
        .map(|round| {
            if round == 4 {
                world.enhancer.install(publish(world.directory.path(), &[game(2), generic(1)]));
            }
            let reply = world.submit(request("game", &old));
            // About as fast as they are made, so that some are in hand at any time of the install.
            std::thread::sleep(Duration::from_millis(20));
            reply
        })
        .collect();
    for (round, reply) in replies.into_iter().enumerate() {
        assert!(Made::from(reply) == before, "segment {round} is another network's");
    }
    eventually("the swap", || world.enhancer.installs() == 2);
    let new = world.digest("game");
    assert_eq!(world.offered(), [format!("game-{new}"), format!("generic-{}", world.digest("generic"))]);
    let after = world.make("game", &new);
    assert_eq!(after.how(), ("game-x2-s", None));
    assert!(after.bytes != before.bytes, "it is another network");
    assert!(world.make("game", &old) == before, "the old rendition goes on");

    let digest = |model: &Model| model.sha256.to_string()[..12].to_owned();
    let sessions = |model: &Model| {
        world.metric("acuity_enhancer_model_sessions", &["game-x2-s", &digest(model)]).unwrap_or(0.0)
    };
    eventually("the metrics", || sessions(&game(2)) >= 1.0);
    assert!(sessions(&game(1)) >= 1.0, "still in use");
    assert!(world.enhancer.set("game", 2, &old).is_some(), "its description can still be fetched");
    assert_eq!(world.enhancer.model_file(&game(1).sha256).unwrap(), brighter(&shipped(), 3.0));
    assert_eq!(world.metric("acuity_enhancer_model_sets", &["retired"]), Some(1.0));
}

#[test]
fn a_set_that_is_removed_goes_down_the_ladder_and_its_stand_in_stays_the_same() {
    let world = World::new(&[game(1), generic(1)]);
    let (own, generic_digest) = (world.digest("game"), world.digest("generic"));
    assert_eq!(world.make("game", &own).how(), ("game-x2-s", None));
    world.install(&[generic(1)]);
    assert_eq!(world.offered(), [format!("generic-{generic_digest}")]);
    let stand_in = world.make("game", &own);
    assert_eq!(stand_in.how(), ("generic-x2-s", Some("model_missing")));
    assert!(stand_in.bytes == world.make("generic", &generic_digest).bytes);

    world.install(&[generic(2)]);
    assert!(world.make("game", &own) == stand_in, "one rendition, one stand-in");
    let begun_later = world.make("game", "00000000");
    assert_eq!(begun_later.how(), ("generic-x2-s", Some("model_missing")));
    assert!(begun_later.bytes == world.make("generic", &world.digest("generic")).bytes);
    assert!(begun_later.bytes != stand_in.bytes);

    world.install(&[]);
    assert_eq!(world.make("game", &own).how(), ("plain", Some("model_missing")));
    assert_eq!((world.offered().len(), world.enhancer.readiness()), (0, Readiness::Ready));
    eventually("sessions to go at once", || world.sessions() == 0.0);
}

#[test]
fn a_file_that_is_spoilt_stops_at_once_and_comes_back_repaired() {
    let world = World::new(&[game(1), generic(1)]);
    let own = world.digest("game");
    let before = world.make("game", &own);
    let cut = shipped()[..20_000].to_vec();
    world.install(&[game(1).on_disk(Some(cut)), generic(1)]);
    assert_eq!(world.make("game", &own).how(), ("generic-x2-s", Some("model_missing")));
    assert_eq!(world.offered().len(), 1);
    assert!(world.enhancer.model_file(&game(1).sha256).is_none());
    let refused = world.enhancer.refused();
    assert_eq!((refused.len(), refused[0].reason), (1, RefusalReason::Digest));
    assert!(refused[0].message.contains("game-x2-s.onnx"), "{}", refused[0].message);
    assert_eq!(world.metric("acuity_models_refused", &["digest"]), Some(1.0));

    world.install(&[game(1), generic(1)]);
    assert!(world.make("game", &own) == before);
    assert_eq!(world.metric("acuity_models_refused", &["digest"]), Some(0.0));

    // One tier of several: the others go on.
    let medium = Model { id: "game-x2-m".into(), tier: "m", ..Model::new("game", brighter(&shipped(), 9.0)) };
    world.install(&[game(1), medium.clone(), generic(1)]);
    let own = world.digest("game");
    assert_eq!(world.make("game", &own).how(), ("game-x2-m", None), "no hurry, the best");
    world.install(&[game(1), medium.on_disk(None), generic(1)]);
    let rest = world.make("game", &own);
    assert_eq!(rest.how(), ("game-x2-s", None));
    assert!(rest.bytes == before.bytes);
}

#[test]
fn every_kind_of_wrong_model_is_refused_for_what_it_is_and_the_good_one_serves() {
    let named = |id: &str, file: Vec<u8>| Model { id: id.into(), ..Model::new(&id.replace('-', "_"), file) };
    let small = |id: &str, small: Small| named(id, small.file());
    let default = Small::default;
    let renamed = |from: &[u8], to: &[u8]| {
        let mut file = shipped();
        for at in 0..file.len() - from.len() {
            if file[at..].starts_with(from) {
                file[at..at + to.len()].copy_from_slice(to);
            }
        }
        file
    };
    let good = named("good", default().file());
    let models = [
        (good.clone(), None, ""),
        (named("shipped", shipped()), None, ""),
        (named("gone", shipped()).on_disk(None), Some(RefusalReason::Missing), "does not exist"),
        (
            named("swapped-file", shipped()).on_disk(Some(brighter(&shipped(), 1.0))),
            Some(RefusalReason::Digest),
            "SHA-256",
        ),
        (
            named("cut", shipped()).on_disk(Some(shipped()[..30_000].into())),
            Some(RefusalReason::Digest),
            "SHA-256",
        ),
        (named("cut-before", shipped()[..30_000].into()), Some(RefusalReason::Runtime), "ONNX Runtime"),
        (named("empty", Vec::new()), Some(RefusalReason::Runtime), "ONNX Runtime"),
        (named("page", b"<html>404</html>".to_vec()), Some(RefusalReason::Runtime), "ONNX Runtime"),
        (
            named("not-a-number", brighter(&shipped(), f32::NAN)),
            Some(RefusalReason::Output),
            "code values off",
        ),
        (named("black", brighter(&shipped(), -500.0)), Some(RefusalReason::Output), "code values off"),
        (named("input-name", renamed(b"luma", b"lumb")), Some(RefusalReason::Contract), "lumb"),
        (named("output-name", renamed(b"luma_out", b"luma_oux")), Some(RefusalReason::Contract), "luma_oux"),
        (
            Model { scale: 3, ..named("other-scale", shipped()) },
            Some(RefusalReason::Contract),
            "[1,1,3H,3W]): output [1, 1, 108, 192] for a 96x54 source",
        ),
        (
            small("as-many-samples", Small { scale: (1.0, 4.0), ..default() }),
            Some(RefusalReason::Contract),
            "output [1, 1, 54, 384]",
        ),
        (
            small("lying-down", Small { swap_axes: true, ..default() }),
            Some(RefusalReason::Contract),
            "output [1, 1, 192, 108]",
        ),
        (
            small("fixed-size", Small { input: ["1", "1", "90", "160"], ..default() }),
            Some(RefusalReason::Contract),
            "inputs: luma",
        ),
        (
            small("colour", Small { input: ["1", "3", "height", "width"], ..default() }),
            Some(RefusalReason::Contract),
            "inputs: luma",
        ),
        (
            small("floating", Small { output_type: 1, ..default() }),
            Some(RefusalReason::Contract),
            "outputs: luma_out",
        ),
        (
            Model { more: "output = \"y\"", ..named("catalogue-name", shipped()) },
            Some(RefusalReason::Contract),
            "uint8 y",
        ),
        (Model { scale: 7, ..named("entry", shipped()) }, Some(RefusalReason::Entry), "scale 7"),
    ];
    let list: Vec<Model> = models.iter().map(|(model, ..)| model.clone()).collect();
    let world = World::new(&list);
    let refused = world.enhancer.refused();
    for (model, reason, words) in &models {
        let found = refused.iter().find(|refusal| refusal.id.as_ref() == Some(&model.id));
        assert_eq!(found.map(|refusal| refusal.reason), *reason, "{}: {found:?}", model.id);
        let message = found.map_or("", |refusal| &refusal.message);
        assert!(message.contains(words), "{}: {message}", model.id);
    }
    for reason in RefusalReason::ALL {
        let count = models.iter().filter(|(_, found, _)| *found == Some(reason)).count();
        assert_eq!(
            world.metric("acuity_models_refused", &[reason.label()]),
            Some(count as f64),
            "{reason:?}"
        );
    }
    assert_eq!(world.offered().len(), 2);
    assert_eq!(world.make("good", &world.digest("good")).how(), ("good", None));
    // A file that cannot be read: a directory is in its place.
    let path = world.directory.path().join("good.onnx");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    world.enhancer.install(std::sync::Arc::new(Catalogue::load(world.directory.path()).unwrap()));
    eventually("the install", || world.enhancer.installs() == 2);
    let refused = world.enhancer.refused();
    assert!(refused.iter().any(|refusal| refusal.reason == RefusalReason::Unreadable), "{refused:?}");
    assert_eq!(world.offered().len(), 1);
}

#[test]
fn a_replacement_that_is_refused_leaves_players_what_they_have() {
    let world = World::new(&[game(1), generic(1)]);
    let own = world.digest("game");
    let before = world.make("game", &own);
    world.install(&[game(2).on_disk(Some(b"half".to_vec())), generic(1)]);
    assert_eq!(world.offered(), [format!("generic-{}", world.digest("generic"))]);
    assert!(world.make("game", &own) == before);
}

#[test]
fn sessions_that_nobody_uses_go_and_come_back_without_a_gap() {
    let keeping = Keeping { idle_after: Duration::from_millis(500), ..Keeping::default() };
    let world = World::with(&[game(1), generic(1)], 2, keeping);
    let own = world.digest("game");
    let before = world.make("game", &own);
    eventually("idle sessions to go", || world.sessions() == 0.0);
    assert_eq!(world.offered().len(), 2, "they are offered all the same");

    // Two at once, with a deadline as viewers have it: both wait for their sessions.
    let hurried = || acuity_enhancer::EnhanceRequest {
        deadline: Some(Instant::now() + Duration::from_secs(60)),
        ..request("game", &own)
    };
    let (first, second) = (world.submit(hurried()), world.submit(hurried()));
    assert!(Made::from(first) == before && Made::from(second) == before);

    eventually("idle sessions to go", || world.sessions() == 0.0);
    world.enhancer.prepare("game", 2, &own);
    world.enhancer.prepare("nobody", 2, "00000000");
    eventually("a session ahead of the request", || {
        world.metric("acuity_enhancer_model_sessions", &["game-x2-s"]) == Some(1.0)
    });

    // Who cannot wait for a session gets a plain picture in time.
    eventually("idle sessions to go", || world.sessions() == 0.0);
    let soon = acuity_enhancer::EnhanceRequest { deadline: Some(Instant::now()), ..request("game", &own) };
    assert_eq!(Made::from(world.submit(soon)).how(), ("plain", Some("deadline_short")));
}

#[test]
fn a_replaced_set_is_forgotten_when_nobody_asks_for_it() {
    let keeping = Keeping { retire_after: Duration::from_secs(3), ..Keeping::default() };
    let world = World::with(&[game(1), generic(1)], 1, keeping);
    let own = world.digest("game");
    let before = world.make("game", &own);
    world.install(&[game(2), generic(1)]);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        assert!(world.make("game", &own) == before, "somebody is in it");
    }
    eventually("it to be forgotten", || world.enhancer.set("game", 2, &own).is_none());
    assert!(world.enhancer.model_file(&game(1).sha256).is_none());
    assert_eq!(
        world.make("game", &own).how(),
        ("generic-x2-s", Some("model_missing")),
        "never game's new set"
    );
    let gone = game(1).sha256.to_string()[..12].to_owned();
    eventually("its series to go", || world.metric("acuity_enhancer_model_info", &[&gone]).is_none());
}

#[test]
fn hundreds_of_clusters_do_not_hold_hundreds_of_sessions() {
    let clusters: Vec<Model> = (0..200)
        .map(|number| {
            Model::new(&format!("c{number}"), Small { add: number as f32 / 50.0, ..Small::default() }.file())
        })
        .collect();
    let world = World::new(&clusters);
    assert_eq!(world.offered().len(), 200);
    eventually("the metrics", || world.sessions() > 0.0);
    assert!(world.sessions() <= 32.0, "{}", world.sessions());
    for number in [0, 99, 199] {
        let cluster = format!("c{number}");
        let made = world.make(&cluster, &world.digest(&cluster));
        assert_eq!(made.how(), (format!("{cluster}-x2-s").as_str(), None));
    }
    assert!(world.sessions() <= 35.0, "{}", world.sessions());
}

#[test]
fn a_watched_directory_is_followed() {
    let world = World::new(&[game(1), generic(1)]);
    let (own, enhancer) = (world.digest("game"), world.enhancer.clone());
    let before = world.make("game", &own);
    let current = std::sync::Arc::new(Catalogue::load(world.directory.path()).unwrap());
    let watch = Watch::start(world.directory.path(), current, Duration::from_millis(50), move |event| {
        if let WatchEvent::Changed(catalogue) = event {
            enhancer.install(catalogue);
        }
    });
    let offers = |count: usize, cluster: &str| {
        eventually(cluster, || {
            let offered = world.offered();
            offered.len() == count && offered.contains(&format!("{cluster}-{}", world.digest(cluster)))
        });
    };
    // The file first, then nothing for a while, then the catalogue: meanwhile the old set looks corrupt.
    std::fs::write(world.directory.path().join("game-x2-s.onnx"), brighter(&shipped(), 6.0)).unwrap();
    offers(1, "generic");
    assert_eq!(world.make("game", &own).how(), ("generic-x2-s", Some("model_missing")));
    publish(world.directory.path(), &[game(2), generic(1)]);
    offers(2, "game");
    assert!(world.make("game", &own) == before, "it was only replaced");
    std::fs::write(world.directory.path().join("catalogue.toml"), "[[model]]\nid = \"ga").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.offered().len(), 2, "the last good one stays");
    publish(world.directory.path(), &[generic(1)]);
    offers(1, "generic");
    drop(watch);
}
