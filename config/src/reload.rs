//! What of another configuration can be taken while an edge runs.
//!
//! The rest is bound to what was built at the start: sockets, threads, sessions, caches of a size. It stays as it is and is named,
//! and what can be taken is taken all the same: a new route is not held up by a thread count that somebody has prepared for the next
//! restart. What is taken is listed here and everything else is not, so that a key nobody thought of is never said to be in
//! force when it is not.

use crate::document::own_address;
use crate::{Config, RouteConfig};

/// What a running edge makes of another configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// What is in force from now on.
    pub config: Config,
    /// Keys (or sections, where a key has no name here) that differ and need a restart.
    pub waiting: Vec<&'static str>,
    /// Why it cannot be used in this mixture, if it cannot.
    pub faults: Vec<String>,
}

/// Names what differs between two values of a section after everything that can be taken was made equal.
macro_rules! differing {
    ($waiting:ident, $now:expr, $wanted:expr, $section:literal, [$($field:ident),* $(,)?]) => {
        let before = $waiting.len();
        $(if $now.$field != $wanted.$field {
            $waiting.push(concat!($section, ".", stringify!($field)));
        })*
        if $waiting.len() == before && $now != $wanted {
            $waiting.push($section);
        }
    };
}

impl Config {
    /// This configuration with all of `wanted` that can be taken without a restart.
    #[must_use]
    pub fn reloaded(&self, wanted: &Self) -> Reloaded {
        let mut config = self.clone();
        config.routes.clone_from(&wanted.routes);
        config.origin.clone_from(&wanted.origin);
        config.limits.clone_from(&wanted.limits);
        config.server.drain_seconds = wanted.server.drain_seconds;
        config.server.drain_notice_seconds = wanted.server.drain_notice_seconds;
        if let (Some(tls), Some(wanted)) = (&mut config.server.tls, &wanted.server.tls) {
            tls.certificate.clone_from(&wanted.certificate);
            tls.key.clone_from(&wanted.key);
        }
        if let (Some(nodes), Some(wanted)) = (&mut config.nodes, &wanted.nodes) {
            *nodes = nodes.reloaded(wanted);
        }
        config.enhancer.deadline = wanted.enhancer.deadline;
        config.enhancer.look_ahead = wanted.enhancer.look_ahead;
        // Which catalogue is used, so that a pin takes hold at once; where models come from is bound to a directory.
        if let (Some(store), Some(wanted)) = (&mut config.models.store, &wanted.models.store) {
            store.follow.clone_from(&wanted.follow);
            store.interval = wanted.interval;
        }
        config.log.level = wanted.log.level;
        config.tracing.sample_ratio = wanted.tracing.sample_ratio;
        // Of the caches everything but what they may hold: the enhanced objects are to survive.
        let (budget_bytes, depot) = (config.cache.budget_bytes, config.cache.depot.clone());
        config.cache.clone_from(&wanted.cache);
        (config.cache.budget_bytes, config.cache.depot) = (budget_bytes, depot);

        let waiting = waiting(&config, wanted);
        let faults = config.routes.iter().flat_map(RouteConfig::origins).filter_map(|origin| {
            let address = own_address(origin, &config)?;
            Some(format!(
                "the origin {origin} is an address that this edge listens on until it is restarted ({address}): every request would come back"
            ))
        });
        let faults = faults.collect();
        Reloaded { config, waiting, faults }
    }
}

fn waiting(now: &Config, wanted: &Config) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    differing!(waiting, now.server, wanted.server, "server", [listen, tls, threads, upgrade_socket]);
    differing!(waiting, now.admin, wanted.admin, "admin", [listen]);
    differing!(
        waiting,
        now.enhancer,
        wanted.enhancer,
        "enhancer",
        [
            lanes,
            inference_threads,
            encoder_threads,
            queue_limit,
            preset,
            crf,
            max_source_pixels,
            max_segment_bytes,
            max_frames_per_segment,
            provider,
            precision,
            detail_share,
            detail_share_of,
            still_limit,
            stream_pace,
            runtime_library,
            confidence,
            cost_file,
        ]
    );
    differing!(
        waiting,
        now.workers,
        wanted.workers,
        "workers",
        [
            count,
            spare,
            recycle_after,
            memory_limit,
            cpu_time_limit,
            segment_timeout,
            silence_limit,
            sandbox,
            cpus,
            remote,
            listen
        ]
    );
    differing!(
        waiting,
        now.models,
        wanted.models,
        "models",
        [directory, watch_interval, retire_after, store]
    );
    differing!(waiting, now.guard, wanted.guard, "guard", []);
    differing!(waiting, now.cache, wanted.cache, "cache", [budget_bytes, depot]);
    if now.nodes != wanted.nodes {
        waiting.push("nodes");
    }
    differing!(waiting, now.log, wanted.log, "log", [access, format]);
    differing!(
        waiting,
        now.tracing,
        wanted.tracing,
        "tracing",
        [endpoint, protocol, service_name, attributes]
    );
    if waiting.is_empty() && now != wanted {
        waiting.push("a section that is only read at the start");
    }
    waiting
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::parse;

    const ROUTE: &str = "[[route]]\norigin = \"http://127.0.0.1:8001\"\n";

    #[test]
    fn what_can_be_taken_is_taken_and_the_rest_is_named() {
        let now = parse(&format!("[server]\nlisten = [\"127.0.0.1:1\"]\n{ROUTE}")).unwrap();
        let same = now.reloaded(&now);
        assert_eq!((same.config, same.waiting), (now.clone(), vec![]));
        for (text, waiting) in [
            ("[origin]\ntotal_timeout = \"9s\"", vec![]),
            ("[enhancer]\nlook_ahead = 0\n[enhancer.deadline]\nfraction = 0.5", vec![]),
            ("[cache]\nlive_playlist_ttl = \"100ms\"", vec![]),
            ("[log]\nlevel = \"debug\"", vec![]),
            ("[limits]\nconnections = 99\n[limits.client]\nrequests = 9\nentries = 5000", vec![]),
            ("[log]\nformat = \"json\"", vec!["log.format"]),
            ("[tracing]\nsample_ratio = 0.5", vec![]),
            ("[tracing]\nendpoint = \"http://c.example\"", vec!["tracing.endpoint"]),
            ("[enhancer]\nqueue_limit = 9\ncrf = 20", vec!["enhancer.queue_limit", "enhancer.crf"]),
            ("[cache]\nbudget_bytes = \"1MiB\"\nprobe_ttl = \"1m\"", vec!["cache.budget_bytes"]),
            ("[models]\nwatch_interval = \"1s\"", vec!["models.watch_interval"]),
            ("[workers]\ncount = 2", vec!["workers.count"]),
            ("[workers]\nspare = 0\nmemory_limit = \"1GiB\"", vec!["workers.spare", "workers.memory_limit"]),
            ("[enhancer]\nstill_limit = 0.5", vec!["enhancer.still_limit"]),
            // A section whose keys have no names here.
            ("[guard]\nframes = 7", vec!["guard"]),
            ("[enhancer.gpu]\nbatch = 2", vec!["enhancer"]),
        ] {
            let wanted = parse(&format!(
                "{text}\n[server]\nlisten = [\"127.0.0.1:1\"]\ndrain_seconds = 3\n[[route]]\norigin = \"http://o.example\"\n"
            ))
            .unwrap();
            let reloaded = now.reloaded(&wanted);
            assert_eq!(reloaded.waiting, waiting, "{text}");
            assert_eq!(reloaded.config == wanted, waiting.is_empty(), "{text}");
            assert_eq!(reloaded.config.routes, wanted.routes, "{text}");
            assert_eq!(reloaded.config.server.drain_seconds, 3, "{text}");
        }
    }

    #[test]
    fn addresses_stay_and_an_origin_must_not_be_one_of_them() {
        let now = parse(&format!("[server]\nlisten = [\"127.0.0.1:1\"]\n{ROUTE}")).unwrap();
        let wanted =
            parse("[server]\nlisten = [\"127.0.0.1:2\"]\n[[route]]\norigin = \"http://127.0.0.1:1\"")
                .unwrap();
        let reloaded = now.reloaded(&wanted);
        assert_eq!(reloaded.waiting, ["server.listen"]);
        assert_eq!(reloaded.config.server.listen, now.server.listen);
        assert!(reloaded.faults[0].contains("127.0.0.1:1"), "{:?}", reloaded.faults);
    }

    #[test]
    fn certificates_are_taken_and_their_listener_is_not() {
        let tls = |listen: &str, certificate: &str| {
            parse(&format!(
                "[server.tls]\nlisten = \"{listen}\"\ncertificate = \"{certificate}\"\nkey = \"k.pem\"\n{ROUTE}"
            ))
            .unwrap()
        };
        let (now, renewed) = (tls("127.0.0.1:3", "a.pem"), tls("127.0.0.1:3", "b.pem"));
        assert_eq!(now.reloaded(&renewed).waiting, Vec::<&str>::new());
        assert_eq!(now.reloaded(&renewed).config, renewed);
        let moved = now.reloaded(&tls("127.0.0.1:4", "b.pem"));
        assert_eq!(moved.waiting, ["server.tls"]);
        assert_eq!(moved.config.server.tls.unwrap().certificate.to_str(), Some("b.pem"));
    }
}
