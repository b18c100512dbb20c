//! The attack table, second half: what is small to send and large to take. Each row passes through or is refused, costs the edge little
//! memory, and is counted. `docs/threat-model.md` names these rows.

use std::time::Instant;

use acuity_tests::clips;
use acuity_tests::player::Player;
use acuity_tests::world::World;

use crate::attacks::{metrics, world};
use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// Memory of the edge now, in MiB.
fn resident(world: &World) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", world.edge.process_id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn playlist_bombs_pass_through_and_cost_little() {
    let world = world().await;
    let player = Player::new().unwrap();
    let before = resident(&world);
    let variant = |n: usize| format!("#EXT-X-STREAM-INF:BANDWIDTH={n},RESOLUTION=320x180\nv{n}.m3u8\n");
    let bombs = [
        // 7 MiB, below the limit of a playlist's bytes
        ("segments", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n".to_owned() + &"#EXTINF:1,\na\n".repeat(560_000)),
        ("variants", "#EXTM3U\n".to_owned() + &(0..100_000).map(variant).collect::<String>()),
        (
            "renditions",
            "#EXTM3U\n".to_owned()
                + &"#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b\",URI=\"c\"\n".repeat(120_000),
        ),
        ("keys", {
            let key = |n: usize| format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k\",KEYFORMAT=\"f{n}\"\n");
            let keys: String = (0..20_000).map(key).collect();
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n{keys}{}", "#EXTINF:1,\na\n".repeat(40_000))
        }),
        ("bytes", "#EXTM3U\n".to_owned() + &"#".repeat(9 << 20)),
        ("one line", "#EXTM3U\n#EXT-X-STREAM-INF:".to_owned() + &"A=1,".repeat(1 << 20) + "\na.m3u8\n"),
        ("definitions", {
            let mut text = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"a0\",VALUE=\"xxxxxxxxxx\"\n".to_owned();
            for n in 1..40 {
                let of = format!("{{$a{}}}", n - 1).repeat(10);
                text += &format!("#EXT-X-DEFINE:NAME=\"a{n}\",VALUE=\"{of}\"\n");
            }
            text + "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=320x180\n{$a39}.m3u8\n"
        }),
    ];
    for (name, text) in &bombs {
        let path = format!("/vod/{name}.m3u8").replace(' ', "-");
        world.origin.put(&path, text.clone());
        let start = Instant::now();
        let answer = player.get_ok(&world.edge.url(&path), &[]).await.unwrap();
        assert_eq!(answer.body.len(), text.len(), "{name}: as it came");
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 5.0, "{name} took {seconds:.1} s, {} MiB by then", resident(&world));
    }
    assert!(resident(&world) < before + 300, "{} MiB, {before} before", resident(&world));
    let counted = metrics(&world).await;
    assert!(
        counted.sum("acuity_playlists_too_long_total", &[("kind", "media")]) >= 1.0,
        "{}",
        counted.text()
    );
    assert!(counted.sum("acuity_playlists_too_long_total", &[("kind", "multivariant")]) >= 2.0);
    assert_eq!(counted.sum("acuity_origin_requests_total", &[("outcome", "too_large")]), 1.0);
}

#[tokio::test]
async fn a_decompression_bomb_is_cut_off_at_the_limit() {
    let world = world().await;
    // A thousand times as much as it looks, and far more than a playlist may be.
    let bomb = gzip_of_blanks(512);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    world.origin.put("/vod/bomb.m3u8", bomb.clone());
    world.origin.header("/vod/bomb.m3u8", "content-encoding", "gzip");
    let before = resident(&world);
    let answer = Player::new().unwrap().get_ok(&world.edge.url("/vod/bomb.m3u8"), &[]).await.unwrap();
    assert_eq!(answer.body.len(), bomb.len(), "passed through as it came, packed");
    assert!(resident(&world) < before + 100, "{} MiB, {before} before", resident(&world));
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_origin_requests_total", &[("outcome", "too_large")]),
        1.0,
        "{}",
        counted.text()
    );
}

/// `#EXTM3U` and this many MiB of blanks, packed by gzip.
fn gzip_of_blanks(mib: usize) -> Vec<u8> {
    let script = "import gzip, sys\n\
        with gzip.GzipFile(fileobj=sys.stdout.buffer, mode='wb') as out:\n\
        \x20 out.write(b'#EXTM3U\\n')\n\
        \x20 for _ in range(int(sys.argv[1])): out.write(b' ' * (1 << 20))\n";
    let run = std::process::Command::new("python3").args(["-c", script, &mib.to_string()]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

#[tokio::test]
async fn a_resolution_bomb_is_no_source() {
    let world = world().await;
    let (player, _, media) = open_enhanced(&world).await;
    let bomb = picture_of(16_384);
    // As what a new stream begins with, and as a segment in the middle of one that was harmless.
    world.origin.put("/vod/bomb.ts", bomb.clone());
    world.origin.put(
        "/vod/bomb-media.m3u8",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nbomb.ts\n#EXT-X-ENDLIST\n",
    );
    let variant = "#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,CODECS=\"avc1.42c01e\"";
    world.origin.put("/vod/bomb.m3u8", format!("#EXTM3U\n{variant}\nbomb-media.m3u8\n"));
    world.origin.put("/vod/180p/001.ts", bomb.clone());
    let before = resident(&world);
    let master = player.open(&world.edge.url("/vod/bomb.m3u8")).await.unwrap();
    assert!(master.enhanced().is_empty(), "{}", master.fetched.text());
    let answer = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert_eq!(answer.body.as_ref(), bomb.as_slice(), "the source's own bytes");
    assert!(resident(&world) < before + 100, "{} MiB, {before} before", resident(&world));
    let counted = metrics(&world).await;
    assert!(
        counted.sum("acuity_variants_refused_total", &[("reason", "too_large")]) >= 1.0,
        "{}",
        counted.text()
    );
    assert!(counted.sum("acuity_fallbacks_total", &[("reason", "too_large")]) >= 1.0, "{}", counted.text());
    player.segment(&media, 2).await.expect("it goes on");
}

#[tokio::test]
async fn a_segment_of_hours_is_no_piece_of_work() {
    let world = world().await;
    let (player, _, media) = open_enhanced(&world).await;
    let variant = "#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,CODECS=\"avc1.42c01e\"";
    world.origin.put("/vod/long.m3u8", format!("#EXTM3U\n{variant}\nlong-media.m3u8\n"));
    world.origin.put(
        "/vod/long-media.m3u8",
        "#EXTM3U\n#EXT-X-TARGETDURATION:7200\n#EXTINF:7200,\n180p/000.ts\n#EXT-X-ENDLIST\n",
    );
    let master = player.open(&world.edge.url("/vod/long.m3u8")).await.unwrap();
    assert!(master.enhanced().is_empty(), "{}", master.fetched.text());
    // Tokens are not signed: one for that playlist, by hand (both are base64 of the playlist's path).
    let url = segment_url(&media, 0);
    assert!(url.contains("L3ZvZC8xODBwL2luZGV4Lm0zdTg"), "{url}");
    let url = url.replace("L3ZvZC8xODBwL2luZGV4Lm0zdTg", "L3ZvZC9sb25nLW1lZGlhLm0zdTg");
    let passed = player.get_ok(&url, &[]).await.unwrap();
    let origins = player.get(&world.origin.url("/vod/180p/000.ts")).await.unwrap();
    assert_eq!(passed.body, origins.body, "the source's own bytes");
    let counted = metrics(&world).await;
    let label = [("reason", "segment_too_long")];
    assert_eq!(counted.sum("acuity_variants_refused_total", &label), 1.0, "{}", counted.text());
    assert_eq!(counted.sum("acuity_fallbacks_total", &label), 1.0, "{}", counted.text());
    player.segment(&media, 2).await.expect("it goes on");
}

/// Limits on what a decoder is given, met in the middle of a stream that was harmless: the viewer has the source's picture.
#[tokio::test]
async fn a_segment_of_more_bytes_or_pictures_than_may_be_is_passed_on() {
    let told = one_rendition()
        .set("enhancer.max_segment_bytes", "\"1MiB\"")
        .set("enhancer.max_frames_per_segment", 60)
        .set("enhancer.look_ahead", 0);
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, told).await;
    let (player, _, media) = open_enhanced(&world).await;
    let read = |name| clip.read(name).unwrap();
    // Null packets (ISO/IEC 13818-1, 2.4.3.3), which every demultiplexer passes over.
    let null = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat();
    let padded = [read("180p/000.ts"), null.repeat((2 << 20) / null.len())].concat();
    let crowded = [read("180p/000.ts"), read("180p/001.ts"), read("180p/002.ts")].concat();
    for (index, bomb) in [(1, padded), (2, crowded)] {
        world.origin.put(&format!("/vod/180p/00{index}.ts"), bomb.clone());
        let answer = player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        assert!(answer.body == bomb, "the source's own bytes: {} of {}", answer.body.len(), bomb.len());
    }
    let counted = metrics(&world).await;
    let too_large = counted.sum("acuity_fallbacks_total", &[("reason", "too_large")]);
    let unread = counted.sum("acuity_origin_requests_total", &[("outcome", "too_large")]);
    assert!(too_large >= 1.0 && too_large + unread >= 2.0, "{}", counted.text());
    player.segment(&media, 0).await.expect("it goes on");
}

/// An MPEG-TS segment whose SPS says that its picture has so many pixels a side, and that has a slice of next to nothing: a
/// handful of bytes that make a decoder reserve gigabytes.
fn picture_of(side: u32) -> Vec<u8> {
    let mut sps = Bits::default();
    // profile 66, no constraints, level 6.2; ids, frame_num, picture order type 2, one reference, no gaps
    sps.put(66, 8).put(0, 8).put(62, 8).ue(0).ue(0).ue(2).ue(1).put(0, 1);
    sps.ue(side / 16 - 1).ue(side / 16 - 1);
    // frames only, direct_8x8, no cropping, no VUI
    sps.put(1, 1).put(1, 1).put(0, 1).put(0, 1).put(1, 1);
    let mut pps = Bits::default();
    pps.ue(0).ue(0).put(0, 2).ue(0).ue(0).ue(0).put(0, 3).ue(0).ue(0).ue(0).put(0, 3).put(1, 1);
    let mut slice = Bits::default();
    // first macroblock 0, I, PPS 0, frame_num 0, idr_pic_id 0, two flags, qp delta 0
    slice.ue(0).ue(7).ue(0).put(0, 4).ue(0).put(0, 2).ue(0).put(1, 1);
    let mut stream = vec![0, 0, 0, 1, 9, 0x10];
    for (header, bits) in [(0x67, sps), (0x68, pps), (0x65, slice)] {
        stream.extend([0, 0, 0, 1, header]);
        stream.extend(bits.bytes());
    }
    packed(&stream)
}

/// Bits as H.264 writes them.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, count: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// Exponential Golomb code.
    fn ue(&mut self, value: u32) -> &mut Self {
        let length = 32 - (value + 1).leading_zeros();
        self.put(0, length - 1).put(value + 1, length)
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| (0..8).fold(0, |sum, at| sum << 1 | u8::from(bits.get(at) == Some(&true)));
        self.0.chunks(8).map(byte).collect()
    }
}

/// One access unit as an MPEG-TS segment: FFmpeg packs what it was told not to look at.
fn packed(stream: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.h264"), folder.path().join("a.ts"));
    // Parsers see where a picture ends by what comes behind it.
    std::fs::write(&from, [stream, stream, stream].concat()).unwrap();
    let run = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-analyzeduration", "0", "-probesize", "32", "-f", "h264", "-i"])
        .arg(&from)
        .args(["-c", "copy", "-muxdelay", "0", "-y"])
        .arg(&to)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    std::fs::read(&to).unwrap()
}
