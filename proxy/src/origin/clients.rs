//! The HTTP clients by which the edge fetches: one for texts and one for media for each connect time-out that routes have, and one that
//! finds out how origins are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::OriginConfig;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder};
use url::Url;

use super::reach::Resolver;

/// Scheme, host and port: what makes two URLs the same origin.
type Authority = (String, String, u16);

/// Scheme of files on this machine. The configuration of an edge refuses it; only `acuity enhance` reads from it.
pub(super) const FILE: &str = "file";

/// The clients.
pub(super) struct Clients {
    /// By the connect time-out: few routes have one of their own.
    pairs: Vec<(Duration, Pair)>,
    allowed: Arc<HashSet<Authority>>,
}

struct Pair {
    text: Client,
    media: Client,
}

impl Clients {
    /// Clients that go to the origins of `bases` and nowhere else. `connect`: all connect time-outs that are asked for later.
    pub(super) fn new<'a>(
        config: &OriginConfig,
        bases: impl Iterator<Item = &'a Url>,
        connect: impl Iterator<Item = Duration>,
        resolver: &Arc<Resolver>,
    ) -> Result<Self, reqwest::Error> {
        let allowed: Arc<HashSet<Authority>> = Arc::new(bases.filter_map(authority).collect());
        let any_tls = allowed.iter().any(|(scheme, ..)| scheme == "https");
        let mut pairs: Vec<(Duration, Pair)> = Vec::new();
        for connect in std::iter::once(config.connect_timeout).chain(connect) {
            if pairs.iter().any(|(other, _)| *other == connect) {
                continue;
            }
            let builder = || {
                let (allowed, limit) = (Arc::clone(&allowed), config.max_redirects);
                builder(connect, any_tls, resolver)
                    .redirect(Policy::custom(move |attempt| follow(attempt, &allowed, limit)))
            };
            let pair = Pair {
                text: builder().build()?,
                // A segment that is sent compressed against our word is handed on undecoded, and then unreadable.
                media: builder().no_gzip().no_brotli().build()?,
            };
            pairs.push((connect, pair));
        }
        Ok(Self { pairs, allowed })
    }

    /// Whether `url` is on a configured origin.
    pub(super) fn allows(&self, url: &Url) -> bool {
        authority(url).is_some_and(|authority| self.allowed.contains(&authority))
    }

    /// The client for texts or media.
    pub(super) fn of(&self, connect: Duration, text: bool) -> Option<&Client> {
        let same = self.pairs.iter().find(|(other, _)| *other == connect);
        let (_, pair) = same.or_else(|| self.pairs.first())?;
        Some(if text { &pair.text } else { &pair.media })
    }
}

/// The client that finds out how origins are. It follows nothing: an answer is all it wants.
pub(super) fn watcher(
    config: &OriginConfig,
    any_tls: bool,
    resolver: &Arc<Resolver>,
) -> Result<Client, reqwest::Error> {
    builder(config.connect_timeout, any_tls, resolver).redirect(Policy::none()).no_gzip().no_brotli().build()
}

fn builder(connect: Duration, any_tls: bool, resolver: &Arc<Resolver>) -> ClientBuilder {
    let builder = Client::builder()
        .connect_timeout(connect)
        // A reverse proxy's way to its origin is its configuration, not its environment.
        .no_proxy()
        .dns_resolver(Arc::clone(resolver))
        // Longer than most segments last, so that a steady stream keeps its connection.
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true);
    // A machine without any certificate authorities can still serve plain HTTP origins.
    if any_tls { builder } else { builder.tls_certs_only(std::iter::empty()) }
}

fn authority(url: &Url) -> Option<Authority> {
    if url.scheme() == FILE {
        return Some((FILE.to_owned(), String::new(), 0));
    }
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port_or_known_default()?))
}

fn follow(attempt: Attempt<'_>, allowed: &HashSet<Authority>, limit: usize) -> reqwest::redirect::Action {
    let known = authority(attempt.url()).is_some_and(|authority| allowed.contains(&authority));
    if known && attempt.previous().len() <= limit { attempt.follow() } else { attempt.stop() }
}
