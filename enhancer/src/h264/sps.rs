//! What a sequence parameter set says about the pictures (ITU-T H.264, 7.3.2.1.1 and annex E).
//!
//! Written by hand although the `h264-reader` crate exists (the tests compare with it): that crate refuses a
//! whole SPS for a level that is too small for the picture, a `max_dec_frame_buffering` below the reference
//! count or a VUI cut short, all of which real encoders write and every decoder plays. Here the part before
//! the VUI must be sound, and a VUI that breaks off keeps what was read before the break.

use super::{BitReader, nal, nal_type, unescape};

/// Why an SPS cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpsError {
    /// Another NAL unit type.
    #[error("not a sequence parameter set")]
    NotSps,
    /// It ends too soon or holds a code that is too long.
    #[error("the sequence parameter set is cut short")]
    Truncated,
    /// A field outside what the standard allows.
    #[error("{0} out of range in the sequence parameter set")]
    OutOfRange(&'static str),
}

/// Colour description, code points of ITU-T H.273. 2 is "unspecified".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColourFacts {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Luma uses 0..=255 rather than 16..=235.
    pub full_range: bool,
}

impl Default for ColourFacts {
    fn default() -> Self {
        Self { primaries: 2, transfer: 2, matrix: 2, full_range: false }
    }
}

/// Facts of one sequence parameter set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpsFacts {
    /// 66 Baseline, 77 Main, 88 Extended, 100 High, 110 High 10, 122 High 4:2:2, 244 High 4:4:4.
    pub profile_idc: u8,
    /// The byte after `profile_idc`: constraint_set0_flag is its highest bit.
    pub constraint_flags: u8,
    /// Ten times the level (9 for 1b in some profiles).
    pub level_idc: u8,
    /// Identifier, 0..=31.
    pub id: u8,
    /// Picture width in luma samples, cropping applied.
    pub width: u32,
    /// Picture height in luma samples (whole frame also where fields are coded), cropping applied.
    pub height: u32,
    /// Bits per luma sample.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample.
    pub bit_depth_chroma: u8,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// Whole frames only; false where fields or MBAFF may occur.
    pub frame_mbs_only: bool,
    /// Reference frames the decoder must keep.
    pub max_num_ref_frames: u32,
    /// Sample aspect ratio (width, height), where given; both at least 1.
    pub sar: Option<(u16, u16)>,
    /// Colour description, "unspecified" where not given.
    pub colour: ColourFacts,
    /// Frames per second as (numerator, denominator) from the VUI's timing, both at least 1.
    pub frame_rate: Option<(u32, u32)>,
    /// Pictures that may precede another in decode order and follow it in output order; `None` where the VUI
    /// is silent.
    pub max_num_reorder: Option<u32>,
}

impl SpsFacts {
    /// Reads a NAL unit (header byte included, no start code).
    ///
    /// # Errors
    /// [`SpsError`]; a broken VUI is none.
    pub fn parse(nal: &[u8]) -> Result<Self, SpsError> {
        if nal_type(nal) != nal::SPS {
            return Err(SpsError::NotSps);
        }
        let payload = unescape(nal);
        let mut reader = BitReader::new(&payload);
        let (mut facts, vui_follows) = read_fixed_part(&mut reader)?;
        if vui_follows {
            // what was read before a break stays: nothing in the VUI is needed to decode
            let _incomplete = read_vui(&mut reader, &mut facts);
        }
        Ok(facts)
    }

    /// RFC 6381 codec string: `avc1.` and six hexadecimal digits.
    pub fn codec_string(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile_idc, self.constraint_flags, self.level_idc)
    }
}

/// Profiles whose SPS has chroma format, bit depths and scaling lists.
pub(crate) fn has_chroma_fields(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn read_fixed_part(reader: &mut BitReader<'_>) -> Result<(SpsFacts, bool), SpsError> {
    let cut = SpsError::Truncated;
    let profile_idc = reader.byte().ok_or(cut)?;
    let constraint_flags = reader.byte().ok_or(cut)?;
    let level_idc = reader.byte().ok_or(cut)?;
    let id = small(reader.ue().ok_or(cut)?, 31, "seq_parameter_set_id")?;

    let (mut chroma_format_idc, mut separate_planes, mut depth_luma, mut depth_chroma) = (1, false, 8, 8);
    if has_chroma_fields(profile_idc) {
        chroma_format_idc = small(reader.ue().ok_or(cut)?, 3, "chroma_format_idc")?;
        separate_planes = chroma_format_idc == 3 && reader.flag().ok_or(cut)?;
        depth_luma = 8 + small(reader.ue().ok_or(cut)?, 6, "bit_depth_luma_minus8")?;
        depth_chroma = 8 + small(reader.ue().ok_or(cut)?, 6, "bit_depth_chroma_minus8")?;
        reader.flag().ok_or(cut)?; // qpprime_y_zero_transform_bypass_flag
        if reader.flag().ok_or(cut)? {
            skip_scaling_matrix(reader, chroma_format_idc).ok_or(cut)?;
        }
    }
    small(reader.ue().ok_or(cut)?, 12, "log2_max_frame_num_minus4")?;
    match reader.ue().ok_or(cut)? {
        0 => {
            small(reader.ue().ok_or(cut)?, 12, "log2_max_pic_order_cnt_lsb_minus4")?;
        }
        1 => {
            reader.flag().ok_or(cut)?;
            reader.se().ok_or(cut)?;
            reader.se().ok_or(cut)?;
            let cycle = small(reader.ue().ok_or(cut)?, 255, "num_ref_frames_in_pic_order_cnt_cycle")?;
            for _ in 0..cycle {
                reader.se().ok_or(cut)?;
            }
        }
        2 => {}
        _ => return Err(SpsError::OutOfRange("pic_order_cnt_type")),
    }
    let max_num_ref_frames = reader.ue().ok_or(cut)?;
    reader.flag().ok_or(cut)?; // gaps_in_frame_num_value_allowed_flag
    let width_mbs = reader.ue().ok_or(cut)?;
    let height_map_units = reader.ue().ok_or(cut)?;
    let frame_mbs_only = reader.flag().ok_or(cut)?;
    if !frame_mbs_only {
        reader.flag().ok_or(cut)?; // mb_adaptive_frame_field_flag
    }
    reader.flag().ok_or(cut)?; // direct_8x8_inference_flag

    let field_factor = if frame_mbs_only { 1 } else { 2 };
    // cropping counts in chroma samples, and in both fields at once (7-19 to 7-22)
    let (chroma_width, chroma_height) = match chroma_format_idc {
        1 if !separate_planes => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let mut crop = [0u32; 4];
    if reader.flag().ok_or(cut)? {
        for side in &mut crop {
            *side = reader.ue().ok_or(cut)?;
        }
    }
    let [left, right, top, bottom] = crop;
    let width = picture_side(width_mbs, 1, left, right, chroma_width, "picture width")?;
    let height = picture_side(
        height_map_units,
        field_factor,
        top,
        bottom,
        chroma_height * field_factor,
        "picture height",
    )?;
    let facts = SpsFacts {
        profile_idc,
        constraint_flags,
        level_idc,
        id,
        width,
        height,
        bit_depth_luma: depth_luma,
        bit_depth_chroma: depth_chroma,
        chroma_format_idc,
        frame_mbs_only,
        max_num_ref_frames,
        sar: None,
        colour: ColourFacts::default(),
        frame_rate: None,
        max_num_reorder: None,
    };
    Ok((facts, reader.flag().unwrap_or(false)))
}

fn small(value: u32, most: u8, name: &'static str) -> Result<u8, SpsError> {
    u8::try_from(value).ok().filter(|value| *value <= most).ok_or(SpsError::OutOfRange(name))
}

/// Samples along one side: macroblocks minus cropping; at least one, and at most 65535, more than any level
/// allows.
fn picture_side(
    blocks_minus1: u32,
    block_factor: u32,
    crop_before: u32,
    crop_after: u32,
    crop_unit: u32,
    name: &'static str,
) -> Result<u32, SpsError> {
    let coded = (u64::from(blocks_minus1) + 1) * 16 * u64::from(block_factor);
    let cropped = (u64::from(crop_before) + u64::from(crop_after)) * u64::from(crop_unit);
    let side = coded.checked_sub(cropped).filter(|side| (1..=65_535).contains(side));
    side.and_then(|side| u32::try_from(side).ok()).ok_or(SpsError::OutOfRange(name))
}

fn skip_scaling_matrix(reader: &mut BitReader<'_>, chroma_format_idc: u8) -> Option<()> {
    let lists = if chroma_format_idc == 3 { 12 } else { 8 };
    for list in 0..lists {
        if !reader.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + reader.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Annex E.1.1; `None` where it breaks off.
fn read_vui(reader: &mut BitReader<'_>, facts: &mut SpsFacts) -> Option<()> {
    if reader.flag()? {
        facts.sar = match reader.byte()? {
            255 => Some((reader.bits(16)? as u16, reader.bits(16)? as u16)),
            code => SAMPLE_ASPECT_RATIOS.get(usize::from(code)).copied(),
        }
        .filter(|(width, height)| *width > 0 && *height > 0);
    }
    if reader.flag()? {
        reader.flag()?; // overscan_appropriate_flag
    }
    if reader.flag()? {
        reader.bits(3)?; // video_format
        facts.colour.full_range = reader.flag()?;
        if reader.flag()? {
            facts.colour.primaries = reader.byte()?;
            facts.colour.transfer = reader.byte()?;
            facts.colour.matrix = reader.byte()?;
        }
    }
    if reader.flag()? {
        reader.ue()?; // chroma sample location, top field
        reader.ue()?; // and bottom field
    }
    if reader.flag()? {
        let units_in_tick = reader.bits(32)?;
        let ticks_per_second = reader.bits(32)?;
        reader.flag()?; // fixed_frame_rate_flag
        // a tick is a field time (E-37), so a frame lasts two
        facts.frame_rate = units_in_tick
            .checked_mul(2)
            .filter(|_| units_in_tick > 0 && ticks_per_second > 0)
            .map(|frame_ticks| (ticks_per_second, frame_ticks));
    }
    let nal_hrd = reader.flag()?;
    if nal_hrd {
        skip_hrd(reader)?;
    }
    let vcl_hrd = reader.flag()?;
    if vcl_hrd {
        skip_hrd(reader)?;
    }
    if nal_hrd || vcl_hrd {
        reader.flag()?; // low_delay_hrd_flag
    }
    reader.flag()?; // pic_struct_present_flag
    if reader.flag()? {
        reader.flag()?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            reader.ue()?; // max_bytes_per_pic_denom .. log2_max_mv_length_vertical
        }
        facts.max_num_reorder = Some(reader.ue()?).filter(|count| *count <= 16);
    }
    Some(())
}

fn skip_hrd(reader: &mut BitReader<'_>) -> Option<()> {
    let schedules = reader.ue().filter(|count| *count <= 31)? + 1;
    reader.byte()?; // bit_rate_scale, cpb_size_scale
    for _ in 0..schedules {
        reader.ue()?;
        reader.ue()?;
        reader.flag()?;
    }
    reader.bits(20)?; // four delay lengths of five bits
    Some(())
}

/// Table E-1, by `aspect_ratio_idc`; (0, 0) is "unspecified".
const SAMPLE_ASPECT_RATIOS: [(u16, u16); 17] = [
    (0, 0),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
