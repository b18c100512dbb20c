//! In which order segments are made ahead of their request.

use std::time::Duration;

use acuity_tests::clips;

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// With one lane, the follower that is made second is the one that a player may find missing. It must be the farther one, every
/// time: each round is an edge of its own, since a segment is followed once.
#[tokio::test]
async fn the_nearer_of_two_followers_is_made_first() {
    let clip = clips::vod_ts().await.unwrap();
    for _ in 0..4 {
        let world =
            serve(&clip, one_rendition().set("enhancer.look_ahead", 2).set("enhancer.lanes", 1)).await;
        let (player, _, media) = open_enhanced(&world).await;
        player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
        let place = |name: &str| {
            let path = format!("/vod/180p/{name}");
            world.origin.seen().iter().position(|seen| seen.path == path)
        };
        for _ in 0..200 {
            if place("001.ts").is_some() && place("002.ts").is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (nearer, farther) = (place("001.ts"), place("002.ts"));
        assert!(nearer.is_some() && nearer < farther, "{nearer:?} {farther:?}\n{}", world.edge.events());
    }
}
