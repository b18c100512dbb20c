//! The instruments themselves, against the origin alone: a scenario proves nothing if its clip, player or packet
//! check is wrong.

use acuity_tests::clips::{self, Clip, Packaging};
use acuity_tests::origin::Origin;
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::Player;

/// Walks every variant of a clip and probes every segment.
async fn walk(clip: &Clip) -> Vec<Vec<Probe>> {
    let origin = Origin::start().await.unwrap();
    origin.folder("", clip.folder());
    let player = Player::new().unwrap();
    let master = player.open(&origin.url("/master.m3u8")).await.unwrap();
    let mut all = Vec::new();
    for variant in &master.playlist.variants {
        let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
        let mut probes = Vec::new();
        for index in 0..media.playlist.segments.len() {
            let segment = player.segment(&media, index).await.unwrap();
            probes.push(Probe::of(segment.init.as_deref(), &segment.clear).await.unwrap());
        }
        all.push(probes);
    }
    all
}

async fn check(clip: &Clip) {
    let recipe = &clip.recipe;
    let variants = walk(clip).await;
    assert_eq!(variants.len(), recipe.variants.len());
    for (probes, (width, height, _)) in variants.iter().zip(recipe.variants) {
        assert_eq!(probes.len(), recipe.segments as usize);
        for probe in probes {
            let video = probe.video().unwrap();
            assert_eq!((video.width, video.height), (*width, *height));
            assert_eq!(probe.video_packets().len(), (recipe.segment_s * recipe.fps) as usize);
            assert!(probe.opens_on_idr());
            assert!(probe.video_packets().iter().any(|packet| packet.pts != packet.dts), "no B-frames");
            let has_sound = !probe.other_packets().is_empty();
            assert_eq!(has_sound, recipe.sound == clips::Sound::Muxed);
            assert_eq!(differences(probe, probe, 1), Vec::<String>::new());
        }
        let sets: std::collections::BTreeSet<_> = probes.iter().flat_map(Probe::parameter_sets).collect();
        assert_eq!(sets.len(), 2, "one SPS and one PPS in a rendition");
    }
}

#[tokio::test]
async fn every_way_of_packaging_is_understood() {
    check(&clips::vod_ts().await.unwrap()).await;
    check(&clips::vod_fmp4().await.unwrap()).await;
    check(&clips::separate_audio_fmp4().await.unwrap()).await;
    check(&clips::separate_audio_ts().await.unwrap()).await;
    check(&clips::byte_range_ts().await.unwrap()).await;
    check(&clips::byte_range_fmp4().await.unwrap()).await;
    check(&clips::silent_ts().await.unwrap()).await;
    let encrypted = clips::aes128_ts().await.unwrap();
    check(&encrypted).await;
    assert_eq!(encrypted.recipe.packaging, Packaging::TsAes128);
    assert_ne!(encrypted.read("180p/000.ts").unwrap().first(), Some(&0x47), "this is not encrypted");
}

#[tokio::test]
async fn the_packet_check_sees_what_it_is_there_for() {
    let probes = walk(&clips::vod_ts().await.unwrap()).await;
    let (small, large) = (&probes[0], &probes[1]);
    // FFmpeg's own two variants agree in everything but size: the very thing the edge must achieve
    assert_eq!(differences(&small[0], &large[0], 2), Vec::<String>::new());
    assert!(!differences(&small[0], &large[0], 3).is_empty());
    assert!(!differences(&small[0], &large[1], 2).is_empty());
    let mut spoilt = large[0].clone();
    spoilt.packets.iter_mut().find(|packet| packet.codec_type == "audio").unwrap().data_hash.push('x');
    assert_eq!(differences(&small[0], &spoilt, 2), ["a packet that is not video changed"]);
    let mut spoilt = large[0].clone();
    spoilt.packets.iter_mut().find(|packet| packet.codec_type == "video").unwrap().pts = Some(1);
    assert!(!differences(&small[0], &spoilt, 2).is_empty());
    let mut spoilt = large[0].clone();
    spoilt.nal_units.iter_mut().for_each(|unit| unit.kind = if unit.kind == 5 { 1 } else { unit.kind });
    assert_eq!(differences(&small[0], &spoilt, 2), ["does not open on an IDR picture"]);
}
