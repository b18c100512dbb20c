//! Every error has its line here, and no line ends in an error of the edge's own making.

use acuity_enhancer::{Unsupported, container::ContainerError};
use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::metrics::OWN_FALLBACK_REASONS;
use crate::origin::Refusal;

const FRESH: Tried = Tried { plain: false, lead_in: false, hold: false, patience_over: false };
const SPENT: Tried = Tried { plain: true, lead_in: true, hold: true, patience_over: true };

fn refusal(status: StatusCode) -> Trouble {
    Trouble::Origin(OriginError::Status(Box::new(Refusal {
        status,
        headers: HeaderMap::new(),
        body: Bytes::new(),
    })))
}

fn enhancers() -> Vec<(EnhanceError, Remedy, Remedy)> {
    let source = Remedy::SourceBytes;
    let mut errors = vec![
        (EnhanceError::QueueFull { limit: 32 }, Remedy::Wait, source),
        (EnhanceError::MadeRoom, Remedy::Wait, source),
        (EnhanceError::TooLate, source, source),
        (EnhanceError::ShuttingDown, source, source),
        (EnhanceError::Cancelled, source, source),
        (EnhanceError::OpensMidGop, Remedy::LeadIn, source),
        (EnhanceError::Codec { stage: "decode", message: String::new() }, Remedy::Plain, source),
        (EnhanceError::WorkerLost, Remedy::Plain, source),
        (EnhanceError::NoWorker, source, source),
    ];
    errors.extend(Unsupported::ALL.map(|why| (EnhanceError::Unsupported(why), source, source)));
    errors
}

#[test]
fn every_enhancers_error_has_a_remedy_and_ends_with_the_sources_bytes() {
    for (error, first, last) in enhancers() {
        let trouble = Trouble::Enhance(error);
        assert_eq!(trouble.remedy(FRESH), first, "{trouble}");
        assert_eq!(trouble.remedy(SPENT), last, "{trouble}");
    }
    let unreadable = acuity_enhancer::probe(None, Bytes::new(), &acuity_config::EnhancerConfig::default());
    assert!(unreadable.is_err(), "an empty segment is no segment");
}

#[test]
fn a_container_that_cannot_be_read_gives_the_sources_bytes() {
    assert_eq!(container_errors().len(), 3);
    for error in container_errors() {
        assert_eq!(Trouble::Enhance(error.into()).remedy(FRESH), Remedy::SourceBytes);
    }
}

/// Real ones, from bytes that are no segments.
fn container_errors() -> Vec<ContainerError> {
    let no_segments: [&[u8]; 3] = [b"", b"<html>not found</html>", &[0x47; 100]];
    no_segments
        .into_iter()
        .filter_map(|bytes| {
            acuity_enhancer::container::SourceSegment::parse(None, Bytes::from_static(bytes)).err()
        })
        .collect()
}

#[test]
fn opening_inside_a_gop_goes_up_three_steps() {
    let trouble = Trouble::Enhance(EnhanceError::OpensMidGop);
    let with_lead_in = Tried { lead_in: true, ..FRESH };
    let held = Tried { hold: true, ..with_lead_in };
    assert_eq!(trouble.remedy(FRESH), Remedy::LeadIn);
    assert_eq!(trouble.remedy(with_lead_in), Remedy::Hold);
    assert_eq!(trouble.remedy(held), Remedy::SourceBytes);
}

#[test]
fn the_origins_faults_stay_the_origins() {
    for (trouble, expected) in [
        (refusal(StatusCode::NOT_FOUND), Remedy::PassOn),
        (refusal(StatusCode::SERVICE_UNAVAILABLE), Remedy::PassOn),
        (
            Trouble::Origin(OriginError::Timeout { phase: "total" }),
            Remedy::Status(StatusCode::GATEWAY_TIMEOUT),
        ),
        (
            Trouble::Origin(OriginError::Unreachable { message: String::new() }),
            Remedy::Status(StatusCode::BAD_GATEWAY),
        ),
        (
            Trouble::Origin(OriginError::Broken { received_bytes: 1, message: String::new() }),
            Remedy::Status(StatusCode::BAD_GATEWAY),
        ),
        (Trouble::Origin(OriginError::Range), Remedy::Status(StatusCode::BAD_GATEWAY)),
        (Trouble::Origin(OriginError::TooLarge { limit_bytes: 1 }), Remedy::PassThrough),
        (Trouble::Origin(OriginError::Encoded), Remedy::PassThrough),
        (Trouble::Origin(OriginError::Redirect), Remedy::PassThrough),
    ] {
        assert_eq!(trouble.remedy(FRESH), expected, "{trouble}");
        assert_eq!(trouble.remedy(SPENT), expected, "{trouble}");
    }
}

#[test]
fn nothing_but_the_origin_makes_a_5xx() {
    let own = enhancers()
        .into_iter()
        .map(|(error, ..)| Trouble::Enhance(error))
        .chain(container_errors().into_iter().map(|error| Trouble::Enhance(error.into())))
        .chain([
            Trouble::Key(None),
            Trouble::Key(Some(OriginError::Timeout { phase: "connect" })),
            Trouble::Crypt(CryptError::KeySize { found_bytes: 3 }),
            Trouble::Crypt(CryptError::Padding { segment_bytes: 3 }),
            Trouble::Flight(FlightError::TooMany),
            Trouble::Flight(FlightError::Lost),
            Trouble::NotListed,
            Trouble::TooLong,
        ]);
    for trouble in own {
        for tried in [FRESH, SPENT] {
            assert!(!matches!(trouble.remedy(tried), Remedy::Status(_) | Remedy::PassOn), "{trouble}");
        }
    }
}

#[test]
fn labels_are_known_to_the_metrics() {
    for (error, ..) in enhancers() {
        let label = error.label();
        let known =
            OWN_FALLBACK_REASONS.contains(&label) || Unsupported::ALL.iter().any(|why| why.label() == label);
        assert!(known, "{label}");
    }
}
