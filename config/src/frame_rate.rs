//! `[route.frame_rate]`: for which sources a rendition of a higher frame rate is offered, how high, and to whom not.
//!
//! Here it is only read; the proxy plans with it (`proxy/src/plan/`) and looks at the client (`proxy/src/client.rs`).

use std::ops::RangeInclusive;

use crate::reader::Section;
use crate::weak::WeakRule;

/// A route that has this section offers more pictures a second, beside all else that it offers.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameRateConfig {
    /// Pictures for each of the source's: 2 or 4.
    pub factor: u32,
    /// Enlargements per side that it is offered at (1 to 4), each once, at least one; 1 is the source's own size.
    pub scales: Vec<u32>,
    /// Sources of fewer pictures a second are left alone (1 to 120).
    pub source_least: f64,
    /// Sources of more are.
    pub source_most: f64,
    /// No rendition of more pictures a second is offered (2 to 240).
    pub most: f64,
    /// No rendition of more lines is (64 to 4096).
    pub max_lines: u32,
    /// What makes the pictures between two.
    pub interpolator: InterpolatorChoice,
    /// Clients that one of these rules holds for do not get it.
    pub not_for: Vec<WeakRule>,
}

/// What makes a picture between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterpolatorChoice {
    /// The best that there is for the stream's content.
    Auto,
    /// The mean of both.
    Blend,
    /// The first of both again.
    Repeat,
}

impl InterpolatorChoice {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Blend, Self::Repeat];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Blend => "blend",
            Self::Repeat => "repeat",
        }
    }
}

impl Default for FrameRateConfig {
    fn default() -> Self {
        Self {
            // From 30 to 60, which is what screens show.
            factor: 2,
            // The source's own size is what two cores can do beside other work; enlarged too is what a large screen wants.
            scales: vec![1, 2],
            // Below 14 pictures a second neighbours are too far apart for anything to be made between them; above 31 doubling
            // gains what few see.
            source_least: 14.0,
            source_most: 31.0,
            // Most screens show no more, and a level of H.264 that every device of the last ten years has allows it.
            most: 61.0,
            // 1080 lines at 60 pictures are beyond what any processor encodes beside networks.
            max_lines: 1080,
            interpolator: InterpolatorChoice::Auto,
            not_for: Vec::new(),
        }
    }
}

/// Pictures a second that a source may have: those of a slide show to those of the quickest cameras.
const SOURCES: RangeInclusive<f64> = 1.0..=120.0;

impl FrameRateConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            factor: match section.integer("factor", default.factor, 2..=4) {
                3 => {
                    section.fault("factor", "must be 2 or 4", Some("four is made by halving twice"));
                    default.factor
                }
                factor => factor,
            },
            scales: section.integers("scales", 1..=4).unwrap_or(default.scales),
            source_least: section.number("source_least", default.source_least, SOURCES),
            source_most: section.number("source_most", default.source_most, SOURCES),
            most: section.number("most", default.most, 2.0..=240.0),
            max_lines: section.integer("max_lines", default.max_lines, 64..=4096),
            interpolator: section.choice(
                "interpolator",
                default.interpolator,
                &InterpolatorChoice::ALL.map(|choice| (choice.as_str(), choice)),
            ),
            not_for: section.children("not_for").into_iter().filter_map(WeakRule::read).collect(),
        };
        if config.source_least > config.source_most {
            section.fault("source_most", "is below `source_least`: no source would ever do", None);
        }
        section.finish();
        config
    }

    /// The rate of the result for a source of `milli` pictures per 1000 seconds; `None`: not offered.
    #[must_use]
    pub fn result_milli(&self, milli: u32) -> Option<u32> {
        let source = f64::from(milli) / 1000.0;
        let result = milli.checked_mul(self.factor)?;
        let fits = (self.source_least..=self.source_most).contains(&source);
        (fits && f64::from(result) / 1000.0 <= self.most).then_some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_results_are_bounded() {
        let default = FrameRateConfig::default();
        for (milli, result) in [
            (30_000, Some(60_000)),
            (29_970, Some(59_940)),
            (23_976, Some(47_952)),
            (15_000, Some(30_000)),
            (12_000, None),
            (50_000, None),
            (u32::MAX, None),
        ] {
            assert_eq!(default.result_milli(milli), result, "{milli}");
        }
        let four = FrameRateConfig { factor: 4, ..default };
        assert_eq!((four.result_milli(15_000), four.result_milli(30_000)), (Some(60_000), None));
    }
}
