//! Damage to real segments, the same for the same seed: what transfers, storage and people who mean it do to bytes.
//!
//! Half of it looks where parsers look (lengths, counts, headers, start codes) and leaves the rest whole, so that what is damaged is
//! reached. Bytes at random alone are thrown out by the first check that comes.

/// Bytes of a transport stream's packet.
const PACKET: usize = 188;

/// Numbers at random, the same for the same seed (Marsaglia's xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Never zero, from which it does not come away; and neighbours are to differ.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of `0..count`; 0 where there is nothing to choose from.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % (count.max(1) as u64)).unwrap_or(0)
    }
}

/// A damaged copy of `segment`; `other` is a segment that parts may come from.
#[must_use]
pub fn mutated(segment: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    // Mostly one thing is wrong, sometimes several.
    let times = 1 + dice.below(4) * dice.below(2);
    for _ in 0..times {
        mutate(&mut bytes, other, dice);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let length = bytes.len();
    match dice.below(12) {
        0 => flip(bytes, dice, 0, length),
        1 => flip(bytes, dice, 0, length.min(1024)),
        2 => in_packets(bytes, dice),
        3 | 4 => behind_start_codes(bytes, dice),
        5 => words(bytes, dice, length),
        6 => words(bytes, dice, length.min(2048)),
        7 => boxes(bytes, dice),
        8 => bytes.truncate(dice.below(length)),
        9 => {
            let from = dice.below(length);
            let to = (from + dice.below(4 * PACKET)).min(length);
            bytes.drain(from..to);
        }
        10 => {
            let from = dice.below(other.len());
            let to = (from + 1 + dice.below(8 * PACKET)).min(other.len());
            let at = dice.below(length);
            let part = other.get(from..to).unwrap_or_default().iter().copied();
            if dice.below(2) == 0 {
                bytes.splice(at..at, part);
            } else {
                let end = (at + to.saturating_sub(from)).min(length);
                bytes.splice(at..end, part);
            }
        }
        _ => {
            let from = dice.below(length);
            let to = (from + dice.below(2 * PACKET)).min(length);
            let filling = [0x00, 0xFF, 0x47][dice.below(3)];
            bytes.get_mut(from..to).unwrap_or_default().fill(filling);
        }
    }
}

fn flip(bytes: &mut [u8], dice: &mut Dice, from: usize, to: usize) {
    for _ in 0..=dice.below(24) {
        let at = from + dice.below(to.saturating_sub(from));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << dice.below(8);
        }
    }
}

/// Behind the four bytes that make a transport packet one, so that it stays one.
fn in_packets(bytes: &mut [u8], dice: &mut Dice) {
    for _ in 0..=dice.below(16) {
        let at = dice.below(bytes.len() / PACKET) * PACKET + 4 + dice.below(PACKET - 4);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = dice.next() as u8;
        }
    }
}

/// Headers of NAL units, parameter sets and slices.
fn behind_start_codes(bytes: &mut [u8], dice: &mut Dice) {
    let starts: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    for _ in 0..=dice.below(4) {
        let Some(start) = starts.get(dice.below(starts.len())) else { return };
        if let Some(byte) = bytes.get_mut(start + dice.below(24)) {
            *byte = dice.next() as u8;
        }
    }
}

/// Counts and lengths that are too large, too small, or of another sign.
fn words(bytes: &mut [u8], dice: &mut Dice, within: usize) {
    const WORDS: [u32; 8] =
        [0, 1, u32::MAX, i32::MAX as u32, 0x8000_0000, 0x0000_FFFF, 0x00FF_FFFF, 0x1000_0000];
    for _ in 0..=dice.below(4) {
        let at = dice.below(within / 4) * 4 + dice.below(4) * dice.below(2);
        let word = WORDS[dice.below(WORDS.len())].to_be_bytes();
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&word);
        }
    }
}

/// Sizes, flags and first fields of MP4 boxes, found by their names.
fn boxes(bytes: &mut [u8], dice: &mut Dice) {
    const NAMES: [&[u8; 4]; 10] =
        [b"moof", b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun", b"mdat", b"sidx", b"styp", b"moov"];
    let found: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| NAMES.iter().any(|name| name.as_slice() == *four))
        .map(|(at, _)| at)
        .collect();
    for _ in 0..=dice.below(3) {
        let Some(at) = found.get(dice.below(found.len())) else { return in_packets(bytes, dice) };
        // From the size before the name to the fields behind it.
        let place = at.saturating_sub(4) + dice.below(32);
        if let Some(byte) = bytes.get_mut(place) {
            *byte =
                if dice.below(2) == 0 { dice.next() as u8 } else { [0x00, 0xFF, 0x7F, 0x80][dice.below(4)] };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_does_the_same_damage() {
        let mut segment: Vec<u8> = (0..20_000_u32).map(|number| (number % 251) as u8).collect();
        // With something for each kind of damage to find.
        for unit in segment.chunks_exact_mut(500) {
            unit[..4].copy_from_slice(&[0, 0, 1, 0x65]);
            unit[100..104].copy_from_slice(b"moof");
        }
        let damage = |seed| mutated(&segment, &segment, &mut Dice::new(seed));
        assert_eq!(damage(7), damage(7));
        let different = (0..200).map(damage).filter(|bytes| *bytes != segment).count();
        assert!(different > 190, "{different} of 200 are damaged");
        assert!(
            (0..50).map(damage).collect::<std::collections::BTreeSet<_>>().len() > 45,
            "and each otherwise"
        );
    }

    #[test]
    fn nothing_is_too_short_to_be_damaged() {
        for length in [0_usize, 1, 3, 4, 187] {
            for seed in 0..200 {
                let _ = mutated(&vec![0x47; length], &[], &mut Dice::new(seed));
            }
        }
    }
}
