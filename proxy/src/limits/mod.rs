//! What strangers may cost: how many requests, how much work, how many connections, for how long.
//!
//! | module | what |
//! |---|---|
//! | [`address`] | which client a request is from (pure) |
//! | [`clients`] | what each client has in hand: a bounded table |
//! | [`admission`] | the limits on a request, before it is looked at |
//! | [`door`] | how many connections are open, and by whom |
//! | [`frames`] | where in the frames of HTTP/2 a client is (pure) |
//! | [`line`](mod@line) | one connection: what it waits for, and how long it may |
//! | [`gate`] | joins [`door`] and [`line`](mod@line) to pingora's HTTP |
//!
//! A player that meets none of these limits pays an atomic word for each, and nothing for those that are off.

pub mod address;
pub mod admission;
pub mod clients;
pub mod door;
pub mod frames;
pub mod gate;
pub mod line;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// A limit that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// One client's requests in a second.
    ClientRate,
    /// One client's requests at one time.
    ClientRequests,
    /// One client's connections at one time.
    ClientConnections,
    /// The work one client causes at one time.
    ClientEnhancements,
    /// All clients' requests in a second.
    Rate,
    /// All clients' connections at one time.
    Connections,
    /// A request's header section.
    HeaderBytes,
    /// A request's body.
    BodyBytes,
    /// The time of a request's body.
    BodyTime,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 9] = [
        Self::ClientRate,
        Self::ClientRequests,
        Self::ClientConnections,
        Self::ClientEnhancements,
        Self::Rate,
        Self::Connections,
        Self::HeaderBytes,
        Self::BodyBytes,
        Self::BodyTime,
    ];

    /// Whether it is a request itself that is too large, not their number.
    #[must_use]
    pub fn is_size(self) -> bool {
        matches!(self, Self::HeaderBytes | Self::BodyBytes | Self::BodyTime)
    }

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientRate => "client_rate",
            Self::ClientRequests => "client_requests",
            Self::ClientConnections => "client_connections",
            Self::ClientEnhancements => "client_enhancements",
            Self::Rate => "rate",
            Self::Connections => "connections",
            Self::HeaderBytes => "header_bytes",
            Self::BodyBytes => "body_bytes",
            Self::BodyTime => "body_time",
        }
    }
}

/// What counts limits. Clones share it.
#[derive(Debug, Clone)]
pub struct Instruments {
    met: IntCounterVec,
    cut: IntCounterVec,
    /// Connections that players have opened.
    pub opened: IntCounter,
    /// Connections of players that are open.
    pub open: IntGauge,
}

impl Instruments {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let met = IntCounterVec::new(
            Opts::new("acuity_limited_total", "Requests and connections that met a limit, by limit"),
            &["limit"],
        )?;
        let cut = IntCounterVec::new(
            Opts::new(
                "acuity_connections_cut_total",
                "Connections of players that were ended before their time, by reason",
            ),
            &["reason"],
        )?;
        let opened = IntCounter::new("acuity_connections_total", "Connections that players have opened")?;
        let open = IntGauge::new("acuity_connections", "Connections of players that are open")?;
        registry.register(Box::new(met.clone()))?;
        registry.register(Box::new(cut.clone()))?;
        registry.register(Box::new(opened.clone()))?;
        registry.register(Box::new(open.clone()))?;
        // A series that appears only with its first event hides that event from `rate()`.
        for limit in Limit::ALL {
            met.with_label_values(&[limit.label()]).inc_by(0);
        }
        for reason in line::Cut::ALL {
            cut.with_label_values(&[reason.label()]).inc_by(0);
        }
        Ok(Self { met, cut, opened, open })
    }

    /// A limit was met.
    pub fn met(&self, limit: Limit) {
        self.met.with_label_values(&[limit.label()]).inc();
    }

    /// A connection was ended.
    pub fn cut(&self, reason: line::Cut) {
        self.cut.with_label_values(&[reason.label()]).inc();
    }
}
