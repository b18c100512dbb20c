//! The ways in which an origin can fail a proxy, as values.

use std::time::Duration;

use bytes::Bytes;

/// What a path does instead of answering well.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers well, but its head comes only after this long.
    Latency(Duration),
    /// Answers this status with a short text.
    Status(u16),
    /// Promises the whole length, sends this many bytes and closes the connection.
    CutConnection {
        /// Bytes sent before the cut.
        after_bytes: usize,
    },
    /// A complete answer of a file that is itself cut short, as a packager that died leaves it.
    Truncated {
        /// Bytes the file has left.
        keep_bytes: usize,
    },
    /// Bytes turned over at regular places, as a bad disk or a bad cable does it.
    Corrupt {
        /// The first byte that may be wrong; what is before stays readable.
        from_byte: usize,
        /// Distance between wrong bytes.
        every_bytes: usize,
    },
    /// Sends the head and some bytes, then nothing for a while, then the rest.
    Stall {
        /// Bytes sent before the pause.
        after_bytes: usize,
        /// How long nothing comes.
        pause: Duration,
    },
}

impl Fault {
    /// The body this fault makes of a good one; timing faults leave it alone.
    pub(crate) fn spoil(&self, body: Bytes) -> Bytes {
        match *self {
            Self::Truncated { keep_bytes } => body.slice(..keep_bytes.min(body.len())),
            Self::Corrupt { from_byte, every_bytes } => {
                let mut bytes = body.to_vec();
                for byte in bytes.iter_mut().skip(from_byte).step_by(every_bytes.max(1)) {
                    *byte ^= 0xA5;
                }
                bytes.into()
            }
            _ => body,
        }
    }
}
