//! When things go wrong: the origin's faults are told as the origin's, and no failed enhancement is an error.

use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::packets::Probe;
use acuity_tests::player::{Media, Player};
use acuity_tests::world::World;

use crate::kit::{one_rendition, open_enhanced, open_source, segment_url, serve, serve_at_leisure};

const VICTIM: &str = "/vod/180p/001.ts";

/// A clip behind an edge that waits for origins only a moment, and its enhanced rendition.
async fn impatient() -> (World, Player, Media) {
    let hurried = one_rendition()
        .set("origin.first_byte_timeout", "\"400ms\"")
        .set("origin.connect_timeout", "\"400ms\"")
        .set("origin.total_timeout", "\"1s\"");
    let world = serve(&clips::vod_ts().await.unwrap(), hurried).await;
    let (player, _, media) = open_enhanced(&world).await;
    (world, player, media)
}

#[tokio::test]
async fn an_origins_refusal_is_passed_on() {
    let (world, player, media) = impatient().await;
    for status in [403, 404, 410, 500, 503] {
        world.origin.fault(VICTIM, Fault::Status(status));
        let answer = player.get(&segment_url(&media, 1)).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
        // who comes at the very moment of an answer may still share it
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.origin.heal(VICTIM);
    player.get_ok(&segment_url(&media, 1), &[]).await.expect("it recovers");
}

#[tokio::test]
async fn a_slow_origin_is_a_504_and_not_a_hung_request() {
    let (world, player, media) = impatient().await;
    world.origin.fault(VICTIM, Fault::Latency(Duration::from_secs(20)));
    let answer = player.get(&segment_url(&media, 1)).await.unwrap();
    assert_eq!(answer.status, 504);
    assert!(answer.seconds < 5.0, "it took {:.1} s", answer.seconds);
    world.origin.fault(VICTIM, Fault::Stall { after_bytes: 1000, pause: Duration::from_secs(20) });
    let answer = player.get(&segment_url(&media, 1)).await.unwrap();
    assert_eq!(answer.status, 504, "stalled in the middle");
    assert!(answer.seconds < 5.0, "it took {:.1} s", answer.seconds);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_a_502() {
    let (world, player, media) = impatient().await;
    world.origin.fault(VICTIM, Fault::CutConnection { after_bytes: 1000 });
    assert_eq!(player.get(&segment_url(&media, 1)).await.unwrap().status, 502);
    world.origin.heal(VICTIM);
    tokio::time::sleep(Duration::from_millis(100)).await;
    player.get_ok(&segment_url(&media, 1), &[]).await.expect("it recovers");
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_a_502() {
    // bound and let go: nobody listens there
    let gone = Origin::start().await.unwrap().base().unwrap();
    let edge = acuity_tests::world::world().start_before(gone.as_str()).await.unwrap();
    let player = Player::new().unwrap();
    for path in ["/vod/master.m3u8", "/vod/180p/001.ts"] {
        assert_eq!(player.get(&edge.url(path)).await.unwrap().status, 502, "{path}");
    }
}

/// Serves what the fault makes of the second segment, and gives the probes of source (whole) and answer.
async fn spoilt(fault: Fault) -> (World, Option<(Probe, Probe)>) {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve_at_leisure(&clip).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    let whole = player.segment(&source, 1).await.unwrap();
    world.origin.fault(VICTIM, fault);
    let answer = player.get(&segment_url(&media, 1)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let made = Probe::of(None, &answer.body).await.ok();
    // the neighbours are as good as ever
    for index in [0, 2] {
        let good = player.segment(&media, index).await.unwrap();
        assert_eq!(Probe::of(None, &good.clear).await.unwrap().video().unwrap().height, 360);
    }
    let truth = Probe::of(None, &whole.clear).await.unwrap();
    (world, made.map(|made| (truth, made)))
}

#[tokio::test]
async fn a_corrupt_segment_keeps_its_time_and_its_rendition() {
    // the program tables stay readable; after that a byte in every 20 kB is wrong
    let (world, probes) = spoilt(Fault::Corrupt { from_byte: 20_010, every_bytes: 20_000 }).await;
    let (truth, made) = probes.expect("what came can be read");
    assert_eq!(
        made.video().unwrap().height,
        360,
        "it is still the enhanced rendition\n{}",
        world.edge.events()
    );
    assert!(made.opens_on_idr());
    // a wrong byte in a PES header may cost a picture, no more
    let (want, have) = (truth.video_packets().len(), made.video_packets().len());
    assert!(have.abs_diff(want) <= 2, "{have} of {want} pictures");
}

#[tokio::test]
async fn a_truncated_segment_gives_what_there_is() {
    let clip = clips::vod_ts().await.unwrap();
    let half = clip.read("180p/001.ts").unwrap().len() / 2;
    let (_world, probes) = spoilt(Fault::Truncated { keep_bytes: half }).await;
    let (truth, made) = probes.expect("what came can be read");
    assert_eq!(made.video().unwrap().height, 360);
    let (want, have) = (truth.video_packets().len(), made.video_packets().len());
    assert!(have > want / 4 && have < want, "{have} of {want} pictures");
}

#[tokio::test]
async fn an_empty_segment_is_an_empty_segment() {
    let (world, probes) = spoilt(Fault::Truncated { keep_bytes: 0 }).await;
    assert!(probes.is_none(), "there is nothing to read");
    let metrics = world.edge.metrics().await.unwrap();
    assert!(metrics.sum("acuity_fallbacks_total", &[]) >= 1.0, "{}", metrics.text());
}

#[tokio::test]
async fn rubbish_is_passed_on_as_it_came() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve_at_leisure(&clip).await;
    let (player, _, media) = open_enhanced(&world).await;
    let rubbish: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    world.origin.put(VICTIM, rubbish.clone());
    let answer = player.get(&segment_url(&media, 1)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, rubbish.as_slice()));
}

#[tokio::test]
async fn a_segment_with_sound_alone_passes_packet_for_packet() {
    let sound = clips::separate_audio_ts().await.unwrap().read("sound/001.ts").unwrap();
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    world.origin.put(VICTIM, sound.clone());
    let answer = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert_eq!(answer.body.as_ref(), sound.as_slice());
}

#[tokio::test]
async fn an_impossible_deadline_costs_quality_not_time() {
    let clip = clips::vod_ts().await.unwrap();
    let hopeless = acuity_tests::world::world()
        .route("max_source_lines", 200)
        .set("enhancer.deadline.shortest", "\"50ms\"")
        .set("enhancer.deadline.longest", "\"500ms\"")
        .set("enhancer.deadline.fraction", 0.1);
    let world = serve(&clip, hopeless).await;
    let (player, _, media) = open_enhanced(&world).await;
    for index in 0..3 {
        let made = player.segment(&media, index).await.unwrap();
        let probe = Probe::of(None, &made.clear).await.unwrap();
        assert_eq!(probe.video().unwrap().height, 360, "the rendition is what the playlist promised");
        assert_eq!(probe.video_packets().len(), 50);
    }
}

#[tokio::test]
async fn a_queue_that_is_full_is_no_error() {
    let clip = clips::vod_ts().await.unwrap();
    let narrow = one_rendition().set("enhancer.queue_limit", 1).set("enhancer.lanes", 1);
    let world = serve(&clip, narrow).await;
    let (player, _, media) = open_enhanced(&world).await;
    let urls: Vec<String> = (0..3).map(|index| segment_url(&media, index)).collect();
    let answers = futures::future::join_all(urls.iter().map(|url| player.get_ok(url, &[]))).await;
    for answer in answers {
        assert!(!answer.unwrap().body.is_empty());
    }
}
