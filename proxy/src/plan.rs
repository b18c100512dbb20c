//! Who gets what: which enhanced renditions a multivariant playlist offers, and what they withhold.
//!
//! Pure policy. The edge asks [`candidates`] which variants could be sources, probes them (playlist and first
//! segment), and gives the answers to [`plan`]; the [`ServePlan`] says what to write into the playlist. It is made
//! once per playlist request and ends up in URLs, so all that goes into a token is taken from what does not change
//! between two nodes or two minutes of a live stream: declared rates before measured ones, target durations before
//! actual ones.
//!
//! The default policy: each H.264 variant of at most `max_source_lines` lines can be a source; each scale the route allows
//! and a model has takes it to a resolution; for each resolution reached there is one enhanced rendition, by the smallest
//! enlargement that gets there and of those from the source with the highest bandwidth; the origin's own variants of exactly
//! that resolution are withheld, if they are
//!
//! - **H.264 or of unknown codec, and SDR.** An HEVC, AV1 or HDR variant serves players that can have better than
//!   what we make; it is not what the enhanced one replaces.
//! - **of no higher frame rate** than the enhanced rendition: nobody loses motion.
//! - **of the same audio** as a copy of the enhanced variant: the same audio codecs, languages, names and channels,
//!   whatever the group is called (`aud-lo` and `aud-hi` are one choice; stereo and 5.1 are two).
//! - **in the same pathway**: content steering moves players between pathways, each must be whole.
//!
//! Beside these, where the route says so, a source has renditions of more pictures a second, in its own size or enlarged. They take
//! nobody's place: they withhold nothing, and are not offered where the origin has the resolution at such a rate itself.

mod audio;
mod candidates;
mod offer;
mod rate;
#[cfg(test)]
mod rate_tests;
mod refusal;
#[cfg(test)]
mod tests;

pub use candidates::{CANDIDATES_MAX, Candidate, Candidates, candidates, highest_bandwidth};
pub use rate::{Peak, VBV_SECONDS, video_rate_cap_kbps};
pub use refusal::Refusal;

use acuity_config::FrameRateConfig;
use acuity_enhancer::OfferedInterpolator;
use acuity_playlist::model_path::ModelPath;
use acuity_playlist::multivariant::{Insertion, Multivariant, Resolution, Rewrite, SessionModel};
use acuity_playlist::token::RenditionToken;
use offer::{Aim, Offer, copies, offer};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What a route wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Enlargements per side that are allowed.
    pub scales: Vec<u32>,
    /// Variants of more lines are no sources.
    pub max_source_lines: u32,
    /// Whether the origin's own variants of a reached resolution are withheld.
    pub withhold: bool,
    /// The stream's cluster of models ([`crate::cluster`] decides it); `plain` for the built-in scaler.
    pub cluster: String,
    /// Renditions of more pictures a second, for this client.
    pub frame_rate: Option<FrameRateConfig>,
    /// The model sets that there are for them now.
    pub interpolators: Vec<OfferedInterpolator>,
}

impl Policy {
    /// The policy of a configured route for streams of `cluster`, and a client that gets more pictures a second or does not.
    pub fn of(route: &acuity_config::RouteConfig, cluster: &str, gets_frame_rate: bool) -> Self {
        Self {
            scales: route.scales.clone(),
            max_source_lines: route.max_source_lines,
            withhold: route.withhold,
            cluster: cluster.to_owned(),
            frame_rate: route.frame_rate.clone().filter(|_| gets_frame_rate),
            interpolators: Vec::new(),
        }
    }

    /// Enlargements that models are needed for.
    pub fn enlargements(&self) -> BTreeSet<u32> {
        let faster = self.frame_rate.iter().flat_map(|policy| &policy.scales);
        self.scales.iter().chain(faster).copied().filter(|scale| *scale > 1).collect()
    }
}

/// A model set that may be put into playlists now.
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
    /// ([`counted_segment_seconds`](acuity_playlist::MediaPlaylist::counted_segment_seconds)), seconds.
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
    /// The origin's own variant that could have stood in its place, withheld or not: what it can be compared with.
    pub counterpart: Option<usize>,
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
    let mut fates = vec![Fate::Untried; probed.len()];
    let mut taken = BTreeSet::new();
    let mut offered: Vec<(u64, EnhancedVariant)> = Vec::new();
    for Way { aim, at, candidate, facts } in ways(playlist, policy, probed) {
        match offer(playlist, policy, models, candidate, facts, aim, &taken) {
            Ok(Offer { place, token, withheld, counterpart }) => {
                taken.insert(place);
                let copies = copies(playlist, candidate, facts, &token, &withheld);
                plan.withheld.extend(withheld);
                let variant = EnhancedVariant { video_codec: codec(&token), token, copies, counterpart };
                offered.push((highest_bandwidth(playlist, candidate), variant));
                fates[at] = Fate::Offered;
            }
            // Why the nearest enlargement is not offered says more than why a further one is not.
            Err(refusal) if fates[at] == Fate::Untried => fates[at] = Fate::Refused(refusal),
            Err(_) => {}
        }
    }
    // The best source's renditions stand first, of these the source's own rate, and of these the nearest.
    offered.sort_by_key(|(bandwidth, variant)| {
        (Reverse(*bandwidth), variant.token.interpolation.is_some(), variant.token.scale)
    });
    plan.enhanced = offered.into_iter().map(|(_, variant)| variant).collect();
    for ((candidate, probe), fate) in probed.iter().zip(fates) {
        let refusal = match (probe, fate) {
            (Probe::Refused(refusal), _) => *refusal,
            (Probe::Ready(_), Fate::Refused(refusal)) => refusal,
            (Probe::Ready(_), Fate::Untried | Fate::Offered) => continue,
        };
        plan.refused.extend(candidate.variants.iter().map(|&index| (index, refusal)));
    }
    plan.withheld.sort_unstable();
    plan.withheld.dedup();
    plan.refused.sort_by_key(|(index, _)| *index);
    plan.part_bandwidths(playlist);
    plan
}

/// A source and what is to be made of it.
struct Way<'a> {
    aim: Aim,
    /// The candidate's place among those that were probed.
    at: usize,
    candidate: &'a Candidate,
    facts: &'a SourceFacts,
}

/// What became of a candidate over all scales.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Untried,
    Refused(Refusal),
    Offered,
}

/// Every source with every scale, in the order in which they may take a resolution: the smaller enlargement first, because
/// it starts from more of the truth, and of equal ones the source with the highest bandwidth.
fn ways<'a>(playlist: &Multivariant, policy: &Policy, probed: &'a [(Candidate, Probe)]) -> Vec<Way<'a>> {
    let ready = probed.iter().enumerate().filter_map(|(at, (candidate, probe))| match probe {
        Probe::Ready(facts) => Some((at, candidate, facts)),
        Probe::Refused(_) => None,
    });
    let own = policy.scales.iter().map(|&scale| Aim { scale, faster: false });
    let faster = policy.frame_rate.iter().flat_map(|policy| &policy.scales);
    let aims: Vec<Aim> = own.chain(faster.map(|&scale| Aim { scale, faster: true })).collect();
    let of = |(at, candidate, facts)| aims.iter().map(move |&aim| Way { aim, at, candidate, facts });
    let mut ways: Vec<Way<'a>> = ready.flat_map(of).collect();
    let rank = |aim: Aim| (aim.faster, aim.scale);
    ways.sort_by_key(|way| (rank(way.aim), Reverse(highest_bandwidth(playlist, way.candidate))));
    ways
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
                frame_rate_milli: enhanced
                    .token
                    .interpolation
                    .as_ref()
                    .map(|_| enhanced.token.frame_rate_milli),
            })
        });
        let faster = self.enhanced.iter().find_map(|enhanced| enhanced.token.interpolation.as_ref());
        let interpolator = faster.filter(|_| session).map(|interpolation| interpolation.by.to_string());
        let session = if session { self.session() } else { Vec::new() };
        Rewrite { insertions: insertions.collect(), withheld: self.withheld.clone(), session, interpolator }
    }

    /// The model sets in use, one for each scale, in the order of the renditions.
    fn session(&self) -> Vec<SessionModel> {
        let mut scales = BTreeSet::new();
        let tokens = self.enhanced.iter().map(|enhanced| &enhanced.token);
        let firsts = tokens.filter(|token| !token.keeps_size() && scales.insert(token.scale));
        firsts
            .map(|token| SessionModel {
                scale: token.scale,
                cluster: token.cluster.clone(),
                digest: token.digest.clone(),
                description: (!token.is_plain()).then(|| {
                    let (cluster, digest) = (token.cluster.clone(), token.digest.clone());
                    ModelPath::Description { cluster, scale: token.scale, digest }.to_string()
                }),
            })
            .collect()
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
