//! Routes that were switched off by hand: nothing is enhanced there until they are switched on again.
//!
//! A switch is for the moment in which something is wrong. So it holds at once, for new playlists and for those who play already; it
//! survives a reload, which may be a key being rotated by a timer, and a hand-over to a new version; and it ends with the process,
//! because what is to last belongs into the configuration (`enhance = "off"`).

use std::collections::BTreeSet;
use std::sync::Arc;

use acuity_config::{EnhanceFor, RouteConfig};
use arc_swap::ArcSwap;

/// The switches, by the routes' names. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Switches(Arc<ArcSwap<BTreeSet<String>>>);

impl Switches {
    /// Switches a route on or off.
    pub fn set(&self, route: &str, on: bool) {
        self.0.rcu(|off| {
            let mut off = BTreeSet::clone(off);
            if on {
                off.remove(route);
            } else {
                off.insert(route.to_owned());
            }
            off
        });
    }

    /// Names of those that are off.
    #[must_use]
    pub fn off(&self) -> Vec<String> {
        self.0.load().iter().cloned().collect()
    }

    /// Whether this route was switched off.
    #[must_use]
    pub fn is_off(&self, route: &str) -> bool {
        self.0.load().contains(route)
    }

    /// Whether nothing is to be made for this route, not even for those who play something enhanced.
    #[must_use]
    pub fn stops(&self, route: &RouteConfig) -> bool {
        route.enhance == EnhanceFor::Off || self.is_off(&route.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_stopped_by_hand_or_by_the_configuration() {
        let switches = Switches::default();
        let mut route = RouteConfig::to("http://o.example".parse().unwrap());
        assert!(!switches.stops(&route));
        switches.clone().set(&route.name, false);
        assert!(switches.stops(&route) && switches.is_off("*/"));
        assert_eq!(switches.off(), ["*/"]);
        switches.set("*/", true);
        assert!(!switches.stops(&route));
        route.enhance = EnhanceFor::Off;
        assert!(switches.stops(&route));
    }
}
