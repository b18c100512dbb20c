//! A playlist outside the edge's own prefix.
//!
//! Only its text tells whether it is multivariant. If it is, and its client gets enhanced renditions here, they are planned
//! and written in: this is the one place where that is decided; everything later follows from the URLs. Anything
//! unexpected ends with the origin's playlist as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use acuity_config::{EnhanceFor, RouteConfig};
use acuity_playlist::Multivariant;
use acuity_playlist::uri;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{HeaderName, USER_AGENT};
use moka::sync::Cache;

use super::{End, end_of};
use crate::asked::Asked;
use crate::client::{CMCD_HEADERS, strip_cmcd};
use crate::metrics::{Kind, Outcome};
use crate::plan::ServePlan;
use crate::planner::Planner;
use crate::playlists::{Content, Playlists, SourcePlaylist};
use crate::rescue::Trouble;
use crate::respond::{self, Answer, PLAYLIST_TYPE, PlaylistHeaders};
use crate::site::Site;
use crate::switches::Switches;

/// A path that was a media playlist a moment ago is one still: it is passed through at once.
const KNOWN_MEDIA_FOR: Duration = Duration::from_secs(300);
const KNOWN_MEDIA_LIMIT: u64 = 100_000;

/// Answers playlists.
pub struct PlaylistJourney {
    playlists: Playlists,
    planner: Planner,
    switches: Switches,
    known_media: Cache<(Site, String), ()>,
}

impl PlaylistJourney {
    /// Nothing known yet.
    #[must_use]
    pub fn new(playlists: Playlists, planner: Planner, switches: Switches) -> Self {
        let known_media =
            Cache::builder().max_capacity(KNOWN_MEDIA_LIMIT).time_to_live(KNOWN_MEDIA_FOR).build();
        Self { playlists, planner, switches, known_media }
    }

    /// `path_and_query`: normalised edge path, CMCD in it.
    pub async fn answer(&self, asked: &Asked<'_>, route: &RouteConfig, path_and_query: &str) -> End {
        let pass = || End::Pass { path_and_query: path_and_query.to_owned() };
        // Nothing to decide: the client gets what the origin says, headers and all.
        // Under a signature there always is: what its URIs lead to needs it too.
        let signed = asked.signed_prefix.is_some();
        let enhances = route.enhance != EnhanceFor::None && !self.switches.stops(route);
        if !enhances && !signed {
            return pass();
        }
        let path = strip_cmcd(path_and_query);
        // Some origins tell playlists apart by their query alone; delivery directives do not make another playlist.
        let known = (asked.site.clone(), uri::strip_parameters(&path, uri::is_request_parameter));
        if self.known_media.contains_key(&known) && !signed {
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
                let plan = if enhances && asked.gets_enhanced(route) {
                    Some(self.planner.plan(asked, route, &path, &playlist.source, multivariant).await)
                } else {
                    None
                };
                self.multivariant_answer(
                    asked,
                    route,
                    &path,
                    (&playlist, multivariant),
                    plan.as_ref(),
                    outcome,
                )
                .map_or_else(pass, End::from)
            }
            Content::Media(_) => {
                self.known_media.insert(known, ());
                self.own_text(asked, &path, &playlist)
                    .map_or_else(pass, |body| as_it_came(asked, &playlist, body, outcome).into())
            }
            Content::Other => pass(),
        }
    }

    /// The origin's own text as this client can use it; `None`: not under this URL.
    fn own_text(&self, asked: &Asked<'_>, path: &str, playlist: &SourcePlaylist) -> Option<Bytes> {
        match &asked.signed_prefix {
            Some(prefix) => {
                self.playlists.carried(&asked.site, path, &playlist.source, prefix).map(Bytes::from)
            }
            None => (!playlist.redirected).then(|| playlist.source.bytes.clone()),
        }
    }

    /// `None`: the text is of no use under this URL, and the origin answers itself.
    fn multivariant_answer(
        &self,
        asked: &Asked<'_>,
        route: &RouteConfig,
        path: &str,
        (playlist, multivariant): (&SourcePlaylist, &Multivariant),
        plan: Option<&ServePlan>,
        outcome: Outcome,
    ) -> Option<Answer> {
        let offers = plan.filter(|plan| !plan.enhanced.is_empty());
        let body = match offers {
            Some(plan) => {
                let text = multivariant.rewrite(&plan.rewrite(true));
                Bytes::from(match &asked.signed_prefix {
                    Some(prefix) => self.playlists.carried_own(&asked.site, path, path, &text, prefix),
                    None => text,
                })
            }
            None => self.own_text(asked, path, playlist)?,
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
}

/// Request headers that decide which enhanced renditions a client of this route gets.
fn depends_on(route: &RouteConfig) -> Vec<String> {
    let weak = route.weak.iter().filter(|_| route.enhance == EnhanceFor::Weak);
    let frame_rate = route.frame_rate.iter().flat_map(|policy| &policy.not_for);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for rule in weak.chain(frame_rate) {
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

/// A media playlist of the origin's own: byte for byte, but for what a signature has to be carried into.
fn as_it_came(asked: &Asked<'_>, playlist: &SourcePlaylist, body: Bytes, outcome: Outcome) -> Answer {
    let headers = PlaylistHeaders {
        cache_control: super::enhanced::media_cache_control(playlist),
        content_type: playlist.source.content_type.clone().unwrap_or(PLAYLIST_TYPE),
        varies_with: &[],
    };
    respond::playlist(asked.headers, body, headers, Kind::Media, outcome)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use acuity_config::{CmcdCondition, FrameRateConfig, NamedMatch, Pattern, WeakRule};

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
        let weak = vec![WeakRule { cmcd: Some(cmcd), ..nothing.clone() }];
        let route = RouteConfig { weak: weak.clone(), ..route };
        assert_eq!(depends_on(&route), CMCD_HEADERS);
        let faster = FrameRateConfig { not_for: weak, ..FrameRateConfig::default() };
        let route = RouteConfig { enhance: EnhanceFor::All, frame_rate: Some(faster), ..route };
        assert_eq!(depends_on(&route), CMCD_HEADERS, "who gets more pictures");
    }
}
