//! The crate as the edge uses it: directories with catalogues and files, good and bad.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// An entry of the catalogue, whose file's bytes are its id.
pub(crate) fn entry(id: &str, cluster: &str, scale: u32, tier: &str) -> String {
    let sha256 = Sha256::of(id.as_bytes());
    format!(
        r#"
[[model]]
id = "{id}"
cluster = "{cluster}"
scale = {scale}
tier = "{tier}"
file = "{id}.onnx"
sha256 = "{sha256}"
parameters = 10_000
contract = 1
licence = "Apache-2.0"
training_data = "stills"
record = "records/{id}.md"

[model.measured]
gain_db = 0.5
set5_db = 36
machine = "a machine"
clips = 6
novel_db = 1
"#
    )
}

/// A directory with that catalogue and a file for each id.
fn zoo(catalogue: &str, ids: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("catalogue.toml"), catalogue).unwrap();
    for id in ids {
        fs::write(directory.path().join(format!("{id}.onnx")), id).unwrap();
    }
    directory
}

/// An entry that interpolates.
fn between(id: &str, cluster: &str, tier: &str) -> String {
    entry(id, cluster, 2, tier).replace("contract = 1", "contract = 2\ntask = \"interpolate\"")
}

#[test]
fn what_interpolates_is_kept_apart_from_what_enlarges() {
    let text = entry("generic-x2-s", "generic", 2, "s")
        + &between("generic-i2-s", "generic", "s")
        + &between("game-i2-m", "game", "m")
        + &between("game-i2-s", "game", "s")
        + &between("game-i2-s2", "game", "s")
        + &between("odd", "game", "l").replace("scale = 2", "scale = 3");
    let directory = zoo(&text, &["generic-x2-s", "generic-i2-s", "game-i2-m", "game-i2-s"]);
    let catalogue = Catalogue::load(directory.path()).unwrap();
    let rejected: Vec<_> = catalogue.rejected().iter().map(|rejected| rejected.fault.clone()).collect();
    assert_eq!(rejected, [EntryFault::DuplicatePlace("game-i2-s".into()), EntryFault::Factor(3)]);
    assert_eq!((catalogue.entries().len(), catalogue.sets().len()), (1, 1));
    let sets = catalogue.interpolators();
    let said: Vec<_> = sets.iter().map(|set| (set.cluster(), set.entries().len())).collect();
    assert_eq!(said, [("game", 2), ("generic", 1)]);
    assert_eq!((sets[0].entries()[0].tier, sets[0].entries()[0].task), (Tier::Small, Task::Interpolate));
    assert_eq!(catalogue.verify().len(), 4);
    assert!(catalogue.verify().iter().all(|(_, state)| *state == DigestState::Verified));
    assert!(catalogue.by_id("game-i2-m").is_some());
    assert_eq!(catalogue.up_to("generic-x2-s").unwrap().interpolators().len(), 2, "they go along");
}

#[test]
fn a_catalogue_is_read() {
    let directory = zoo(&entry("generic-x2-s", "generic", 2, "s"), &["generic-x2-s"]);
    let catalogue = Catalogue::load(directory.path()).unwrap();
    assert_eq!(catalogue.rejected(), []);
    let [entry] = catalogue.entries() else { panic!("{catalogue:?}") };
    assert_eq!(catalogue.by_id("generic-x2-s"), Some(entry));
    assert_eq!((entry.scale, entry.tier, entry.parameters), (2, Tier::Small, 10_000));
    assert_eq!(entry.contract.to_string(), "contract 1: uint8 luma [1,1,H,W] -> uint8 luma_out [1,1,2H,2W]");
    assert_eq!(entry.record, Some(directory.path().join("records/generic-x2-s.md")));
    let measured = &entry.measured;
    assert_eq!((measured.gain_db, measured.set5_db, measured.set14_db), (Some(0.5), Some(36.0), None));
    assert_eq!((measured.clips, measured.machine.as_deref()), (Some(6), Some("a machine")));
    assert_eq!(measured.other_figures().collect::<Vec<_>>(), [("novel_db", 1.0)]);
    assert_eq!(entry.read_verified().unwrap(), b"generic-x2-s");
    assert_eq!(catalogue.verify(), [(entry.clone(), DigestState::Verified)]);
}

#[test]
fn bad_entries_take_no_others_down() {
    let good = entry("good", "generic", 2, "s");
    let spoil = |from: &str, to: &str| {
        let text = entry("bad", "sport", 2, "s");
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let sha256 = format!("sha256 = \"{}\"", Sha256::of(b"bad"));
    for (bad, expected) in [
        (spoil("scale = 2", "scale = 5"), "scale 5 is not 2, 3 or 4"),
        (spoil("scale = 2", "scale = -2"), "scale -2 is not"),
        (spoil("scale = 2", "scale = \"2\""), "cannot be read: invalid type: string"),
        (spoil("scale = 2\n", ""), "missing field `scale`"),
        (spoil("tier = \"s\"", "tier = \"xl\""), "tier \"xl\" is not s, m, l, v10, v15 or v20"),
        (spoil(&sha256, "sha256 = \"abc\""), "sha256 \"abc\" is not 64 hexadecimal digits"),
        (spoil("bad.onnx", "../bad.onnx"), "file \"../bad.onnx\" must be a relative path below"),
        (spoil("bad.onnx", "x/../../bad.onnx"), "must be a relative path below"),
        (spoil("bad.onnx", "/bad.onnx"), "must be a relative path below"),
        (spoil("bad.onnx", ""), "must be a relative path below"),
        (spoil("bad.onnx", "."), "must be a relative path below"),
        (spoil("records/bad.md", "../bad.md"), "record \"../bad.md\" must be"),
        (spoil("contract = 1", "contract = 2"), "contract 2 is not its task's"),
        (spoil("contract = 1", "contract = 1\ntask = \"interpolate\""), "contract 1 is not its task's"),
        (spoil("contract = 1", "contract = 1\ntask = \"colourise\""), "cannot be read: unknown variant"),
        (spoil("id = \"bad\"", "id = \"Bad!\""), "id \"Bad!\" must be 1 to 64 bytes of [a-z0-9_-]"),
        (
            spoil("cluster = \"sport\"", "cluster = \"a-b\""),
            "cluster \"a-b\" must be 1 to 32 bytes of [a-z0-9_]",
        ),
        (spoil("cluster = \"sport\"", "cluster = \"\""), "cluster \"\" must be"),
        (spoil("contract = 1", "contract = 1\ninput = \"\""), "input \"\" must be"),
        (spoil("gain_db = 0.5", "gain_db = nan"), "measured.gain_db is not a finite number"),
        (spoil("gain_db = 0.5", "gain_db = \"lots\""), "cannot be read"),
        (spoil("id = \"bad\"", "id = \"good\""), "an earlier entry has this id"),
        (
            spoil("cluster = \"sport\"", "cluster = \"generic\""),
            "\"good\" already is this cluster's model of this scale",
        ),
        (spoil("id = \"bad\"\n", ""), "model without id (line "),
    ] {
        let directory = zoo(&format!("{good}{bad}{}", entry("last", "generic", 2, "m")), &[]);
        let catalogue = Catalogue::load(directory.path()).unwrap();
        let ids: Vec<&str> = catalogue.entries().iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["good", "last"], "{bad}");
        let [rejected] = catalogue.rejected() else { panic!("{:?}", catalogue.rejected()) };
        assert!(rejected.to_string().contains(expected), "{rejected} lacks {expected}");
        let line = good.lines().count() + 2;
        assert_eq!(rejected.line, line, "{rejected}");
    }
}

#[test]
fn an_entry_that_is_no_table_is_left_out() {
    let directory = zoo("model = [3, \"x\"]", &[]);
    let catalogue = Catalogue::load(directory.path()).unwrap();
    assert_eq!((catalogue.entries().len(), catalogue.rejected().len()), (0, 2));
}

#[test]
fn what_is_no_catalogue() {
    let directory = tempfile::tempdir().unwrap();
    let load = || Catalogue::load(directory.path()).unwrap_err();
    assert!(matches!(load(), CatalogueError::Missing { .. }));
    for (text, unlike) in [("model = 3", "sequence"), ("[[model]", "unclosed")] {
        fs::write(directory.path().join("catalogue.toml"), text).unwrap();
        let CatalogueError::Malformed { source, .. } = load() else { panic!("{text}") };
        assert!(source.to_string().contains(unlike), "{source}");
    }
    fs::write(directory.path().join("catalogue.toml"), [0xff, 0xfe]).unwrap();
    assert!(matches!(load(), CatalogueError::Unreadable { .. }));
    fs::write(directory.path().join("catalogue.toml"), "#".repeat(5 << 20)).unwrap();
    assert!(matches!(load(), CatalogueError::TooLarge { .. }));
    fs::write(directory.path().join("catalogue.toml"), "").unwrap();
    assert_eq!(Catalogue::load(directory.path()).unwrap().sets(), []);
}

#[test]
fn an_int8_twin_is_part_of_its_model() {
    let twin = |bytes: &str| {
        let table = format!(
            "[model.int8]\nfile = \"right.int8.onnx\"\nsha256 = \"{}\"\nloss_db = 0.01\n\n[model.measured]",
            Sha256::of(bytes.as_bytes())
        );
        entry("right", "a", 2, "s").replace("[model.measured]", &table)
    };
    let directory = zoo(&twin("twin"), &["right"]);
    let load = || Catalogue::load(directory.path()).unwrap();
    let int8 = directory.path().join("right.int8.onnx");
    assert_eq!(load().verify()[0].1, DigestState::Missing { path: int8.clone() });
    fs::write(&int8, "twin").unwrap();
    let catalogue = load();
    assert_eq!(catalogue.verify()[0].1, DigestState::Verified);
    let found = catalogue.entries()[0].int8.as_ref().unwrap();
    assert_eq!((found.read_verified().unwrap(), found.loss_db), (b"twin".to_vec(), Some(0.01)));
    // What is made with it has another name than what is made without.
    fs::write(directory.path().join("catalogue.toml"), entry("right", "a", 2, "s")).unwrap();
    assert_ne!(load().sets()[0].digest(), catalogue.sets()[0].digest());
    for (spoilt, message) in [
        (twin("twin").replace("right.int8", "../right.int8"), "int8.file"),
        (twin("twin").replace("0.01", "nan"), "int8.loss_db"),
    ] {
        fs::write(directory.path().join("catalogue.toml"), spoilt).unwrap();
        let rejected = load().rejected()[0].to_string();
        assert!(load().rejected().len() == 1, "{rejected}");
        let why =
            std::error::Error::source(&load().rejected()[0]).map(ToString::to_string).unwrap_or(rejected);
        assert!(why.contains(message), "{why}");
    }
}

#[test]
fn files_are_told_apart() {
    let ids = ["right", "wrong", "gone", "directory"];
    let text: String = ids.iter().zip(["s", "m", "l"]).map(|(id, tier)| entry(id, "a", 2, tier)).collect();
    let directory = zoo(&(text + &entry("directory", "b", 2, "s")), &["right", "wrong"]);
    fs::write(directory.path().join("wrong.onnx"), "other bytes").unwrap();
    fs::create_dir(directory.path().join("directory.onnx")).unwrap();
    let catalogue = Catalogue::load(directory.path()).unwrap();
    let states: Vec<DigestState> = catalogue.verify().into_iter().map(|(_, state)| state).collect();
    assert_eq!(
        states[..3],
        [
            DigestState::Verified,
            DigestState::Mismatch {
                path: catalogue.entries()[1].file.clone(),
                expected: catalogue.entries()[1].sha256,
                found: Sha256::of(b"other bytes"),
            },
            DigestState::Missing { path: catalogue.entries()[2].file.clone() }
        ]
    );
    assert!(matches!(&states[3], DigestState::Unreadable { reason, .. } if !reason.is_empty()));
    let labels: Vec<String> = states.iter().map(|state| format!("{state:>10}")).collect();
    assert_eq!(labels, ["  verified", "  mismatch", "   missing", "unreadable"]);

    let catalogue = Catalogue::load(directory.path()).unwrap();
    let refused = catalogue.entries()[1].read_verified().unwrap_err().to_string();
    assert!(
        refused.contains("wrong.onnx") && refused.contains(&Sha256::of(b"wrong").to_string()),
        "{refused}"
    );
}

#[test]
fn a_file_larger_than_any_model_is_not_read_to_its_end() {
    let directory = zoo(&entry("huge", "a", 2, "s"), &[]);
    // Sparse: it takes no room on the disk.
    fs::File::create(directory.path().join("huge.onnx")).unwrap().set_len(1 << 40).unwrap();
    let catalogue = Catalogue::load(directory.path()).unwrap();
    assert!(matches!(catalogue.entries()[0].read_verified(), Err(DigestError::TooLarge { .. })));
}

#[test]
fn sets_are_ordered_cheap_to_dear() {
    let text = [
        ("c", "sport", 2, "l"),
        ("a", "sport", 2, "s"),
        ("x", "sport", 3, "s"),
        ("b", "sport", 2, "m"),
        ("g", "generic", 2, "m"),
    ]
    .map(|(id, cluster, scale, tier)| entry(id, cluster, scale, tier));
    let catalogue = Catalogue::load(zoo(&text.concat(), &[]).path()).unwrap();
    let sets: Vec<String> = catalogue
        .sets()
        .iter()
        .map(|set| {
            let ids: Vec<&str> = set.entries().iter().map(|entry| entry.id.as_str()).collect();
            format!("{} x{}: {}", set.cluster(), set.scale(), ids.join(" "))
        })
        .collect();
    assert_eq!(sets, ["generic x2: g", "sport x2: a b c", "sport x3: x"]);

    let sport = catalogue.find("sport", 2).unwrap();
    assert_eq!(sport.tier(Tier::Medium).map(|entry| entry.id.as_str()), Some("b"));
    assert_eq!(catalogue.find("sport", 4), None);
    assert_eq!(catalogue.find("generic", 2).unwrap().tier(Tier::Small), None);

    // The catalogue's order is not part of a set's digest, each of its models is.
    let reversed: String = text.iter().rev().map(String::as_str).collect();
    let again = Catalogue::load(zoo(&reversed, &[]).path()).unwrap().find("sport", 2).unwrap();
    assert_eq!(sport.digest(), again.digest());
    let fewer = Catalogue::load(zoo(&text[1..].concat(), &[]).path()).unwrap().find("sport", 2).unwrap();
    assert_ne!(sport.digest(), fewer.digest());
    assert!(sport.digest().len() == 8 && sport.digest().bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn tiers_go_from_cheap_to_dear() {
    let labels: Vec<&str> = Tier::ALL.iter().map(|tier| tier.label()).collect();
    assert_eq!(labels, ["s", "m", "l", "v10", "v15", "v20"]);
    assert!(Tier::ALL.is_sorted());
    let text: String = labels.iter().rev().map(|tier| entry(&format!("a-{tier}"), "a", 4, tier)).collect();
    let set = Catalogue::load(zoo(&text, &[]).path()).unwrap().find("a", 4).unwrap();
    let tiers: Vec<Tier> = set.entries().iter().map(|entry| entry.tier).collect();
    assert_eq!(tiers, Tier::ALL);
}

#[test]
fn held_out_figures_have_names() {
    let figures = "gain_db = 0.5\nheldout_db = 34.81\nheldout_ssim = 0.9\nheldout_plain_db = 32.72\nheldout_generic_db = 33";
    let text = entry("a", "game", 2, "s").replace("gain_db = 0.5", figures);
    let catalogue = Catalogue::load(zoo(&text, &[]).path()).unwrap();
    let measured = &catalogue.entries()[0].measured;
    assert_eq!((measured.heldout_db, measured.heldout_plain_db), (Some(34.81), Some(32.72)));
    assert_eq!((measured.heldout_generic_db, measured.heldout_ssim), (Some(33.0), Some(0.9)));
    assert_eq!((measured.heldout_generic_ssim, measured.heldout_plain_ssim), (None, None));
    assert_eq!(measured.other_figures().collect::<Vec<_>>(), [("novel_db", 1.0)]);
}

#[test]
fn clients_read_a_sets_description() {
    let catalogue = Catalogue::load(zoo(&entry("a", "sport", 3, "v10"), &[]).path()).unwrap();
    let set = catalogue.find("sport", 3).unwrap();
    let models = set.entries().iter().map(|entry| (entry.as_ref(), 48_572));
    let description = SetDescription::new(set.cluster(), set.scale(), &set.digest(), models);
    let sha256 = Sha256::of(b"a").to_string();
    assert_eq!(
        serde_json::to_value(&description).unwrap(),
        serde_json::json!({
            "cluster": "sport",
            "scale": 3,
            "digest": set.digest(),
            "models": [{
                "id": "a",
                "tier": "v10",
                "uri": format!("{sha256}.onnx"),
                "sha256": sha256,
                "bytes": 48_572,
                "parameters": 10_000,
                "contract": {
                    "version": 1,
                    "input": { "name": "luma", "type": "uint8", "shape": [1, 1, "H", "W"] },
                    "output": { "name": "luma_out", "type": "uint8", "shape": [1, 1, "3H", "3W"] },
                },
                "licence": "Apache-2.0",
                "training_data": "stills",
                "measured": {
                    "gain_db": 0.5, "set5_db": 36.0, "machine": "a machine", "clips": 6, "novel_db": 1,
                },
            }],
        })
    );
}

#[test]
fn a_sets_digest_never_changes_meaning() {
    // Computed by hand: printf of the SHA-256 of "a" as bytes, hashed again. URLs in players' hands depend on it.
    let catalogue = Catalogue::load(zoo(&entry("a", "sport", 2, "s"), &[]).path()).unwrap();
    assert_eq!(catalogue.find("sport", 2).unwrap().digest(), "bf5d3aff");
}

#[test]
fn the_models_that_ship_are_whole() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
    let has_networks = fs::read_dir(&zoo).unwrap().any(|file| {
        file.is_ok_and(|file| file.path().extension().is_some_and(|extension| extension == "onnx"))
    });
    if !has_networks && !zoo.join("catalogue.toml").exists() {
        eprintln!("SKIPPED: models/zoo holds no networks yet; `python3 -m acuity_trainer` makes them");
        return;
    }
    let catalogue = Catalogue::load(&zoo).unwrap();
    assert_eq!(catalogue.rejected(), []);
    let generic = catalogue.find("generic", 2).unwrap();
    assert!(generic.tier(Tier::Small).is_some() && generic.tier(Tier::Medium).is_some());
    for (entry, state) in catalogue.verify() {
        assert_eq!(state, DigestState::Verified, "{}", entry.id);
        assert!(entry.measured.gain_db.is_some_and(|gain| gain > 0.0), "{} gains nothing", entry.id);
        assert!(entry.record.as_ref().is_some_and(|record| record.is_file()), "{} has no record", entry.id);
        if entry.cluster != "generic" {
            let Measured { heldout_db: Some(own), heldout_generic_db: Some(generic), .. } = entry.measured
            else {
                panic!("{} was not held against the generic model", entry.id)
            };
            assert!(own - generic >= 0.2, "{} gains {own} - {generic} dB over generic", entry.id);
        }
    }
}
