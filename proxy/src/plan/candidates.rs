//! Which variants are worth a probe: what the multivariant playlist itself says.

use acuity_playlist::multivariant::{DeclaredVideo, Multivariant, Variant};
use acuity_playlist::uri::{RESERVED_PREFIX, Target};

use super::{Policy, Refusal};
use std::collections::BTreeMap;

/// Sources that are probed for one playlist: each costs the origin a playlist and a segment. Real ladders have up
/// to five variants of at most 540 lines.
pub const CANDIDATES_MAX: usize = 8;

/// A media playlist that could be a source, and the variants that name it (one for each audio group).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Indices into [`Multivariant::variants`], in order, at least one; all of one pathway.
    pub variants: Vec<usize>,
    /// The media playlist's edge path and query.
    pub playlist: String,
    /// How many candidates of the same declared resolution and pathway are better: probe rank 0 first, the others
    /// matter only where those fail.
    pub rank: usize,
}

/// The variants sorted out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// What to probe, the most useful first; at most [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// Variants that cannot be sources, and why.
    pub refused: Vec<(usize, Refusal)>,
}

/// Which variants could be sources.
pub fn candidates(playlist: &Multivariant, policy: &Policy) -> Candidates {
    let mut out = Candidates::default();
    for (index, variant) in playlist.variants.iter().enumerate() {
        match candidate_playlist(playlist, variant, policy) {
            Err(refusal) => out.refused.push((index, refusal)),
            Ok(path) => {
                let same = |c: &&mut Candidate| {
                    c.playlist == path && playlist.variants[c.variants[0]].pathway_id == variant.pathway_id
                };
                match out.candidates.iter_mut().find(same) {
                    Some(candidate) => candidate.variants.push(index),
                    None => out.candidates.push(Candidate { variants: vec![index], playlist: path, rank: 0 }),
                }
            }
        }
    }
    // Best first within each resolution; then by rank, so that the limit cuts off second choices.
    let bandwidth = |candidate: &Candidate| highest_bandwidth(playlist, candidate);
    out.candidates.sort_by_key(|candidate| std::cmp::Reverse(bandwidth(candidate)));
    let mut ranks = BTreeMap::new();
    for candidate in &mut out.candidates {
        let variant = &playlist.variants[candidate.variants[0]];
        // Without RESOLUTION all may differ: none is another's second choice.
        if let Some(resolution) = variant.resolution {
            let next = ranks.entry((variant.pathway_id.clone(), resolution)).or_insert(0usize);
            candidate.rank = *next;
            *next += 1;
        }
    }
    out.candidates.sort_by_key(|candidate| candidate.rank);
    for cut in out.candidates.split_off(out.candidates.len().min(CANDIDATES_MAX)) {
        out.refused.extend(cut.variants.into_iter().map(|index| (index, Refusal::TooManyCandidates)));
    }
    out.refused.sort_by_key(|(index, _)| *index);
    out
}

/// BANDWIDTH of the variant of the candidate that has most, bit/s.
pub fn highest_bandwidth(playlist: &Multivariant, candidate: &Candidate) -> u64 {
    let variants = candidate.variants.iter().filter_map(|&index| playlist.variants.get(index));
    variants.filter_map(|variant| variant.bandwidth_bps).max().unwrap_or(0)
}

/// The media playlist to probe, or why not.
fn candidate_playlist(
    playlist: &Multivariant,
    variant: &Variant,
    policy: &Policy,
) -> Result<String, Refusal> {
    match variant.declared_video() {
        DeclaredVideo::H264 | DeclaredVideo::Unknown => {}
        DeclaredVideo::Other => return Err(Refusal::NotH264),
        DeclaredVideo::Nothing => return Err(Refusal::NoVideo),
    }
    if !variant.is_sdr() {
        return Err(Refusal::NotSdr);
    }
    if variant.video_layout.as_deref().is_some_and(|layout| !layout.starts_with("CH-MONO")) {
        return Err(Refusal::VideoLayout);
    }
    // Another angle of a VIDEO group has a playlist of its own: the player would leave the enhanced one.
    let in_group = |group: &String| {
        playlist.renditions.iter().any(|r| r.kind == "VIDEO" && r.group == *group && r.uri.is_some())
    };
    if variant.video.as_ref().is_some_and(in_group) {
        return Err(Refusal::VideoGroup);
    }
    if variant.resolution.is_some_and(|resolution| resolution.height > policy.max_source_lines) {
        return Err(Refusal::TooManyLines);
    }
    match &variant.target {
        Target::Edge(path) if path.starts_with(RESERVED_PREFIX) => Err(Refusal::PlaylistUnreadable),
        Target::Edge(path) => Ok(path.clone()),
        Target::Foreign => Err(Refusal::PlaylistForeign),
        Target::Opaque => Err(Refusal::PlaylistUnreadable),
    }
}
