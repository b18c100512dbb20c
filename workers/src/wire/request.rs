//! What is asked, on the wire.

use std::time::{Duration, Instant};

use acuity_enhancer::{
    EnhanceRequest, Haste, Interpolation, Interpolator, Priority, RenditionSpec, Upscaler,
};
use bytes::Bytes;

use super::v1::part::Kind;
use super::{Nonsense, name, v1};

/// Bytes of one message: gRPC's default limit is 4 MiB, and what is sent on early is smaller still.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// No deadline is further away than this: what the configuration allows.
const DEADLINE_LIMIT: Duration = Duration::from_secs(60);

/// A point in time as its distance from now; the past is now.
pub(crate) fn millis_from_now(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX)
}

/// The reverse.
pub(crate) fn from_now(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis).min(DEADLINE_LIMIT)
}

/// A rendition, for the other side.
pub(crate) fn rendition(spec: &RenditionSpec) -> v1::Rendition {
    let set =
        |cluster: &str, digest: &str| v1::ModelSet { cluster: cluster.to_owned(), digest: digest.to_owned() };
    v1::Rendition {
        width: spec.width,
        height: spec.height,
        scale: spec.scale,
        frame_rate_milli: spec.frame_rate_milli,
        max_video_kbps: spec.max_video_kbps,
        upscaler: match &spec.upscaler {
            Upscaler::Model { cluster, digest } => Some(set(cluster, digest)),
            Upscaler::Bicubic => None,
        },
        interpolation: spec.interpolation.as_ref().map(|interpolation| v1::Interpolation {
            factor: interpolation.factor,
            by: interpolation.by.to_string(),
        }),
    }
}

/// What interpolates, by its name.
pub(crate) fn interpolator_of(by: &str) -> Result<Interpolator, Nonsense> {
    by.parse().map_err(|_| Nonsense("an interpolator"))
}

/// A rendition that the other side named.
pub(crate) fn spec(message: Option<v1::Rendition>) -> Result<RenditionSpec, Nonsense> {
    let message = message.ok_or(Nonsense("no rendition"))?;
    let upscaler = match message.upscaler {
        Some(set) => Upscaler::Model { cluster: name(set.cluster)?, digest: name(set.digest)? },
        None => Upscaler::Bicubic,
    };
    let interpolation = match message.interpolation {
        Some(interpolation) => {
            Some(Interpolation { factor: interpolation.factor, by: interpolator_of(&interpolation.by)? })
        }
        None => None,
    };
    let is_size = |side: u32| (2..=4096).contains(&side) && side.is_multiple_of(2);
    if !is_size(message.width) || !is_size(message.height) || !(1..=4).contains(&message.scale) {
        return Err(Nonsense("a rendition's size"));
    }
    if interpolation.as_ref().is_some_and(|interpolation| !matches!(interpolation.factor, 2 | 4)) {
        return Err(Nonsense("a rendition's frame rate"));
    }
    Ok(RenditionSpec {
        width: message.width,
        height: message.height,
        scale: message.scale,
        frame_rate_milli: message.frame_rate_milli,
        max_video_kbps: message.max_video_kbps,
        upscaler,
        interpolation,
    })
}

/// The first message about a segment.
pub(crate) fn begin(request: &EnhanceRequest, takes_pieces: bool) -> v1::EnhanceMessage {
    let wish = request.wish();
    let demand = v1::Demand {
        is_viewer: wish.priority == Priority::Viewer,
        deadline_ms: wish.deadline.map(millis_from_now),
        is_start: wish.haste == Haste::Start,
        audience: wish.audience,
        stream: request.demand.stream(),
        media_ms: request.demand.media().map(|media| u64::try_from(media.as_millis()).unwrap_or(u64::MAX)),
        yields: request.demand.yields(),
    };
    let begin = v1::Begin {
        rendition: Some(rendition(&request.spec)),
        has_init: request.init.is_some(),
        lead_ins: u32::try_from(request.lead_in.len()).unwrap_or(u32::MAX),
        demand: Some(demand),
        again_by: request.again_by.clone(),
        takes_pieces,
        without_tiers: request.without.iter().map(|tier| tier.label().to_owned()).collect(),
    };
    v1::EnhanceMessage { message: Some(v1::enhance_message::Message::Begin(begin)) }
}

/// A part of a request in messages that are small enough; none of its bytes is copied.
pub(crate) fn parts(kind: Kind, mut data: Bytes) -> Vec<v1::EnhanceMessage> {
    let mut messages = Vec::new();
    loop {
        let piece = data.split_to(data.len().min(PIECE_BYTES));
        let ends = data.is_empty();
        let part = v1::Part { kind: kind.into(), data: piece, ends };
        messages.push(v1::EnhanceMessage { message: Some(v1::enhance_message::Message::Part(part)) });
        if ends {
            return messages;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> RenditionSpec {
        RenditionSpec {
            width: 1280,
            height: 720,
            scale: 2,
            frame_rate_milli: 29_970,
            max_video_kbps: 2800,
            upscaler: Upscaler::Model { cluster: "generic".into(), digest: "1a2b3c4d".into() },
            interpolation: Some(Interpolation { factor: 2, by: Interpolator::Blend }),
        }
    }

    #[test]
    fn a_rendition_comes_back_as_it_went() {
        let plain = RenditionSpec { upscaler: Upscaler::Bicubic, interpolation: None, ..example() };
        let by = Interpolator::Model { cluster: "game".into(), digest: "0a0b0c0d".into() };
        let model = RenditionSpec { interpolation: Some(Interpolation { factor: 4, by }), ..example() };
        for sent in [example(), plain, model] {
            assert_eq!(spec(Some(rendition(&sent))).unwrap(), sent);
        }
    }

    #[test]
    fn renditions_that_cannot_be_are_refused() {
        let message = || rendition(&example());
        for wrong in [
            v1::Rendition { width: 1_000_000, ..message() },
            v1::Rendition { height: 721, ..message() },
            v1::Rendition { scale: 0, ..message() },
            v1::Rendition {
                interpolation: Some(v1::Interpolation { factor: 3, by: "blend".into() }),
                ..message()
            },
        ] {
            assert!(spec(Some(wrong)).is_err());
        }
        assert!(spec(None).is_err());
    }

    #[test]
    fn parts_are_small_and_whole() {
        let sizes = |bytes: usize| {
            let parts = parts(Kind::Segment, Bytes::from(vec![7; bytes]));
            parts
                .into_iter()
                .map(|message| match message.message {
                    Some(v1::enhance_message::Message::Part(part)) => (part.data.len(), part.ends),
                    _ => (0, false),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [(0, true)], "an empty lead-in is one");
        assert_eq!(sizes(PIECE_BYTES), [(PIECE_BYTES, true)]);
        assert_eq!(sizes(PIECE_BYTES + 1), [(PIECE_BYTES, false), (1, true)]);
    }
}
