//! What players want: sessions of films that start, seek and end, live streams that some share, over origins that jitter.

use super::Wanted;
use crate::Haste;

/// SplitMix64: a seed, and the same load every time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    pub(super) fn part(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.part()
    }

    /// About normal: the sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }

    /// What an origin takes: 80 ms in the middle, now and then a second or two.
    fn origin(&mut self) -> f64 {
        let usual = 0.08 * (0.4 * self.normal()).exp();
        if self.part() < 0.05 { usual + self.between(0.3, 2.0) } else { usual }
    }

    /// What a segment's content makes of its cost.
    fn content(&mut self) -> f64 {
        (0.12 * self.normal()).exp()
    }
}

/// What is wanted within `seconds`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) seconds: f64,
    /// Viewers of films at one time; sessions last a few minutes and are followed by others.
    pub(super) films: usize,
    /// Live streams, each watched by one player or a few.
    pub(super) live: usize,
    /// Of the live streams so many have this audience.
    pub(super) shared: (usize, u32),
}

impl Load {
    pub(super) fn wanted(self, dice: &mut Dice) -> Vec<Wanted> {
        let mut all = Vec::new();
        for viewer in 0..self.films {
            self.films_of(viewer as u64 + 1, dice, &mut all);
        }
        for stream in 0..self.live {
            let audience = if stream < self.shared.0 { self.shared.1 } else { 1 };
            self.live_stream(1000 + stream as u64, audience, dice, &mut all);
        }
        all
    }

    fn live_stream(self, stream: u64, audience: u32, dice: &mut Dice, all: &mut Vec<Wanted>) {
        let media = [2.0, 4.0, 6.0][(dice.bits() % 3) as usize];
        let kind = Kind::new(stream, audience, media, dice);
        let mut appears = dice.between(0.0, media);
        let mut haste = Haste::Start;
        while appears < self.seconds {
            // The first of the audience to find it in the playlist.
            let asked = appears + dice.between(0.0, 0.5);
            let by = asked + media * if haste == Haste::Start { 0.5 } else { 0.85 };
            all.push(kind.wanted((asked, by), haste, dice));
            haste = Haste::Steady;
            appears += media;
        }
    }

    fn films_of(self, viewer: u64, dice: &mut Dice, all: &mut Vec<Wanted>) {
        let mut time = dice.between(0.0, 20.0);
        while time < self.seconds {
            let media = [4.0, 6.0][(dice.bits() % 2) as usize];
            let kind = Kind::new(viewer, 1, media, dice);
            let segments = dice.between(5.0, 40.0) as usize;
            let (mut since_start, mut before) = (0, time);
            for _ in 0..segments {
                if dice.part() < 0.04 {
                    // A seek: what was made ahead is for nobody.
                    for step in 1..=2 {
                        let mut lost = kind.wanted((time, time), Haste::Steady, dice);
                        lost.ahead_by = Some(time + media * f64::from(step) * 0.85);
                        lost.asked = None;
                        all.push(lost);
                    }
                    since_start = 0;
                }
                // Players fill their buffers at a start, and ask for one segment in each one's time after that.
                let (haste, pause) = match since_start {
                    0 => (Haste::Start, media * 0.5),
                    1 => (Haste::Steady, media * 0.7),
                    _ => (Haste::Steady, media),
                };
                // Half of the players say what they have in their buffers.
                let says = since_start > 1 && viewer.is_multiple_of(2);
                let left = match haste {
                    Haste::Start => media * 0.5,
                    Haste::Steady if says => dice.between(1.0, 8.0),
                    Haste::Steady => media * 0.85,
                };
                let mut next = kind.wanted((time, time + left), haste, dice);
                if since_start > 0 {
                    // When the one before was there.
                    let launched = before + media * dice.between(0.1, 0.4);
                    next.arrives = launched + dice.origin();
                    next.ahead_by = Some(launched + media * if since_start > 1 { 1.4 } else { 0.85 });
                }
                all.push(next);
                before = time;
                since_start += 1;
                time += pause;
            }
            time += dice.between(2.0, 30.0);
        }
    }
}

/// What the segments of a stream have in common.
struct Kind {
    stream: u64,
    audience: u32,
    media: f64,
    pictures: f64,
    picture_pixels: u64,
}

impl Kind {
    fn new(stream: u64, audience: u32, media: f64, dice: &mut Dice) -> Self {
        let kinds = [
            (30.0, 640 * 360),
            (25.0, 1280 * 720),
            (30.0, 1280 * 720),
            (60.0, 1280 * 720),
            (30.0, 1920 * 1080),
        ];
        let (rate, picture_pixels) = kinds[(dice.bits() % 5) as usize];
        Self { stream, audience, media, pictures: media * rate, picture_pixels }
    }

    fn wanted(&self, asked: (f64, f64), haste: Haste, dice: &mut Dice) -> Wanted {
        Wanted {
            stream: self.stream,
            arrives: asked.0 + dice.origin(),
            asked: Some(asked),
            ahead_by: None,
            haste,
            audience: self.audience,
            media: self.media,
            pictures: self.pictures,
            picture_pixels: self.picture_pixels,
            content: dice.content(),
        }
    }
}
