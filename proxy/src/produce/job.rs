//! One object being made: why, by when, and the small questions that its making asks.

use std::time::{Duration, Instant};

use acuity_config::Config;
use acuity_enhancer::{FallbackReason, Haste, MadeBy, Report};
use bytes::Bytes;

use super::Made;
use super::waiting::{Ask, Party};
use crate::cache::flight::{Early, FlightError, Urgency};
use crate::crypt::SegmentCipher;
use crate::deadline::{self, Hurry};
use crate::hls::RenditionToken;
use crate::hls::media::MediaPlaylist;
use crate::playlists::target_duration;
use crate::rescue::Trouble;
use crate::wanted::Wanted;

/// Why an object is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reason {
    /// A player asked at this time.
    Viewer { asked: Instant, hurry: Hurry },
    /// A player got a segment at this time that begins so much before it; `fills`: with it the player has just started.
    Ahead { asked: Instant, media: Duration, fills: bool },
    /// What is there is less than was promised, and nobody waits for anything.
    Improve,
}

/// One object being made.
pub(super) struct Job<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) reason: Reason,
    pub(super) urgency: &'a Urgency,
    /// Where its begin is shown before its end is there.
    pub(super) early: Early<Made>,
    pub(super) playlist: &'a MediaPlaylist,
    pub(super) started: Instant,
    /// Who waits for it.
    pub(super) party: &'a Party,
}

impl Job<'_> {
    /// When the result stops being useful; `None`: never. `is_start`: a player starts or seeks here.
    pub(super) fn deadline(&self, config: &Config, is_start: bool) -> Option<Instant> {
        let policy = &config.enhancer.deadline;
        match self.reason {
            Reason::Viewer { asked, hurry } => {
                let hurry = Hurry { urgent: hurry.urgent || is_start, ..hurry };
                Some(asked + deadline::for_viewer(policy, self.target(), hurry))
            }
            Reason::Ahead { asked, media, fills } => Some(asked + deadline::for_ahead(policy, media, fills)),
            Reason::Improve => None,
        }
    }

    fn target(&self) -> Duration {
        target_duration(self.playlist).unwrap_or(Duration::from_secs(4))
    }

    /// What those who have come by now want: the nearest deadline, and whether one of them looks at a spinner. `None`: nobody has.
    pub(super) fn asked_for(&self, config: &Config) -> Option<(Instant, Haste)> {
        let policy = &config.enhancer.deadline;
        let (_, asks) = self.party.asks();
        let by = |ask: &Ask| ask.asked + deadline::for_viewer(policy, self.target(), ask.hurry);
        let deadline = asks.iter().map(by).min()?;
        Some((deadline, haste(asks.iter().any(|ask| ask.hurry.urgent))))
    }
}

/// What the enhancer is told of it.
pub(super) fn haste(is_start: bool) -> Haste {
    if is_start { Haste::Start } else { Haste::Steady }
}

/// Whether another try, with more time, may give what `token` promises.
pub(super) fn is_improvable(report: &Report, token: &RenditionToken) -> bool {
    match report.fallback {
        Some(FallbackReason::DeadlineShort | FallbackReason::ModelFailed) => true,
        // The table of remedies asked for the plain scaler.
        None => report.made_by == MadeBy::Plain && !token.is_plain(),
        Some(_) => false,
    }
}

/// `made_by` of objects that are the source's bytes.
pub const SOURCE: &str = "source";
pub(super) const MP4: &str = "video/mp4";
const TRANSPORT_STREAM: &str = "video/mp2t";

pub(super) fn content_type(has_init: bool, clear: &[u8]) -> &'static str {
    let is_box = matches!(clear.get(4..8), Some(b"ftyp" | b"styp" | b"moof" | b"sidx" | b"emsg" | b"prft"));
    if has_init || is_box { MP4 } else { TRANSPORT_STREAM }
}

/// Encrypts what was encrypted.
pub(super) async fn seal(cipher: Option<SegmentCipher>, clear: Bytes) -> Result<Bytes, Trouble> {
    let Some(cipher) = cipher else { return Ok(clear) };
    let sealed = tokio::task::spawn_blocking(move || cipher.encrypt(&clear)).await;
    sealed.map_err(|_| Trouble::Flight(FlightError::Lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_known_by_their_first_box() {
        assert_eq!(content_type(true, b""), MP4);
        assert_eq!(content_type(false, b"\0\0\0\x18stypmsdh"), MP4);
        assert_eq!(content_type(false, &[0x47; 188]), TRANSPORT_STREAM);
        assert_eq!(content_type(false, b""), TRANSPORT_STREAM);
    }
}
