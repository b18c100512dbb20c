//! Which segment or map a request below a rendition's token means.

use super::MediaPlaylist;
use crate::uri::{self, ByteRange, Target};

/// What a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// `segments[i]`.
    Segment(usize),
    /// `maps[i]`.
    Map(usize),
    /// Neither: a key, a subtitle, something that left the playlist.
    None,
}

impl MediaPlaylist {
    /// `request`: edge path and query as asked for, without `/~acuity/<token>`.
    ///
    /// Path and byte range must be the resource's; so must the resource's query parameters, in any order. More
    /// parameters in the request (CMCD, cache busters) do not matter. If the playlist has several resources of that
    /// path, the one whose query fits best is meant, of several that fit as well the one that is written so; if there
    /// are several of these, the request means the first, for they are the same URL. A request that lost the
    /// resource's query still means it if nothing else has its path.
    pub fn find(&self, request: &str) -> Found {
        let (request, range) = uri::take_range(request);
        let (path, query) = uri::split_query(&request);
        let path = uri::canonical_path(path);
        let segments = self.segments.iter().enumerate();
        let segments = segments.map(|(index, s)| (Found::Segment(index), &s.target, s.byte_range));
        let maps = self.maps.iter().enumerate();
        let maps = maps.map(|(index, map)| (Found::Map(index), &map.target, map.byte_range));
        let candidates: Vec<(Found, &str)> = segments
            .chain(maps)
            .filter_map(|(found, target, own_range)| {
                resource_of(target, own_range, &path, range).map(|p| (found, p))
            })
            .collect();
        let asked = query.map(uri::canonical_path);
        // `a.ts?` and `a.ts`, `?x&y` and `?y&x` have the same parameters and are two URLs.
        let fit = |resource: &str| {
            let own = uri::split_query(resource).1;
            uri::extra_parameters(query, own).map(|extra| (extra, own.map(uri::canonical_path) != asked))
        };
        let best = candidates.iter().filter_map(|(found, resource)| Some((fit(resource)?, *found)));
        if let Some((_, found)) = best.min_by_key(|(fit, _)| *fit) {
            return found;
        }
        match candidates.as_slice() {
            [(found, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => *found,
            _ => Found::None,
        }
    }
}

/// The edge path and query of a resource if its path and range are those asked for.
fn resource_of<'a>(
    target: &'a Target,
    own_range: Option<ByteRange>,
    path: &[u8],
    range: Option<ByteRange>,
) -> Option<&'a str> {
    let resource = target.edge()?;
    let same = own_range == range && uri::canonical_path(uri::split_query(resource).0) == path;
    same.then_some(resource)
}
