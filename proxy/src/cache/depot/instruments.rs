//! What the depot tells operators. Registered only where there is one.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// What came of looking for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It was there.
    Hit,
    /// It was not.
    Miss,
    /// It was, but older than `max_age`; removed.
    Expired,
    /// It was, but an operator wanted it forgotten; removed.
    Purged,
    /// It was, but not all of it; removed.
    Truncated,
    /// It was, but its sums were wrong; removed.
    Damaged,
    /// Something else was there in its place; removed.
    Foreign,
    /// It took too long.
    TimedOut,
    /// The place failed.
    Failed,
    /// As many look as may, until it took too long.
    Busy,
    /// The place fails and is left alone for a while.
    Paused,
}

/// What came of keeping an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// It is there now.
    Stored,
    /// It was there: another node was quicker.
    Present,
    /// There was no room.
    Full,
    /// The place failed.
    Failed,
}

/// Why an object was not even tried to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// More wait than may.
    QueueFull,
    /// The place fails and is left alone for a while.
    Paused,
    /// It is larger than objects may be, or than all that there is room for.
    TooLarge,
    /// Nothing can be removed to make room for it.
    NoRoom,
    /// An operator wanted it forgotten while it waited.
    Purged,
}

/// Why an object was removed before anybody found it unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evicted {
    /// `max_bytes`.
    Size,
    /// `max_age`.
    Age,
    /// The disk had no room though `max_bytes` did.
    DiskFull,
}

impl Read {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Expired, "expired"),
        (Self::Purged, "purged"),
        (Self::Truncated, "truncated"),
        (Self::Damaged, "damaged"),
        (Self::Foreign, "foreign"),
        (Self::TimedOut, "timed_out"),
        (Self::Failed, "failed"),
        (Self::Busy, "busy"),
        (Self::Paused, "paused"),
    ];
}

impl Write {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Stored, "stored"),
        (Self::Present, "present"),
        (Self::Full, "full"),
        (Self::Failed, "failed"),
    ];
}

impl Dropped {
    const ALL: [(Self, &'static str); 5] = [
        (Self::QueueFull, "queue_full"),
        (Self::Paused, "paused"),
        (Self::TooLarge, "too_large"),
        (Self::NoRoom, "no_room"),
        (Self::Purged, "purged"),
    ];
}

impl Evicted {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Size, "size"), (Self::Age, "age"), (Self::DiskFull, "disk_full")];
}

/// A word's label. The tables hold every word, so it is always found.
fn label<T: PartialEq>(all: &[(T, &'static str)], wanted: &T) -> &'static str {
    all.iter().find(|(word, _)| word == wanted).map_or("other", |(_, label)| label)
}

/// Seconds; from a file in the page cache to the longest `read_timeout`.
const READ_BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The instruments.
pub(super) struct Instruments {
    reads: IntCounterVec,
    pub(super) read_seconds: Histogram,
    writes: IntCounterVec,
    drops: IntCounterVec,
    evictions: IntCounterVec,
    paused: IntGaugeVec,
    pub(super) queued_bytes: IntGauge,
    /// What a disk holds; a bucket is not counted by any of the nodes that share it.
    pub(super) disk: Option<(IntGauge, IntGauge)>,
    pub(super) written_bytes: IntCounter,
    pub(super) unwritten_purges: IntGauge,
}

impl Instruments {
    pub(super) fn register(registry: &Registry, is_disk: bool) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone())).map(|()| counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let seconds = HistogramOpts::new("acuity_depot_read_seconds", "Time that looking for an object took")
            .buckets(READ_BUCKETS.to_vec());
        let paused = Opts::new(
            "acuity_depot_paused",
            "Whether the depot is left alone because it fails, by what is not done",
        );
        let instruments = Self {
            reads: counters(
                "acuity_depot_reads_total",
                "Enhanced objects looked for below memory, by what came of it",
                "outcome",
            )?,
            read_seconds: Histogram::with_opts(seconds)?,
            writes: counters(
                "acuity_depot_writes_total",
                "Enhanced objects written below memory, by what came of it",
                "outcome",
            )?,
            drops: counters(
                "acuity_depot_write_drops_total",
                "Enhanced objects that were not even tried to be written, by reason",
                "reason",
            )?,
            evictions: counters(
                "acuity_depot_evictions_total",
                "Objects removed to keep the limits, by limit",
                "reason",
            )?,
            paused: IntGaugeVec::new(paused, &["what"])?,
            queued_bytes: gauge("acuity_depot_queued_bytes", "Bytes that wait to be written below memory")?,
            disk: match is_disk {
                true => Some((
                    gauge("acuity_depot_bytes", "Bytes of disk that kept objects take")?,
                    gauge("acuity_depot_objects", "Objects kept on disk")?,
                )),
                false => None,
            },
            written_bytes: IntCounter::new("acuity_depot_written_bytes_total", "Bytes written below memory")?,
            unwritten_purges: gauge(
                "acuity_depot_unwritten_purges",
                "Purges that a restart would forget, because they could not be written yet",
            )?,
        };
        registry.register(Box::new(instruments.read_seconds.clone()))?;
        registry.register(Box::new(instruments.paused.clone()))?;
        registry.register(Box::new(instruments.written_bytes.clone()))?;
        instruments.show_zeros();
        Ok(instruments)
    }

    /// A series that appears only with its first event hides that event from `rate()`.
    fn show_zeros(&self) {
        Read::ALL.iter().for_each(|(_, label)| self.reads.with_label_values(&[label]).inc_by(0));
        Write::ALL.iter().for_each(|(_, label)| self.writes.with_label_values(&[label]).inc_by(0));
        Dropped::ALL.iter().for_each(|(_, label)| self.drops.with_label_values(&[label]).inc_by(0));
        if self.disk.is_some() {
            Evicted::ALL.iter().for_each(|(_, label)| self.evictions.with_label_values(&[label]).inc_by(0));
        }
        self.paused(false, false);
    }

    pub(super) fn read(&self, outcome: Read) {
        self.reads.with_label_values(&[label(&Read::ALL, &outcome)]).inc();
    }

    pub(super) fn write(&self, outcome: Write) {
        self.writes.with_label_values(&[label(&Write::ALL, &outcome)]).inc();
    }

    pub(super) fn dropped(&self, reason: Dropped) {
        self.drops.with_label_values(&[label(&Dropped::ALL, &reason)]).inc();
    }

    pub(super) fn evicted(&self, reason: Evicted) {
        self.evictions.with_label_values(&[label(&Evicted::ALL, &reason)]).inc();
    }

    pub(super) fn paused(&self, reads: bool, writes: bool) {
        self.paused.with_label_values(&["reads"]).set(i64::from(reads));
        self.paused.with_label_values(&["writes"]).set(i64::from(writes));
    }
}
