//! What becomes of a request: an answer of the edge's own, or a place at an origin.

use std::borrow::Cow;
use std::sync::Arc;

use acuity_playlist::model_path::ModelPath;
use acuity_playlist::uri::{RESERVED_PREFIX, split_query};
use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use super::pass::Pass;
use super::{Context, Edge};
use crate::asked::{Asked, authority};
use crate::client::strip_cmcd;
use crate::journey::End;
use crate::metrics::{Kind, Outcome};
use crate::respond::{self, Answer, cors};
use crate::route::HlsRoute;
use crate::signed;
use crate::signed::request::authorise;

impl Edge {
    /// Answers the request, or says where it goes.
    pub(super) async fn answer(&self, request: &RequestHeader, context: &mut Context) -> Option<Box<Answer>> {
        let (app, setup) = (&*self.app, Arc::clone(&context.setup));
        let site = setup.sites.site(authority(&request.headers, &request.uri));
        let raw = request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        if request.method == Method::OPTIONS
            && cors::answers_options(&request.headers, raw.starts_with(RESERVED_PREFIX))
        {
            return Some(Box::new(respond::preflight(&request.headers)));
        }
        let (signature, raw) = match signed::take(raw) {
            Some((signature, rest)) => (Some(signature), Cow::Owned(rest)),
            None => (None, Cow::Borrowed(raw)),
        };
        let classified = HlsRoute::classify(&raw);
        if let Err(why) = authorise(&setup.keys, &setup.sites, &site, signature.as_deref(), &classified) {
            app.metrics.signature_refusals.with_label_values(&[why.label()]).inc();
            return Some(refused(request, StatusCode::FORBIDDEN, &why.to_string()));
        }
        let mut asked = Asked::new(request, site.clone(), &raw);
        asked.client = context.admitted.client.clone();
        asked.signed_prefix = signature.as_deref().map(signed::url_prefix);
        context.signature = signature;
        let end = match classified {
            HlsRoute::Malformed(why) => {
                return Some(refused(request, StatusCode::BAD_REQUEST, &why.to_string()));
            }
            HlsRoute::Model(path) => return Some(self.model(request, path.filter(|_| reads)).await),
            HlsRoute::Enhanced { token, path_and_query } if reads => {
                let token = Arc::new(*token);
                context.stream = Some((site.clone(), Arc::clone(&token)));
                setup.enhanced_journey.answer(&asked, token, &path_and_query).await
            }
            HlsRoute::Plain { path_and_query } if reads && names_playlist(&path_and_query) => {
                let route = setup
                    .sites
                    .find(&site, &path_and_query)
                    .and_then(|found| setup.config.routes.get(found.route));
                match route {
                    Some(route) => setup.playlist_journey.answer(&asked, route, &path_and_query).await,
                    None => End::Pass { path_and_query },
                }
            }
            HlsRoute::Enhanced { path_and_query, .. } | HlsRoute::Plain { path_and_query } => {
                End::Pass { path_and_query }
            }
        };
        match end {
            End::Answer(answer) => Some(answer),
            End::Pass { path_and_query } => {
                let edge_path = strip_cmcd(&path_and_query);
                let Some(found) = setup.sites.find(&site, &edge_path) else {
                    return Some(refused(request, StatusCode::NOT_FOUND, "no route leads there"));
                };
                let tries = setup.origins().tries(found.route, &found.origin_url, reads);
                context.pass = Some(Pass::new(site, edge_path, tries));
                None
            }
        }
    }

    /// A network, or what describes one.
    async fn model(&self, request: &RequestHeader, path: Option<ModelPath>) -> Box<Answer> {
        let answer = match path {
            Some(path) => self.app.models.answer(&request.method, &request.headers, &path).await,
            None => None,
        };
        answer
            .map_or_else(|| refused(request, StatusCode::NOT_FOUND, "no such model is in use here"), Box::new)
    }
}

/// Whether a path looks like a playlist's; what it really is shows its text.
fn names_playlist(path_and_query: &str) -> bool {
    let path = split_query(path_and_query).0.to_ascii_lowercase();
    path.ends_with(".m3u8") || path.ends_with(".m3u")
}

fn refused(request: &RequestHeader, status: StatusCode, words: &str) -> Box<Answer> {
    Box::new(respond::message(&request.headers, status, words, Kind::Refused, Outcome::Local))
}
