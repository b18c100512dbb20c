//! Routes that want signatures: one opens a whole presentation to players that know nothing of it, and without a good one nothing
//! reaches the origin.

use std::process::Stdio;
use std::time::Duration;

use acuity_tests::clips::{self, Clip};
use acuity_tests::origin::Origin;
use acuity_tests::packets::Probe;
use acuity_tests::player::{Media, Multivariant, Player};
use acuity_tests::signing::Signer;
use acuity_tests::world::{World, binary};
use reqwest::Method;
use tokio::process::Command;
use url::Url;

use crate::kit::{one_rendition, segment_url, serve};

const SIGNED: &str = "/~acuity/signed/";

/// A clip behind an edge that wants signatures, and its signed multivariant playlist with an enhanced rendition in it.
async fn guarded(clip: &Clip) -> (World, Signer, Player, Multivariant) {
    let signer = Signer::new(&["2026a", "2025b"]).unwrap();
    let world = serve(clip, signer.guards(one_rendition())).await;
    let player = Player::new().unwrap();
    let path = signer.sign("/vod/master.m3u8", "/vod/", "1h", &[]).unwrap();
    // A variant's own URI may begin with the edge's prefix too: enhanced ones have a token.
    let mut master = player.open(&world.edge.url(&path)).await.unwrap();
    for _ in 0..100 {
        if enhanced(&master).is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        master = player.open(&world.edge.url(&path)).await.unwrap();
    }
    (world, signer, player, master)
}

fn enhanced(master: &Multivariant) -> Option<Url> {
    let variant = master.playlist.variants.iter().find(|variant| variant.uri.contains("/~acuity/v1."))?;
    master.url_of(variant).ok()
}

fn own(master: &Multivariant) -> Url {
    let variant = master.playlist.variants.iter().find(|variant| !variant.uri.contains("/~acuity/v1."));
    master.url_of(variant.unwrap()).unwrap()
}

/// Plays a rendition to its end; gives the lines of its pictures.
async fn play(player: &Player, media: &Media) -> Vec<u32> {
    let mut lines = Vec::new();
    for index in 0..media.playlist.segments.len() {
        let segment = player.segment(media, index).await.unwrap();
        let probe = Probe::of(segment.init.as_deref(), &segment.clear).await.unwrap();
        assert_eq!(probe.video_packets().len(), 50);
        lines.push(probe.video().unwrap().height);
    }
    lines
}

#[tokio::test]
async fn one_signature_opens_a_whole_presentation() {
    for clip in [clips::vod_ts().await, clips::aes128_ts().await, clips::separate_audio_fmp4().await] {
        let (world, _signer, player, master) = guarded(&clip.unwrap()).await;
        let url = enhanced(&master).unwrap_or_else(|| panic!("{}", master.fetched.text()));
        assert!(url.path().starts_with(SIGNED), "{url}");
        let media = player.media(&url).await.unwrap();
        assert_eq!(play(&player, &media).await, [360, 360, 360], "playlist, key, init and segments");
        let media = player.media(&own(&master)).await.unwrap();
        assert_eq!(play(&player, &media).await, [180, 180, 180], "the origin's own");
        for rendition in &master.playlist.alternatives {
            let uri = rendition.uri.as_ref().unwrap();
            let sound = player.media(&master.fetched.url.join(uri).unwrap()).await.unwrap();
            player.segment(&sound, 1).await.unwrap();
        }
        let head = player.request(Method::HEAD, &segment_url(&media, 0), &[]).await.unwrap();
        assert_eq!(head.status, 200);
        // Neither the origin nor the log nor anybody's cache key knows of it.
        for seen in world.origin.seen() {
            assert!(!seen.path.contains("signed") && !seen.query.contains("v1."), "{}", seen.path);
        }
        let signature = url.path().split('/').nth(3).unwrap();
        let secret = signature.rsplit('.').next().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let log = world.edge.access_log();
        assert!(log.len() >= 8, "{log:?}");
        assert!(log.iter().any(|record| record["path"] == "/~acuity/signed/v1.2026a.-/vod/master.m3u8"));
        let everything =
            format!("{log:?}{}{}", world.edge.events(), world.edge.metrics().await.unwrap().text());
        assert!(!everything.contains(secret));
    }
}

#[tokio::test]
async fn viewers_share_what_is_made() {
    let (world, signer, player, master) = guarded(&clips::vod_ts().await.unwrap()).await;
    let media = player.media(&enhanced(&master).unwrap()).await.unwrap();
    let mine = segment_url(&media, 1);
    let first = player.get_ok(&mine, &[("referer", master.fetched.url.as_str())]).await.unwrap();
    let theirs = signer.signature("/vod/180p/", "30m").unwrap();
    let mut parts: Vec<&str> = mine.split('/').collect();
    // http: "" host ~acuity signed <signature> ...; the token's playlist is below that prefix as well
    parts[5] = &theirs;
    let second = player.get_ok(&parts.join("/"), &[]).await.unwrap();
    assert_eq!(first.body, second.body);
    let metrics = world.edge.metrics().await.unwrap();
    let segments =
        |outcome| metrics.sum("acuity_requests_total", &[("kind", "segment"), ("outcome", outcome)]);
    assert_eq!((segments("made"), segments("hit")), (1.0, 1.0), "{}", metrics.text());
    // What passes through has no header that tells the signature.
    let url = player.get_ok(own(&master).join("000.ts").unwrap().as_str(), &[("referer", &mine)]).await;
    url.unwrap();
    let seen = world.origin.seen();
    let last = seen.last().unwrap();
    assert!(last.path.ends_with("000.ts") && !last.headers.contains_key("referer"), "{last:?}");
}

#[tokio::test]
async fn without_a_good_signature_nothing_reaches_the_origin() {
    let (world, signer, player, master) = guarded(&clips::aes128_ts().await.unwrap()).await;
    let media = player.media(&enhanced(&master).unwrap()).await.unwrap();
    let source = player.media(&own(&master)).await.unwrap();
    // Made already: a cached object is no more open than another.
    player.segment(&media, 0).await.unwrap();
    let key = source.playlist.segments[0].key.as_ref().unwrap().uri.clone().unwrap();
    let urls = [
        master.fetched.url.to_string(),
        media.fetched.url.to_string(),
        segment_url(&media, 0),
        segment_url(&media, 1),
        source.fetched.url.to_string(),
        segment_url(&source, 0),
        source.fetched.url.join(&key).unwrap().to_string(),
    ];
    let good = signer.signature("/vod/", "1h").unwrap();
    let stranger = Signer::new(&["2026a"]).unwrap();
    let unknown = Signer::new(&["2024z"]).unwrap();
    let mut forged = good.clone();
    let last = forged.pop().unwrap();
    // Of the last letter four bits count.
    forged.push(if last == 'A' { 'E' } else { 'A' });
    let bad = [
        ("missing", None),
        ("malformed", Some("v1.nonsense".to_owned())),
        ("expired", Some(signer.signature("/vod/", "0s").unwrap())),
        ("unknown_key", Some(unknown.signature("/vod/", "1h").unwrap())),
        ("wrong", Some(forged)),
        ("wrong", Some(stranger.signature("/vod/", "1h").unwrap())),
        ("outside_prefix", Some(signer.signature("/vodka/", "1h").unwrap())),
    ];
    let before = world.origin.seen().len();
    for (why, signature) in &bad {
        for url in &urls {
            let (edge, rest) = url.split_once(SIGNED).unwrap();
            let path = rest.split_once('/').unwrap().1;
            let signed = signature.as_ref().map(|signature| format!("{SIGNED}{signature}/"));
            let url = format!("{edge}{}{path}", signed.unwrap_or_else(|| "/".to_owned()));
            for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
                let answer = player.request(method, &url, &[]).await.unwrap();
                assert_eq!(answer.status, 403, "{why} {url}");
                assert_eq!(answer.header("cache-control"), "no-store");
            }
        }
    }
    assert_eq!(world.origin.seen().len(), before, "nothing of that is the origin's business");
    let metrics = world.edge.metrics().await.unwrap();
    for why in ["missing", "malformed", "expired", "unknown_key", "wrong", "outside_prefix"] {
        let tried = bad.iter().filter(|(label, _)| *label == why).count() * urls.len() * 4;
        let counted = metrics.sum("acuity_signature_refusals_total", &[("reason", why)]);
        assert_eq!(counted, tried as f64, "{why}");
    }
    // The second key opens as well: that is how one follows the other.
    let url = signer.sign("/vod/master.m3u8", "/vod/", "1h", &["--key", "2025b"]).unwrap();
    player.get_ok(&world.edge.url(&url), &[]).await.unwrap();
}

#[tokio::test]
async fn a_token_opens_no_playlist_that_its_signature_does_not() {
    let (world, signer, player, master) = guarded(&clips::vod_ts().await.unwrap()).await;
    let url = enhanced(&master).unwrap();
    let token = url.path().split('/').nth(5).unwrap();
    let pass = signer.signature("/free/", "1h").unwrap();
    let before = world.origin.seen().len();
    let path = format!("{SIGNED}{pass}/~acuity/{token}/free/1.ts");
    assert_eq!(player.get(&world.edge.url(&path)).await.unwrap().status, 403);
    let path = format!("{SIGNED}{pass}/free/%2e%2e/vod/180p/000.ts");
    assert_eq!(player.get(&world.edge.url(&path)).await.unwrap().status, 403);
    assert_eq!(world.origin.seen().len(), before);
}

#[tokio::test]
async fn uris_of_every_form_and_redirects_keep_the_signature() {
    let clip = clips::vod_ts().await.unwrap();
    let signer = Signer::new(&["a"]).unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    let inside = origin.url("/vod/180p/001.ts");
    let media = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/vod/180p/000.ts\n#EXTINF:2,\n{inside}\n#EXTINF:2,\n180p/002.ts\n#EXT-X-ENDLIST\n"
    );
    origin.put("/vod/forms.m3u8", media);
    origin.put("/vod/moved.ts", "");
    origin.fault("/vod/moved.ts", acuity_tests::origin::Fault::Status(302));
    origin.header("/vod/moved.ts", "location", "/vod/180p/000.ts");
    let world = signer.guards(one_rendition().route("enhance", "\"none\"")).start(origin).await.unwrap();
    let player = Player::new().unwrap();
    let url = signer.sign("/vod/forms.m3u8", "/vod/", "1h", &[]).unwrap();
    // The second time it is known to be a media playlist.
    for _ in 0..2 {
        let media = player.media(&world.edge.url(&url).parse().unwrap()).await.unwrap();
        assert_eq!(play(&player, &media).await, [180, 180, 180]);
        for index in 0..3 {
            let url = segment_url(&media, index);
            assert!(url.starts_with(&world.edge.base) && url.contains(SIGNED), "{url}");
        }
        assert!(media.fetched.text().contains("\n180p/002.ts\n"), "what is relative stays");
    }
    let moved = signer.sign("/vod/moved.ts", "/vod/", "1h", &[]).unwrap();
    player.get_ok(&world.edge.url(&moved), &[]).await.expect("the redirect leads on, signed");
}

#[tokio::test]
async fn ffmpeg_plays_it_as_it_is() {
    for clip in [clips::aes128_ts().await, clips::vod_fmp4().await] {
        let (world, _signer, _player, master) = guarded(&clip.unwrap()).await;
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-count_packets", "-select_streams", "v"])
            .args(["-show_entries", "stream=height,nb_read_packets", "-of", "csv=p=0"])
            .arg(master.fetched.url.as_str())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let (told, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !errors.contains("403"), "{errors}");
        for line in ["180,150", "360,150"] {
            assert!(told.lines().any(|found| found.trim_end_matches(',') == line), "{told}\n{errors}");
        }
        let metrics = world.edge.metrics().await.unwrap();
        assert_eq!(metrics.sum("acuity_signature_refusals_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn faults_of_keys_are_told_before_anything_is_served() {
    use std::os::unix::fs::PermissionsExt as _;
    let signer = Signer::new(&["good", "open", "short", "gone"]).unwrap();
    std::fs::set_permissions(signer.file("open"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(signer.file("short"), "tooshort").unwrap();
    std::fs::remove_file(signer.file("gone")).unwrap();
    let builder = signer.guards(one_rendition()).without_waiting();
    let mut edge = builder.start_before("http://127.0.0.1:9").await.unwrap();
    assert_eq!(edge.until_exit(Duration::from_secs(20)).await.unwrap().code(), Some(1));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acuity.toml");
    std::fs::write(&file, builder.config_for("http://127.0.0.1:9")).unwrap();
    let checked = std::process::Command::new(binary().unwrap())
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(1));
    for told in [edge.events(), String::from_utf8_lossy(&checked.stderr).into_owned()] {
        for expected in ["\"open\"", "mode 644", "\"short\"", "8, not 16 to 1024", "\"gone\"", "No such file"]
        {
            assert!(told.contains(expected), "nothing is said of {expected}:\n{told}");
        }
        assert!(!told.contains("tooshort") && !told.contains("\"good\""), "{told}");
    }
}
