//! How the C library hands out memory.
//!
//! Pictures, bit streams and tensors of many sizes come and go on a dozen threads for each segment. glibc gives every thread an arena
//! of its own and keeps what was freed in it: with eight live streams 93 MiB a stream after forty seconds, and growing. With two arenas it
//! is 31 MiB then. (With large blocks given back to the system as well it would be 16, for page faults with every picture.)
//!
//! It is no codec's business; it stands here because this room is fenced for `unsafe`.

use std::ffi::c_int;

/// Of glibc's malloc.h.
const M_ARENA_MAX: c_int = -8;

const ARENAS: c_int = 2;

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
}

/// Bounds what is kept of freed memory, for the whole process: FFmpeg, x264 and ONNX Runtime allocate through the same library.
/// Does nothing where the library is another.
pub(crate) fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and may be called at any time; it tells by 0 that it did nothing.
    if unsafe { mallopt(M_ARENA_MAX, ARENAS) } == 0 {
        tracing::warn!("the C library's arenas could not be bounded");
    }
}
