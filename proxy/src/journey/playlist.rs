//! A playlist outside the edge's own prefix.
//!
//! Only its text tells whether it is multivariant. If it is, and its client gets enhanced renditions here, they are planned
//! and written in: this is the one place where that is decided; everything later follows from the URLs. Anything
//! unexpected ends with the origin's playlist as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use acuity_config::{EnhanceFor, RouteConfig};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{HeaderName, USER_AGENT};
use moka::sync::Cache;

use super::{End, end_of};
use crate::asked::Asked;
use crate::client::{CMCD_HEADERS, strip_cmcd};
use crate::hls::Multivariant;
use crate::hls::uri;
use crate::metrics::{Kind, Outcome};
use crate::plan::ServePlan;
use crate::planner::Planner;
use crate::playlists::{Content, Playlists, SourcePlaylist};
use crate::rescue::Trouble;
use crate::respond::{self, Answer, PLAYLIST_TYPE, PlaylistHeaders};
use crate::site::Site;

/// A path that was a media playlist a moment ago is one still: it is passed through at once.
const KNOWN_MEDIA_FOR: Duration = Duration::from_secs(300);
const KNOWN_MEDIA_LIMIT: u64 = 100_000;

/// Answers playlists.
pub struct PlaylistJourney {
    playlists: Playlists,
    planner: Planner,
    known_media: Cache<(Site, String), ()>,
}

impl PlaylistJourney {
    /// Nothing known yet.
    #[must_use]
    pub fn new(playlists: Playlists, planner: Planner) -> Self {
        let known_media =
            Cache::builder().max_capacity(KNOWN_MEDIA_LIMIT).time_to_live(KNOWN_MEDIA_FOR).build();
        Self { playlists, planner, known_media }
    }

    /// `path_and_query`: normalised edge path, CMCD in it.
    pub async fn answer(&self, asked: &Asked<'_>, route: &RouteConfig, path_and_query: &str) -> End {
        let pass = || End::Pass { path_and_query: path_and_query.to_owned() };
        // Nothing to decide: the client gets what the origin says, headers and all.
        if route.enhance == EnhanceFor::None {
            return pass();
        }
        let path = strip_cmcd(path_and_query);
        // Some origins tell playlists apart by their query alone; delivery directives do not make another playlist.
        let known = (asked.site.clone(), uri::strip_parameters(&path, uri::is_request_parameter));
        if self.known_media.contains_key(&known) {
            return pass();
        }
        let (playlist, outcome) = match self.playlists.get(&asked.site, &path, asked.user_agent()).await {
            Ok(found) => found,
            // The origin wants credentials, which the client's own request may have.
            Err(Trouble::Origin(error)) if error.wants_credentials() => return pass(),
            Err(trouble) => return end_of(&trouble, asked.headers, Kind::Media, path_and_query),
        };
        match &playlist.content {
            Content::Multivariant(multivariant) => {
                let plan = if asked.gets_enhanced(route) {
                    Some(self.planner.plan(&asked.site, route, &path, &playlist.source, multivariant).await)
                } else {
                    None
                };
                multivariant_answer(asked, route, &playlist, multivariant, plan.as_ref(), outcome)
                    .map_or_else(pass, End::from)
            }
            Content::Media(_) => {
                self.known_media.insert(known, ());
                if playlist.redirected { pass() } else { as_it_came(asked, &playlist, outcome).into() }
            }
            Content::Other => pass(),
        }
    }
}

/// `None`: the text is of no use under this URL, and the origin answers itself.
fn multivariant_answer(
    asked: &Asked<'_>,
    route: &RouteConfig,
    playlist: &SourcePlaylist,
    multivariant: &Multivariant,
    plan: Option<&ServePlan>,
    outcome: Outcome,
) -> Option<Answer> {
    let offers = plan.filter(|plan| !plan.enhanced.is_empty());
    let body = match offers {
        Some(plan) => Bytes::from(multivariant.rewrite(&plan.rewrite(true))),
        None if playlist.redirected => return None,
        None => playlist.source.bytes.clone(),
    };
    let varies_with = depends_on(route);
    let cache_control = if varies_with.is_empty() {
        playlist.source.cache_control.clone().unwrap_or(HeaderValue::from_static("max-age=2"))
    } else {
        // CMCD and queries are no headers that `Vary` could name for every cache: each client's answer is its own.
        HeaderValue::from_static("private, no-cache")
    };
    let content_type =
        playlist.source.content_type.clone().filter(|_| offers.is_none()).unwrap_or(PLAYLIST_TYPE);
    let headers = PlaylistHeaders { cache_control, content_type, varies_with: &varies_with };
    Some(respond::playlist(asked.headers, body, headers, Kind::Multivariant, outcome))
}

/// Request headers that decide whether a client of this route gets enhanced renditions.
fn depends_on(route: &RouteConfig) -> Vec<String> {
    if route.enhance != EnhanceFor::Weak {
        return Vec::new();
    }
    let mut names: BTreeSet<String> = BTreeSet::new();
    for rule in &route.weak {
        names.extend(rule.user_agent.as_ref().map(|_| USER_AGENT.as_str().to_owned()));
        // A name that is none cannot have been sent either.
        let name = rule.header.as_ref().and_then(|header| HeaderName::try_from(header.name.as_str()).ok());
        names.extend(name.map(|name| name.as_str().to_owned()));
        if rule.cmcd.is_some() {
            names.extend(CMCD_HEADERS.map(str::to_owned));
        }
    }
    names.into_iter().collect()
}

/// A media playlist of the origin's own, byte for byte.
fn as_it_came(asked: &Asked<'_>, playlist: &SourcePlaylist, outcome: Outcome) -> Answer {
    let headers = PlaylistHeaders {
        cache_control: super::enhanced::media_cache_control(playlist),
        content_type: playlist.source.content_type.clone().unwrap_or(PLAYLIST_TYPE),
        varies_with: &[],
    };
    respond::playlist(asked.headers, playlist.source.bytes.clone(), headers, Kind::Media, outcome)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use acuity_config::{CmcdCondition, NamedMatch, Pattern, WeakRule};

    use super::*;

    #[test]
    fn an_answer_names_what_it_depends_on() {
        let route = RouteConfig::to("http://o.example/".parse().unwrap());
        assert!(depends_on(&route).is_empty());
        let nothing = WeakRule { user_agent: None, header: None, query: None, cmcd: None };
        let pattern = || Pattern::new("x").unwrap();
        let weak = vec![
            WeakRule { user_agent: Some(pattern()), ..nothing.clone() },
            WeakRule {
                header: Some(NamedMatch { name: "X-Device".to_owned(), matches: pattern() }),
                user_agent: Some(pattern()),
                ..nothing.clone()
            },
            WeakRule {
                query: Some(NamedMatch { name: "device".to_owned(), matches: pattern() }),
                ..nothing.clone()
            },
        ];
        let route = RouteConfig { enhance: EnhanceFor::Weak, weak, ..route };
        assert_eq!(depends_on(&route), ["user-agent", "x-device"]);
        let cmcd = CmcdCondition { key: "tb".to_owned(), matches: None, below: Some(1.0) };
        let route = RouteConfig { weak: vec![WeakRule { cmcd: Some(cmcd), ..nothing }], ..route };
        assert_eq!(depends_on(&route), CMCD_HEADERS);
    }
}
