//! Checked big-endian reads. Every offset in a container was written by a stranger, so nothing here indexes:
//! a read past the end is `None`, and the caller says what was wrong and where.

/// `N` bytes at `at`.
pub(crate) fn array_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// One byte.
pub(crate) fn u8_at(data: &[u8], at: usize) -> Option<u8> {
    data.get(at).copied()
}

/// Two bytes.
pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    array_at(data, at).map(u16::from_be_bytes)
}

/// Three bytes.
pub(crate) fn u24_at(data: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = array_at(data, at)?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// Four bytes.
pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    array_at(data, at).map(u32::from_be_bytes)
}

/// Eight bytes.
pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    array_at(data, at).map(u64::from_be_bytes)
}

/// Overwrites bytes at `at`; `None` (and nothing written) where they do not fit.
pub(crate) fn put(data: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    data.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}
