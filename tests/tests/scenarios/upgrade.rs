//! The end of a node, and its successor: draining loses nobody, and a new process takes over under load without one failed request.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acuity_tests::certificates::self_signed;
use acuity_tests::clips;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::{Media, Player};
use acuity_tests::ports;
use acuity_tests::world::{World, binary, repository};
use tokio::process::{Child, Command};

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// What the clients of a scenario have seen.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    requests: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
    by_status: std::sync::Mutex<BTreeMap<u16, usize>>,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, url: &str, result: Result<(u16, usize), String>, bytes: Option<usize>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let fault = match result {
            Ok((status, _)) if status != 200 => Some(format!("{status}")),
            Ok((_, length)) if bytes.is_some_and(|bytes| bytes != length) => Some(format!("{length} bytes")),
            Ok((status, _)) => {
                *self.by_status.lock().unwrap().entry(status).or_default() += 1;
                None
            }
            Err(error) => Some(error),
        };
        if let Some(fault) = fault {
            self.failures.lock().unwrap().push(format!("{url}: {fault}"));
        }
    }
}

/// One client that asks on and on; it repeats nothing. `keep`: on one connection as long as the edge keeps it, else on a new one each.
async fn ask(
    tally: Arc<Tally>,
    url: impl Fn(usize) -> String,
    bytes: Option<usize>,
    keep: bool,
    pause: Duration,
) {
    let plain = reqwest::Client::builder().retry(reqwest::retry::never());
    ask_as(tally, url, bytes, (keep, plain), pause).await;
}

async fn ask_as(
    tally: Arc<Tally>,
    url: impl Fn(usize) -> String,
    bytes: Option<usize>,
    (keep, client): (bool, reqwest::ClientBuilder),
    pause: Duration,
) {
    let client = client.no_proxy().pool_max_idle_per_host(usize::from(keep));
    let kept = client.timeout(Duration::from_secs(60)).build().unwrap();
    for round in 0.. {
        if !tally.goes_on() {
            return;
        }
        let url = url(round);
        let fetch = async {
            let answer = kept.get(&url).send().await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status().as_u16();
            let body = answer.bytes().await.map_err(|error| format!("{error:?}"))?;
            Ok((status, body.len()))
        };
        tally.note(&url, fetch.await, bytes);
        tokio::time::sleep(pause).await;
    }
}

/// Has a segment forgotten and asks for it, on and on.
async fn ask_cold(tally: Arc<Tally>, url: String, purge: String) {
    let player = Player::new().unwrap();
    while tally.goes_on() {
        let forgotten = player.request(reqwest::Method::POST, &purge, &[]).await;
        let whole = |answer: acuity_tests::player::Fetched| (answer.status.as_u16(), answer.body.len());
        tally.note(&purge, forgotten.map(whole).map_err(|error| error.to_string()), None);
        tally.note(&url, player.get(&url).await.map(whole).map_err(|error| error.to_string()), None);
    }
}

/// Starts the edge that takes over.
pub(crate) fn successor(world: &World) -> Child {
    let address = |base: &str| base.trim_start_matches("http://").to_owned();
    Command::new(binary().unwrap())
        .args(["serve", "--upgrade", "--listen", &address(&world.edge.base)])
        .args(["--admin", &address(&world.edge.admin), "--config"])
        .arg(world.edge.config_file())
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(world.edge.beside("successor")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The process that the edge has started to take over from it.
async fn successor_of(world: &World) -> u32 {
    let tasks = format!("/proc/{}/task", world.edge.process_id());
    for _ in 0..500 {
        let children = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let children = children.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let found = children.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        if let Some(id) = found.last().and_then(|id| id.parse().ok()) {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it started nothing\n{}", world.edge.events());
}

async fn process_of(world: &World) -> f64 {
    world.edge.metrics().await.map_or(0.0, |metrics| metrics.sum("process_start_time_seconds", &[]))
}

async fn upgradable(folder: &tempfile::TempDir) -> (World, Player, Media) {
    let socket = folder.path().join("upgrade.sock");
    let builder = one_rendition()
        .route("cluster", "\"plain\"")
        .set("server.upgrade_socket", format!("{socket:?}"))
        .set("server.drain_notice_seconds", 1)
        .set("server.drain_seconds", 10);
    let world = serve(&clips::vod_ts().await.unwrap(), builder).await;
    let (player, _, media) = open_enhanced(&world).await;
    (world, player, media)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, player, media) = upgradable(&folder).await;
    let cached = segment_url(&media, 0);
    let length = player.get_ok(&cached, &[]).await.unwrap().body.len();
    let source = clips::vod_ts().await.unwrap().read("180p/001.ts").unwrap().len();
    let tally = Arc::new(Tally::default());
    let mut clients = tokio::task::JoinSet::new();
    let (base, quick) = (world.edge.base.clone(), Duration::from_millis(5));
    for keep in [true, true, false] {
        let (at, url) = (base.clone(), cached.clone());
        clients.spawn(ask(Arc::clone(&tally), move |_| format!("{at}/vod/master.m3u8"), None, keep, quick));
        clients.spawn(ask(Arc::clone(&tally), move |_| url.clone(), None, keep, quick));
        let at = base.clone();
        clients.spawn(ask(
            Arc::clone(&tally),
            move |_| format!("{at}/vod/180p/001.ts"),
            Some(source),
            keep,
            quick,
        ));
    }
    // one segment that is cold again and again, because it is purged before each request
    let url = segment_url(&media, 2);
    let purge = format!("{}/purge?url=/vod/180p/002.ts", world.edge.admin);
    clients.spawn(ask_cold(Arc::clone(&tally), url, purge));
    // one that is idle on its connection for longer than the rest takes to leave, and then asks again
    let at = base.clone();
    let sleepy = Duration::from_secs(3);
    clients.spawn(ask(Arc::clone(&tally), move |_| format!("{at}/vod/180p/000.ts"), None, true, sleepy));
    tokio::time::sleep(Duration::from_secs(2)).await;

    let first = process_of(&world).await;
    let begun = Instant::now();
    let mut new = successor(&world);
    let exit = world.edge.until_exit(Duration::from_secs(60)).await.unwrap();
    let took = begun.elapsed();
    assert_eq!(exit.code(), Some(0), "{}", world.edge.events());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(new.try_wait().unwrap().is_none(), "the new one serves");
    assert!(process_of(&world).await > first, "operators are answered by the new one");
    tally.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}

    let failures = std::mem::take(&mut *tally.failures.lock().unwrap());
    let requests = tally.requests.load(Ordering::Relaxed);
    eprintln!(
        "{requests} requests while one edge replaced another within {took:.1?}, {} failed",
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "{} of {requests} failed: {:#?}\n{}",
        failures.len(),
        &failures[..failures.len().min(10)],
        world.edge.events()
    );
    assert!(requests > 200, "{requests} are no load");
    let kept = player.get_ok(&cached, &[]).await.unwrap();
    assert!(kept.body.len() > length / 2);
    new.start_kill().unwrap();
    new.wait().await.unwrap();
}

/// Handshakes that are under way and connections that are kept, in HTTP/1.1 and 2, when the sockets change hands.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_tls_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key, socket] =
        ["cert.pem", "key.pem", "upgrade.sock"].map(|name| folder.path().join(name));
    self_signed(&certificate, &key, "DNS:localhost").unwrap();
    let root = reqwest::Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let port = ports::free::<1>().unwrap()[0].port();
    let builder = one_rendition()
        .route("cluster", "\"plain\"")
        .set("server.tls.listen", format!("\"127.0.0.1:{port}\""))
        .set("server.tls.certificate", format!("{certificate:?}"))
        .set("server.tls.key", format!("{key:?}"))
        .set("server.upgrade_socket", format!("{socket:?}"))
        .set("server.drain_notice_seconds", 1)
        .set("server.drain_seconds", 10);
    let mut world = serve(&clips::vod_ts().await.unwrap(), builder).await;
    let (player, _, media) = open_enhanced(&world).await;
    let cached = segment_url(&media, 0);
    // The next one makes it anew, and on a busy machine in other bytes. What breaks off is an error by itself.
    player.get_ok(&cached, &[]).await.unwrap();
    let base = format!("https://localhost:{port}");
    let secure = cached.replace(&world.edge.base, &base);
    let tally = Arc::new(Tally::default());
    let mut clients = tokio::task::JoinSet::new();
    let quick = Duration::from_millis(10);
    for (keep, is_http2) in [(true, true), (true, false), (false, true), (false, false)] {
        let believes = || reqwest::Client::builder().tls_certs_only([root.clone()]);
        // HTTP/2 says which requests were not begun when a connection ends (RFC 9113, 6.8), since one may cross the GOAWAY on its
        // way, and clients ask for these again by themselves. Nothing else is repeated.
        let client = || match is_http2 {
            true => believes(),
            false => believes().http1_only().retry(reqwest::retry::never()),
        };
        let (at, url) = (base.clone(), secure.clone());
        let master = move |_| format!("{at}/vod/master.m3u8");
        clients.spawn(ask_as(Arc::clone(&tally), master, None, (keep, client()), quick));
        clients.spawn(ask_as(Arc::clone(&tally), move |_| url.clone(), None, (keep, client()), quick));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (first, before) = (process_of(&world).await, tally.requests.load(Ordering::Relaxed));
    let started = Instant::now();
    // As the unit's SIGUSR2 does it: the edge starts its successor itself.
    world.edge.signal("USR2").unwrap();
    let new = successor_of(&world).await;
    let exit = world.edge.until_exit(Duration::from_secs(60)).await.unwrap();
    let took = started.elapsed();
    assert_eq!(exit.code(), Some(0), "{}", world.edge.events());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(process_of(&world).await > first, "the new one answers");
    tally.stop.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    assert!(Command::new("kill").arg(new.to_string()).status().await.unwrap().success());

    let failures = std::mem::take(&mut *tally.failures.lock().unwrap());
    let requests = tally.requests.load(Ordering::Relaxed);
    eprintln!("{requests} requests over TLS while one edge replaced another within {took:.1?}");
    assert!(
        failures.is_empty(),
        "{} of {requests}: {:#?}",
        failures.len(),
        &failures[..failures.len().min(10)]
    );
    assert!(before > 100 && requests > 2 * before, "{before} before it, {requests} in all");
}

#[tokio::test]
async fn a_successor_that_cannot_start_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, player, media) = upgradable(&folder).await;
    let good = std::fs::read_to_string(world.edge.config_file()).unwrap();
    // its models are not there: it has the sockets by then, and does not serve
    let bad = good.replace("models.directory = ", "models.directory = \"/no/such/folder\" # ")
        + "\n[[route]]\nprefix = \"/other\"\norigin = \"http://127.0.0.1:9\"\n";
    std::fs::write(world.edge.config_file(), bad).unwrap();
    let status = successor(&world).wait().await.unwrap();
    assert!(!status.success());
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(world.edge.until_exit(Duration::from_millis(300)).await.is_err(), "it serves on");
    // and the next attempt succeeds
    std::fs::write(world.edge.config_file(), good).unwrap();
    let mut new = successor(&world);
    let exit = world.edge.until_exit(Duration::from_secs(60)).await.unwrap();
    assert_eq!(exit.code(), Some(0), "{}", world.edge.events());
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    new.start_kill().unwrap();
    new.wait().await.unwrap();
}

#[tokio::test]
async fn a_stop_is_announced_before_anything_is_refused() {
    let mut builder = acuity_tests::world::world().route("enhance", "\"none\"").route("cluster", "\"plain\"");
    builder = builder.set("server.drain_notice_seconds", 2).set("server.drain_seconds", 10);
    let origin = Origin::start().await.unwrap();
    origin.put("/a.ts", vec![7_u8; 10_000]);
    origin.fault("/a.ts", Fault::Latency(Duration::from_millis(3500)));
    origin.put("/b.ts", "b");
    let World { origin: _origin, mut edge } = builder.start(origin).await.unwrap();
    let (player, ready) = (Player::new().unwrap(), format!("{}/readyz", edge.admin));
    assert_eq!(player.get(&ready).await.unwrap().status, 200);
    let slow = {
        let (player, url) = (Player::new().unwrap(), edge.url("/a.ts"));
        tokio::spawn(async move {
            player.get(&url).await.map(|answer| answer.body.len()).map_err(|e| e.to_string())
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    edge.signal("TERM").unwrap();
    let mut told = 200;
    for _ in 0..50 {
        told = player.get(&ready).await.unwrap().status.as_u16();
        if told == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told, 503, "load balancers are told");
    let answer = player.get_ok(&edge.url("/b.ts"), &[]).await.unwrap();
    assert_eq!(answer.header("connection"), "close", "everything is answered, and no connection is kept");
    tokio::time::sleep(Duration::from_millis(2300)).await;
    assert!(Player::new().unwrap().get(&edge.url("/b.ts")).await.is_err(), "nobody listens any more");
    assert_eq!(player.get(&ready).await.unwrap().status, 503, "operators see the end");
    assert_eq!(slow.await.unwrap().unwrap(), 10_000, "what was asked for before is finished");
    assert_eq!(edge.until_exit(Duration::from_secs(15)).await.unwrap().code(), Some(0));
}
