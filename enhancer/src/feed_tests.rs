//! A card that stops in the middle of a segment, rehearsed on the processor.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use acuity_config::EnhancerConfig;

use super::*;
use crate::codec::{EncoderSettings, Rehearsal};
use crate::schedule::Limit;
use crate::{RenditionSpec, Upscaler};

/// Two seconds of 320x180 at 25 pictures a second with B-frames.
fn segment() -> SourceSegment {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("segment.ts");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=25:duration=2",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "50"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    SourceSegment::parse(None, std::fs::read(file).unwrap().into()).unwrap()
}

/// Places in the order in which they come, with the luma of each picture, and whether a card decoded to the end.
fn decoded(segment: &SourceSegment, codecs: &Codecs) -> (Vec<(usize, Vec<u8>)>, bool) {
    let video = segment.video().unwrap();
    let timeline = Timeline::new(&video.units, video.timescale);
    let on_card = OnCard::default();
    let mut placed = Vec::new();
    let following = Following::default();
    Feed {
        codecs,
        on_card: &on_card,
        lead_in: &[],
        video,
        timeline: &timeline,
        init: None,
        following: &following,
    }
    .run(&mut |Placed { index, picture }| {
        let luma = picture.plane(0);
        let rows = luma.data.chunks(luma.stride).take(luma.height);
        placed.push((index, rows.flat_map(|row| row[..luma.width].to_vec()).collect()));
        Ok(())
    })
    .unwrap();
    (placed, on_card.decoder.into_inner())
}

#[test]
fn where_a_card_stops_decoding_the_processor_goes_on() {
    let segment = segment();
    let processor = Codecs::probe(&EnhancerConfig::default()).unwrap();
    let (expected, is_card) = decoded(&segment, &processor);
    assert!(!is_card && expected.len() == 50);
    let sound = Codecs::rehearsing(Rehearsal { decoder: 1000, encoder: 0 });
    assert_eq!(decoded(&segment, &sound), (expected.clone(), true), "the rehearsal is one");
    for access_units in [0, 1, 20, 49] {
        let stopping = Codecs::rehearsing(Rehearsal { decoder: access_units, encoder: 0 });
        assert_eq!(decoded(&segment, &stopping), (expected.clone(), false), "after {access_units}");
        assert!(!stopping.decoder().unwrap().is_on_card(), "and it is left alone");
    }
}

#[test]
fn a_card_that_stops_encoding_costs_one_segment() {
    let segment = segment();
    let codecs = Codecs::rehearsing(Rehearsal { decoder: 0, encoder: 3 });
    let spec = RenditionSpec {
        width: 640,
        height: 360,
        scale: 2,
        frame_rate_milli: 25_000,
        max_video_kbps: 1500,
        upscaler: Upscaler::Bicubic,
        interpolation: None,
    };
    let settings = EncoderSettings::new(&spec, &EnhancerConfig::default(), None);
    assert!(
        !codecs.encoder(&settings, false).unwrap().is_on_card(),
        "an initialisation has the other's parameters"
    );
    let sink = || Sink {
        encoder: codecs.encoder(&settings, true).unwrap(),
        codecs: &codecs,
        splicer: segment.splicer().unwrap(),
        outlet: Outlet::new(None, "plain".into(), 50, 2.0, 2.0, Limit::default()),
        splice_seconds: 0.0,
        pool: PicturePool::default(),
        size: (640, 360),
    };
    let mut first = sink();
    assert!(first.encoder.is_on_card());
    let mut picture = first.blank().unwrap();
    let pushed: Vec<bool> =
        (0..4).map(|place| first.push(&mut picture, place * 3600, place == 0).is_ok()).collect();
    assert_eq!(pushed, [true, true, true, false]);
    let mut second = sink();
    assert!(!second.encoder.is_on_card(), "the next is the processor's");
    assert!((0..50).all(|place| second.push(&mut picture, place * 3600, place == 0).is_ok()));
    assert!(!second.finish().unwrap().0.is_empty());
}
