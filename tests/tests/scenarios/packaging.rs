//! Every way of packaging, played through to the end: the enhanced rendition holds what the source holds, frame by frame
//! and packet by packet, only larger.

use acuity_tests::clips::{self, Clip, Sound};
use acuity_tests::player::Segment;
use acuity_tests::psnr::luma_psnr_db;

use crate::kit::{compare_all, open_enhanced, open_source, serve_at_leisure};

/// Plays a clip's enhanced rendition against its source. Gives the segments, for what is special about the clip.
async fn plays_through(clip: &Clip) -> Vec<Segment> {
    let world = serve_at_leisure(clip).await;
    let (player, master, enhanced) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;

    let variant = master.enhanced()[0];
    let size = variant.resolution.unwrap();
    assert_eq!((size.width, size.height), (640, 360));
    assert_eq!(
        master.playlist.variants.len(),
        2,
        "the origin's 360p is withheld:\n{}",
        master.fetched.text()
    );
    let codecs = variant.codecs.as_deref().unwrap();
    assert!(codecs.starts_with("avc1."), "{codecs}");
    assert_eq!(codecs.contains("mp4a"), clip.recipe.sound != Sound::None, "{codecs}");

    let segments = compare_all(&player, &source, &enhanced).await;

    // BANDWIDTH is a promise: no segment may be above it (with the sound that is played along, where that is apart)
    let durations = enhanced.playlist.segments.iter().map(|segment| f64::from(segment.duration));
    let rates =
        segments.iter().zip(durations).map(|(made, seconds)| made.fetched.body.len() as f64 * 8.0 / seconds);
    let peak = rates.fold(0.0, f64::max);
    assert!(
        peak <= variant.bandwidth as f64,
        "{peak:.0} bit/s is above the advertised {}",
        variant.bandwidth
    );

    // it is the same picture, not just one of the right size
    let folder = tempfile::tempdir().unwrap();
    let reference = open_source(&world, &player, "360p").await;
    let truth = player.segment(&reference, 1).await.unwrap();
    let file = |name: &str, segment: &Segment| {
        let path = folder.path().join(name);
        let mut whole = segment.init.clone().unwrap_or_default().to_vec();
        whole.extend_from_slice(&segment.clear);
        std::fs::write(&path, whole).unwrap();
        path
    };
    let low = file("low", &player.segment(&source, 1).await.unwrap());
    let (truth, made) = (file("truth", &truth), file("made", &segments[1]));
    let bicubic_db = luma_psnr_db(&low, &truth, 640, 360).await.unwrap();
    let enhanced_db = luma_psnr_db(&made, &truth, 640, 360).await.unwrap();
    // drawn lines and a fractal at a starved bitrate are no content to gain on; to lose much would be a wrong picture
    assert!(enhanced_db > bicubic_db - 1.0, "enhanced {enhanced_db:.2} dB, bicubic {bicubic_db:.2} dB");
    let metrics = world.edge.metrics().await.unwrap();
    let by_model = metrics.sum("acuity_enhancer_segments_total", &[]);
    assert!(by_model >= segments.len() as f64, "{}", metrics.text());
    // A machine that is busy with other things scales plainly, whatever the deadline; any other reason is a fault.
    let short = metrics.sum("acuity_fallbacks_total", &[("reason", "deadline_short")]);
    assert_eq!(metrics.sum("acuity_fallbacks_total", &[]), short, "{}", metrics.text());
    segments
}

#[tokio::test]
async fn transport_stream_with_muxed_sound() {
    for made in plays_through(&clips::vod_ts().await.unwrap()).await {
        assert_eq!(made.fetched.header("content-type"), "video/mp2t");
        assert_eq!(made.clear.len() % 188, 0, "whole transport packets");
        assert!(made.clear.chunks(188).all(|packet| packet[0] == 0x47));
    }
}

#[tokio::test]
async fn transport_stream_without_sound() {
    plays_through(&clips::silent_ts().await.unwrap()).await;
}

#[tokio::test]
async fn transport_stream_with_sound_apart() {
    plays_through(&clips::separate_audio_ts().await.unwrap()).await;
}

#[tokio::test]
async fn fragmented_mp4_with_muxed_sound() {
    for made in plays_through(&clips::vod_fmp4().await.unwrap()).await {
        assert_eq!(made.fetched.header("content-type"), "video/mp4");
        assert!(made.init.is_some(), "EXT-X-MAP is kept");
    }
}

#[tokio::test]
async fn fragmented_mp4_with_sound_apart() {
    plays_through(&clips::separate_audio_fmp4().await.unwrap()).await;
}

#[tokio::test]
async fn byte_ranges_of_one_transport_stream() {
    plays_through(&clips::byte_range_ts().await.unwrap()).await;
}

#[tokio::test]
async fn byte_ranges_of_one_fragmented_mp4() {
    plays_through(&clips::byte_range_fmp4().await.unwrap()).await;
}

#[tokio::test]
async fn aes_128_is_decrypted_and_encrypted_again() {
    let segments = plays_through(&clips::aes128_ts().await.unwrap()).await;
    for made in segments {
        assert_ne!(made.fetched.body.first(), Some(&0x47), "what goes over the wire is encrypted");
        assert_eq!(made.fetched.body.len() % 16, 0);
    }
}
