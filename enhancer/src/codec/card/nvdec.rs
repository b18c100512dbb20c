//! H.264 access units to pictures by the card, through FFmpeg's `h264_cuvid`.
//!
//! Pictures come back into the machine's memory, because chroma is scaled there, and most lanes' encoders are there as well. They come
//! with both chroma planes in one, sample by sample, and are taken apart here.

use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Error, Packet, ffi, frame};

use super::super::{Picture, failed};
use super::device::Device;
use crate::EnhanceError;

const NAME: &str = "h264_cuvid";

/// One segment's decoder.
pub(in crate::codec) struct CardDecoder {
    decoder: decoder::Video,
    /// Access units that a rehearsal takes before it fails.
    #[cfg(test)]
    left: Option<usize>,
}

impl CardDecoder {
    pub(super) fn open(device: &Device) -> Result<Self, EnhanceError> {
        let codec = decoder::find_by_name(NAME)
            .ok_or(EnhanceError::Codec { stage: "decode", message: format!("this FFmpeg has no {NAME}") })?;
        let mut context = codec::Context::new_with_codec(codec);
        // SAFETY: the context is live and not open; the function matches the field's type and needs nothing that could go away.
        unsafe {
            let context = context.as_mut_ptr();
            device.attach(context);
            (*context).get_format = Some(in_memory);
        }
        let opened =
            context.decoder().open_as(codec).and_then(decoder::Opened::video).map_err(failed("decode"))?;
        Ok(Self {
            decoder: opened,
            #[cfg(test)]
            left: None,
        })
    }

    /// The processor's decoder in a card's place, which fails after so many access units.
    #[cfg(test)]
    pub(super) fn rehearsed(access_units: usize) -> Result<Self, EnhanceError> {
        let codec = decoder::find(codec::Id::H264).ok_or(EnhanceError::WorkerLost)?;
        let opened = codec::Context::new_with_codec(codec).decoder().open_as(codec);
        let opened = opened.and_then(decoder::Opened::video).map_err(failed("decode"))?;
        Ok(Self { decoder: opened, left: Some(access_units) })
    }

    /// As [`super::super::Decoder::push`], but a failure is told: the stream may be sound, and the card gone.
    pub(in crate::codec) fn push(
        &mut self,
        annex_b: &[u8],
        pts: i64,
        emit: &mut dyn FnMut(i64, Picture),
    ) -> Result<(), EnhanceError> {
        #[cfg(test)]
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(EnhanceError::WorkerLost)?;
        }
        let mut packet = Packet::copy(annex_b);
        packet.set_pts(Some(pts));
        self.decoder.send_packet(&packet).map_err(failed("decode"))?;
        self.receive(emit)
    }

    /// Gives what the decoder still holds.
    pub(in crate::codec) fn drain(&mut self, emit: &mut dyn FnMut(i64, Picture)) -> Result<(), EnhanceError> {
        self.decoder.send_eof().map_err(failed("decode"))?;
        self.receive(emit)
    }

    fn receive(&mut self, emit: &mut dyn FnMut(i64, Picture)) -> Result<(), EnhanceError> {
        loop {
            let mut video = frame::Video::empty();
            match self.decoder.receive_frame(&mut video) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: ffmpeg_next::util::error::EAGAIN }) => return Ok(()),
                Err(error) => return Err(failed("decode")(error)),
            }
            if let Some(pts) = video.pts() {
                emit(pts, planar(&video)?);
            }
        }
    }
}

/// Chooses pictures in the machine's memory among what the decoder offers; with a device attached FFmpeg's own choice is the card's.
///
/// # Safety
/// FFmpeg calls it with a list that ends with `AV_PIX_FMT_NONE`.
unsafe extern "C" fn in_memory(
    _: *mut ffi::AVCodecContext,
    offered: *const ffi::AVPixelFormat,
) -> ffi::AVPixelFormat {
    let mut place = offered;
    // SAFETY: nothing beyond the list's end is read.
    unsafe {
        while *place != ffi::AVPixelFormat::AV_PIX_FMT_NONE {
            if *place == ffi::AVPixelFormat::AV_PIX_FMT_NV12 {
                break;
            }
            place = place.add(1);
        }
        *place
    }
}

/// A picture with three planes of one with two. What is of no such kind stays what it is, and is not taken further on.
pub(super) fn planar(from: &frame::Video) -> Result<Picture, EnhanceError> {
    if from.format() != Pixel::NV12 {
        return Ok(Picture(from.clone()));
    }
    let mut to = Picture::new(from.width(), from.height())?;
    // SAFETY: both frames are live; times, kind and colours are copied, no planes.
    unsafe { ffi::av_frame_copy_props(to.0.as_mut_ptr(), from.as_ptr()) };
    let luma = to.plane_mut(0);
    let lines = from.data(0).chunks(from.stride(0).max(1)).zip(luma.data.chunks_mut(luma.stride.max(1)));
    for (from, to) in lines.take(luma.height) {
        if let (Some(from), Some(to)) = (from.get(..luma.width), to.get_mut(..luma.width)) {
            to.copy_from_slice(from);
        }
    }
    for (plane, first) in [(1, 0), (2, 1)] {
        let chroma = to.plane_mut(plane);
        let lines =
            from.data(1).chunks(from.stride(1).max(1)).zip(chroma.data.chunks_mut(chroma.stride.max(1)));
        for (from, to) in lines.take(chroma.height) {
            let samples = from.iter().skip(first).step_by(2);
            to.iter_mut().take(chroma.width).zip(samples).for_each(|(to, from)| *to = *from);
        }
    }
    Ok(to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn chroma_is_taken_apart() {
        let mut both = frame::Video::new(Pixel::NV12, 6, 4);
        for (plane, value) in [(0, 0_u8), (1, 100)] {
            let stride = both.stride(plane);
            for (place, sample) in both.data_mut(plane).iter_mut().enumerate() {
                *sample = value + (place / stride * 10 + place % stride) as u8;
            }
        }
        both.set_pts(Some(-7));
        let made = planar(&both).unwrap();
        assert!(made.is_planar_420() && made.0.pts() == Some(-7));
        let rows = |plane: usize| {
            let plane = made.plane(plane);
            plane.data.chunks(plane.stride).map(|line| line[..plane.width].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(rows(0)[3], [30, 31, 32, 33, 34, 35]);
        assert_eq!(
            (&rows(1)[..2], &rows(2)[..2]),
            (
                &[vec![100, 102, 104], vec![110, 112, 114]][..],
                &[vec![101, 103, 105], vec![111, 113, 115]][..]
            )
        );
    }
}
