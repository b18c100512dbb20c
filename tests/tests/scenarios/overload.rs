//! More is wanted at once than can be made in time: what can be is, and nobody waits for the rest.

use acuity_tests::clips::{self, Clip};
use acuity_tests::origin::Origin;
use acuity_tests::player::{Media, Player};
use acuity_tests::world::world;
use futures::future::join_all;

/// Streams that start in the same moment.
const STREAMS: usize = 48;

/// Each has the same pictures, which the edge cannot know. Gives the answers of a first segment each, and its metrics then.
async fn crowd(clip: &Clip) -> (Vec<(Vec<u8>, f64)>, acuity_tests::metrics::Metrics) {
    let origin = Origin::start().await.unwrap();
    (0..STREAMS).for_each(|number| origin.folder(&format!("/{number}"), clip.folder()));
    let settings = world()
        .route("max_source_lines", 200)
        .set("enhancer.lanes", 1)
        .set("enhancer.deadline.shortest", "\"500ms\"")
        .set("enhancer.deadline.longest", "\"500ms\"")
        .set("log.access", "\"off\"");
    let world = settings.start(origin).await.unwrap();
    let player = Player::new().unwrap();
    let mut medias: Vec<Media> = Vec::new();
    for number in 0..STREAMS {
        let master = world.enhanced(&player, &format!("/{number}/master.m3u8")).await.unwrap();
        let url = master.url_of(master.enhanced()[0]).unwrap();
        medias.push(player.media(&url).await.unwrap());
    }
    // The second: the first was fetched for what the playlist says of it.
    let answers = join_all(medias.iter().map(|media| player.segment(media, 1))).await;
    let answers = answers.into_iter().map(|answer| {
        let answer = answer.unwrap();
        (answer.clear.to_vec(), answer.fetched.seconds)
    });
    (answers.collect(), world.edge.metrics().await.unwrap())
}

/// What cannot be made in time comes from the source, and at once. `own`: the bytes of the segment asked for.
async fn gets_the_sources(clip: &Clip, own: &[u8]) {
    let (answers, metrics) = crowd(clip).await;
    let late = metrics.sum("acuity_fallbacks_total", &[("reason", "too_late")]);
    let own = answers.iter().filter(|(bytes, _)| bytes == own).count();
    let made = metrics.sum("acuity_enhancer_segments_total", &[]);
    assert!(late >= 1.0 && made >= 1.0, "{late} too late, {made} made\n{}", metrics.text());
    assert_eq!(own, STREAMS - made as usize, "each is one or the other\n{}", metrics.text());
    let slowest = answers.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    // Alone one takes a few tenths of a second here, so all of them would take many.
    assert!(slowest < 3.0, "{slowest} s");
}

#[tokio::test]
async fn what_cannot_be_in_time_is_the_sources_at_once() {
    let clip = clips::vod_ts().await.unwrap();
    gets_the_sources(&clip, &clip.read("180p/001.ts").unwrap()).await;
}

#[tokio::test]
async fn fragments_that_cannot_be_in_time_are_the_sources_at_once() {
    let clip = clips::vod_fmp4().await.unwrap();
    gets_the_sources(&clip, &clip.read("180p/001.m4s").unwrap()).await;
}

#[tokio::test]
async fn players_that_cannot_take_the_sources_wait_for_their_turn() {
    let clip = clips::same_number_fmp4().await.unwrap();
    let (answers, metrics) = crowd(&clip).await;
    assert_eq!(metrics.sum("acuity_fallbacks_total", &[("reason", "too_late")]), 0.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_enhancer_segments_total", &[]), STREAMS as f64, "{}", metrics.text());
    let source = clip.read("180p/001.m4s").unwrap();
    assert!(answers.iter().all(|(bytes, _)| *bytes != source));
}
