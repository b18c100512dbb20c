//! How a segment was made, on the wire.

use acuity_enhancer::{Between, FallbackReason, MadeBy, Report, StageSeconds};

use super::{Nonsense, known, name, v1};

/// What decodes and encodes.
const PLACES: [&str; 3] = ["cpu", "card", "none"];
/// ONNX Runtime's execution providers, as models' metrics name them.
const PROVIDERS: [&str; 4] = ["cpu", "openvino", "cuda", "tensorrt"];
const PRECISIONS: [&str; 4] = ["float", "int8", "float32", "float16"];

/// For the other side.
pub(crate) fn report_message(report: &Report) -> v1::Report {
    let model = match &report.made_by {
        MadeBy::Model { id, tier, provider, precision } => Some(v1::Model {
            id: id.clone(),
            tier: tier.clone(),
            provider: (*provider).to_owned(),
            precision: (*precision).to_owned(),
        }),
        MadeBy::Plain | MadeBy::Untouched => None,
    };
    let Between { places, made, film, same, apart } = report.between;
    let stages = report.stages;
    v1::Report {
        frames: report.frames,
        held_frames: report.held_frames,
        between_places: places,
        between_made: made,
        between_film: film,
        between_same: same,
        between_apart: apart,
        interpolator: report.interpolator.clone(),
        model,
        is_untouched: report.made_by == MadeBy::Untouched,
        fallback: report.fallback.map(|reason| reason.label().to_owned()),
        decoder: report.decoder.to_owned(),
        encoder: report.encoder.to_owned(),
        stages: Some(v1::Stages {
            queue: stages.queue,
            demux: stages.demux,
            decode: stages.decode,
            infer: stages.infer,
            scale: stages.scale,
            interpolate: stages.interpolate,
            encode: stages.encode,
            mux: stages.mux,
            total: stages.total,
        }),
        source_bytes: report.source_bytes as u64,
        media_seconds: report.media_seconds,
    }
}

/// What the other side says.
pub(crate) fn report(message: v1::Report) -> Result<Report, Nonsense> {
    let made_by = match message.model {
        Some(model) => MadeBy::Model {
            id: name(model.id)?,
            tier: name(model.tier)?,
            provider: known(&model.provider, &PROVIDERS)?,
            precision: known(&model.precision, &PRECISIONS)?,
        },
        None if message.is_untouched => MadeBy::Untouched,
        None => MadeBy::Plain,
    };
    let reason = |label: String| {
        let reason = FallbackReason::ALL.into_iter().find(|reason| reason.label() == label);
        reason.ok_or(Nonsense("an unknown reason"))
    };
    let stages = message.stages.unwrap_or_default();
    Ok(Report {
        frames: message.frames,
        held_frames: message.held_frames,
        between: Between {
            places: message.between_places,
            made: message.between_made,
            film: message.between_film,
            same: message.between_same,
            apart: message.between_apart,
        },
        interpolator: message.interpolator.map(name).transpose()?,
        made_by,
        fallback: message.fallback.map(reason).transpose()?,
        decoder: known(&message.decoder, &PLACES)?,
        encoder: known(&message.encoder, &PLACES)?,
        stages: StageSeconds {
            queue: stages.queue,
            demux: stages.demux,
            decode: stages.decode,
            infer: stages.infer,
            scale: stages.scale,
            interpolate: stages.interpolate,
            encode: stages.encode,
            mux: stages.mux,
            total: stages.total,
        },
        source_bytes: usize::try_from(message.source_bytes).unwrap_or(usize::MAX),
        media_seconds: message.media_seconds,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> Report {
        Report {
            frames: 100,
            held_frames: 2,
            between: Between { places: 50, made: 40, film: 3, same: 6, apart: 1 },
            interpolator: Some("generic-i2-s".into()),
            made_by: MadeBy::Model {
                id: "generic-x2-s".into(),
                tier: "s".into(),
                provider: "openvino",
                precision: "int8",
            },
            fallback: Some(FallbackReason::DeadlineShort),
            decoder: "cpu",
            encoder: "card",
            stages: StageSeconds { queue: 0.1, mux: 0.2, total: 3.0, ..StageSeconds::default() },
            source_bytes: 12_345,
            media_seconds: 4.0,
        }
    }

    #[test]
    fn comes_back_as_it_went() {
        for made_by in [example().made_by, MadeBy::Plain, MadeBy::Untouched] {
            let sent = Report { made_by, ..example() };
            let back = report(report_message(&sent)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        }
    }

    #[test]
    fn names_that_nobody_knows_are_refused() {
        let message = || report_message(&example());
        assert!(report(v1::Report { decoder: "somebody".into(), ..message() }).is_err());
        assert!(report(v1::Report { fallback: Some("why not".into()), ..message() }).is_err());
        assert!(report(v1::Report { interpolator: Some("a\r\nb: c".into()), ..message() }).is_err());
        assert!(report(v1::Report { interpolator: Some("x".repeat(300)), ..message() }).is_err());
    }
}
