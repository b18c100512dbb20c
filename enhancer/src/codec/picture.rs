//! One picture in memory: 8-bit planar 4:2:0, as the decoder gives it and the encoder takes it.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::{ffi, frame};

use crate::EnhanceError;

/// A picture with its planes. Cheap to move between threads, never copied by this type.
pub(crate) struct Picture(pub(super) frame::Video);

/// A view of one plane: `rows` of `width` samples, `stride` bytes apart.
#[derive(Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// A plane to write to.
pub(crate) struct PlaneMut<'a> {
    pub(crate) data: &'a mut [u8],
    pub(crate) stride: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Picture {
    /// A picture with undefined contents.
    pub(crate) fn new(width: u32, height: u32) -> Result<Self, EnhanceError> {
        let video = frame::Video::new(Pixel::YUV420P, width, height);
        let picture = Self(video);
        if picture.is_allocated() {
            Ok(picture)
        } else {
            Err(EnhanceError::Codec {
                stage: "scale",
                message: format!("no memory for a {width}x{height} picture"),
            })
        }
    }

    /// A black picture (limited range).
    pub(crate) fn black(width: u32, height: u32) -> Result<Self, EnhanceError> {
        let mut picture = Self::new(width, height)?;
        for (index, value) in [(0, 16), (1, 128), (2, 128)] {
            picture.plane_mut(index).data.fill(value);
        }
        Ok(picture)
    }

    pub(crate) fn width(&self) -> u32 {
        self.0.width()
    }

    pub(crate) fn height(&self) -> u32 {
        self.0.height()
    }

    /// Whether it was coded without reference to others, where a decoder made it.
    pub(crate) fn is_key(&self) -> bool {
        self.0.is_key()
    }

    /// Whether the planes are 8-bit 4:2:0, the only layout the frame path takes.
    pub(crate) fn is_planar_420(&self) -> bool {
        matches!(self.0.format(), Pixel::YUV420P | Pixel::YUVJ420P) && self.is_allocated()
    }

    fn is_allocated(&self) -> bool {
        // SAFETY: the frame is live for as long as `self`; `data` is a plain array of pointers that is read, not followed.
        unsafe { (*self.0.as_ptr()).data.iter().take(3).all(|plane| !plane.is_null()) }
    }

    /// Whether nobody else refers to the planes, so that they may be overwritten.
    pub(crate) fn is_writable(&mut self) -> bool {
        // SAFETY: the frame is live; the call looks at reference counts only.
        unsafe { ffi::av_frame_is_writable(self.0.as_mut_ptr()) == 1 }
    }

    /// Plane 0 is luma, 1 and 2 are chroma.
    pub(crate) fn plane(&self, index: usize) -> Plane<'_> {
        let (width, height) = self.plane_size(index);
        Plane { data: self.0.data(index), stride: self.0.stride(index), width, height }
    }

    /// Plane 0 is luma, 1 and 2 are chroma.
    pub(crate) fn plane_mut(&mut self, index: usize) -> PlaneMut<'_> {
        let (width, height) = self.plane_size(index);
        let stride = self.0.stride(index);
        PlaneMut { data: self.0.data_mut(index), stride, width, height }
    }

    fn plane_size(&self, index: usize) -> (usize, usize) {
        (self.0.plane_width(index) as usize, self.0.plane_height(index) as usize)
    }
}
