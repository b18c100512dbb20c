//! Workers on other machines, whose directory is kept like a store by a process of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use acuity_tests::metrics::Metrics;
use acuity_tests::player::{Multivariant, Player};
use acuity_tests::pool::Pool;
use acuity_tests::ports;
use acuity_tests::processes::status_line;
use acuity_tests::world::binary;

use super::{FETCHES, Shared, is_in_use, push, zoo};
use crate::clusters::{is_of, made_by, media_of, model_set, serve, small_stream, until, watching};
use crate::commands::run;

/// The process, ended when dropped.
struct Keeper(Child, String);

impl Keeper {
    /// Waits until its metrics are so.
    async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
        let (player, start) = (Player::new().unwrap(), Instant::now());
        loop {
            if let Ok(page) = player.get_ok(&format!("{}/metrics", self.1), &[]).await {
                let metrics = Metrics::new(page.text());
                if holds(&metrics) {
                    return metrics;
                }
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_pool_use_what_is_kept_beside_them() {
    let (shared, pool) = (Shared::new(), Pool::new().unwrap());
    let first_zoo = zoo(3.0);
    let first = push(&first_zoo, &["--to", &shared.url()]);
    let config = shared.own.path().join("worker.toml");
    let models = shared.models();
    std::fs::write(&config, format!("[models]\ndirectory = {models:?}\n")).unwrap();
    let (code, _, told) = run(&["models", "keep", "--config", config.to_str().unwrap()]);
    assert!(code == Some(1) && told.contains("[models.store]"), "{told}");
    let store = format!("[models.store]\nurl = {:?}\ninterval = \"1s\"\n", shared.url());
    std::fs::write(&config, format!("[models]\ndirectory = {models:?}\n{store}")).unwrap();
    let [admin] = ports::free().unwrap();
    let child = Command::new(binary().unwrap())
        .args(["models", "keep", "--admin", &admin.to_string(), "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut keeper = Keeper(child, format!("http://{admin}"));
    keeper.until("the first one is there", |metrics| is_in_use(metrics, &first)).await;

    let told = "models.watch_interval = \"100ms\"\nworkers.sandbox = \"required\"";
    let worker = pool.start_on(&models, told).await.unwrap();
    assert_eq!(status_line(worker.id(), "Seccomp").unwrap(), "2");
    let edge = pool.edge(watching(&first_zoo).route("cluster", "\"game\""), &[&worker]);
    let world = serve(&small_stream().await, edge).await;
    let player = Player::new().unwrap();
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &before).await;
    let (by, picture) = made_by(&player, &playing, 0).await;
    assert_eq!(by, "game-x2-s");

    let second = push(&zoo(9.0), &["--to", &shared.url()]);
    let metrics = keeper.until("the second one is there", |metrics| is_in_use(metrics, &second)).await;
    assert_eq!(metrics.sum(FETCHES, &[("outcome", "fetched")]), 3.0, "{}", metrics.text());
    let is_new = |master: &Multivariant| is_of(master, "game") && model_set(master) != model_set(&before);
    let after = until(&world, "/vod/master.m3u8", is_new).await;
    assert_eq!(made_by(&player, &playing, 0).await, ("game-x2-s".to_owned(), picture.clone()));
    assert_ne!(made_by(&player, &media_of(&player, &after).await, 0).await.1, picture);

    // A pin, by a reload; and the end.
    std::fs::write(&config, format!("[models]\ndirectory = {models:?}\n{store}pin = \"{first}\"\n")).unwrap();
    let signal = |name: &str| Command::new("kill").arg(name).arg(keeper.0.id().to_string()).status().unwrap();
    assert!(signal("-HUP").success());
    keeper.until("it is pinned", |metrics| is_in_use(metrics, &first)).await;
    assert!(signal("-TERM").success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = keeper.0.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(5), "it ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success() && models.join("catalogue.toml").exists(), "{status}");
}
