//! Why a variant is not the source of an enhanced rendition: one word for the metric and the log.

use acuity_playlist::Obstacle;

/// A reason, bounded: every label is known at build time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The media playlist's text stands against it.
    Playlist(Obstacle),
    /// CODECS or the probe tell another video codec.
    NotH264,
    /// There is no video in it.
    NoVideo,
    /// HDR.
    NotSdr,
    /// More than 8 bits.
    BitDepth,
    /// Not 4:2:0.
    Chroma,
    /// Fields, not frames.
    Interlaced,
    /// Stereo or projected video.
    VideoLayout,
    /// Its VIDEO group has other angles.
    VideoGroup,
    /// More lines than the route takes sources of.
    TooManyLines,
    /// More pixels, bytes or frames than the enhancer takes.
    TooLarge,
    /// A segment of it lasts longer than the enhancer takes.
    SegmentTooLong,
    /// Neither the stream nor the playlist tells the frame rate.
    FrameRateUnknown,
    /// Its frame rate is none that the route multiplies.
    FrameRate,
    /// The probed segment is encrypted although the playlist does not say so, or its key could not be had.
    Encrypted,
    /// The probed segment does not open on an IDR, nor do its like.
    OpensMidGop,
    /// The probed segment cannot be read.
    SegmentUnreadable,
    /// The media playlist's URI cannot be read, or leads into the edge's reserved paths.
    PlaylistUnreadable,
    /// The media playlist is on no configured origin.
    PlaylistForeign,
    /// What came instead of a media playlist is none.
    NotAPlaylist,
    /// The origin did not give what the probe asked for.
    OriginFailed,
    /// The probe was not ready in time; it goes on behind.
    ProbeTimeout,
    /// The client has as much looked into at one time as it may.
    ClientLimit,
    /// More candidates than are probed.
    TooManyCandidates,
    /// Another source reaches the same resolution better.
    Outranked,
    /// No model is there for cluster and scale.
    NoModel,
    /// A value does not fit in a rendition token (size, rate, or a URL that is too long).
    TokenBounds,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 26 + Obstacle::ALL.len()] = {
        let mut all = [Self::NotH264; 26 + Obstacle::ALL.len()];
        let own = [
            Self::NotH264,
            Self::NoVideo,
            Self::NotSdr,
            Self::BitDepth,
            Self::Chroma,
            Self::Interlaced,
            Self::VideoLayout,
            Self::VideoGroup,
            Self::TooManyLines,
            Self::TooLarge,
            Self::SegmentTooLong,
            Self::FrameRateUnknown,
            Self::FrameRate,
            Self::Encrypted,
            Self::OpensMidGop,
            Self::SegmentUnreadable,
            Self::PlaylistUnreadable,
            Self::PlaylistForeign,
            Self::NotAPlaylist,
            Self::OriginFailed,
            Self::ProbeTimeout,
            Self::ClientLimit,
            Self::TooManyCandidates,
            Self::Outranked,
            Self::NoModel,
            Self::TokenBounds,
        ];
        let mut index = 0;
        while index < own.len() {
            all[index] = own[index];
            index += 1;
        }
        while index < all.len() {
            all[index] = Self::Playlist(Obstacle::ALL[index - own.len()]);
            index += 1;
        }
        all
    };

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Playlist(obstacle) => obstacle.label(),
            Self::NotH264 => "not_h264",
            Self::NoVideo => "no_video",
            Self::NotSdr => "not_sdr",
            Self::BitDepth => "bit_depth",
            Self::Chroma => "chroma",
            Self::Interlaced => "interlaced",
            Self::VideoLayout => "video_layout",
            Self::VideoGroup => "video_group",
            Self::TooManyLines => "too_many_lines",
            Self::TooLarge => "too_large",
            Self::SegmentTooLong => "segment_too_long",
            Self::FrameRateUnknown => "frame_rate_unknown",
            Self::FrameRate => "frame_rate",
            Self::Encrypted => "encrypted",
            Self::OpensMidGop => "opens_mid_gop",
            Self::SegmentUnreadable => "segment_unreadable",
            Self::PlaylistUnreadable => "playlist_unreadable",
            Self::PlaylistForeign => "playlist_foreign",
            Self::NotAPlaylist => "not_a_playlist",
            Self::OriginFailed => "origin_failed",
            Self::ProbeTimeout => "probe_timeout",
            Self::ClientLimit => "client_limit",
            Self::TooManyCandidates => "too_many_candidates",
            Self::Outranked => "outranked",
            Self::NoModel => "no_model",
            Self::TokenBounds => "token_bounds",
        }
    }
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Self::Playlist(obstacle)
    }
}
