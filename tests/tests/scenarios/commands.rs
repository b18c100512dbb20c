//! What operators ask the binary about models: which there are, whether they are what they should be, what one makes.

use std::path::Path;
use std::process::{Command, Stdio};

use acuity_tests::clips;
use acuity_tests::packets::Probe;
use acuity_tests::world::{binary, repository, world};
use acuity_tests::zoo::{Zoo, brighter};

/// Runs the binary; gives its exit code, and what it said on stdout and stderr.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary().unwrap()).args(arguments).current_dir(repository()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn directory(zoo: &Zoo) -> &str {
    zoo.directory().to_str().unwrap()
}

/// The cells of the table's line that begins with this.
fn line<'a>(table: &'a str, first: &str) -> Vec<&'a str> {
    let found = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    found
        .into_iter()
        .find(|cells| cells.first() == Some(&first))
        .unwrap_or_else(|| panic!("no {first} in\n{table}"))
}

#[test]
fn models_are_listed_with_what_they_gained_over_generic_ones() {
    let mut zoo = Zoo::new().unwrap();
    let game = zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
    zoo.measured(
        "game",
        2,
        "gain_db = 2.5\nheldout_db = 34.75\nheldout_generic_db = 32.5\nms_per_frame = 17.0",
    )
    .unwrap();
    let (code, table, _) = run(&["models", "--models", directory(&zoo)]);
    assert_eq!(code, Some(0), "{table}");
    let digest = &game.sha256[..8];
    assert_eq!(
        line(&table, "game-x2-s"),
        ["game-x2-s", "game", "x2", "s", "10380", "2.50", "2.25", "17.0", digest, "ok"]
    );
    assert_eq!(line(&table, "generic-x2-s")[5..8], ["-", "-", "-"], "what was not measured is not told");
    let set = line(&table, "game");
    assert_eq!(
        (set[..2].to_vec(), set[2].len(), set[3]),
        (vec!["game", "x2"], 8, "s"),
        "the set that URLs name"
    );

    zoo.spoil("game", 2, |bytes| bytes[..99].to_vec()).unwrap();
    let (code, table, told) = run(&["models", "--models", directory(&zoo)]);
    assert_eq!(code, Some(1), "{told}");
    assert!(table.contains("MISMATCH") && told.contains("game-x2-s"), "{table}\n{told}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let mut child = Command::new(binary().unwrap())
        .arg("models")
        .current_dir(repository())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""), "{told}");
}

#[test]
fn a_check_looks_at_the_models_too() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
    let config = |zoo: &Zoo, name: &str| {
        let text = world().set("models.directory", zoo.setting()).config_for("http://127.0.0.1:9/");
        let path = zoo.directory().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = config(&zoo, "good.toml");
    let (code, said, told) = run(&["check", "--config", &good]);
    assert_eq!(code, Some(0), "{told}");
    assert!(said.contains("2 models"), "{said}");
    std::fs::remove_file(zoo.file("generic", 2)).unwrap();
    zoo.spoil("game", 2, |bytes| bytes[..99].to_vec()).unwrap();
    let (code, said, told) = run(&["check", "--config", &good]);
    assert_eq!((code, said.as_str()), (Some(1), ""), "nothing is said to be without faults: {told}");
    assert!(
        told.contains("generic-x2-s") && told.contains("game-x2-s") && told.contains("does not exist"),
        "{told}"
    );
}

#[tokio::test]
async fn a_file_is_enhanced_with_the_cluster_that_is_named() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
    let clip = clips::vod_ts().await.unwrap();
    let (input, output) = (clip.folder().join("180p/index.m3u8"), zoo.directory().join("out.ts"));
    let (input, output) = (input.to_str().unwrap(), output.to_str().unwrap());
    let (code, _, told) =
        run(&["enhance", input, "-o", output, "--cluster", "game", "--models", directory(&zoo)]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("best of game-x2-s"), "{told}");
    let probe = Probe::of(None, &std::fs::read(Path::new(output)).unwrap()).await.unwrap();
    let video = probe.video().unwrap();
    assert_eq!((video.width, video.height, probe.video_packets().len()), (640, 360, 150));
    for (arguments, said) in [
        (["--cluster", "nobody"], "there are: game x2, generic x2"),
        (["--scale", "3"], "no model of generic enlarges x3"),
    ] {
        let (code, _, told) =
            run(&[&["enhance", input, "-o", output, "--models", directory(&zoo)], &arguments[..]].concat());
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(said), "{told}");
    }
}
