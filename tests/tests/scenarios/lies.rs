//! Origins that break HTTP itself: lengths that are wrong, chunks that are none, answers that hide another. What they say of one URL is never
//! taken for another, and the edge goes on.

use std::io::Write as _;
use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::liar::{Liar, Lie};
use acuity_tests::origin::Origin;
use acuity_tests::packets::Probe;
use acuity_tests::player::{Media, Player};
use acuity_tests::world::World;
use bytes::Bytes;

use crate::kit::{one_rendition, open_enhanced, segment_url};

const VICTIM: &str = "/vod/180p/001.ts";
const NEXT: &str = "/vod/180p/002.ts";

/// Stands where another answer would begin.
const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: 6\r\n\r\npoison";

struct Stage {
    liar: Liar,
    world: World,
    player: Player,
    media: Media,
    /// The segment about which lies are told.
    body: Vec<u8>,
    /// The one behind it, as it is.
    next: Vec<u8>,
}

async fn stage() -> Stage {
    let clip = clips::vod_ts().await.unwrap();
    let liar = Liar::start(clip.folder().to_owned()).await.unwrap();
    let hurried = one_rendition()
        .set("origin.first_byte_timeout", "\"1s\"")
        .set("origin.total_timeout", "\"3s\"")
        // what is made ahead would ask before the lie is told
        .set("enhancer.look_ahead", 0);
    let edge = hurried.start_before(&liar.base()).await.unwrap();
    let world = World { origin: Origin::start().await.unwrap(), edge };
    let (player, _, media) = open_enhanced(&world).await;
    let (body, next) = (clip.read("180p/001.ts").unwrap(), clip.read("180p/002.ts").unwrap());
    Stage { liar, world, player, media, body, next }
}

fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{fields}\r\n\r\n").into_bytes()
}

fn lie(parts: &[&[u8]]) -> Lie {
    Lie { bytes: Bytes::from(parts.concat()), closes: false }
}

fn last(parts: &[&[u8]]) -> Lie {
    Lie { closes: true, ..lie(parts) }
}

impl Stage {
    /// The same bytes go on coming for the other URLs, by both of the edge's clients.
    async fn is_well(&self, what: &str) {
        let next = self.player.get_ok(&self.world.edge.url(NEXT), &[]).await.expect(what);
        assert!(next.body == self.next, "{what}: another answer for {NEXT}");
        let made = self.player.get_ok(&segment_url(&self.media, 2), &[]).await.expect(what);
        assert!(!made.body.windows(6).any(|bytes| bytes == b"poison"), "{what}");
    }

    /// The status of the enhanced segment of which a lie is told.
    async fn enhanced(&self) -> (u16, Bytes) {
        let answer = self.player.get(&segment_url(&self.media, 1)).await.unwrap();
        // who comes at the very moment of an answer may still share it
        tokio::time::sleep(Duration::from_millis(100)).await;
        (answer.status.as_u16(), answer.body)
    }
}

#[tokio::test]
async fn broken_framing_is_the_origins_failure_and_nothing_elses() {
    let stage = stage().await;
    let size = format!("Content-Length: {}", stage.body.len());
    let more = format!("Content-Length: {}", stage.body.len() + 1);
    let half = &stage.body[..stage.body.len() / 2];
    let chunked = "Transfer-Encoding: chunked";
    let large_head = format!("X: {}", "a".repeat(1 << 20));
    let chunk = [format!("{:x}\r\n", half.len()).as_bytes(), half, b"\r\n"].concat();
    let told: [(&str, Lie); 12] = [
        ("a length above what comes", last(&[&head(&more), &stage.body])),
        ("two lengths", last(&[&head(&format!("{size}\r\nContent-Length: 7")), &stage.body])),
        ("a length that is no number", last(&[&head("Content-Length: -1"), &stage.body])),
        ("a length beyond all numbers", last(&[&head("Content-Length: 99999999999999999999999"), half])),
        ("chunks that are none", last(&[&head(chunked), b"zz\r\n", half])),
        ("a chunk beyond all numbers", last(&[&head(chunked), b"fffffffffffffffff\r\n", half])),
        ("a chunk longer than said", last(&[&head(chunked), b"5\r\n", half, b"\r\n0\r\n\r\n"])),
        ("chunks without an end", last(&[&head(chunked), &chunk])),
        ("an end in the middle of a chunk's length", last(&[&head(chunked), &chunk, b"7"])),
        ("no status line", last(&[&stage.body])),
        ("a head without an end", last(&[b"HTTP/1.1 200 OK\r\nX: y\r\n"])),
        ("a head that never stops", last(&[&head(&large_head), &stage.body])),
    ];
    for (what, lie) in told {
        stage.liar.tell(VICTIM, Some(lie));
        let (status, _) = stage.enhanced().await;
        assert_eq!(status, 502, "{what}");
        // Passed through, an answer may have begun before it turns out to be none: then it breaks off.
        if let Ok(passed) = stage.player.get(&stage.world.edge.url(VICTIM)).await {
            assert_ne!(passed.status, 200, "{what}: passed on as if it were whole");
        }
        stage.is_well(what).await;
    }
    stage.liar.tell(VICTIM, None);
    let (status, made) = stage.enhanced().await;
    assert!(status == 200 && made.len() > 10_000, "nothing of it was kept: {status}, {} bytes", made.len());
    let metrics = stage.world.edge.metrics().await.unwrap();
    assert!(
        metrics.sum("acuity_origin_requests_total", &[("outcome", "ok")])
            < metrics.sum("acuity_origin_requests_total", &[]),
        "{}",
        metrics.text()
    );
}

/// Answers in which another is hidden, on connections that stand: the second must not be taken for the next request's.
#[tokio::test]
async fn what_stands_behind_an_answer_is_not_the_next_ones() {
    let stage = stage().await;
    let size = format!("Content-Length: {}", stage.body.len());
    let whole = [format!("{:x}\r\n", stage.body.len()).as_bytes(), &stage.body, b"\r\n0\r\n\r\n"].concat();
    let told: [(&str, Lie); 5] = [
        ("behind its length", lie(&[&head(&size), &stage.body, POISON])),
        ("behind its last chunk", lie(&[&head("Transfer-Encoding: chunked"), &whole, POISON])),
        (
            "chunks and a length",
            lie(&[&head(&format!("Transfer-Encoding: chunked\r\n{size}")), &whole, POISON]),
        ),
        ("behind a 204", lie(&[b"HTTP/1.1 204 No Content\r\n\r\n", POISON])),
        ("behind a 304 that nobody asked for", lie(&[b"HTTP/1.1 304 Not Modified\r\n\r\n", POISON])),
    ];
    for (what, lie) in told {
        stage.liar.tell(VICTIM, Some(lie));
        for _ in 0..3 {
            let (status, made) = stage.enhanced().await;
            assert!(status < 600 && !made.ends_with(b"poison"), "{what}: {status}");
            if let Ok(passed) = stage.player.get(&stage.world.edge.url(VICTIM)).await {
                assert!(!passed.body.ends_with(b"poison"), "{what}: {}", passed.status);
            }
            stage.is_well(what).await;
        }
    }
    stage.liar.tell(VICTIM, None);
    assert_eq!(stage.enhanced().await.0, 200);
}

/// Whole answers that are not what was asked for.
#[tokio::test]
async fn answers_to_another_question_are_no_segments() {
    let stage = stage().await;
    let half = &stage.body[..stage.body.len() / 2];
    let size = format!("Content-Length: {}", half.len());
    let part = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{}/{}\r\n{size}\r\n\r\n",
        half.len() - 1,
        stage.body.len()
    );
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    let told: [(&str, Lie, &[u16]); 3] = [
        ("a part that nobody asked for", lie(&[part.as_bytes(), half]), &[502]),
        ("an upgrade that nobody asked for", last(&[switching.as_bytes(), half]), &[502]),
        // allowed, and no end of it: what comes of it is up to the library, but it ends
        ("hints without end", last(&[&hints, &hints, &hints]), &[502, 504]),
    ];
    for (what, lie, statuses) in told {
        stage.liar.tell(VICTIM, Some(lie));
        let (status, _) = stage.enhanced().await;
        assert!(statuses.contains(&status), "{what}: {status}");
        let _ = stage.player.get(&stage.world.edge.url(VICTIM)).await;
        stage.is_well(what).await;
    }
    stage.liar.tell(VICTIM, None);
    let (status, made) = stage.enhanced().await;
    assert_eq!(status, 200);
    let source = Probe::of(None, &stage.body).await.unwrap();
    let made = Probe::of(None, &made).await.unwrap();
    assert_eq!(made.video_packets().len(), source.video_packets().len(), "a part was kept as the whole");
}

/// As a bucket has them whose objects were packed before they were put there: players unpack, if they are told.
#[tokio::test]
async fn a_segment_that_is_packed_stays_so_and_says_so() {
    let stage = stage().await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&stage.body).unwrap();
    let packed = packer.finish().unwrap();
    let told = format!("Content-Length: {}\r\nContent-Encoding: gzip", packed.len());
    stage.liar.tell(VICTIM, Some(lie(&[&head(&told), &packed])));
    let answer = stage.player.get_ok(&segment_url(&stage.media, 1), &[]).await.unwrap();
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert!(answer.body == packed, "{} bytes of {}", answer.body.len(), packed.len());
    let metrics = stage.world.edge.metrics().await.unwrap();
    let outcome = [("outcome", "encoded")];
    assert!(metrics.sum("acuity_origin_requests_total", &outcome) >= 1.0, "{}", metrics.text());
}
