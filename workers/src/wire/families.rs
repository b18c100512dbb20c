//! What workers count, in the edge's own metrics.
//!
//! Operators, boards and alerts see the sums that they would see if there were no workers. Counters go on when a worker ends: what it had
//! counted when it last told is kept. Gauges are of those who live.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricType};

use super::v1::{self, metric_family::Kind};

/// What every name begins with.
const PREFIX: &str = "acuity_";

/// Families and samples that one worker may bring: several times what there is.
const FAMILIES_LIMIT: usize = 256;
const SAMPLES_LIMIT: usize = 4096;

/// Gauges that say the same in every worker; all others are added up.
const SAME_EVERYWHERE: [&str; 4] = [
    "acuity_enhancer_ready",
    "acuity_models_refused",
    "acuity_enhancer_model_sets",
    "acuity_enhancer_model_info",
];
/// A share: its mean.
const MEANS: [&str; 1] = ["acuity_enhancer_reserve_ratio"];

/// For the other side.
pub(crate) fn message(families: &[proto::MetricFamily]) -> v1::MetricsReply {
    v1::MetricsReply { families: families.iter().filter_map(family_message).collect() }
}

fn family_message(family: &proto::MetricFamily) -> Option<v1::MetricFamily> {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let sample = |metric: &proto::Metric| {
        let labels =
            metric.get_label().iter().flat_map(|label| [label.name().to_owned(), label.value().to_owned()]);
        let (value, count, buckets) = match kind {
            Kind::Counter => (metric.get_counter().get_value(), 0, Vec::new()),
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter().map(|bucket| v1::Bucket {
                    upper_bound: bucket.upper_bound(),
                    cumulative_count: bucket.cumulative_count(),
                });
                (histogram.get_sample_sum(), histogram.get_sample_count(), buckets.collect())
            }
            Kind::Gauge | Kind::Unspecified => (metric.get_gauge().get_value(), 0, Vec::new()),
        };
        v1::Sample { labels: labels.collect(), value, count, buckets }
    };
    Some(v1::MetricFamily {
        name: family.name().to_owned(),
        help: family.help().to_owned(),
        kind: kind.into(),
        samples: family.get_metric().iter().map(sample).collect(),
    })
}

/// What all workers counted. Clones share it.
#[derive(Clone)]
pub(crate) struct Totals(Arc<(Mutex<State>, Desc)>);

#[derive(Default)]
struct State {
    /// Of workers that have ended: counters and histograms.
    ended: Families,
    /// Of those that live, by their number.
    live: HashMap<u64, Families>,
}

type Families = BTreeMap<String, Family>;

#[derive(Clone)]
struct Family {
    help: String,
    kind: Kind,
    samples: BTreeMap<Vec<String>, Value>,
}

#[derive(Clone, Default)]
struct Value {
    value: f64,
    count: u64,
    /// Bounds as they came, so that equal ones are told by their bits.
    buckets: Vec<(f64, u64)>,
}

impl Value {
    fn add(&mut self, other: &Self) {
        self.value += other.value;
        self.count += other.count;
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
                *count += more;
            }
        }
    }
}

impl Totals {
    /// Nothing was counted yet.
    ///
    /// # Errors
    /// Never: the description is a constant.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let help = "What workers count; the families are theirs".to_owned();
        let desc = Desc::new("acuity_worker_families".to_owned(), help, Vec::new(), HashMap::new())?;
        Ok(Self(Arc::new((Mutex::default(), desc))))
    }

    /// What a worker has counted since it started.
    pub(crate) fn told(&self, worker: u64, reply: v1::MetricsReply) {
        let families = reply.families.into_iter().take(FAMILIES_LIMIT).filter_map(read).collect();
        self.state().live.insert(worker, families);
    }

    /// A worker has ended; what it counted stays.
    pub(crate) fn ended(&self, worker: u64) {
        let mut state = self.state();
        let Some(families) = state.live.remove(&worker) else { return };
        let lasting = families.into_iter().filter(|(_, family)| family.kind != Kind::Gauge);
        for (name, family) in lasting {
            merge(&mut state.ended, &name, &family);
        }
    }

    /// Every change under the lock is complete in itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self) -> Families {
        let state = self.state();
        let mut sum = state.ended.clone();
        for families in state.live.values() {
            for (name, family) in families {
                merge(&mut sum, name, family);
            }
        }
        let workers = state.live.len().max(1) as f64;
        for name in MEANS {
            for value in sum.get_mut(name).into_iter().flat_map(|family| family.samples.values_mut()) {
                value.value /= workers;
            }
        }
        sum
    }
}

fn read(message: v1::MetricFamily) -> Option<(String, Family)> {
    let kind = message.kind();
    if !message.name.starts_with(PREFIX) || kind == Kind::Unspecified {
        return None;
    }
    let samples = message.samples.into_iter().take(SAMPLES_LIMIT).map(|sample| {
        let buckets = sample.buckets.iter().map(|bucket| (bucket.upper_bound, bucket.cumulative_count));
        (sample.labels, Value { value: sample.value, count: sample.count, buckets: buckets.collect() })
    });
    Some((message.name, Family { help: message.help, kind, samples: samples.collect() }))
}

fn merge(into: &mut Families, name: &str, family: &Family) {
    let sum = into.entry(name.to_owned()).or_insert_with(|| Family {
        help: family.help.clone(),
        kind: family.kind,
        samples: BTreeMap::new(),
    });
    for (labels, value) in &family.samples {
        let total = sum.samples.entry(labels.clone()).or_default();
        if SAME_EVERYWHERE.contains(&name) {
            total.value = total.value.max(value.value);
        } else {
            total.add(value);
        }
    }
}

impl Collector for Totals {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.1]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.sum().into_iter().map(|(name, family)| shown(name, family)).collect()
    }
}

fn shown(name: String, family: Family) -> proto::MetricFamily {
    let mut shown = proto::MetricFamily::default();
    shown.set_name(name);
    shown.set_help(family.help);
    shown.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Histogram => MetricType::HISTOGRAM,
        Kind::Gauge | Kind::Unspecified => MetricType::GAUGE,
    });
    let metric = |(labels, value): (Vec<String>, Value)| {
        let pairs = labels.chunks_exact(2).map(|pair| {
            let mut label = proto::LabelPair::default();
            if let [name, value] = pair {
                label.set_name(name.clone());
                label.set_value(value.clone());
            }
            label
        });
        let mut metric = proto::Metric::from_label(pairs.collect());
        match family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value.value);
                metric.set_counter(counter);
            }
            Kind::Histogram => {
                let mut histogram = proto::Histogram::default();
                histogram.set_sample_sum(value.value);
                histogram.set_sample_count(value.count);
                let bucket = |(bound, count)| {
                    let mut bucket = proto::Bucket::default();
                    bucket.set_upper_bound(bound);
                    bucket.set_cumulative_count(count);
                    bucket
                };
                histogram.set_bucket(value.buckets.into_iter().map(bucket).collect());
                metric.set_histogram(histogram);
            }
            Kind::Gauge | Kind::Unspecified => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value.value);
                metric.set_gauge(gauge);
            }
        }
        metric
    };
    shown.set_metric(family.samples.into_iter().map(metric).collect());
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

    use super::*;

    /// What a worker that counted so much would say.
    fn worker(segments: u64, depth: i64, seconds: &[f64]) -> v1::MetricsReply {
        let registry = Registry::new();
        let counter =
            IntCounterVec::new(Opts::new("acuity_enhancer_segments_total", "Segments"), &["tier"]).unwrap();
        let gauge = IntGauge::new("acuity_enhancer_queue_depth", "Depth").unwrap();
        let ready = IntGauge::new("acuity_enhancer_ready", "Ready").unwrap();
        let histogram =
            Histogram::with_opts(HistogramOpts::new("acuity_enhancer_seconds", "S").buckets(vec![1.0]))
                .unwrap();
        let other = IntGauge::new("process_open_fds", "Not its own to tell").unwrap();
        for collector in [Box::new(gauge.clone()), Box::new(ready.clone()), Box::new(other)] {
            registry.register(collector).unwrap();
        }
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.with_label_values(&["s"]).inc_by(segments);
        gauge.set(depth);
        ready.set(1);
        seconds.iter().for_each(|seconds| histogram.observe(*seconds));
        message(&registry.gather())
    }

    #[test]
    fn sums_go_on_when_workers_end() {
        let totals = Totals::new().unwrap();
        let registry = Registry::new();
        registry.register(Box::new(totals.clone())).unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let holds = |lines: &[&str]| {
            let text = text();
            for line in lines {
                assert!(text.lines().any(|own| own == *line), "no {line:?} in\n{text}");
            }
        };
        totals.told(1, worker(3, 2, &[0.5]));
        totals.told(2, worker(4, 1, &[0.5, 2.0]));
        holds(&[
            "acuity_enhancer_segments_total{tier=\"s\"} 7",
            "acuity_enhancer_queue_depth 3",
            "acuity_enhancer_ready 1",
            "acuity_enhancer_seconds_bucket{le=\"1\"} 2",
            "acuity_enhancer_seconds_bucket{le=\"+Inf\"} 3",
            "acuity_enhancer_seconds_sum 3",
        ]);
        assert!(!text().contains("process_open_fds"), "{}", text());
        totals.ended(2);
        holds(&["acuity_enhancer_segments_total{tier=\"s\"} 7", "acuity_enhancer_queue_depth 2"]);
        totals.told(3, worker(1, 0, &[]));
        totals.ended(2);
        holds(&["acuity_enhancer_segments_total{tier=\"s\"} 8", "acuity_enhancer_seconds_count 3"]);
    }
}
