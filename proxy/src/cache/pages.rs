//! Memory that is kept for long, in pages of its own.
//!
//! Finished segments live for minutes among buffers that live for milliseconds. On the common heap each holds up the giving back of what
//! was freed around it, and carries along what its buffer had grown too far; with eight live streams that was 30 MiB more a minute. In pages of
//! its own a segment takes what it weighs, and all of it is given back when it is evicted.

use bytes::Bytes;
use memmap2::MmapMut;

/// Smaller objects stay on the heap: a page is 4 KiB, and the kernel counts mappings (65,530 by default).
const WORTH_PAGES: usize = 64 << 10;

/// The same bytes in memory of exactly their size, if they are many; where the system has no pages to give, as they are.
#[must_use]
pub fn settle(bytes: Bytes) -> Bytes {
    if bytes.len() < WORTH_PAGES {
        // A slice would keep what it was cut from.
        return Bytes::copy_from_slice(&bytes);
    }
    match MmapMut::map_anon(bytes.len()) {
        Ok(mut pages) => {
            pages.copy_from_slice(&bytes);
            Bytes::from_owner(pages)
        }
        Err(_) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_same_wherever_they_lie() {
        for length in [0, 1, WORTH_PAGES - 1, WORTH_PAGES, 3 * WORTH_PAGES + 17] {
            let bytes: Bytes = (0..length).map(|at| (at % 251) as u8).collect();
            let settled = settle(bytes.clone());
            assert_eq!(settled, bytes);
            assert!(length == 0 || settled.as_ptr() != bytes.as_ptr());
            assert_eq!(settled.slice(length / 2..), bytes.slice(length / 2..));
        }
    }
}
