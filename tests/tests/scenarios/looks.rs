//! Streams that nobody has named are told by their looks: real content, coded as origins code it, through the real edge.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use acuity_tests::clips::real_media;
use acuity_tests::origin::Origin;
use acuity_tests::player::Player;
use acuity_tests::world::world;
use acuity_tests::zoo::{Zoo, brighter};

/// Eight seconds of a film as a 360p rendition of 600 kbit/s, in a folder with a multivariant playlist.
fn package(film: &Path, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let arguments = "-t 8 -an -vf scale=640:360,format=yuv420p -c:v libx264 -preset veryfast -b:v 600k -maxrate 600k \
                     -bufsize 600k -g 120 -keyint_min 120 -f hls -hls_time 4 -hls_playlist_type vod";
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-nostdin", "-y", "-i"])
        .arg(film)
        .args(arguments.split_whitespace())
        .arg(folder.join("index.m3u8"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=700000,RESOLUTION=640x360\nindex.m3u8\n";
    std::fs::write(folder.join("master.m3u8"), master).unwrap();
}

#[tokio::test]
async fn content_finds_its_cluster_and_unlike_content_none() {
    let Some(videos) = real_media("video") else { return };
    let mut zoo = Zoo::new().unwrap();
    for cluster in ["freedoom", "openttd", "bbb"] {
        zoo.put(cluster, 2, &brighter(1.0).unwrap()).unwrap();
    }
    zoo.add_looks().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // What it is, and whether it must be seen to be: the right cluster or generic, never a wrong one.
    let films = [
        ("freedoom1_demo2_720p30.mp4", "freedoom", true),
        ("openttd_b.mp4", "openttd", false),
        ("bbb_720p30.mp4", "bbb", false),
        ("cockatoo_720p20.mp4", "generic", true),
        ("traffic_540p60.mp4", "generic", true),
    ];
    let origin = Origin::start().await.unwrap();
    for (film, ..) in films {
        package(&videos.join(film), &folder.path().join(film));
    }
    origin.folder("/films", folder.path());
    let world = world()
        .set("models.directory", zoo.setting())
        .set("cache.vod_playlist_ttl", "\"0s\"")
        .set("log.level", "\"debug\"");
    let world = world.start(origin).await.unwrap();
    let player = Player::new().unwrap();
    for (film, cluster, must) in films {
        let path = format!("/films/{film}/master.m3u8");
        let start = Instant::now();
        let late = async || {
            let metrics = world.edge.metrics().await.unwrap();
            metrics.sum("acuity_cluster_choices_total", &[("fallback", "late")])
        };
        // The first playlists may come before the answer; they are generic and say that they are early.
        let text = loop {
            let before = late().await;
            let text = world.enhanced(&player, &path).await.unwrap().fetched.text();
            if late().await == before {
                break text;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{film}\n{}", world.edge.events());
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let is_of =
            |cluster: &str| text.contains(&format!("DATA-ID=\"org.acuity.model\",VALUE=\"{cluster}-"));
        assert!(is_of(cluster) || (!must && is_of("generic")), "{film}: {text}\n{}", world.edge.events());
    }
    let metrics = world.edge.metrics().await.unwrap();
    let assigned = metrics.sum("acuity_cluster_choices_total", &[("by", "auto"), ("cluster", "freedoom")]);
    assert!(assigned >= 1.0, "{}", metrics.text());
    let looked = world.edge.events().matches("a new source was looked at").count();
    assert_eq!(looked, films.len(), "each was looked at once\n{}", world.edge.events());
}
