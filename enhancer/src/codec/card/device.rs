//! A card as FFmpeg knows it: one context of the driver's, which all decoders and encoders on it share. Each would make one of its own
//! otherwise, which takes a tenth of a second and a hundred megabytes of the card's memory.

use std::ffi::CString;
use std::ptr;

use ffmpeg_next::ffi;

/// A reference to the context; the last one closes it.
pub(super) struct Device(*mut ffi::AVBufferRef);

// SAFETY: the buffer's count of references is atomic, and what it refers to is not changed once it was made; CUDA's contexts may be
// used from any thread, which FFmpeg does under its own push and pop.
unsafe impl Send for Device {}
// SAFETY: as above; the only thing done through a shared reference is to add a reference.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the card with this number of CUDA's. Gives the library's words where there is none.
    pub(super) fn open(number: u32) -> Result<Self, String> {
        let name = CString::new(number.to_string()).map_err(|error| error.to_string())?;
        let mut device = ptr::null_mut();
        // SAFETY: `device` is written to where this succeeds; the name is a string that lives during the call, and no options are passed.
        let result = unsafe {
            ffi::av_hwdevice_ctx_create(
                &raw mut device,
                ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA,
                name.as_ptr(),
                ptr::null_mut(),
                0,
            )
        };
        if result < 0 || device.is_null() {
            return Err(format!("no driver, or no such card: {}", ffmpeg_next::Error::from(result)));
        }
        Ok(Self(device))
    }

    /// Has a codec that is not open yet use this card.
    ///
    /// # Safety
    /// `context` is live, and was not opened.
    pub(super) unsafe fn attach(&self, context: *mut ffi::AVCodecContext) {
        // SAFETY: this reference is live; the new one is the context's, which frees it.
        unsafe { (*context).hw_device_ctx = ffi::av_buffer_ref(self.0) };
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: it was made in `open`, and nobody uses this reference any more.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) };
    }
}
