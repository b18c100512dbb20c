//! libswscale: chroma beside a network's luma, and whole pictures where no network runs.

use std::ptr;

use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;

use super::{Picture, Plane, PlaneMut};
use crate::EnhanceError;

/// Bicubic with libswscale's own defaults: the baseline that everybody's transcoder uses.
const FLAGS: i32 = ffi::SWS_BICUBIC;

/// A scaling context for one pair of sizes. Re-made when the source's size changes.
struct Context {
    raw: *mut ffi::SwsContext,
    format: Pixel,
    from: (u32, u32),
    to: (u32, u32),
}

// SAFETY: a context is plain memory without thread affinity; it is used by one owner at a time.
unsafe impl Send for Context {}

impl Context {
    fn new(format: Pixel, from: (u32, u32), to: (u32, u32), flags: i32) -> Result<Self, EnhanceError> {
        let size = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        // SAFETY: null filters and parameters mean defaults; the result is checked before use.
        let raw = unsafe {
            ffi::sws_getContext(
                size(from.0),
                size(from.1),
                format.into(),
                size(to.0),
                size(to.1),
                format.into(),
                flags,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if raw.is_null() {
            return Err(EnhanceError::Codec {
                stage: "scale",
                message: format!("no scaler from {}x{} to {}x{}", from.0, from.1, to.0, to.1),
            });
        }
        Ok(Self { raw, format, from, to })
    }

    /// The context in `slot`, re-made if it is for other sizes.
    fn for_sizes(
        slot: &mut Option<Self>,
        format: Pixel,
        from: (u32, u32),
        to: (u32, u32),
        flags: i32,
    ) -> Result<&mut Self, EnhanceError> {
        let fits = slot.as_ref().is_some_and(|c| c.format == format && c.from == from && c.to == to);
        if !fits {
            *slot = None;
        }
        match slot {
            Some(context) => Ok(context),
            None => Ok(slot.insert(Self::new(format, from, to, flags)?)),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `raw` came from sws_getContext and is freed once.
        unsafe { ffi::sws_freeContext(self.raw) }
    }
}

/// Scales both chroma planes of a picture and leaves luma alone.
#[derive(Default)]
pub(crate) struct ChromaScaler(Option<Context>);

impl ChromaScaler {
    /// Writes planes 1 and 2 of `to` from those of `from`.
    pub(crate) fn scale(&mut self, from: &Picture, to: &mut Picture) -> Result<(), EnhanceError> {
        for index in [1, 2] {
            scale_plane(&mut self.0, from.plane(index), to.plane_mut(index), FLAGS)?;
        }
        Ok(())
    }
}

/// Scales single planes of luma with one kernel: what networks are measured against.
pub(crate) struct LumaScaler {
    context: Option<Context>,
    flags: i32,
}

impl LumaScaler {
    /// The kernel of [`PlainScaler`].
    pub(crate) fn bicubic() -> Self {
        Self { context: None, flags: FLAGS }
    }

    /// A sharper one.
    pub(crate) fn lanczos() -> Self {
        Self { context: None, flags: ffi::SWS_LANCZOS }
    }

    /// Fills `to` from `from`.
    pub(crate) fn scale(&mut self, from: Plane<'_>, to: PlaneMut<'_>) -> Result<(), EnhanceError> {
        scale_plane(&mut self.context, from, to, self.flags)
    }
}

/// Fills `target` from `source`, one plane of 8-bit samples; both have the same range, so no value is stretched.
fn scale_plane(
    slot: &mut Option<Context>,
    source: Plane<'_>,
    target: PlaneMut<'_>,
    flags: i32,
) -> Result<(), EnhanceError> {
    let size = |w: usize, h: usize| (w as u32, h as u32);
    let context = Context::for_sizes(
        slot,
        Pixel::GRAY8,
        size(source.width, source.height),
        size(target.width, target.height),
        flags,
    )?;
    let source_planes = [source.data.as_ptr(), ptr::null(), ptr::null(), ptr::null()];
    let source_strides = [stride(source.stride), 0, 0, 0];
    let target_planes = [target.data.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
    let target_strides = [stride(target.stride), 0, 0, 0];
    // SAFETY: the context was made for exactly these plane sizes; each slice spans height x stride bytes of
    // a live plane, and GRAY8 makes the scaler touch the first plane only.
    unsafe {
        ffi::sws_scale(
            context.raw,
            source_planes.as_ptr(),
            source_strides.as_ptr(),
            0,
            source.height as i32,
            target_planes.as_ptr(),
            target_strides.as_ptr(),
        );
    }
    Ok(())
}

/// Scales whole pictures: the baseline, and the last rung before held pictures.
#[derive(Default)]
pub(crate) struct PlainScaler(Option<Context>);

impl PlainScaler {
    /// Fills `to` from `from`.
    pub(crate) fn scale(&mut self, from: &Picture, to: &mut Picture) -> Result<(), EnhanceError> {
        // YUVJ420P is YUV420P by another name (full range); naming both sides alike keeps the range as it is.
        let context = Context::for_sizes(
            &mut self.0,
            Pixel::YUV420P,
            (from.width(), from.height()),
            (to.width(), to.height()),
            FLAGS,
        )?;
        // SAFETY: both frames are live 4:2:0 pictures of the sizes the context was made for.
        unsafe {
            let (source, target) = (from.0.as_ptr(), to.0.as_mut_ptr());
            ffi::sws_scale(
                context.raw,
                (*source).data.as_ptr().cast(),
                (*source).linesize.as_ptr(),
                0,
                from.height() as i32,
                (*target).data.as_ptr(),
                (*target).linesize.as_ptr(),
            );
        }
        Ok(())
    }
}

fn stride(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
