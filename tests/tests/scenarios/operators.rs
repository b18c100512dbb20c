//! What operators see: health, metrics, the access log, and clear words when a start fails.

use std::process::Command;
use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::origin::Fault;
use acuity_tests::player::Player;
use acuity_tests::ports;
use acuity_tests::world::{binary, world};

use crate::kit::{open_enhanced, segment_url, serve_at_leisure};

#[tokio::test]
async fn health_and_metrics_tell_what_was_done() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let made = player.get_ok(&url, &[]).await.unwrap();
    player.get_ok(&url, &[]).await.unwrap();
    player.get_ok(&world.edge.url("/vod/180p/000.ts"), &[]).await.unwrap();
    for path in ["/livez", "/readyz"] {
        assert_eq!(player.get(&format!("{}{path}", world.edge.admin)).await.unwrap().status, 200, "{path}");
    }
    let metrics = world.edge.metrics().await.unwrap();
    let count = |kind, outcome| metrics.sum("acuity_requests_total", &[("kind", kind), ("outcome", outcome)]);
    assert_eq!(count("segment", "made"), 1.0, "{}", metrics.text());
    assert_eq!(count("segment", "hit"), 1.0);
    assert_eq!(count("pass", "passed"), 1.0);
    assert_eq!(
        metrics.sum("acuity_player_bytes_total", &[("kind", "segment")]),
        2.0 * made.body.len() as f64
    );
    assert_eq!(metrics.sum("acuity_enhancer_frames_total", &[]), 50.0);
    assert_eq!(metrics.sum("acuity_enhancer_queue_depth", &[]), 0.0);
    assert!(metrics.sum("acuity_origin_bytes_total", &[]) > 0.0);
    for name in [
        "acuity_enhancer_stage_seconds_bucket",
        "acuity_cache_bytes",
        "acuity_enhancer_model_info",
        "acuity_build_info",
    ] {
        assert!(metrics.has(name), "{name} is missing\n{}", metrics.text());
    }
    // Only what the configuration names is a label.
    let text = metrics.text().replace(&format!("origin=\"{}\"", world.origin.url("")), "");
    assert!(!text.contains("000.ts") && !text.contains("127.0.0.1"), "labels are bounded: {text}");
}

#[tokio::test]
async fn what_players_suffer_is_counted() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (path, player) = ("/vod/180p/000.ts", Player::new().unwrap());
    let url = world.edge.url(path);
    world.origin.fault(path, Fault::Status(503));
    assert_eq!(player.get(&url).await.unwrap().status, 503);
    world.origin.fault(path, Fault::CutConnection { after_bytes: 1000 });
    assert!(player.get(&url).await.is_err(), "it has a begin and no end");
    world.origin.heal(path);
    player.get_ok(&url, &[]).await.unwrap();
    // a request is counted when it is over, which is a moment after the player has what there is of the answer
    let mut metrics = world.edge.metrics().await.unwrap();
    for _ in 0..50 {
        if metrics.sum("acuity_request_seconds_count", &[("kind", "pass")]) >= 3.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        metrics = world.edge.metrics().await.unwrap();
    }
    let pass = |name, key, value| metrics.sum(name, &[("kind", "pass"), (key, value)]);
    assert_eq!(pass("acuity_responses_total", "status", "5xx"), 1.0, "{}", metrics.text());
    assert_eq!(pass("acuity_responses_total", "by", "edge"), 1.0, "what broke off had begun well");
    assert_eq!(pass("acuity_requests_total", "outcome", "origin_error"), 1.0);
    assert_eq!(pass("acuity_requests_total", "outcome", "broke_off"), 1.0);
    assert_eq!(pass("acuity_requests_total", "outcome", "passed"), 1.0);
    assert_eq!(pass("acuity_first_byte_seconds_count", "cached", "no"), 3.0, "each answer began");
    for name in ["process_cpu_seconds_total", "process_open_fds", "process_max_fds"] {
        assert!(metrics.sum(name, &[]) > 0.0, "{name}");
    }
}

#[tokio::test]
async fn every_request_is_one_line_of_the_access_log() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let player = Player::new().unwrap();
    let answer = player.get_ok(&world.edge.url("/vod/180p/000.ts?token=secret"), &[]).await.unwrap();
    let id = answer.header("x-request-id");
    assert!(!id.is_empty());
    let mut found = None;
    for _ in 0..50 {
        found = world.edge.access_log().into_iter().find(|record| record["id"] == id.as_str());
        if found.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let record = found.expect("the request is in the log");
    assert_eq!((&record["method"], &record["status"]), (&"GET".into(), &200.into()));
    assert_eq!(record["bytes"], answer.body.len());
    assert_eq!(record["path"], "/vod/180p/000.ts", "queries may hold signatures");
}

#[tokio::test]
async fn a_bad_configuration_is_told_in_full_and_exits_with_1() {
    let bad = world().set("enhancer.lanes", 0).set("cache.budgt_bytes", 5).without_waiting();
    let mut edge = bad.start_before("ftp://origin.example").await.unwrap();
    let status = edge.until_exit(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let told = edge.events();
    for what in ["lanes", "budgt_bytes", "origin"] {
        assert!(told.contains(what), "nothing is said about {what}:\n{told}");
    }
}

#[tokio::test]
async fn models_that_are_missing_are_told_and_exit_with_1() {
    let mut edge = world()
        .set("models.directory", "\"no/such/folder\"")
        .without_waiting()
        .start_before("http://127.0.0.1:9")
        .await
        .unwrap();
    let status = edge.until_exit(Duration::from_secs(20)).await.unwrap();
    assert_ne!(status.code(), Some(0));
    assert!(edge.events().contains("no/such/folder"), "{}", edge.events());
}

#[test]
fn the_command_line_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(binary().unwrap()).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for subcommand in ["serve", "check", "enhance", "models"] {
        assert!(help.contains(subcommand), "{help}");
    }
    let (code, told) = run(&["serve", "--origin", "not a url"]);
    assert_eq!(code, Some(1), "{told}");
    let (code, told) = run(&["check", "--config", "/no/such/file.toml"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("/no/such/file.toml"), "{told}");
}

/// A token of its own file, shown to nobody by the edge.
fn token(folder: &std::path::Path, mode: u32) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join(format!("token-{mode:o}"));
    std::fs::write(&file, "a token of 24 characters\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    format!("{:?}", file.to_str().unwrap())
}

#[tokio::test]
async fn operators_show_their_token() {
    let folder = tempfile::tempdir().unwrap();
    let told = world().route("cluster", "\"plain\"").set("admin.token_file", token(folder.path(), 0o640));
    let edge = told.start_before("http://127.0.0.1:1").await.unwrap();
    let player = Player::new().unwrap();
    let ask = async |path: &str, authorization: Option<&str>| {
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|value| ("authorization", *value)).collect();
        let url = format!("{}{path}", edge.admin);
        player.request(reqwest::Method::GET, &url, &headers).await.unwrap()
    };
    for wrong in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer a token of 24 character"),
        Some("Bearer a token of 24 characters!"),
        Some("Basic a token of 24 characters"),
        Some("a token of 24 characters"),
    ] {
        let answer = ask("/metrics", wrong).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("www-authenticate").as_str()),
            (401, "Bearer"),
            "{wrong:?}"
        );
        assert!(!answer.text().contains("acuity_"), "{wrong:?}");
    }
    assert_eq!(ask("/nothing", None).await.status, 401, "not even what there is");
    assert_eq!(
        (ask("/livez", None).await.status.as_u16(), ask("/readyz", None).await.status.as_u16()),
        (200, 200)
    );
    let metrics = ask("/metrics", Some("bearer a token of 24 characters")).await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("acuity_admin_refusals_total 8"), "{}", metrics.text());
}

#[tokio::test]
async fn commands_show_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let quoted = token(folder.path(), 0o640);
    let told = world().route("cluster", "\"plain\"").set("admin.token_file", &quoted);
    let edge = told.start_before("http://127.0.0.1:1").await.unwrap();
    let admin = edge.admin.trim_start_matches("http://").to_owned();
    let file = quoted.trim_matches('"').to_owned();
    let other = folder.path().join("other");
    std::fs::copy(&file, &other).unwrap();
    std::fs::write(&other, "a token of some other edge").unwrap();
    let open = token(folder.path(), 0o644);
    let purge = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(binary().unwrap());
        command.env_remove("ACUITY_ADMIN_TOKEN_FILE").envs(environment.iter().copied());
        let output = command.args(["purge", "--all", "--admin", &admin]).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!told.contains("a token of"), "{told}");
        (output.status.code(), told)
    };
    for (arguments, code, words) in [
        (&[][..], 1, "--token-file"),
        (&["--token-file", other.to_str().unwrap()], 1, "does not take the token"),
        (&["--token-file", open.trim_matches('"')], 1, "chmod o-rw"),
        (&["--token-file", "/no/such/file"], 1, "cannot be read"),
        (&["--token-file", &file], 0, "\"objects\": 0"),
    ] {
        let (ended, told) = purge(arguments, &[]);
        assert!(ended == Some(code) && told.contains(words), "{arguments:?}: {ended:?} {told}");
    }
    let (ended, told) = purge(&[], &[("ACUITY_ADMIN_TOKEN_FILE", &file)]);
    assert_eq!(ended, Some(0), "{told}");
}

/// As a service manager does it, which knows the configuration file and nothing else.
#[tokio::test]
async fn commands_find_address_and_token_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let [players, operators] = ports::free().unwrap();
    let told = world()
        .route("cluster", "\"plain\"")
        .set("admin.token_file", token(folder.path(), 0o640))
        .set("admin.listen", format!("\"0.0.0.0:{}\"", operators.port()))
        .at(players, operators);
    let mut edge = told.start_before("http://127.0.0.1:1").await.unwrap();
    let file = edge.config_file();
    let acuity = |arguments: &[&str]| {
        let mut command = Command::new(binary().unwrap());
        command.env_remove("ACUITY_ADMIN_TOKEN_FILE").args(arguments).arg("--config").arg(&file);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!told.contains("a token of"), "{told}");
        (output.status.code(), told)
    };
    for arguments in [&["reload"][..], &["route"], &["purge", "--all"], &["live"]] {
        let (ended, told) = acuity(arguments);
        assert_eq!(ended, Some(0), "{arguments:?}: {told}");
    }
    // What the file has become since: the edge itself says what is wrong, and counts it; and it lives.
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[cache]\nbudget_byte = 7\nprobe_ttl = \n")).unwrap();
    let (ended, told) = acuity(&["reload"]);
    assert!(ended == Some(1) && told.contains("422") && told.contains("budget_byte"), "{ended:?} {told}");
    assert_eq!(acuity(&["live"]).0, Some(0));
    // Without the token, which the file then does not name.
    std::fs::write(&file, good.replace("admin.token_file", "# admin.token_file")).unwrap();
    assert!(acuity(&["reload"]).1.contains("--config FILE"));
    assert_eq!(acuity(&["live"]).0, Some(0), "health needs none");
    edge.signal("INT").unwrap();
    edge.until_exit(Duration::from_secs(20)).await.unwrap();
    assert_eq!(acuity(&["live"]).0, Some(2), "nobody is there");
}

#[tokio::test]
async fn who_exposes_the_operators_address_has_to_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |settings: &str| {
        let file = folder.path().join("acuity.toml");
        let route = "[[route]]\norigin = \"http://127.0.0.1:1\"\ncluster = \"plain\"\n";
        std::fs::write(&file, format!("{settings}\n{route}")).unwrap();
        let binary = acuity_tests::world::binary().unwrap();
        let run = std::process::Command::new(binary).args(["check", "--config"]).arg(file).output().unwrap();
        (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let exposed = "[admin]\nlisten = \"0.0.0.0:9090\"\n";
    let (good, said) = run(exposed);
    assert!(!good && said.contains("admin.listen") && said.contains("token_file"), "{said}");
    let (good, said) = run(&format!("{exposed}unprotected = true"));
    assert!(good, "{said}");
    let (good, said) = run(&format!("{exposed}token_file = {}", token(folder.path(), 0o600)));
    assert!(good, "{said}");
    let (good, said) = run(&format!("[admin]\ntoken_file = {}", token(folder.path(), 0o644)));
    assert!(!good && said.contains("open to every user") && !said.contains("a token of 24"), "{said}");
}
