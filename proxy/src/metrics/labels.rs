//! What requests are told apart by: label values, each from a list that is closed.

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A playlist outside the edge's own prefix that turned out to be multivariant.
    Multivariant,
    /// Any other playlist.
    Media,
    /// An enhanced segment.
    Segment,
    /// An enhanced rendition's initialisation segment.
    Init,
    /// A network's file or its description.
    Model,
    /// Anything passed through.
    Pass,
    /// A CORS preflight answered here.
    Preflight,
    /// A request that the edge refuses itself (no route, bad path).
    Refused,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Multivariant,
        Self::Media,
        Self::Segment,
        Self::Init,
        Self::Model,
        Self::Pass,
        Self::Preflight,
        Self::Refused,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Media => "media",
            Self::Segment => "segment",
            Self::Init => "init",
            Self::Model => "model",
            Self::Pass => "pass",
            Self::Preflight => "preflight",
            Self::Refused => "refused",
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the cache, without asking anybody.
    Hit,
    /// From the cache, after the origin said that it is still true.
    Revalidated,
    /// From disk or store, as it was made some time ago.
    Stored,
    /// From another node of the region, which had it or made it.
    Node,
    /// Made for this request.
    Made,
    /// Made for a request that came earlier and was still waiting.
    Joined,
    /// The source's own bytes, because enhancement was not possible.
    SourceBytes,
    /// From the cache although out of date, because the origin is out.
    Stale,
    /// Streamed from the origin.
    Passed,
    /// Answered at the edge without origin or cache.
    Local,
    /// An error of the origin's, passed on.
    OriginError,
    /// The client left before its answer was complete.
    ClientGone,
    /// The answer had begun and could not be completed: the player got a part and no end.
    BrokeOff,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Hit,
        Self::Revalidated,
        Self::Stored,
        Self::Node,
        Self::Made,
        Self::Joined,
        Self::SourceBytes,
        Self::Stale,
        Self::Passed,
        Self::Local,
        Self::OriginError,
        Self::ClientGone,
        Self::BrokeOff,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "revalidated",
            Self::Stored => "stored",
            Self::Node => "node",
            Self::Made => "made",
            Self::Joined => "joined",
            Self::SourceBytes => "source_bytes",
            Self::Stale => "stale",
            Self::Passed => "passed",
            Self::Local => "local",
            Self::OriginError => "origin_error",
            Self::ClientGone => "client_gone",
            Self::BrokeOff => "broke_off",
        }
    }

    /// Whose status the answer carries, as a metric label: the origin's, also where it could not be reached, or this edge's.
    pub(super) fn by(self) -> &'static str {
        match self {
            Self::Passed | Self::OriginError => "origin",
            _ => "edge",
        }
    }
}
