//! Runs again and again, and what is said of the times.

use std::time::Instant;

use crate::Failure;

/// Runs below which a median says little; however slow the network is, so many are made.
const LEAST_RUNS: usize = 5;

/// Runs that are kept: 600 s of the quickest network there is.
const MOST_RUNS: usize = 10_000_000;

/// Seconds of single runs, in order of size; never none.
pub struct Times {
    sorted: Vec<f64>,
}

impl Times {
    /// As JSON, in milliseconds for each of `batch` pictures.
    pub fn json(&self, batch: usize) -> String {
        let of = |part: f64| {
            let place = (part * (self.sorted.len() - 1) as f64).round() as usize;
            self.sorted[place.min(self.sorted.len() - 1)] * 1000.0 / batch as f64
        };
        format!(
            r#"{{"p50": {:.5}, "p95": {:.5}, "least": {:.5}, "runs": {}}}"#,
            of(0.5),
            of(0.95),
            of(0.0),
            self.sorted.len()
        )
    }
}

/// Runs it for about `seconds`, after a third of that to warm up, in which libraries search for their quickest kernels.
pub fn repeat(seconds: f64, mut run: impl FnMut() -> Result<(), Failure>) -> Result<Times, Failure> {
    let warm = Instant::now();
    loop {
        run()?;
        if warm.elapsed().as_secs_f64() >= seconds / 3.0 {
            break;
        }
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST_RUNS || (begun.elapsed().as_secs_f64() < seconds && times.len() < MOST_RUNS) {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(Times { sorted: times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_one_picture() {
        let times = Times { sorted: vec![0.008, 0.016, 0.024] };
        assert_eq!(times.json(8), r#"{"p50": 2.00000, "p95": 3.00000, "least": 1.00000, "runs": 3}"#);
    }

    #[test]
    fn a_failure_ends_it() {
        assert!(repeat(0.01, || Err("no".into())).is_err());
        let mut runs = 0;
        let Ok(times) = repeat(0.0, || {
            runs += 1;
            Ok(())
        }) else {
            panic!("refused");
        };
        assert_eq!((times.sorted.len(), runs), (LEAST_RUNS, LEAST_RUNS + 1));
    }
}
