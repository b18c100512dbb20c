//! The source's fragments among enhanced ones: a player reads them under the initialisation of the enhanced rendition.

use std::path::Path;

use acuity_tests::clips::{self, Clip};
use acuity_tests::origin::Origin;
use acuity_tests::packets::Probe;
use acuity_tests::player::{Media, Player, Segment};
use acuity_tests::world::{World, WorldBuilder};
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use reqwest::Method;

use crate::kit::{one_rendition, open_enhanced, open_source, serve, serve_folder};

/// Size and hash of each picture of a film, as FFmpeg decodes it without a complaint.
async fn pictures(parts: &[&[u8]]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    std::fs::write(&path, parts.concat()).unwrap();
    let output = tokio::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-i"])
        .arg(&path)
        .args(["-map", "0:v", "-autoscale", "0", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .await
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').skip(4).collect()).collect()
}

/// From now on nothing can be made, so that viewers get the source's.
async fn switch_off(world: &World) {
    let url = format!("{}/routes/*%2F/enhance?on=false", world.edge.admin);
    let answer = Player::new().unwrap().request(Method::POST, &url, &[]).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Plays the first segment enhanced and the second, `own` behind `own_init`, as it is. Gives the second as the player got it.
async fn plays_both(world: &World, media: &Media, own_init: &[u8], own: &[u8]) -> Segment {
    let player = Player::new().unwrap();
    let made = player.segment(media, 0).await.unwrap();
    switch_off(world).await;
    let carried = player.segment(media, 1).await.unwrap();
    assert_eq!(carried.clear.as_ref(), own, "{}", carried.fetched.header("cache-status"));
    let init = carried.init.clone().unwrap();
    let shown = pictures(&[&init, &made.clear, &carried.clear]).await;
    let expected = pictures(&[own_init, own]).await;
    let (large, small) = shown.split_at(shown.len() - expected.len());
    assert_eq!(small, expected, "every picture as its own init has it");
    assert_eq!(large, pictures(&[&init, &made.clear]).await);
    // Times and sound too: the packets are those of the source, whoever describes them.
    let (as_source, as_carried) =
        (Probe::of(Some(own_init), own).await.unwrap(), Probe::of(Some(&init), own).await.unwrap());
    assert_eq!(as_carried.packets, as_source.packets);
    carried
}

/// Of the renditions of the clip, those whose URL holds `mark`.
async fn plays_clip(clip: &Clip, settings: WorldBuilder, mark: &str) {
    let world = serve(clip, settings).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let variant = master.enhanced().into_iter().find(|variant| variant.uri.contains(mark)).unwrap();
    let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
    let source = open_source(&world, &player, "180p").await;
    let own = player.segment(&source, 1).await.unwrap();
    plays_both(&world, &media, own.init.as_deref().unwrap(), &own.clear).await;
}

#[tokio::test]
async fn they_are_read_under_the_enhanced_initialisation() {
    plays_clip(&clips::vod_fmp4().await.unwrap(), one_rendition(), "").await;
    plays_clip(&clips::byte_range_fmp4().await.unwrap(), one_rendition(), "").await;
    plays_clip(&clips::separate_audio_fmp4().await.unwrap(), one_rendition(), "").await;
}

#[tokio::test]
async fn they_are_read_among_twice_as_many_pictures() {
    let twice = "{ scales = [1, 2], interpolator = \"blend\" }";
    plays_clip(&clips::vod_fmp4().await.unwrap(), one_rendition().route("frame_rate", twice), ".i2-").await;
}

const KEY: [u8; 16] = *b"acuity test key!";

/// AES-128 over a whole segment, as a packager does it, by an IV that stands in the playlist.
fn encrypt(file: &Path) {
    let clear = std::fs::read(file).unwrap();
    let cipher = cbc::Encryptor::<aes::Aes128>::new(&KEY.into(), &[7; 16].into());
    std::fs::write(file, cipher.encrypt_padded_vec_mut::<Pkcs7>(&clear)).unwrap();
}

#[tokio::test]
async fn they_stay_encrypted() {
    let clip = clips::vod_fmp4().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let low = folder.path().join("180p");
    std::fs::create_dir(&low).unwrap();
    for name in ["init_0.mp4", "000.m4s", "001.m4s", "002.m4s", "index.m3u8"] {
        std::fs::write(low.join(name), clip.read(&format!("180p/{name}")).unwrap()).unwrap();
    }
    let (init, own) = (clip.read("180p/init_0.mp4").unwrap(), clip.read("180p/001.m4s").unwrap());
    ["000.m4s", "001.m4s", "002.m4s"].iter().for_each(|name| encrypt(&low.join(name)));
    std::fs::write(folder.path().join("secret.key"), KEY).unwrap();
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"../secret.key\",IV=0x07070707070707070707070707070707\n";
    let index = std::fs::read_to_string(low.join("index.m3u8")).unwrap();
    // Behind EXT-X-MAP, which it does not hold for: the init section is in the clear.
    let index = index.replacen("#EXTINF", &format!("{key}#EXTINF"), 1);
    std::fs::write(low.join("index.m3u8"), index).unwrap();
    std::fs::write(folder.path().join("master.m3u8"), clip.read("master.m3u8").unwrap()).unwrap();

    let world = serve_folder(folder.path(), one_rendition()).await;
    let (_, _, media) = open_enhanced(&world).await;
    let carried = plays_both(&world, &media, &init, &own).await;
    assert_eq!(carried.fetched.body.as_ref(), std::fs::read(low.join("001.m4s")).unwrap());
}

/// A programme and what is inserted into it, each with an initialisation section of its own.
#[tokio::test]
async fn each_is_read_under_its_own_initialisation() {
    let film = clips::vod_fmp4().await.unwrap();
    let recipe = clips::Recipe { fps: 30, ..clips::vod_fmp4().await.unwrap().recipe.clone() };
    let spot = clips::make(recipe).await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", film.folder());
    origin.folder("/spot", spot.folder());
    let text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n\
        #EXT-X-MAP:URI=\"init_0.mp4\"\n#EXTINF:2,\n000.m4s\n#EXTINF:2,\n001.m4s\n#EXT-X-DISCONTINUITY\n\
        #EXT-X-MAP:URI=\"/spot/180p/init_0.mp4\"\n#EXTINF:2,\n/spot/180p/000.m4s\n#EXTINF:2,\n/spot/180p/001.m4s\n\
        #EXT-X-ENDLIST\n";
    origin.put("/vod/180p/index.m3u8", text.to_owned());
    let world = one_rendition().start(origin).await.unwrap();
    let (player, _, media) = open_enhanced(&world).await;
    let made = player.segment(&media, 2).await.unwrap();
    switch_off(&world).await;
    for (index, of, name) in [(1, &*film, "001"), (3, &spot, "001")] {
        let carried = player.segment(&media, index).await.unwrap();
        let own = of.read(&format!("180p/{name}.m4s")).unwrap();
        assert_eq!(carried.clear.as_ref(), own);
        let init = carried.init.unwrap();
        let expected = pictures(&[&of.read("180p/init_0.mp4").unwrap(), &own]).await;
        assert_eq!(pictures(&[&init, &own]).await, expected, "segment {index}");
        if index == 3 {
            let shown = pictures(&[&init, &made.clear, &own]).await;
            assert_eq!(shown[shown.len() - expected.len()..], expected);
        }
    }
}
