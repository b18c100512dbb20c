//! Where in the frames of HTTP/2 (RFC 9113, 4.1) a client is: whether a list of header fields has begun that has not ended.
//!
//! Nothing is decoded, and nothing is judged: what is wrong with a frame, the library that reads it says.

/// What a connection begins with (3.4).
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Of a list of header fields, after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// There is none that has not ended.
    None,
    /// One began within these bytes and has not ended.
    Began,
    /// One began before them and has not ended; the preface and the first frame's head count as one.
    Go,
}

/// The place in a stream of frames.
#[derive(Debug)]
pub struct Frames {
    fields: Fields,
    /// Bytes that are passed over: the preface, or a frame's payload.
    skip: usize,
    /// Whether a list of fields ends with these.
    ends: bool,
    /// The head that comes then.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { fields: Fields::Go, skip: PREFACE_BYTES, ends: false, head: [0; HEAD_BYTES], head_bytes: 0 }
    }
}

impl Frames {
    /// These bytes have come.
    pub fn read(&mut self, mut bytes: &[u8]) -> Fields {
        if self.fields == Fields::Began {
            self.fields = Fields::Go;
        }
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            self.passed();
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == HEAD_BYTES {
                self.head_bytes = 0;
                self.begin();
            }
        }
        self.fields
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            HEADERS => (self.fields, self.ends) = (Fields::Began, flags & END_HEADERS != 0),
            CONTINUATION => self.ends = flags & END_HEADERS != 0,
            // what is to come first (3.4); between the frames of a list there can be no other
            SETTINGS => self.fields = Fields::None,
            _ => {}
        }
        // one without a payload is over
        self.passed();
    }

    fn passed(&mut self) {
        if self.skip == 0 && self.ends {
            (self.fields, self.ends) = (Fields::None, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn opened() -> Frames {
        let mut frames = Frames::default();
        assert_eq!(frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Fields::Go);
        assert_eq!(frames.read(&frame(SETTINGS, 0, &[])), Fields::None);
        frames
    }

    #[test]
    fn fields_end_where_the_last_frame_of_them_does() {
        let mut frames = opened();
        let whole = frame(HEADERS, END_HEADERS, b"fields");
        for end in 1..whole.len() {
            let mut frames = opened();
            let expected = if end >= HEAD_BYTES { Fields::Began } else { Fields::None };
            assert_eq!(frames.read(&whole[..end]), expected, "after {end} bytes");
            assert_eq!(frames.read(&whole[end..]), Fields::None);
        }
        assert_eq!(frames.read(&frame(HEADERS, 0, b"some")), Fields::Began);
        assert_eq!(frames.read(&frame(CONTINUATION, 0, b"")), Fields::Go);
        assert_eq!(frames.read(&frame(CONTINUATION, END_HEADERS, b"")), Fields::None);
        // one after the other, each of which ends in the bytes that another begins in
        let begun = &whole[..HEAD_BYTES + 2];
        assert_eq!(frames.read(begun), Fields::Began);
        assert_eq!(frames.read(&[&whole[HEAD_BYTES + 2..], begun].concat()), Fields::Began);
        assert_eq!(frames.read(b"f"), Fields::Go);
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_place_is_the_same(
            list in proptest::collection::vec((0_u8..10, any::<u8>(), 0_usize..40), 1..12),
            pieces in proptest::collection::vec(1_usize..30, 1..40),
        ) {
            let bytes: Vec<u8> =
                list.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, &vec![0xff; *length])).collect();
            let (mut whole, mut parts, mut rest) = (opened(), opened(), bytes.as_slice());
            let at_once = whole.read(&bytes);
            let mut by_parts = Fields::None;
            for piece in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                by_parts = parts.read(now);
                rest = later;
            }
            prop_assert_eq!(at_once == Fields::None, by_parts == Fields::None);
            // what follows is read as frames, not as their insides
            parts.read(&frame(HEADERS, END_HEADERS, b"last"));
            prop_assert_eq!(parts.read(&frame(DATA, 0, b"body")), Fields::None);
        }
    }
}
