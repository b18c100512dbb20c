//! What the instruments show, as numbers that can be asked for by name and labels.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};

type Labels = Vec<(String, String)>;

/// Counters and gauges at one moment; of histograms the number of observations, as `NAME_count`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures(BTreeMap<String, Vec<(Labels, f64)>>);

impl Figures {
    /// Of the families that `wanted` wants.
    pub(super) fn of(families: &[MetricFamily], wanted: impl Fn(&str) -> bool) -> Self {
        let mut figures = Self::default();
        for family in families.iter().filter(|family| wanted(family.name())) {
            let (name, read): (String, fn(&Metric) -> f64) = match family.get_field_type() {
                MetricType::COUNTER => (family.name().to_owned(), |metric| metric.get_counter().get_value()),
                MetricType::GAUGE => (family.name().to_owned(), |metric| metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => (format!("{}_count", family.name()), |metric| {
                    metric.get_histogram().get_sample_count() as f64
                }),
                MetricType::SUMMARY | MetricType::UNTYPED => continue,
            };
            let labels = |metric: &Metric| -> Labels {
                let pair = |label: &prometheus::proto::LabelPair| {
                    (label.name().to_owned(), label.value().to_owned())
                };
                metric.get_label().iter().map(pair).collect()
            };
            let series = family.get_metric().iter().map(|metric| (labels(metric), read(metric)));
            figures.0.entry(name).or_default().extend(series);
        }
        figures
    }

    fn series<'a>(
        &'a self,
        name: &str,
        wanted: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        let holds = |labels: &Labels| wanted.iter().all(|(name, value)| get(labels, name) == Some(*value));
        let all = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |(labels, _)| holds(labels)).map(|(labels, value)| (labels, *value))
    }

    /// The sum of all series with these labels.
    pub(super) fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        self.series(name, wanted).map(|(_, value)| value).sum()
    }

    /// The sums by the values of some labels, joined.
    pub(super) fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, f64> {
        let mut sums = BTreeMap::new();
        for (found, value) in self.series(name, &[]) {
            let key = labels.iter().map(|label| get(found, label).unwrap_or_default().to_owned()).collect();
            *sums.entry(key).or_default() += value;
        }
        sums
    }

    /// What has come since `before`. A counter that is smaller than it was has begun anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |name: &String, (labels, now): &(Labels, f64)| {
            let then = before.0.get(name).and_then(|series| series.iter().find(|(other, _)| other == labels));
            let then = then.map_or(0.0, |(_, then)| *then);
            (labels.clone(), if *now >= then { now - then } else { *now })
        };
        let of = |(name, series): (&String, &Vec<(Labels, f64)>)| {
            (name.clone(), series.iter().map(|one| less(name, one)).collect())
        };
        Self(self.0.iter().map(of).collect())
    }
}

fn get<'a>(labels: &'a Labels, wanted: &str) -> Option<&'a str> {
    labels.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn sums_and_differences() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "a"), &["kind", "by"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.with_label_values(&["x", "1"]).inc_by(3);
        let before = Figures::of(&registry.gather(), |_| true);
        counter.with_label_values(&["x", "2"]).inc_by(4);
        counter.with_label_values(&["y", "1"]).inc_by(5);
        let now = Figures::of(&registry.gather(), |_| true);
        assert_eq!((now.sum("a_total", &[]), now.sum("a_total", &[("kind", "x")])), (12.0, 7.0));
        let come = now.since(&before);
        assert_eq!(come.sum("a_total", &[("kind", "x")]), 4.0);
        assert_eq!(come.by("a_total", &["kind"])[&vec!["y".to_owned()]], 5.0);
        assert_eq!(before.since(&now).sum("a_total", &[("kind", "x"), ("by", "1")]), 0.0);
        assert_eq!(Figures::of(&registry.gather(), |_| false), Figures::default());
    }
}
