//! What operators can change over the admin address. Everything is a request without a body and an answer in JSON.
//!
//! | request | |
//! |---|---|
//! | `POST /reload` | reads the configuration again: 200, or 422 with all that is wrong |
//! | `GET /routes` | the routes, and which are switched off |
//! | `POST /routes/NAME/enhance?on=false` | switches enhancement off (or on again) for a route, now; 404 if there is none of that name |
//! | `POST /purge?url=URL`, or `DELETE` | forgets what was made of one source: its URL or path at the edge, an enhanced one's too |
//! | `POST /purge?prefix=PATH` | of all sources below a path, in whole segments; `&host=NAME` for one host's alone |
//! | `POST /purge?cluster=NAME` | of all renditions for a cluster |
//! | `POST /purge?all=true` | of everything |
//!
//! A purge is passed on to the other nodes of the region; the answer says how many it reached, and which it did not.
//!
//! A browser that an operator has open must not be led into any of it by a stranger's page: requests that a page makes say so, and are
//! refused.

use std::sync::Arc;

use acuity_playlist::uri::{self, parameters};
use http::header::ORIGIN;
use http::{HeaderName, Method, StatusCode};
use percent_encoding::percent_decode_str;
use pingora::http::RequestHeader;
use serde_json::{Value, json};
use url::Url;

use crate::app::App;
use crate::cache::purge::{Order, Purge};
use crate::reload::Reload;
use crate::route::HlsRoute;
use crate::signed;
use crate::site::Sites;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A status and what the answer says.
pub type Told = (StatusCode, Value);

/// Does what is asked; `None` where it is nothing of this.
pub async fn act(app: &Arc<App>, request: &RequestHeader) -> Option<Told> {
    let (path, query) = (request.uri.path(), request.uri.query());
    let route = path.strip_prefix("/routes/").and_then(|rest| rest.strip_suffix("/enhance"));
    let wanted = match (&request.method, path) {
        (&Method::GET, "/routes") => return Some((StatusCode::OK, routes(app))),
        (&Method::POST, "/reload") => Wanted::Reload,
        (&Method::POST | &Method::DELETE, "/purge") => Wanted::Purge,
        (&Method::POST, _) => Wanted::Switch(decoded(route?)?),
        _ => return None,
    };
    if request.headers.contains_key(ORIGIN) || request.headers.contains_key(SEC_FETCH_SITE) {
        return Some(refused(StatusCode::FORBIDDEN, "not from a page in a browser"));
    }
    Some(match wanted {
        Wanted::Reload => reload(app).await,
        Wanted::Purge => purge(app, query).await,
        Wanted::Switch(name) => switch(app, &name, query),
    })
}

enum Wanted {
    Reload,
    Purge,
    Switch(String),
}

/// A refusal, in words.
fn refused(status: StatusCode, words: &str) -> Told {
    (status, json!({ "error": words }))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The value of a query parameter; the last one counts.
fn parameter(query: Option<&str>, wanted: &str) -> Option<String> {
    parameters(query).filter(|(name, _)| name == wanted).last().map(|(_, value)| value.into_owned())
}

async fn reload(app: &Arc<App>) -> Told {
    let app = Arc::clone(app);
    match tokio::task::spawn_blocking(move || app.reload()).await {
        Ok(done @ Reload::Applied { .. }) => (StatusCode::OK, json!(done)),
        Ok(done @ Reload::Refused { .. }) => (StatusCode::UNPROCESSABLE_ENTITY, json!(done)),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn purge(app: &App, query: Option<&str>) -> Told {
    let order = order(&app.setup().sites, query);
    match order {
        Ok((order, by)) => {
            let purged = app.purge(&order, by).await;
            match app.purge_others(&order).await {
                Some(nodes) => (StatusCode::OK, json!({ "purged": purged, "nodes": nodes })),
                None => (StatusCode::OK, json!({ "purged": purged })),
            }
        }
        Err(words) => refused(StatusCode::BAD_REQUEST, &words),
    }
}

/// What a query asks to be forgotten, and the metric's label for it.
fn order(sites: &Sites, query: Option<&str>) -> Result<(Order, &'static str), String> {
    let asked = |name| parameter(query, name);
    let site = |authority: &str| sites.site(Some(authority)).name().to_owned();
    let host = asked("host").map(|host| site(&host));
    let normal = |path: &str| uri::normalise(path).map_err(|error| format!("{path:?}: {error}"));
    match (asked("url"), asked("prefix"), asked("cluster"), asked("all").as_deref()) {
        (Some(url), None, None, None) => {
            let (host, path) = match Url::parse(&url) {
                Ok(url) => {
                    let authority = url.host_str().map(site);
                    (authority, uri::path_and_query_of(&url))
                }
                Err(_) => (host, url),
            };
            let path = signed::take(&path).map_or(path.clone(), |(_, rest)| rest);
            let path = match HlsRoute::classify(&path) {
                HlsRoute::Enhanced { path_and_query, .. } | HlsRoute::Plain { path_and_query } => {
                    path_and_query
                }
                HlsRoute::Model(_) => return Err("models are not kept in the cache".to_owned()),
                HlsRoute::Malformed(why) => return Err(why.to_string()),
            };
            let path = uri::split_query(&path).0.to_owned();
            Ok((Order { site: host, purge: Purge::Path(path) }, "url"))
        }
        (None, Some(prefix), None, None) => {
            let prefix = normal(&prefix)?;
            if !signed::is_prefix(&prefix) {
                return Err(format!("{prefix:?} is no path prefix: no query, and not below the edge's own"));
            }
            Ok((Order { site: host, purge: Purge::Prefix(prefix) }, "prefix"))
        }
        (None, None, Some(cluster), None) => {
            Ok((Order { site: host, purge: Purge::Cluster(cluster) }, "cluster"))
        }
        (None, None, None, Some("true")) => Ok((Order { site: host, purge: Purge::All }, "all")),
        _ => Err("say one of ?url=, ?prefix=, ?cluster= and ?all=true".to_owned()),
    }
}

fn routes(app: &App) -> Value {
    let setup = app.setup();
    let route = |(index, route): (usize, &acuity_config::RouteConfig)| {
        json!({
            "name": route.name,
            "host": route.host.to_string(),
            "prefix": route.prefix,
            "origin": route.origin.as_str(),
            "origins": setup.origins().report(index),
            "enhance": route.enhance.as_str(),
            "switched_off": app.switches.is_off(&route.name),
        })
    };
    json!({ "routes": setup.config.routes.iter().enumerate().map(route).collect::<Vec<_>>() })
}

fn switch(app: &App, name: &str, query: Option<&str>) -> Told {
    let on = match parameter(query, "on").as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => return refused(StatusCode::BAD_REQUEST, "say ?on=true or ?on=false"),
    };
    let setup = app.setup();
    let Some(route) = setup.config.routes.iter().find(|route| route.name == name) else {
        return refused(StatusCode::NOT_FOUND, "no route of that name; GET /routes lists them");
    };
    app.switches.set(name, on);
    tracing::warn!(route = name, on, "enhancement was switched by hand");
    let enhance = route.enhance.as_str();
    (StatusCode::OK, json!({ "route": name, "switched_off": !on, "enhance": enhance }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_to_be_forgotten() {
        let mut route = acuity_config::RouteConfig::to("http://o.example".parse().unwrap());
        route.host = acuity_config::HostPattern::Exact("tv.example".to_owned());
        let sites = Sites::new(&[route]);
        let path = |path: &str| Purge::Path(path.to_owned());
        let token = "v1.x2.1280x720.29970.2800.generic-1a2b3c4d.L29jZWFuLzM2MHAvMzYwcC5tM3U4";
        let enhanced = format!("url=https://tv.example/~acuity/{token}/a/1.ts");
        for (query, site, purge) in [
            ("url=/a/1.ts", None, path("/a/1.ts")),
            ("url=/a/./1.ts%3Fv%3D1", None, path("/a/1.ts")),
            ("url=http://TV.example:8080/a/1.ts", Some("tv.example"), path("/a/1.ts")),
            ("url=http://invented.example/a/1.ts", Some(""), path("/a/1.ts")),
            (&enhanced, Some("tv.example"), path("/a/1.ts")),
            ("prefix=/live/", None, Purge::Prefix("/live/".to_owned())),
            ("prefix=/&host=tv.example", Some("tv.example"), Purge::Prefix("/".to_owned())),
            ("cluster=games", None, Purge::Cluster("games".to_owned())),
            ("all=true", None, Purge::All),
        ] {
            let (order, _) = order(&sites, Some(query)).unwrap_or_else(|why| panic!("{query}: {why}"));
            assert_eq!(order, Order { site: site.map(str::to_owned), purge }, "{query}");
        }
        for query in [
            "",
            "all=false",
            "all",
            "url=/a&prefix=/b",
            "prefix=live",
            "prefix=/a?b",
            "url=/~acuity/x/y",
            "url=a",
        ] {
            assert!(order(&sites, Some(query)).is_err(), "{query}");
        }
    }
}
