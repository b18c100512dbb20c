//! Who is offered what: the multivariant playlist is where it is decided.

use acuity_tests::clips;
use acuity_tests::origin::Origin;
use acuity_tests::player::Player;
use acuity_tests::world::{World, world};
use acuity_tests::zoo::{Zoo, brighter};

use crate::kit::{serve, serve_at_leisure};

async fn offered(world: &World, player: &Player, query: &str) -> bool {
    let url = world.edge.url(&format!("/vod/master.m3u8{query}"));
    !player.open(&url).await.unwrap().enhanced().is_empty()
}

#[tokio::test]
async fn only_weak_clients_get_it_where_the_route_says_so() {
    let rules = [
        "user_agent = '(?i)tizen'",
        "header = { name = 'x-device', matches = '^tv$' }",
        "query = { name = 'device', matches = '^tv$' }",
        "cmcd = { key = 'tb', below = 1500 }",
    ];
    let weak = rules.iter().fold(world().route("enhance", "\"weak\""), |world, rule| world.weak_if(rule));
    let world = serve(&clips::vod_ts().await.unwrap(), weak).await;
    let strong = Player::new().unwrap();
    let television = strong.clone().with_header("user-agent", "Mozilla/5.0 (Linux; Tizen 2.3)").unwrap();
    world.enhanced(&television, "/vod/master.m3u8").await.unwrap();

    let untouched = strong.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert_eq!(
        untouched.fetched.body,
        clips::vod_ts().await.unwrap().read("master.m3u8").unwrap(),
        "byte for byte"
    );
    assert!(
        untouched.fetched.header("vary").to_ascii_lowercase().contains("user-agent"),
        "caches must be told"
    );
    assert!(offered(&world, &television, "").await);
    let device = strong.clone().with_header("x-device", "tv").unwrap();
    assert!(offered(&world, &device, "").await);
    assert!(offered(&world, &strong, "?device=tv").await);
    assert!(!offered(&world, &strong, "?device=phone").await);
    assert!(offered(&world, &strong, "?CMCD=tb%3D1200").await);
    assert!(!offered(&world, &strong, "?CMCD=tb%3D9000").await);
    let by_header = strong.clone().with_header("cmcd-object", "tb=1200").unwrap();
    assert!(offered(&world, &by_header, "").await);
}

#[tokio::test]
async fn nobody_gets_it_where_the_route_says_none() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, world().route("enhance", "\"none\"")).await;
    let master = Player::new().unwrap().open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert_eq!(master.fetched.body, clip.read("master.m3u8").unwrap());
    assert_eq!(world.origin.fetches("/vod/180p/index.m3u8"), 0, "nothing is probed for nobody");
}

#[tokio::test]
async fn each_variant_is_a_source_and_each_resolution_is_offered_once() {
    let world = serve(&clips::vod_ts().await.unwrap(), world()).await;
    let master = world.enhanced(&Player::new().unwrap(), "/vod/master.m3u8").await.unwrap();
    let mut heights: Vec<_> =
        master.playlist.variants.iter().map(|variant| variant.resolution.unwrap().height).collect();
    heights.sort_unstable();
    // 180p as it is, 360p made of it (the origin's is withheld), 720p made of the origin's 360p
    assert_eq!(heights, [180, 360, 720], "{}", master.fetched.text());
    assert_eq!(master.enhanced().len(), 2);
}

#[tokio::test]
async fn the_origins_own_variant_stays_where_withholding_is_off() {
    let world = serve(&clips::vod_ts().await.unwrap(), world().route("withhold", "false")).await;
    let master = world.enhanced(&Player::new().unwrap(), "/vod/master.m3u8").await.unwrap();
    // 180p, its double, and the origin's 360p; that one can be a source too
    let heights: Vec<_> =
        master.original().iter().filter_map(|variant| variant.resolution).map(|r| r.height).collect();
    assert_eq!(heights, [180, 360], "{}", master.fetched.text());
}

#[tokio::test]
async fn all_renditions_of_a_stream_are_of_one_cluster() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
    let rule = "host = 'games.example'\ncluster = 'game'";
    let world = world().set("models.directory", zoo.setting()).cluster_if(rule);
    let world = serve(&clips::vod_ts().await.unwrap(), world).await;
    for (host, cluster) in [("games.example", "game"), ("films.example", "generic")] {
        let player = Player::new().unwrap().with_header("host", host).unwrap();
        let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
        let sets: Vec<_> = master
            .enhanced()
            .iter()
            .filter_map(|variant| variant.uri.split('.').nth(5).map(str::to_owned))
            .collect();
        assert_eq!(sets.len(), 2, "{}", master.fetched.text());
        assert!(sets[0].starts_with(&format!("{cluster}-")) && sets[0] == sets[1], "{host}: {sets:?}");
    }
}

#[tokio::test]
async fn what_is_not_enhanced_stays_byte_for_byte() {
    let clip = clips::separate_audio_ts().await.unwrap();
    let world = serve_at_leisure(&clip).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let (original, rewritten) =
        (String::from_utf8(clip.read("master.m3u8").unwrap()).unwrap(), master.fetched.text());
    let kept: Vec<_> =
        rewritten.lines().filter(|line| original.lines().any(|other| other == *line)).collect();
    assert!(kept.iter().any(|line| line.starts_with("#EXT-X-MEDIA:")), "{rewritten}");
    assert!(kept.contains(&"180p/index.m3u8"), "{rewritten}");
    // the small variant's playlist and segments, and the sound's, are the origin's bytes
    for name in ["180p/index.m3u8", "180p/001.ts", "sound/index.m3u8", "sound/001.ts"] {
        let passed = player.get_ok(&world.edge.url(&format!("/vod/{name}")), &[]).await.unwrap();
        assert_eq!(passed.body, clip.read(name).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_enhanced_is_not_offered_and_a_metric_says_why() {
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    let media = String::from_utf8(clip.read("180p/index.m3u8").unwrap()).unwrap();
    let sample_aes = media.replacen("#EXTINF", "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\"\n#EXTINF", 1);
    origin.put("/vod/180p/index.m3u8", sample_aes);
    let world = world().start(origin).await.unwrap();
    let player = Player::new().unwrap();
    let master = player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    let metrics = world.edge.metrics().await.unwrap();
    assert!(metrics.sum("acuity_variants_refused_total", &[]) >= 1.0, "{}", metrics.text());
    assert!(
        !master.enhanced().iter().any(|variant| variant.resolution.unwrap().height == 360),
        "{}",
        master.fetched.text()
    );
}
