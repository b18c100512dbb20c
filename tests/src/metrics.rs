//! Prometheus' text format, read just well enough to ask for a number.

/// A page of metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Keeps the text of a `/metrics` answer.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of all series of this name that carry these labels; 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name)
            .filter(|(found, _)| {
                labels.iter().all(|(key, value)| found.contains(&format!("{key}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether there is any series of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.series(name).next().is_some()
    }

    /// The whole text, for messages.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Labels (as written, without braces) and value of each series of a name.
    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.text.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_carries_the_labels() {
        let page = "# TYPE a counter\na_total{kind=\"x\",by=\"1\"} 2\na_total{kind=\"x\",by=\"2\"} 3.5\n\
                    a_total{kind=\"y\"} 7\na_total_other 100\nb 1e3\n";
        let metrics = Metrics::new(page.to_owned());
        assert_eq!(metrics.sum("a_total", &[("kind", "x")]), 5.5);
        assert_eq!(metrics.sum("a_total", &[]), 12.5);
        assert_eq!(metrics.sum("b", &[]), 1000.0);
        assert!(!metrics.has("c"));
    }
}
