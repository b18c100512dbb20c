//! Whose an object is: the order in which nodes are to be asked for it. Pure.
//!
//! Consistent hashing as nginx has it: each node has 160 points on a ring, and an object belongs to the node of the next point behind its
//! own. Where that node is out, its objects go to the nodes of the points behind, each object to one; nothing else moves. A node's points
//! follow from what it is *called*, never from an address that a name has just now, and nodes are put on the ring in the order of their
//! names: so all nodes agree as soon as they know the same members, whatever order they learned them in.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};

use acuity_config::NodeName;
use pingora_ketama::{Bucket, Continuum};
use sha2::{Digest as _, Sha256};

use crate::cache::key::ObjectKey;

/// The nodes of a region.
pub(super) struct Ring {
    /// In order, without doubles.
    names: Vec<NodeName>,
    /// Where each stands in `names`, by its place on the ring.
    places: Vec<(SocketAddr, usize)>,
    points: Continuum,
}

impl Ring {
    /// The ring of these nodes, in whatever order they come.
    pub(super) fn new(names: impl IntoIterator<Item = NodeName>) -> Self {
        let names: Vec<NodeName> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut places: Vec<(SocketAddr, usize)> =
            names.iter().enumerate().map(|(at, name)| (place(name), at)).collect();
        let buckets: Vec<Bucket> = places.iter().map(|(place, _)| Bucket::new(*place, 1)).collect();
        places.sort_unstable();
        Self { names, places, points: Continuum::new(&buckets) }
    }

    /// The nodes, in the order that [`Self::order`] counts them.
    pub(super) fn names(&self) -> &[NodeName] {
        &self.names
    }

    /// The nodes for an object: its owner first, then who takes over, and so on, each once, as far as somebody looks.
    pub(super) fn order(&self, key: &ObjectKey) -> impl Iterator<Item = usize> {
        let key = key.bytes();
        let mut point = self.points.node_idx(&key);
        let mut seen: Vec<usize> = Vec::new();
        std::iter::from_fn(move || {
            while seen.len() < self.names.len() {
                let place = self.points.get_addr(&mut point)?;
                let found = self.places.binary_search_by_key(place, |(place, _)| *place).ok()?;
                let (_, at) = self.places.get(found)?;
                if !seen.contains(at) {
                    seen.push(*at);
                    return Some(*at);
                }
            }
            None
        })
    }
}

/// The library's points are an address's; a node's is drawn from its name.
fn place(name: &NodeName) -> SocketAddr {
    let digest = Sha256::digest(name.to_string());
    let mut bits = [0; 16];
    bits.iter_mut().zip(digest.iter()).for_each(|(bit, byte)| *bit = *byte);
    SocketAddr::new(Ipv6Addr::from(bits).into(), 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name(at: usize) -> NodeName {
        NodeName { host: format!("10.0.0.{at}"), port: 7070 }
    }

    fn key(at: usize) -> ObjectKey {
        ObjectKey::new("", "http://o/", "t", &format!("/{at}.ts"))
    }

    fn owner(ring: &Ring, at: usize) -> NodeName {
        ring.names()[ring.order(&key(at)).next().unwrap()].clone()
    }

    #[test]
    fn all_nodes_agree_in_whatever_order_they_learned_of_each_other() {
        let one = Ring::new((1..=7).map(name));
        let other = Ring::new([3, 7, 1, 2, 6, 5, 4, 3].map(name));
        for at in 0..500 {
            assert!(one.order(&key(at)).eq(other.order(&key(at))), "{at}");
        }
    }

    #[test]
    fn the_order_is_of_all_nodes_each_once() {
        let ring = Ring::new((1..=5).map(name));
        for at in 0..200 {
            let mut order: Vec<usize> = ring.order(&key(at)).collect();
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        assert_eq!(Ring::new([]).order(&key(1)).count(), 0);
        assert_eq!(Ring::new([name(1)]).order(&key(1)).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn who_leaves_moves_its_own_objects_and_no_others() {
        let all = Ring::new((1..=5).map(name));
        let left = Ring::new([1, 2, 4, 5].map(name));
        let mut moved = BTreeMap::<NodeName, usize>::new();
        for at in 0..2000 {
            let (before, after) = (owner(&all, at), owner(&left, at));
            if before == name(3) {
                // The one that the ring of all five names as next.
                let next = all.order(&key(at)).nth(1).unwrap();
                assert_eq!(after, all.names()[next]);
                *moved.entry(after).or_default() += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert_eq!(moved.len(), 4, "its objects are shared out: {moved:?}");
    }

    #[test]
    fn shares_are_about_equal() {
        let ring = Ring::new((1..=3).map(name));
        let mut shares = BTreeMap::<NodeName, usize>::new();
        (0..3000).for_each(|at| *shares.entry(owner(&ring, at)).or_default() += 1);
        assert!(shares.values().all(|share| (600..1500).contains(share)), "{shares:?}");
    }
}
