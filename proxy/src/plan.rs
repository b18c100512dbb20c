//! Who gets what: which enhanced renditions a multivariant playlist offers, and what they withhold.
//!
//! Pure policy. The edge asks [`candidates`] which variants could be sources, probes them (playlist and first
//! segment), and gives the answers to [`plan`]; the [`ServePlan`] says what to write into the playlist. It is made
//! once per playlist request and ends up in URLs, so all that goes into a token is taken from what does not change
//! between two nodes or two minutes of a live stream: declared rates before measured ones, target durations before
//! actual ones.
//!
//! The default policy: each H.264 variant of at most `max_source_lines` lines can be a source; for each resolution
//! reached there is one enhanced rendition, from the source with the highest bandwidth; the origin's own variants
//! of exactly that resolution are withheld, if they are
//!
//! - **H.264 or of unknown codec, and SDR.** An HEVC, AV1 or HDR variant serves players that can have better than
//!   what we make; it is not what the enhanced one replaces.
//! - **of no higher frame rate** than the enhanced rendition: nobody loses motion.
//! - **of the same audio** as a copy of the enhanced variant: the same audio codecs, languages, names and channels,
//!   whatever the group is called (`aud-lo` and `aud-hi` are one choice; stereo and 5.1 are two).
//! - **in the same pathway**: content steering moves players between pathways, each must be whole.

mod audio;
mod candidates;
mod rate;
mod refusal;
#[cfg(test)]
mod tests;

pub use candidates::{CANDIDATES_MAX, Candidate, Candidates, candidates};
pub use rate::{Peak, VBV_SECONDS, video_rate_cap_kbps};
pub use refusal::Refusal;

use crate::hls::multivariant::{
    DeclaredVideo, Insertion, Multivariant, Resolution, Rewrite, SessionModel, Variant,
};
use crate::hls::token::{PLAIN_CLUSTER, PLAIN_DIGEST, RenditionToken, SIDE_PIXELS_MAX};
use audio::AudioChoice;
use candidates::highest_bandwidth;
use std::collections::BTreeSet;

/// What a route wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Enlargement per side.
    pub scale: u32,
    /// Variants of more lines are no sources.
    pub max_source_lines: u32,
    /// Whether the origin's own variants of a reached resolution are withheld.
    pub withhold: bool,
    /// The cluster of models; `plain` for the built-in scaler.
    pub cluster: String,
}

impl Policy {
    /// The policy of a configured route.
    pub fn of(route: &acuity_config::RouteConfig) -> Self {
        Self {
            scale: 2,
            max_source_lines: route.max_source_lines,
            withhold: route.withhold,
            cluster: route.cluster.clone(),
        }
    }
}

/// A model set that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// Its cluster.
    pub cluster: String,
    /// Its scale.
    pub scale: u32,
    /// First 8 hex digits of its digest.
    pub digest: String,
}

/// How media are packed; decides the overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MPEG-2 transport stream.
    Ts,
    /// Fragmented MP4.
    Fmp4,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFacts {
    /// Picture width, pixels.
    pub width: u32,
    /// Picture height, pixels.
    pub height: u32,
    /// Nominal frames per 1000 s, if the stream tells.
    pub frame_rate_milli: Option<u32>,
    /// How it is packed.
    pub container: Container,
    /// Video in the probed segment, bit/s.
    pub video_bits_per_second: u64,
    /// Everything else in the probed segment (muxed audio, tables, overhead), bit/s.
    pub other_bits_per_second: u64,
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration_seconds: f64,
    /// The shortest segment that counts for the peak rate
    /// ([`counted_segment_seconds`](crate::hls::MediaPlaylist::counted_segment_seconds)), seconds.
    pub shortest_segment_seconds: f64,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// It can be enhanced.
    Ready(SourceFacts),
    /// It cannot, or not now.
    Refused(Refusal),
}

/// What to serve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServePlan {
    /// Enhanced renditions.
    pub enhanced: Vec<EnhancedVariant>,
    /// Variants of the origin that are taken out, ascending.
    pub withheld: Vec<usize>,
    /// Variants that are no source, and why.
    pub refused: Vec<(usize, Refusal)>,
}

/// An enhanced rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct EnhancedVariant {
    /// Says it all; its `playlist_path()` is the URI.
    pub token: RenditionToken,
    /// RFC 6381 codec of its video.
    pub video_codec: String,
    /// The variants it appears as, at least one: one for each variant that names its source.
    pub copies: Vec<EnhancedCopy>,
}

/// One `EXT-X-STREAM-INF` of an enhanced rendition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnhancedCopy {
    /// The variant it is cloned from.
    pub source: usize,
    /// The withheld variant whose place it takes.
    pub replaces: Option<usize>,
    /// An upper bound of every counted segment's bit rate, bit/s; no other variant in the playlist has the same.
    pub bandwidth_bps: u64,
    /// About the average segment bit rate where the video uses its full rate, bit/s.
    pub average_bandwidth_bps: u64,
}

/// The plan. `probed`: candidates and what became of them; one that is left out is not offered. `codec` gives the
/// RFC 6381 string of what the encoder will make of a rendition.
pub fn plan(
    playlist: &Multivariant,
    policy: &Policy,
    models: &[ModelChoice],
    probed: &[(Candidate, Probe)],
    codec: &dyn Fn(&RenditionToken) -> String,
) -> ServePlan {
    let mut plan = ServePlan::default();
    let refuse = |plan: &mut ServePlan, candidate: &Candidate, refusal: Refusal| {
        plan.refused.extend(candidate.variants.iter().map(|&index| (index, refusal)));
    };
    // For each pathway and resolution reached, the best source.
    let mut ready: Vec<(&Candidate, &SourceFacts, Resolution)> = Vec::new();
    for (candidate, probe) in probed {
        match probe {
            Probe::Refused(refusal) => refuse(&mut plan, candidate, *refusal),
            Probe::Ready(facts) => match reached(facts, policy) {
                Ok(resolution) => ready.push((candidate, facts, resolution)),
                Err(refusal) => refuse(&mut plan, candidate, refusal),
            },
        }
    }
    ready.sort_by_key(|(candidate, ..)| std::cmp::Reverse(highest_bandwidth(playlist, candidate)));
    let mut taken = BTreeSet::new();
    for (candidate, facts, resolution) in ready {
        let Some(first) = candidate.variants.first().and_then(|&index| playlist.variants.get(index)) else {
            continue;
        };
        let place = (first.pathway_id.clone(), resolution);
        if taken.contains(&place) {
            refuse(&mut plan, candidate, Refusal::Outranked);
            continue;
        }
        match enhanced(playlist, policy, models, candidate, facts, resolution) {
            Err(refusal) => refuse(&mut plan, candidate, refusal),
            Ok((token, withheld)) => {
                taken.insert(place);
                let copies = copies(playlist, candidate, facts, &token, &withheld);
                plan.withheld.extend(withheld);
                plan.enhanced.push(EnhancedVariant { video_codec: codec(&token), token, copies });
            }
        }
    }
    plan.withheld.sort_unstable();
    plan.withheld.dedup();
    plan.refused.sort_by_key(|(index, _)| *index);
    plan.part_bandwidths(playlist);
    plan
}

/// The size a source reaches.
fn reached(facts: &SourceFacts, policy: &Policy) -> Result<Resolution, Refusal> {
    if facts.height > policy.max_source_lines {
        return Err(Refusal::TooManyLines);
    }
    let side =
        |pixels: u32| pixels.checked_mul(policy.scale).filter(|side| (2..=SIDE_PIXELS_MAX).contains(side));
    match (side(facts.width), side(facts.height)) {
        (Some(width), Some(height)) => Ok(Resolution { width, height }),
        _ => Err(Refusal::TooLarge),
    }
}

/// The token, and the variants that the rendition withholds.
fn enhanced(
    playlist: &Multivariant,
    policy: &Policy,
    models: &[ModelChoice],
    candidate: &Candidate,
    facts: &SourceFacts,
    resolution: Resolution,
) -> Result<(RenditionToken, Vec<usize>), Refusal> {
    let (cluster, digest) = model_for(policy, models).ok_or(Refusal::NoModel)?;
    let sources: Vec<&Variant> =
        candidate.variants.iter().filter_map(|&index| playlist.variants.get(index)).collect();
    let declared =
        sources.iter().find_map(|variant| variant.frame_rate).map(|rate| (rate * 1000.0).round() as u32);
    let frame_rate_milli = facts.frame_rate_milli.or(declared).ok_or(Refusal::FrameRateUnknown)?;
    let rivals: Vec<usize> = (0..playlist.variants.len())
        .filter(|&index| replaceable(playlist, index, &sources, resolution, frame_rate_milli))
        .collect();
    let rival_bps = rivals.iter().filter_map(|&index| playlist.variants[index].bandwidth_bps).max();
    let declared = sources.iter().filter_map(|v| Some((v.bandwidth_bps?, v.average_bandwidth_bps))).min();
    let token = RenditionToken {
        scale: policy.scale,
        width: resolution.width,
        height: resolution.height,
        frame_rate_milli,
        max_video_kbps: video_rate_cap_kbps(resolution, frame_rate_milli, declared, rival_bps, facts),
        cluster,
        digest,
        playlist: candidate.playlist.clone(),
    };
    token.check().map_err(|_| Refusal::TokenBounds)?;
    Ok((token, if policy.withhold { rivals } else { Vec::new() }))
}

/// The cluster's model set, else the generic one: a content that nobody trained for is still enhanced.
fn model_for(policy: &Policy, models: &[ModelChoice]) -> Option<(String, String)> {
    if policy.cluster == PLAIN_CLUSTER {
        return Some((PLAIN_CLUSTER.to_owned(), PLAIN_DIGEST.to_owned()));
    }
    let of =
        |cluster: &str| models.iter().find(|model| model.cluster == cluster && model.scale == policy.scale);
    let model = of(&policy.cluster).or_else(|| of("generic"))?;
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
fn copies(
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

impl ServePlan {
    /// What to do to the playlist; `session`: with session data that names the model.
    pub fn rewrite(&self, session: bool) -> Rewrite {
        let insertions = self.enhanced.iter().flat_map(|enhanced| {
            enhanced.copies.iter().map(|copy| Insertion {
                source: copy.source,
                replaces: copy.replaces,
                uri: enhanced.token.playlist_path(),
                resolution: Resolution { width: enhanced.token.width, height: enhanced.token.height },
                bandwidth_bps: copy.bandwidth_bps,
                average_bandwidth_bps: copy.average_bandwidth_bps,
                video_codec: enhanced.video_codec.clone(),
            })
        });
        let first = self.enhanced.first().filter(|_| session);
        let session = first.map(|enhanced| SessionModel {
            cluster: enhanced.token.cluster.clone(),
            digest: enhanced.token.digest.clone(),
        });
        Rewrite { insertions: insertions.collect(), withheld: self.withheld.clone(), session }
    }

    /// Some players take two variants of the same BANDWIDTH for one; ours gives way, upward, so that it stays a
    /// bound. Variants that differ in audio alone may share it, as the origin's do.
    fn part_bandwidths(&mut self, playlist: &Multivariant) {
        let remaining =
            playlist.variants.iter().enumerate().filter(|(index, _)| !self.withheld.contains(index));
        let mut taken: BTreeSet<u64> = remaining.filter_map(|(_, variant)| variant.bandwidth_bps).collect();
        for enhanced in &mut self.enhanced {
            for copy in &mut enhanced.copies {
                while taken.contains(&copy.bandwidth_bps) {
                    copy.bandwidth_bps += 1000;
                }
            }
            taken.extend(enhanced.copies.iter().map(|copy| copy.bandwidth_bps));
        }
    }
}
