//! One object being made: why, by when, and the small questions that its making asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::Config;
use acuity_enhancer::{FallbackReason, Haste, MadeBy, Report};
use acuity_playlist::RenditionToken;
use acuity_playlist::media::MediaPlaylist;
use bytes::Bytes;

use super::Made;
use super::waiting::{Ask, Party};
use crate::cache::flight::{Early, FlightError, Urgency};
use crate::cache::purge::Making;
use crate::cache::store::{MP4, TRANSPORT_STREAM};
use crate::crypt::SegmentCipher;
use crate::deadline::{self, Hurry};
use crate::playlists::target_duration;
use crate::rescue::Trouble;
use crate::wanted::Wanted;

/// Why an object is made.
#[derive(Debug, Clone)]
pub(super) enum Reason {
    /// A player asked.
    Viewer(Viewer),
    /// A player got a segment at this time that begins so much before it; `fills`: with it the player has just started; `is_nodes`: it did so
    /// at another node.
    Ahead { asked: Instant, media: Duration, fills: bool, is_nodes: bool },
    /// What is there is less than was promised, and nobody waits for anything.
    Improve,
}

/// A player that asks.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    /// When.
    pub(crate) asked: Instant,
    /// In what a hurry it is.
    pub(crate) hurry: Hurry,
    /// What is known of the segments before and does not show here.
    pub(crate) told: Option<Told>,
}

/// What is known of an object where its viewers are, when that is at another node or when a part of it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// No viewer has been at the segments before.
    pub(crate) is_first: bool,
    /// How many will come, as far as the segments before tell.
    pub(crate) audience: u32,
    /// What has made its begin, which has been sent: it is made by the same again, so that the same bytes come of it.
    pub(crate) again_by: Option<Arc<str>>,
    /// It is for another node, whose viewers wait there.
    pub(crate) is_nodes: bool,
}

impl Reason {
    /// Whether it is for another node's viewers.
    pub(super) fn is_nodes(&self) -> bool {
        match self {
            Self::Viewer(viewer) => viewer.told.as_ref().is_some_and(|told| told.is_nodes),
            Self::Ahead { is_nodes, .. } => *is_nodes,
            Self::Improve => false,
        }
    }

    /// What is known where the viewers are.
    pub(super) fn told(&self) -> Option<&Told> {
        match self {
            Self::Viewer(viewer) => viewer.told.as_ref(),
            Self::Ahead { .. } | Self::Improve => None,
        }
    }
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
    /// Something older is kept in its place, which it is made instead of.
    pub(super) replaces: bool,
    /// What a purge knows of it.
    pub(super) making: &'a Making,
    /// Nothing is to be enhanced on this route.
    pub(super) is_stopped: bool,
    /// Its player can read the source's segment in its place.
    pub(super) can_be_the_sources: bool,
}

impl Reason {
    /// When the result stops being useful; `None`: never. `is_start`: a player starts or seeks here.
    pub(super) fn deadline(
        &self,
        config: &Config,
        playlist: &MediaPlaylist,
        is_start: bool,
    ) -> Option<Instant> {
        let policy = &config.enhancer.deadline;
        match self {
            Self::Viewer(Viewer { asked, hurry, .. }) => {
                let hurry = Hurry { urgent: hurry.urgent || is_start, ..*hurry };
                Some(*asked + deadline::for_viewer(policy, target_of(playlist), hurry))
            }
            Self::Ahead { asked, media, fills, .. } => {
                Some(*asked + deadline::for_ahead(policy, *media, *fills))
            }
            Self::Improve => None,
        }
    }
}

impl Job<'_> {
    /// See [`Reason::deadline`].
    pub(super) fn deadline(&self, config: &Config, is_start: bool) -> Option<Instant> {
        self.reason.deadline(config, self.playlist, is_start)
    }

    /// What those who have come by now want: the nearest deadline, and whether one of them looks at a spinner. `None`: nobody has.
    pub(super) fn asked_for(&self, config: &Config) -> Option<(Instant, Haste)> {
        let policy = &config.enhancer.deadline;
        let (_, asks) = self.party.asks();
        let by = |ask: &Ask| ask.asked + deadline::for_viewer(policy, target_of(self.playlist), ask.hurry);
        let deadline = asks.iter().map(by).min()?;
        Some((deadline, haste(asks.iter().any(|ask| ask.hurry.urgent))))
    }
}

/// What deadlines count from, also where a playlist says nothing.
pub(super) fn target_of(playlist: &MediaPlaylist) -> Duration {
    target_duration(playlist).unwrap_or(Duration::from_secs(4))
}

/// What the enhancer is told of it.
pub(super) fn haste(is_start: bool) -> Haste {
    if is_start { Haste::Start } else { Haste::Steady }
}

/// What made a segment, in a word.
pub(super) fn made_by(report: &Report) -> Arc<str> {
    report.made_by_what().into()
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
