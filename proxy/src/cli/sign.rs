//! `acuity sign`: URLs for routes that are opened by signatures.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acuity_config::Config;
use acuity_playlist::uri;
use clap::Args as ClapArgs;
use url::{Position, Url};

use super::{Failure, check, say, serve};
use crate::route::below_reserved;
use crate::signed::{self, Key, RouteKeys};
use crate::site::Sites;

/// Sign a URL
///
/// Prints the URL with a signature in its path that opens everything below --prefix: for a stream, the folder that holds its
/// playlists, segments and keys. The key is the first of the route that the URL takes, unless --key names another.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// What to sign: a URL at the edge, or its path alone
    #[arg(value_name = "URL")]
    url: String,

    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// How long it opens: a number and a unit, as 90s, 30m or 24h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Duration,

    /// Path that it opens, in whole segments [default: the URL's own folder]
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,

    /// Id of the key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    acuity_config::parse_duration(text)
        .ok_or_else(|| "a time is a number and a unit: 90s, 30m, 24h".to_owned())
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = serve::read(&args.config)?;
    let name = args.config.display().to_string();
    let config = acuity_config::parse(&text).map_err(|faults| Failure::fault(faults.in_file(&name)))?;
    let keys = RouteKeys::load(&config.routes).map_err(|faults| Failure::Fault(check::told(&faults)))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let url = signed_url(args, &config, &keys, now).map_err(Failure::Fault)?;
    say(&format!("{url}\n"));
    Ok(())
}

fn signed_url(args: &Args, config: &Config, keys: &RouteKeys, now: u64) -> Result<String, String> {
    let (before, host, path) = parts(&args.url)?;
    let path = uri::normalise(&path).map_err(|error| error.to_string())?;
    if below_reserved(&path).is_some() {
        return Err(
            "this is one of the edge's own URLs: sign the stream's, and playlists lead on from there"
                .to_owned(),
        );
    }
    let prefix = match &args.prefix {
        Some(prefix) => prefix.clone(),
        None => uri::split_query(&path).0.rsplit_once('/').map_or("/", |(folder, _)| folder).to_owned() + "/",
    };
    if !signed::is_prefix(&prefix) {
        let limit = signed::PREFIX_LIMIT_BYTES;
        return Err(format!(
            "{prefix:?} is no prefix: it begins with /, has no dot segments and no query, is escaped as in a URL, and has at most {limit} bytes"
        ));
    }
    if !signed::covers(&prefix, &path) {
        return Err(format!("the prefix {prefix:?} does not cover {path:?}: the URL would be refused"));
    }
    let sites = Sites::new(&config.routes);
    let found = sites.find(&sites.site(host.as_deref()), &path).ok_or("no route leads there")?;
    let keys = keys.keys(found.route);
    let route = config.routes.get(found.route).map_or("/", |route| &route.prefix);
    let key = match &args.key {
        _ if keys.is_empty() => {
            return Err(format!("the route {route} has no [route.signed_urls]: it is open to everybody"));
        }
        Some(id) => keys.iter().find(|key| key.id() == id).ok_or_else(|| {
            let ids: Vec<&str> = keys.iter().map(Key::id).collect();
            format!("the route {route} has no key {id:?}; it has {}", ids.join(", "))
        })?,
        None => &keys[0],
    };
    let end = now.saturating_add(args.expires.as_secs());
    let signature = key.sign(&prefix, end).ok_or("this cannot be signed")?;
    Ok(format!("{before}{}{path}", signed::url_prefix(&signature)))
}

/// What stands before the path, the host, and path and query.
fn parts(text: &str) -> Result<(String, Option<String>, String), String> {
    if text.starts_with('/') && !text.starts_with("//") {
        return Ok((String::new(), None, text.to_owned()));
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is neither a URL nor a path: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} is not an http or https URL"));
    }
    let host = url.host_str().map(str::to_owned);
    Ok((url[..Position::BeforePath].to_owned(), host, uri::path_and_query_of(&url)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn urls_are_signed_for_the_route_they_take() {
        let folder = tempfile::tempdir().unwrap();
        for (name, secret) in [("a", "0123456789abcdef"), ("b", "fedcba9876543210")] {
            let file = folder.path().join(name);
            std::fs::write(&file, secret).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = |name| folder.path().join(name);
        let text = format!(
            "[[route]]\norigin = \"http://o.example\"\n\
             [[route]]\nhost = \"tv.example\"\nprefix = \"/vod\"\norigin = \"http://o.example\"\n\
             [route.signed_urls]\nkeys = [{{ id = \"b\", file = {:?} }}, {{ id = \"a\", file = {:?} }}]\n",
            file("b"),
            file("a"),
        );
        let config = acuity_config::parse(&text).unwrap();
        let keys = RouteKeys::load(&config.routes).unwrap();
        let sign = |url: &str, prefix: Option<&str>, key: Option<&str>| {
            let args = Args {
                url: url.to_owned(),
                config: PathBuf::new(),
                expires: Duration::from_secs(60),
                prefix: prefix.map(str::to_owned),
                key: key.map(str::to_owned),
            };
            signed_url(&args, &config, &keys, 1000)
        };
        let url = sign("https://tv.example:8443/vod/x/a.m3u8?q=1", None, None).unwrap();
        let rest = url.strip_prefix("https://tv.example:8443").unwrap();
        let (signature, path) = signed::take(rest).unwrap();
        assert_eq!(path, "/vod/x/a.m3u8?q=1");
        assert!(signature.starts_with("v1.b.1060.L3ZvZC94Lw."), "{signature}");
        assert_eq!(keys.check(1, Some(&signature), "/vod/x/1.ts", 1059), Ok(()));
        assert!(
            sign("https://tv.example/vod/a.m3u8", Some("/vod/"), Some("a"))
                .unwrap()
                .contains("/v1.a.1060.L3ZvZC8.")
        );
        for (url, prefix, key, expected) in [
            ("https://tv.example/vod/a.m3u8", None, Some("c"), "no key \"c\"; it has b, a"),
            ("https://tv.example/vod/a.m3u8", Some("/live/"), None, "does not cover"),
            ("https://tv.example/vod/a.m3u8", Some("vod/"), None, "is no prefix"),
            ("https://tv.example/other/a.m3u8", None, None, "open to everybody"),
            ("/vod/a.m3u8", None, None, "open to everybody"),
            ("https://tv.example/~acuity/x/vod/a.m3u8", None, None, "edge's own"),
            ("ftp://tv.example/vod/a.m3u8", None, None, "not an http"),
            ("vod/a.m3u8", None, None, "neither"),
        ] {
            let told = sign(url, prefix, key).unwrap_err();
            assert!(told.contains(expected), "{url}: {told}");
        }
    }
}
