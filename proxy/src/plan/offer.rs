//! One enhanced rendition: what a source enlarged by one scale would be, at its own rate or a higher one, and what it would stand for.

use super::audio::AudioChoice;
use super::rate::{Peak, bits_of_more_pictures, video_rate_cap_kbps};
use super::{Candidate, EnhancedCopy, ModelChoice, Policy, Refusal, SourceFacts};
use acuity_config::{FrameRateConfig, InterpolatorChoice};
use acuity_enhancer::{Interpolation, Interpolator};
use acuity_playlist::multivariant::{DeclaredVideo, Multivariant, Resolution, Variant};
use acuity_playlist::token::{GENERIC_CLUSTER, PLAIN_CLUSTER, PLAIN_DIGEST, RenditionToken, SIDE_PIXELS_MAX};
use std::collections::BTreeSet;

/// What renditions compete for: a resolution within a pathway, at the source's rate or at a higher one.
pub(super) type Place = (String, Resolution, bool);

/// What is to be made of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aim {
    /// Enlargement per side; 1 only for more pictures.
    pub(super) scale: u32,
    /// More pictures a second, as the policy says.
    pub(super) faster: bool,
}

/// A rendition that may be offered.
pub(super) struct Offer {
    /// The place it takes.
    pub(super) place: Place,
    /// It.
    pub(super) token: RenditionToken,
    /// The variants of the origin that it withholds.
    pub(super) withheld: Vec<usize>,
    /// The best of the origin's variants that it could withhold, or could at the source's own rate.
    pub(super) counterpart: Option<usize>,
}

/// The size a source reaches.
fn reached(facts: &SourceFacts, policy: &Policy, scale: u32) -> Result<Resolution, Refusal> {
    if facts.height > policy.max_source_lines {
        return Err(Refusal::TooManyLines);
    }
    let side = |pixels: u32| pixels.checked_mul(scale).filter(|side| (2..=SIDE_PIXELS_MAX).contains(side));
    match (side(facts.width), side(facts.height)) {
        (Some(width), Some(height)) => Ok(Resolution { width, height }),
        _ => Err(Refusal::TooLarge),
    }
}

/// What `candidate` gives with this aim, unless another way there is `taken`.
pub(super) fn offer(
    playlist: &Multivariant,
    policy: &Policy,
    models: &[ModelChoice],
    candidate: &Candidate,
    facts: &SourceFacts,
    Aim { scale, faster }: Aim,
    taken: &BTreeSet<Place>,
) -> Result<Offer, Refusal> {
    let resolution = reached(facts, policy, scale)?;
    let faster = policy.frame_rate.as_ref().filter(|_| faster);
    if faster.is_some_and(|policy| resolution.height > policy.max_lines) {
        return Err(Refusal::TooManyLines);
    }
    let sources: Vec<&Variant> =
        candidate.variants.iter().filter_map(|&index| playlist.variants.get(index)).collect();
    let pathway = sources.first().map(|variant| variant.pathway_id.clone()).unwrap_or_default();
    let place = (pathway, resolution, faster.is_some());
    if taken.contains(&place) {
        return Err(Refusal::Outranked);
    }
    let (cluster, digest) = model_for(policy, models, scale).ok_or(Refusal::NoModel)?;
    let declared =
        sources.iter().find_map(|variant| variant.frame_rate).map(|rate| (rate * 1000.0).round() as u32);
    let mut frame_rate_milli = facts.frame_rate_milli.or(declared).ok_or(Refusal::FrameRateUnknown)?;
    let mut rivals: Vec<usize> = (0..playlist.variants.len())
        .filter(|&index| replaceable(playlist, index, &sources, resolution, frame_rate_milli))
        .collect();
    let best = rivals.iter().copied().max_by_key(|&index| playlist.variants[index].bandwidth_bps);
    // In the source's own size that is the source.
    let counterpart = best.filter(|_| scale > 1);
    let mut rival_bps = rivals.iter().filter_map(|&index| playlist.variants[index].bandwidth_bps).max();
    if let Some(faster) = faster {
        frame_rate_milli = faster.result_milli(frame_rate_milli).ok_or(Refusal::FrameRate)?;
        if playlist.variants.iter().any(|variant| shows(variant, &place.0, resolution, frame_rate_milli)) {
            return Err(Refusal::Outranked);
        }
        // It stands beside the origin's own, which says what the resolution takes at its rate.
        rival_bps = rival_bps.map(|bps| bits_of_more_pictures(bps, faster.factor));
        rivals.clear();
    }
    let declared = sources.iter().filter_map(|v| Some((v.bandwidth_bps?, v.average_bandwidth_bps))).min();
    let token = RenditionToken {
        scale,
        width: resolution.width,
        height: resolution.height,
        frame_rate_milli,
        max_video_kbps: video_rate_cap_kbps(resolution, frame_rate_milli, declared, rival_bps, facts),
        cluster,
        digest,
        interpolation: faster
            .map(|faster| Interpolation { factor: faster.factor, by: interpolator(policy, faster) }),
        playlist: candidate.playlist.clone(),
    };
    token.check().map_err(|_| Refusal::TokenBounds)?;
    Ok(Offer { place, token, withheld: if policy.withhold { rivals } else { Vec::new() }, counterpart })
}

/// What makes the pictures between two: where the best is asked for, the cluster's models, else the generic ones, else none.
fn interpolator(policy: &Policy, frame_rate: &FrameRateConfig) -> Interpolator {
    let of = |cluster: &str| policy.interpolators.iter().find(|set| set.cluster == cluster);
    match frame_rate.interpolator {
        InterpolatorChoice::Auto if policy.cluster != PLAIN_CLUSTER => {
            let set = of(&policy.cluster).or_else(|| of(GENERIC_CLUSTER));
            set.map_or(Interpolator::Blend, |set| Interpolator::Model {
                cluster: set.cluster.clone(),
                digest: set.digest.clone(),
            })
        }
        InterpolatorChoice::Auto | InterpolatorChoice::Blend => Interpolator::Blend,
        InterpolatorChoice::Repeat => Interpolator::Repeat,
    }
}

/// Whether the origin itself has this resolution at that rate, or nearly: true pictures are better than made ones.
fn shows(variant: &Variant, pathway: &str, resolution: Resolution, frame_rate_milli: u32) -> bool {
    let as_fast = |rate: f64| rate * 1000.0 >= f64::from(frame_rate_milli) * 0.95;
    variant.pathway_id == pathway
        && variant.resolution == Some(resolution)
        && variant.frame_rate.is_some_and(as_fast)
}

/// The cluster's model set, else the generic one: a content that nobody trained for is still enhanced.
fn model_for(policy: &Policy, models: &[ModelChoice], scale: u32) -> Option<(String, String)> {
    if policy.cluster == PLAIN_CLUSTER || scale == 1 {
        return Some((PLAIN_CLUSTER.to_owned(), PLAIN_DIGEST.to_owned()));
    }
    let of = |cluster: &str| models.iter().find(|model| model.cluster == cluster && model.scale == scale);
    let model = of(&policy.cluster).or_else(|| of(GENERIC_CLUSTER))?;
    Some((model.cluster.clone(), model.digest.clone()))
}

/// Whether the enhanced rendition takes the place of variant `index`; the module's head says when and why.
fn replaceable(
    playlist: &Multivariant,
    index: usize,
    sources: &[&Variant],
    resolution: Resolution,
    frame_rate_milli: u32,
) -> bool {
    let variant = &playlist.variants[index];
    let h264 = matches!(variant.declared_video(), DeclaredVideo::H264 | DeclaredVideo::Unknown);
    // 5 %: 30 and 29.97 are one frame rate, 25 and 24 too; 50 and 25 are not.
    let no_faster = variant.frame_rate.is_none_or(|rate| rate * 1000.0 <= f64::from(frame_rate_milli) * 1.05);
    let audio = AudioChoice::of(playlist, variant);
    variant.resolution == Some(resolution)
        && h264
        && variant.is_sdr()
        && no_faster
        && sources.iter().any(|source| {
            source.pathway_id == variant.pathway_id && AudioChoice::of(playlist, source) == audio
        })
}

/// One copy for each variant that names the source, each in the place of a withheld variant of its audio if one is
/// left, else of the first withheld.
pub(super) fn copies(
    playlist: &Multivariant,
    candidate: &Candidate,
    facts: &SourceFacts,
    token: &RenditionToken,
    withheld: &[usize],
) -> Vec<EnhancedCopy> {
    let mut free: Vec<usize> = withheld.to_vec();
    let copy = |&source: &usize| {
        let variant = playlist.variants.get(source)?;
        let audio = AudioChoice::of(playlist, variant);
        let same =
            free.iter().position(|&index| AudioChoice::of(playlist, &playlist.variants[index]) == audio);
        let replaces = same.map(|at| free.remove(at)).or_else(|| withheld.first().copied());
        let peak = Peak::of(playlist, variant, facts, token);
        Some(EnhancedCopy {
            source,
            replaces,
            bandwidth_bps: peak.bits_per_second(),
            average_bandwidth_bps: peak.average_bits_per_second(),
        })
    };
    candidate.variants.iter().filter_map(copy).collect()
}
