//! Renditions of twice the frame rate: who is offered them, and what is in them, packet for packet.

use std::collections::BTreeSet;
use std::process::Command;

use acuity_tests::clips::{self, Clip, real_media};
use acuity_tests::onnx::brighter_of_two;
use acuity_tests::packets::{Probe, differences_of_doubled};
use acuity_tests::player::{ENHANCED_PREFIX, Media, Multivariant, Player};
use acuity_tests::world::{World, WorldBuilder, binary, repository};
use acuity_tests::zoo::Zoo;
use m3u8_rs::VariantStream;

use crate::kit::{compare_all, one_rendition, open_source, serve, serve_folder, sets_of};

const BLENDED: &str = "{ interpolator = \"blend\" }";

fn doubled(world: WorldBuilder) -> WorldBuilder {
    world.route("frame_rate", BLENDED)
}

/// The variants of this rate, smallest first.
fn of_rate(master: &Multivariant, rate: f64) -> Vec<&VariantStream> {
    let is_it = |variant: &&VariantStream| variant.frame_rate.is_some_and(|own| (own - rate).abs() < 0.01);
    let mut found: Vec<_> = master.playlist.variants.iter().filter(is_it).collect();
    found.sort_by_key(|variant| variant.resolution.unwrap().height);
    found
}

/// Compares every segment of a rendition with its source's, and what must be one for all of them.
async fn compare_doubled(player: &Player, source: &Media, made: &Media, scale: u32) {
    assert_eq!(source.playlist.segments.len(), made.playlist.segments.len());
    let durations = |media: &Media| media.playlist.segments.iter().map(|s| s.duration).collect::<Vec<_>>();
    assert_eq!(durations(source), durations(made), "EXTINF");
    let (mut parameter_sets, mut expected) = (BTreeSet::new(), 0);
    for index in 0..source.playlist.segments.len() {
        let from = player.segment(source, index).await.unwrap();
        let of = player.segment(made, index).await.unwrap();
        expected = sets_of(std::slice::from_ref(&of));
        let from = Probe::of(from.init.as_deref(), &from.clear).await.unwrap();
        let of = Probe::of(of.init.as_deref(), &of.clear).await.unwrap();
        let found = differences_of_doubled(&from, &of, scale);
        assert!(found.is_empty(), "segment {index}: {found:#?}");
        parameter_sets.extend(of.parameter_sets());
    }
    assert_eq!(parameter_sets.len(), expected, "one SPS and one PPS for the whole rendition");
}

/// Plays both renditions of twice the rate against their source, and the one at its own rate too.
async fn plays_through(clip: &Clip) {
    let world = serve(clip, doubled(one_rendition())).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let source = open_source(&world, &player, "180p").await;
    let faster = of_rate(&master, 50.0);
    let sizes: Vec<_> = faster.iter().map(|variant| variant.resolution.unwrap().height).collect();
    assert_eq!(sizes, [180, 360], "{}", master.fetched.text());
    for (variant, scale) in faster.into_iter().zip([1, 2]) {
        let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
        compare_doubled(&player, &source, &media, scale).await;
        let durations = media.playlist.segments.iter().map(|segment| f64::from(segment.duration));
        for (index, seconds) in durations.enumerate() {
            let bits = player.segment(&media, index).await.unwrap().fetched.body.len() as f64 * 8.0;
            assert!(
                bits / seconds <= variant.bandwidth as f64,
                "segment {index} is above what is advertised"
            );
        }
    }
    let own = master.enhanced().into_iter().find(|variant| !variant.uri.contains(".i2-")).unwrap();
    let media = player.media(&master.url_of(own).unwrap()).await.unwrap();
    compare_all(&player, &source, &media).await;
}

#[tokio::test]
async fn transport_streams_are_doubled() {
    plays_through(&clips::vod_ts().await.unwrap()).await;
}

#[tokio::test]
async fn fragmented_mp4_is_doubled() {
    plays_through(&clips::vod_fmp4().await.unwrap()).await;
}

#[tokio::test]
async fn byte_ranges_and_encrypted_segments_are_doubled() {
    plays_through(&clips::byte_range_fmp4().await.unwrap()).await;
    plays_through(&clips::aes128_ts().await.unwrap()).await;
}

#[tokio::test]
async fn it_is_off_unless_the_route_says_so_and_tells_what_it_is() {
    let clip = clips::vod_ts().await.unwrap();
    let player = Player::new().unwrap();
    let plain = serve(&clip, one_rendition()).await;
    let master = plain.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    assert!(!master.fetched.text().contains(".i2-") && of_rate(&master, 50.0).is_empty());

    let world = serve(&clip, doubled(one_rendition())).await;
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let text = master.fetched.text();
    assert!(text.contains("DATA-ID=\"org.acuity.interpolator\",VALUE=\"blend\""), "{text}");
    let levels: Vec<_> = of_rate(&master, 50.0).iter().map(|v| v.codecs.clone().unwrap()).collect();
    // 640x360: 3.0 at 30 pictures a second, 3.1 at 50.
    assert!(levels[1].starts_with("avc1.64001f"), "{levels:?}");
    let own = master.enhanced().into_iter().find(|variant| !variant.uri.contains(".i2-")).unwrap();
    assert!(own.codecs.as_deref().unwrap().starts_with("avc1.64001e"), "{own:?}");
    let bandwidths: BTreeSet<_> = master.playlist.variants.iter().map(|variant| variant.bandwidth).collect();
    assert_eq!(bandwidths.len(), master.playlist.variants.len(), "{text}");
}

#[tokio::test]
async fn clients_that_a_rule_names_do_not_get_it() {
    let policy = "{ not_for = [{ user_agent = '(?i)crkey' }, { cmcd = { key = 'tb', below = 3000 } }] }";
    let world = serve(&clips::vod_ts().await.unwrap(), one_rendition().route("frame_rate", policy)).await;
    let player = Player::new().unwrap();
    let stick = player.clone().with_header("user-agent", "Mozilla/5.0 CrKey/1.56").unwrap();
    world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let gets = async |player: &Player, query: &str| {
        let master = player.open(&world.edge.url(&format!("/vod/master.m3u8{query}"))).await.unwrap();
        let vary = master.fetched.header("vary").to_ascii_lowercase();
        assert!(vary.contains("user-agent") && vary.contains("cmcd-session"), "caches must be told: {vary}");
        assert!(!master.enhanced().is_empty(), "the enhanced rendition of the source's rate is for all");
        !of_rate(&master, 50.0).is_empty()
    };
    assert!(gets(&player, "").await);
    assert!(!gets(&stick, "").await);
    assert!(!gets(&player, "?CMCD=tb%3D2500").await);
    assert!(gets(&player, "?CMCD=tb%3D9000").await);
}

#[tokio::test]
async fn the_last_picture_leads_over_to_a_segment_that_is_at_hand() {
    let world = serve(&clips::vod_ts().await.unwrap(), doubled(one_rendition())).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let media = player.media(&master.url_of(of_rate(&master, 50.0)[0]).unwrap()).await.unwrap();
    // From the end on, so that the source behind each but the last was fetched a moment ago.
    for index in [2, 1, 0] {
        player.segment(&media, index).await.unwrap();
    }
    let metrics = world.edge.metrics().await.unwrap();
    let shown = |what| metrics.sum("acuity_enhancer_between_frames_total", &[("shown", what)]);
    assert_eq!((shown("made"), shown("stays")), (149.0, 1.0), "{}", metrics.text());
    assert_eq!(world.origin.fetches("/vod/180p/000.ts"), 1, "nothing is fetched for it");
}

#[tokio::test]
async fn without_time_pictures_repeat_at_the_advertised_rate() {
    let hurried = acuity_tests::world::world()
        .route("max_source_lines", 200)
        .set("enhancer.deadline.shortest", "\"50ms\"")
        .set("enhancer.deadline.longest", "\"500ms\"")
        .set("enhancer.deadline.fraction", 0.1);
    let world = serve(&clips::vod_ts().await.unwrap(), doubled(hurried)).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let source = open_source(&world, &player, "180p").await;
    // Enlarging and encoding a hundred pictures takes longer than that.
    let media = player.media(&master.url_of(of_rate(&master, 50.0)[1]).unwrap()).await.unwrap();
    compare_doubled(&player, &source, &media, 2).await;
    let metrics = world.edge.metrics().await.unwrap();
    let shown = |what| metrics.sum("acuity_enhancer_between_frames_total", &[("shown", what)]);
    assert!(shown("stays") > 3.0, "{}", metrics.text());
}

/// The source's media playlist of an enhanced one: its path is what stands behind the token.
async fn source_of(world: &World, player: &Player, made: &Media) -> Media {
    let path = made.fetched.url.path().strip_prefix(ENHANCED_PREFIX).unwrap();
    let (_token, source) = path.split_once('/').unwrap();
    player.media(&world.origin.url(&format!("/{source}")).parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_published_stream_is_doubled_to_its_end() {
    let Some(folder) = real_media("hls/ocean") else { return };
    let world = serve_folder(&folder, doubled(crate::kit::at_leisure())).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let faster: Vec<_> = master.enhanced().into_iter().filter(|v| v.uri.contains(".i2-")).collect();
    assert_eq!(faster.len(), 2, "{}", master.fetched.text());
    for variant in faster {
        let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
        let scale = if variant.resolution.unwrap().height == 360 { 1 } else { 2 };
        compare_doubled(&player, &source_of(&world, &player, &media).await, &media, scale).await;
    }
}

#[tokio::test]
async fn a_network_makes_them_where_there_is_one() {
    let mut zoo = Zoo::new().unwrap();
    let id = zoo.put_interpolator("generic", &brighter_of_two()).unwrap();
    let clip = clips::vod_ts().await.unwrap();
    // Nothing says what makes them: the best that there is.
    let world = serve(
        &clip,
        one_rendition().set("models.directory", zoo.setting()).route("frame_rate", "{ factor = 2 }"),
    )
    .await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let faster = of_rate(&master, 50.0);
    assert!(faster.iter().all(|variant| variant.uri.contains(".i2-generic-")), "{}", master.fetched.text());
    let source = open_source(&world, &player, "180p").await;
    let made = async || {
        let metrics = world.edge.metrics().await.unwrap();
        metrics.sum("acuity_enhancer_between_frames_total", &[("shown", "made")])
    };
    let media = player.media(&master.url_of(faster[0]).unwrap()).await.unwrap();
    compare_doubled(&player, &source, &media, 1).await;
    // The session for this size is made while the playlist is on its way; the first segment may be too early for it.
    assert!(made().await >= 98.0, "{}", world.edge.metrics().await.unwrap().text());
    let last = player.segment(&media, 2).await.unwrap();
    assert!(last.fetched.header("cache-status").contains(&id), "{:?}", last.fetched.headers);
    let media = player.media(&master.url_of(faster[1]).unwrap()).await.unwrap();
    compare_doubled(&player, &source, &media, 2).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doubled.mp4");
    let mut command = Command::new(binary().unwrap());
    command.arg("enhance").arg(clip.folder().join("180p/index.m3u8")).arg("--output").arg(&file);
    command
        .args(["--scale", "1", "--frame-rate", "x2", "--interpolator", &id, "--models"])
        .arg(zoo.directory());
    let output = command.current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table =
        Command::new(binary().unwrap()).arg("models").arg("--models").arg(zoo.directory()).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.lines().any(|line| line.starts_with("generic-i2-s  generic  i2")), "{table}");
}

#[tokio::test]
async fn files_are_doubled_too() {
    let clip = clips::vod_ts().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doubled.mp4");
    let mut command = Command::new(binary().unwrap());
    command.arg("enhance").arg(clip.folder().join("180p/index.m3u8")).arg("--output").arg(&file);
    command.args(["--scale", "1", "--frame-rate", "x2", "--interpolator", "blend"]);
    let output = command.current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("made 149, film 0, same 0, cut 0, stays 1"), "{said}");
    let probe = Probe::of(None, &std::fs::read(&file).unwrap()).await.unwrap();
    assert_eq!(probe.video_packets().len(), 300);
    let wrong = Command::new(binary().unwrap())
        .args(["enhance", "x.mp4", "--output", "y.mp4", "--scale", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(!wrong.status.success());
}
