//! Streams that other people made, where a developer has them beside the repository; with the deadlines an edge has by
//! default, since they are long.

use acuity_tests::clips::real_media;
use acuity_tests::player::{ENHANCED_PREFIX, Media, Player};
use acuity_tests::world::{World, world};

use crate::kit::{compare, compare_all, serve_folder};

/// The source's media playlist of an enhanced one: its path is what stands behind the token.
async fn source_of(world: &World, player: &Player, enhanced: &Media) -> Media {
    let path = enhanced.fetched.url.path().strip_prefix(ENHANCED_PREFIX).unwrap();
    let (_token, source) = path.split_once('/').unwrap();
    player.media(&world.origin.url(&format!("/{source}")).parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_stream_with_two_variants_as_it_was_published() {
    let Some(folder) = real_media("hls/ocean") else { return };
    let world = serve_folder(&folder, world()).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let enhanced = master.enhanced();
    let size = enhanced[0].resolution.unwrap();
    assert_eq!((enhanced.len(), size.width, size.height), (1, 1280, 720), "{}", master.fetched.text());
    let media = player.media(&master.url_of(enhanced[0]).unwrap()).await.unwrap();
    let source = source_of(&world, &player, &media).await;
    compare_all(&player, &source, &media).await;
}

#[tokio::test]
async fn a_stream_from_before_resolution_and_codecs_were_told() {
    let Some(folder) = real_media("hls/bipbop") else { return };
    let world = serve_folder(&folder, world()).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/bipbopall.m3u8").await.unwrap();
    // two of its four variants have their segments there; the facts of these come from looking
    assert_eq!(master.enhanced().len(), 2, "{}", master.fetched.text());
    for variant in master.enhanced() {
        let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
        let source = source_of(&world, &player, &media).await;
        for index in [0, 1, 5] {
            let (_, made, _) = compare(&player, &source, &media, index).await;
            let (told, is) = (variant.resolution.unwrap(), made.video().unwrap());
            assert_eq!((told.width, told.height), (u64::from(is.width), u64::from(is.height)));
        }
    }
}
