//! A bit reader that says "no more" instead of failing loudly: parameter sets come from strangers.

/// Most significant bit first, over bytes without emulation prevention.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    bit: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, bit: 0 }
    }

    /// u(1).
    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.bit / 8)?;
        let set = byte >> (7 - self.bit % 8) & 1 == 1;
        self.bit += 1;
        Some(set)
    }

    /// u(n), n at most 32.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// u(8).
    pub(super) fn byte(&mut self) -> Option<u8> {
        u8::try_from(self.bits(8)?).ok()
    }

    /// ue(v), at most 2^32 - 2.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0u32;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        u32::try_from((1u64 << zeros) - 1 + u64::from(rest)).ok()
    }

    /// se(v).
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101 and the end
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!(reader.ue(), Some(0));
        assert_eq!(reader.ue(), Some(1));
        assert_eq!(reader.ue(), Some(2));
        assert_eq!(reader.ue(), Some(3));
        assert_eq!(reader.se(), Some(-2));
        assert_eq!(reader.ue(), None);
    }

    #[test]
    fn the_longest_codes_fit() {
        let mut ones = vec![0, 0, 0, 1];
        ones.extend([0xff; 4]);
        assert_eq!(BitReader::new(&ones).ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).ue(), None);
    }
}
