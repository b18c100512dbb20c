//! The H.264 level a rendition needs: ITU-T H.264 (08/2021), table A-1, with the High profile's rate factor
//! of 1.25 (table A-2). Pure arithmetic.

/// A level's limits for the High profile.
struct Level {
    /// `level_idc`, ten times the level's number.
    idc: u8,
    /// Macroblocks a second.
    max_mbps: u64,
    /// Macroblocks a picture.
    max_fs: u64,
    /// kbit/s, High profile.
    max_br_kbps: u64,
}

const fn level(idc: u8, max_mbps: u64, max_fs: u64, base_br_kbps: u64) -> Level {
    Level { idc, max_mbps, max_fs, max_br_kbps: base_br_kbps * 5 / 4 }
}

const LEVELS: [Level; 12] = [
    level(21, 19_800, 792, 4_000),
    level(22, 20_250, 1_620, 4_000),
    level(30, 40_500, 1_620, 10_000),
    level(31, 108_000, 3_600, 14_000),
    level(32, 216_000, 5_120, 20_000),
    level(40, 245_760, 8_192, 20_000),
    level(41, 245_760, 8_192, 50_000),
    level(42, 522_240, 8_704, 50_000),
    level(50, 589_824, 22_080, 135_000),
    level(51, 983_040, 36_864, 240_000),
    level(52, 2_073_600, 36_864, 240_000),
    level(62, 16_711_680, 139_264, 800_000),
];

/// The lowest `level_idc` (of 2.1 and up, which every player knows) that allows `width` x `height` pictures at
/// `frame_rate_milli` / 1000 fps and `kbps` kbit/s.
pub(crate) fn level_idc(width: u32, height: u32, frame_rate_milli: u32, kbps: u32) -> u8 {
    let columns = u64::from(width.div_ceil(16));
    let rows = u64::from(height.div_ceil(16));
    let size = columns * rows;
    let rate = (size * u64::from(frame_rate_milli)).div_ceil(1000);
    LEVELS
        .iter()
        .find(|l| {
            // A.3.1: neither side may exceed sqrt(8 * MaxFS) macroblocks.
            let side_ok = columns * columns <= 8 * l.max_fs && rows * rows <= 8 * l.max_fs;
            size <= l.max_fs && side_ok && rate <= l.max_mbps && u64::from(kbps) <= l.max_br_kbps
        })
        .map_or(62, |l| l.idc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_renditions_get_their_usual_levels() {
        for (width, height, frame_rate_milli, kbps, expected) in [
            (640, 360, 30_000, 1_000, 30),
            (1280, 720, 30_000, 2_800, 31),
            (1280, 720, 29_970, 2_800, 31),
            (1280, 720, 60_000, 4_000, 32),
            (1920, 1080, 30_000, 6_000, 40),
            (1920, 1080, 59_940, 8_000, 42),
            (3840, 2160, 30_000, 20_000, 51),
            (426, 240, 25_000, 400, 21),
            (1280, 720, 30_000, 18_000, 32),
        ] {
            assert_eq!(
                level_idc(width, height, frame_rate_milli, kbps),
                expected,
                "{width}x{height}@{frame_rate_milli} {kbps}"
            );
        }
    }
}
