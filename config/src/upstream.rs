//! What a route says of several origins: how each is watched, and how long it may take.

use std::time::Duration;

use crate::OriginConfig;
use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// Longest path of a health check, in bytes.
const PATH_LIMIT_BYTES: usize = 1024;

/// `[route.health_check]`: a request to each of the route's origins, again and again, so that one that is ill is known before a viewer
/// pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// What is asked for, put behind the origin's base path: begins with a slash, at most 1024 bytes, may have a query.
    pub path: String,
    /// From one request to the next (100 ms to 10 min); a tenth more or less, so that many edges do not ask at once.
    pub interval: Duration,
    /// Until the whole answer's headers are there (50 ms to 60 s), not longer than `interval`.
    pub timeout: Duration,
    /// Statuses that are well (100 to 599), at least one.
    pub status: Vec<u32>,
    /// Good answers in a row after which an origin that was down is up (1 to 100).
    pub rise: u32,
    /// Bad ones after which it is down (1 to 100).
    pub fall: u32,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            // With `fall`: an origin is known to be down within 15 s, whether anybody asks it or not.
            interval: Duration::from_secs(5),
            // What takes this long for a page that says "well" is not well.
            timeout: Duration::from_secs(2),
            status: vec![200],
            // One good answer may be luck; a restart that loops gives one now and then.
            rise: 2,
            // Two may be lost to the network.
            fall: 3,
        }
    }
}

impl HealthCheckConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let path = section.parsed("path", check_path);
        if !section.has("path") {
            section.missing("path", "name what tells whether an origin is well, as path = \"/healthz\"");
        }
        let config = Self {
            path: path.unwrap_or(default.path),
            interval: section.duration("interval", default.interval, ms(100)..=s(600)),
            timeout: section.duration("timeout", default.timeout, ms(50)..=s(60)),
            status: section.integers("status", 100..=599).unwrap_or(default.status),
            rise: section.integer("rise", default.rise, 1..=100),
            fall: section.integer("fall", default.fall, 1..=100),
        };
        if config.timeout > config.interval {
            let at = if section.has("timeout") { "timeout" } else { "interval" };
            section.fault(at, "leaves `timeout` longer than `interval`: checks would overlap", None);
        }
        section.finish();
        config
    }
}

fn check_path(text: &str) -> Result<String, Refusal> {
    let fits = text.starts_with('/')
        && text.len() <= PATH_LIMIT_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fits {
        return Ok(text.to_owned());
    }
    let message = format!(
        "{} is no path: it begins with / and has 1 to {PATH_LIMIT_BYTES} printable ASCII characters, no space and no #",
        quoted(text)
    );
    Err(Refusal::new(message))
}

/// `[route.timeouts]`: where a route's origins are to have other patience than `[origin]` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteTimeouts {
    /// Instead of [`OriginConfig::connect_timeout`].
    pub connect: Option<Duration>,
    /// Instead of [`OriginConfig::first_byte_timeout`].
    pub first_byte: Option<Duration>,
    /// Instead of [`OriginConfig::idle_timeout`].
    pub idle: Option<Duration>,
    /// Instead of [`OriginConfig::total_timeout`].
    pub total: Option<Duration>,
}

/// How long an origin may take, all of it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the request to the response's headers.
    pub first_byte: Duration,
    /// Between two parts of a body.
    pub idle: Duration,
    /// For a whole playlist, key or source segment, all origins that are asked for it together.
    pub total: Duration,
}

impl RouteTimeouts {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = OriginConfig::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let one = |key, bounds| {
            let read = section.duration(key, default.total_timeout, bounds);
            section.has(key).then_some(read)
        };
        let timeouts = Self {
            connect: one("connect", ms(50)..=s(60)),
            first_byte: one("first_byte", ms(100)..=s(120)),
            idle: one("idle", ms(100)..=s(600)),
            total: one("total", ms(500)..=s(600)),
        };
        section.finish();
        timeouts
    }

    /// These, and what `[origin]` says where they say nothing.
    #[must_use]
    pub fn over(&self, origin: &OriginConfig) -> Timeouts {
        let total = self.total.unwrap_or(origin.total_timeout);
        Timeouts {
            connect: self.connect.unwrap_or(origin.connect_timeout),
            first_byte: self.first_byte.unwrap_or(origin.first_byte_timeout),
            idle: self.idle.or(origin.idle_timeout).unwrap_or(total),
            total,
        }
    }
}

/// `[origin.breaker]`: when an origin is left alone, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row (1 to 1000).
    pub failures: u32,
    /// Share of failures within `window` (0.05 to 1).
    pub failure_share: f64,
    /// What `failure_share` is counted over (1 s to 10 min).
    pub window: Duration,
    /// Requests within `window` below which no share is believed (1 to 100 000).
    pub least_requests: u32,
    /// How long it is left alone at first (100 ms to 10 min), a fifth more or less.
    pub open_for: Duration,
    /// How long at most; it doubles each time that a probe fails (100 ms to 1 h), at least `open_for`.
    pub longest: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            // One may be a lost packet and two a restart of a worker behind it; who fails five times running is ill.
            failures: 5,
            // An origin that fails every second request costs each viewer more than the other one does.
            failure_share: 0.5,
            // Two or three segments of a player: what was before is history.
            window: Duration::from_secs(10),
            // Half of four is no share.
            least_requests: 20,
            // A restart next door takes a few seconds, and the probe after it costs nobody anything.
            open_for: Duration::from_secs(5),
            // So soon after its repair an origin is used again.
            longest: Duration::from_secs(60),
        }
    }
}

impl BreakerConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let config = Self {
            failures: section.integer("failures", default.failures, 1..=1000),
            failure_share: section.number("failure_share", default.failure_share, 0.05..=1.0),
            window: section.duration("window", default.window, s(1)..=s(600)),
            least_requests: section.integer("least_requests", default.least_requests, 1..=100_000),
            open_for: section.duration("open_for", default.open_for, ms(100)..=s(600)),
            longest: section.duration("longest", default.longest, ms(100)..=s(3600)),
        };
        if config.open_for > config.longest {
            let at = if section.has("open_for") { "open_for" } else { "longest" };
            section.fault(at, "leaves `open_for` longer than `longest`", None);
        }
        section.finish();
        config
    }
}

/// `[origin.retries]`: how many may fail. Each origin is asked once for one thing in any case.
#[derive(Clone, Debug, PartialEq)]
pub struct RetriesConfig {
    /// Failed retries that there may be, beyond which none is made (0 to 1 000 000).
    pub reserve: u32,
    /// What one answered request gives back to the reserve (0 to 1).
    pub share: f64,
}

impl Default for RetriesConfig {
    fn default() -> Self {
        Self {
            // All that is under way when an origin dies goes on to the next at once: they are counted while they run.
            reserve: 1000,
            // In the long run, of six requests to origins one may be a retry that came to nothing.
            share: 0.2,
        }
    }
}

impl RetriesConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            reserve: section.integer("reserve", default.reserve, 0..=1_000_000),
            share: section.number("share", default.share, 0.0..=1.0),
        };
        section.finish();
        config
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use crate::parse;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn route(text: &str) -> String {
        format!("[[route]]\norigin = \"https://a.example\"\n{text}")
    }

    fn faults(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn several_origins() {
        let text = route(
            "backup_origins = [\"https://b.example/base\", \"http://c.example:81\"]\nspread_origins = true\n",
        );
        let route = &parse(&text).unwrap().routes[0];
        let origins: Vec<&str> = route.origins().map(url::Url::as_str).collect();
        assert_eq!(origins, ["https://a.example/", "https://b.example/base", "http://c.example:81/"]);
        assert!(route.spread_origins);
    }

    #[test]
    fn what_is_wrong_with_several_origins() {
        for (text, said) in [
            ("backup_origins = [\"b.example\"]", "is not a URL"),
            ("backup_origins = 3", "route[0].backup_origins: must be a list"),
            ("backup_origins = [\"https://a.example\"]", "names https://a.example/ twice"),
            ("backup_origins = [\"http://127.0.0.1:8080\"]", "is this edge itself"),
            ("[route.health_check]\ninterval = \"1s\"", "route[0].health_check.path: is missing"),
            ("[route.health_check]\npath = \"healthz\"", "is no path"),
            (
                "[route.health_check]\npath = \"/a\"\ninterval = \"1s\"",
                "leaves `timeout` longer than `interval`",
            ),
            ("[route.timeouts]\nconnect = \"5s\"\ntotal = \"1s\"", "leaves the connect time-out longer"),
            ("[route.timeouts]\ntotal = \"1s\"", "leaves the connect time-out longer"),
            ("[origin.breaker]\nopen_for = \"2m\"", "leaves `open_for` longer than `longest`"),
            ("[origin.retries]\nshare = 2", "2 is not between 0 and 1"),
        ] {
            let found = faults(&route(text));
            assert!(found.contains(said), "{text}: {found}");
        }
        let one = "[route.health_check]\npath = \"/one\"\n";
        let other = format!("{}prefix = \"/x\"\n[route.health_check]\npath = \"/other\"\n", route(""));
        let found = faults(&format!("{}{other}", route(one)));
        assert!(found.contains("https://a.example/ is checked in another way by another route"), "{found}");
    }

    #[test]
    fn routes_have_their_own_patience() {
        let text = format!(
            "[origin]\ntotal_timeout = \"9s\"\nconnect_timeout = \"1s\"\n{}",
            route("[route.timeouts]\nfirst_byte = \"3s\"\nidle = \"4s\"\n")
        );
        let config = parse(&text).unwrap();
        let found = config.routes[0].timeouts.over(&config.origin);
        assert_eq!((found.connect, found.first_byte, found.idle, found.total), (S(1), S(3), S(4), S(9)));
        let config = parse(&route("")).unwrap();
        let found = config.routes[0].timeouts.over(&config.origin);
        assert_eq!((found.connect, found.first_byte, found.idle, found.total), (S(2), S(5), S(20), S(20)));
    }
}
