//! Which model sets serve which renditions, while catalogues come and go. Pure: time comes in as an argument, and what a
//! model is does not matter here: what is said of scaling plainly is blending where pictures are made between others.
//!
//! A rendition's URL names a set by cluster, scale and digest, and a player in it must never get two networks' pictures
//! by turns. So a set is in one of three states:
//!
//! - *current*: the catalogue names it and at least one of its models is usable. It may be offered.
//! - *retired*: the catalogue names another digest for its cluster and scale. It is not offered any more, but renditions that
//!   named it get it, from the bytes that were verified when it was current, until nobody has asked for a while.
//! - *stopped*: the catalogue names nothing for its cluster and scale, or names this very set and none of its files is what it
//!   should be, or all of its models were withdrawn because they lose against others. Nothing is made with it from that moment on. It is remembered as long as a retired one, because files
//!   are often replaced before the catalogue is: once the catalogue says so, what looked corrupt was only replaced.
//!
//! What a request gets whose set is not there (stopped, forgotten, or from before a restart):
//!
//! 1. Never another digest of its own cluster: that is the mixture which the digest in the URL is there to prevent.
//! 2. The generic set that is current when the first such request comes. The rendition is *pinned* to that digest: if
//!    generic is replaced meanwhile, the pinned one retires and goes on serving here. If the pinned one is stopped, the
//!    rendition is scaled plainly; it is not given a third network.
//! 3. A rendition of a generic set that is not there is scaled plainly, by rule 1.
//!
//! A rendition's own set comes back first if it comes back: it is what its URL promises.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The cluster that stands in for others.
pub(crate) const GENERIC: &str = "generic";

/// Most renditions that are pinned to a stand-in at one time. Anybody can ask for any digest, so there must be a limit;
/// beyond it the plain scaler stands in, which needs no memory.
const PINS_LIMIT: usize = 4096;

/// What a rendition names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SetName {
    pub(crate) cluster: String,
    pub(crate) scale: u32,
    pub(crate) digest: String,
}

impl SetName {
    fn is_at(&self, cluster: &str, scale: u32) -> bool {
        (self.cluster.as_str(), self.scale) == (cluster, scale)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Current,
    Retired,
    Stopped,
}

struct Set<M> {
    /// Cheap to dear; may be empty only when stopped.
    models: Vec<M>,
    state: State,
    last_asked: Instant,
}

/// What a rendition's segments are made with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved<M> {
    /// Cheap to dear; none: the plain scaler.
    pub(crate) models: Vec<M>,
    /// The set that the rendition names is not there: these are a stand-in's.
    pub(crate) missing: bool,
}

pub(crate) struct Sets<M> {
    sets: HashMap<SetName, Set<M>>,
    /// Renditions whose set is not there: the generic digest that stands in, and when it was last asked for.
    pins: HashMap<SetName, (String, Instant)>,
    retire_after: Duration,
}

impl<M: Clone> Sets<M> {
    pub(crate) fn new(retire_after: Duration) -> Self {
        Self { sets: HashMap::new(), pins: HashMap::new(), retire_after }
    }

    /// Makes `named` what the catalogue says: each set with its usable models, cheap to dear, perhaps none.
    pub(crate) fn install(&mut self, named: Vec<(SetName, Vec<M>)>, now: Instant) {
        for (name, set) in &mut self.sets {
            let before = set.state;
            let replaced = named.iter().any(|(other, _)| other.is_at(&name.cluster, name.scale));
            // One whose models were all withdrawn has nothing to serve with.
            let serves = replaced && !set.models.is_empty();
            set.state = if serves { State::Retired } else { State::Stopped };
            // Its time begins when it is no longer current, not when it was last asked for.
            if before == State::Current {
                set.last_asked = now;
            }
        }
        for (name, models) in named {
            if !models.is_empty() {
                self.sets.insert(name, Set { models, state: State::Current, last_asked: now });
            } else if let Some(set) = self.sets.get_mut(&name) {
                set.state = State::Stopped;
            }
        }
    }

    /// What segments of the rendition that names `name` are made with. Counts as asking for it.
    pub(crate) fn resolve(&mut self, name: &SetName, now: Instant) -> Resolved<M> {
        if let Some(models) = self.ask(name, now) {
            return Resolved { models, missing: false };
        }
        let models = self.stand_in(name, now).and_then(|generic| self.ask(&generic, now));
        Resolved { models: models.unwrap_or_default(), missing: true }
    }

    /// The models of a set that serves.
    fn ask(&mut self, name: &SetName, now: Instant) -> Option<Vec<M>> {
        let set = self.sets.get_mut(name).filter(|set| set.state != State::Stopped)?;
        set.last_asked = now;
        Some(set.models.clone())
    }

    /// The generic set that stands in for one that is not there.
    fn stand_in(&mut self, name: &SetName, now: Instant) -> Option<SetName> {
        if name.cluster == GENERIC {
            return None;
        }
        let generic = |digest: &str| SetName {
            cluster: GENERIC.to_owned(),
            scale: name.scale,
            digest: digest.to_owned(),
        };
        if let Some((digest, last_asked)) = self.pins.get_mut(name) {
            *last_asked = now;
            return Some(generic(digest));
        }
        let current = |(other, set): (&SetName, &Set<M>)| {
            (set.state == State::Current && other.is_at(GENERIC, name.scale)).then(|| other.digest.clone())
        };
        let digest = self.sets.iter().find_map(current)?;
        if self.pins.len() >= PINS_LIMIT {
            return None;
        }
        let found = generic(&digest);
        self.pins.insert(name.clone(), (digest, now));
        Some(found)
    }

    /// Forgets what nobody has asked for.
    pub(crate) fn expire(&mut self, now: Instant) {
        let keep = |last_asked: Instant| now.saturating_duration_since(last_asked) < self.retire_after;
        self.sets.retain(|_, set| set.state == State::Current || keep(set.last_asked));
        self.pins.retain(|_, (_, last_asked)| keep(*last_asked));
    }

    /// Takes models out of a set for good; whether there were such. A set without any left is stopped.
    pub(crate) fn withdraw(&mut self, name: &SetName, is_one: impl Fn(&M) -> bool) -> bool {
        let Some(set) = self.sets.get_mut(name) else { return false };
        let before = set.models.len();
        set.models.retain(|model| !is_one(model));
        if set.models.is_empty() {
            set.state = State::Stopped;
        }
        set.models.len() < before
    }

    /// The models of a set that serves, and those of the generic set that is current. Nobody is thought to ask for them.
    pub(crate) fn rivals(&self, name: &SetName) -> (Vec<M>, Vec<M>) {
        let serving = self.sets.get(name).filter(|set| set.state != State::Stopped);
        let is_generic = |(other, set): &(&SetName, &Set<M>)| {
            set.state == State::Current && other.is_at(GENERIC, name.scale)
        };
        let generic = self.sets.iter().find(is_generic).map(|(_, set)| set);
        let models = |set: Option<&Set<M>>| set.map(|set| set.models.clone()).unwrap_or_default();
        (models(serving), models(generic))
    }

    /// All sets, by cluster, scale and digest.
    pub(crate) fn all(&self) -> Vec<(&SetName, &[M], State)> {
        let mut all: Vec<_> =
            self.sets.iter().map(|(name, set)| (name, set.models.as_slice(), set.state)).collect();
        all.sort_unstable_by_key(|(name, ..)| *name);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn name(cluster: &str, digest: &str) -> SetName {
        SetName { cluster: cluster.to_owned(), scale: 2, digest: digest.to_owned() }
    }

    /// A set whose one model is called by its digest.
    fn set(cluster: &str, digest: &'static str) -> (SetName, Vec<&'static str>) {
        (name(cluster, digest), vec![digest])
    }

    /// A set of which no model is usable.
    fn bad(cluster: &str, digest: &str) -> (SetName, Vec<&'static str>) {
        (name(cluster, digest), Vec::new())
    }

    struct World {
        sets: Sets<&'static str>,
        now: Instant,
    }

    impl World {
        fn new(named: &[(SetName, Vec<&'static str>)]) -> Self {
            let mut world = Self { sets: Sets::new(HOUR), now: Instant::now() };
            world.install(named);
            world
        }

        fn install(&mut self, named: &[(SetName, Vec<&'static str>)]) {
            self.sets.install(named.to_vec(), self.now);
        }

        /// What a rendition gets: `own:<model>`, `instead:<model>`, or `plain`.
        fn get(&mut self, cluster: &str, digest: &str) -> String {
            let got = self.sets.resolve(&name(cluster, digest), self.now);
            match (got.missing, got.models.first()) {
                (true, None) => "plain".to_owned(),
                (true, Some(model)) => format!("instead:{model}"),
                (false, model) => format!("own:{}", model.unwrap_or(&"none")),
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.sets.expire(self.now);
        }
    }

    #[test]
    fn a_replaced_set_serves_its_own_renditions_until_nobody_asks() {
        let mut world = World::new(&[set("game", "a1"), set("generic", "g1")]);
        world.install(&[set("game", "a2"), set("generic", "g1")]);
        assert_eq!(world.get("game", "a2"), "own:a2");
        for _ in 0..5 {
            world.pass(HOUR / 2);
            assert_eq!(world.get("game", "a1"), "own:a1", "somebody still watches");
        }
        world.pass(HOUR);
        assert_eq!(world.get("game", "a1"), "instead:g1", "never a2");
        assert_eq!(world.get("game", "a2"), "own:a2");
    }

    #[test]
    fn time_runs_from_the_replacement_on() {
        let mut world = World::new(&[set("game", "a1")]);
        world.pass(HOUR * 9);
        world.install(&[set("game", "a2")]);
        world.pass(HOUR / 2);
        assert_eq!(world.get("game", "a1"), "own:a1", "its playlist may be in somebody's hands");
    }

    #[test]
    fn what_was_removed_stops_at_once() {
        let mut world = World::new(&[set("game", "a1"), set("generic", "g1")]);
        world.install(&[set("game", "a2"), set("generic", "g1")]);
        world.install(&[set("generic", "g1")]);
        assert_eq!(world.get("game", "a1"), "instead:g1", "the retired one too");
        assert_eq!(world.get("game", "a2"), "instead:g1");
        world.install(&[]);
        assert_eq!(world.get("game", "a2"), "plain");
    }

    #[test]
    fn what_is_corrupt_stops_at_once_and_comes_back_when_repaired() {
        let mut world = World::new(&[set("game", "a1"), set("generic", "g1")]);
        world.install(&[bad("game", "a1"), set("generic", "g1")]);
        assert_eq!(world.get("game", "a1"), "instead:g1");
        world.install(&[set("game", "a1"), set("generic", "g1")]);
        assert_eq!(world.get("game", "a1"), "own:a1");
    }

    #[test]
    fn a_file_that_was_replaced_before_its_catalogue_was_only_looked_corrupt() {
        let mut world = World::new(&[set("game", "a1")]);
        world.install(&[bad("game", "a1")]);
        world.install(&[set("game", "a2")]);
        assert_eq!((world.get("game", "a1"), world.get("game", "a2")), ("own:a1".into(), "own:a2".into()));
    }

    #[test]
    fn a_replacement_that_is_refused_takes_nothing_from_who_is_playing() {
        let mut world = World::new(&[set("game", "a1"), set("generic", "g1")]);
        world.install(&[bad("game", "a2"), set("generic", "g1")]);
        assert_eq!(world.get("game", "a1"), "own:a1");
        assert_eq!(world.get("game", "a2"), "instead:g1");
        assert!(
            world
                .sets
                .all()
                .iter()
                .all(|(name, _, state)| { (*state == State::Current) == (name.cluster == GENERIC) })
        );
    }

    #[test]
    fn models_that_lose_are_withdrawn_one_by_one() {
        let pair = (name("game", "a1"), vec!["a1-s", "a1-m"]);
        let mut world = World::new(&[pair.clone(), set("generic", "g1")]);
        assert_eq!(world.sets.rivals(&pair.0), (vec!["a1-s", "a1-m"], vec!["g1"]));
        assert!(world.sets.withdraw(&pair.0, |model| *model == "a1-s"));
        assert!(!world.sets.withdraw(&pair.0, |model| *model == "a1-s"), "it is gone");
        assert_eq!(world.get("game", "a1"), "own:a1-m", "the other tier goes on");
        assert!(world.sets.withdraw(&pair.0, |model| *model == "a1-m"));
        assert_eq!(world.get("game", "a1"), "instead:g1");
        assert_eq!(world.sets.rivals(&pair.0), (vec![], vec!["g1"]));
        assert!(!world.sets.withdraw(&name("game", "a2"), |_| true));
        world.install(&[set("game", "a2"), set("generic", "g1")]);
        assert_eq!(world.get("game", "a1"), "instead:g1", "replaced, but there is nothing left of it");
        world.install(&[pair, set("generic", "g1")]);
        assert_eq!(
            world.get("game", "a1"),
            "own:a1-s",
            "what a new catalogue brings is for others to keep out"
        );
    }

    #[test]
    fn a_stand_in_is_not_changed_under_a_rendition() {
        let mut world = World::new(&[set("generic", "g1")]);
        assert_eq!(world.get("gone", "x"), "instead:g1");
        world.install(&[set("generic", "g2")]);
        assert_eq!(world.get("gone", "x"), "instead:g1", "pinned");
        assert_eq!(world.get("gone", "y"), "instead:g2", "begun after the change");
        // Only the pinned rendition keeps g1 alive.
        for _ in 0..3 {
            world.pass(HOUR / 2);
            assert_eq!(world.get("gone", "x"), "instead:g1");
        }
        assert_eq!(world.get("generic", "g1"), "own:g1");
        world.install(&[]);
        world.install(&[set("other", "o1")]);
        assert_eq!(world.get("gone", "x"), "plain", "and no third network");
        world.pass(HOUR);
        world.install(&[set("generic", "g3")]);
        assert_eq!(world.get("gone", "x"), "instead:g3", "nobody has been in it for a while");
    }

    #[test]
    fn generic_has_no_stand_in_and_scales_do_not_mix() {
        let mut world = World::new(&[set("generic", "g1")]);
        assert_eq!(world.get("generic", "g0"), "plain");
        let other_scale = SetName { scale: 3, ..name("gone", "x") };
        assert_eq!(world.sets.resolve(&other_scale, world.now), Resolved { models: vec![], missing: true });
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut world = World::new(&[set("generic", "g1")]);
        for number in 0..PINS_LIMIT {
            assert_eq!(world.get("gone", &number.to_string()), "instead:g1");
        }
        assert_eq!(world.get("gone", "one more"), "plain");
        assert_eq!(world.get("gone", "7"), "instead:g1");
        world.pass(HOUR);
        assert_eq!(world.get("gone", "one more"), "instead:g1");
    }
}
