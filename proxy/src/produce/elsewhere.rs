//! What belongs to another node is had from there, once for all who wait for it here.
//!
//! Where that node is out, late or refuses, the next on the ring is asked, which may be this one: so that what a node that was cut off would
//! have made is made once by one of the others, and not by each. Where a node is not out but late, or will not, the object is made here
//! at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_playlist::Found;
use acuity_playlist::media::MediaPlaylist;

use super::job::target_of;
use super::{Made, Producer, Product, Reason, Told, Viewer};
use crate::cache::flight::{Early, FlightError, Role};
use crate::cache::flow::Flow;
use crate::deadline::{self, Hurry};
use crate::limits::clients::Slot;
use crate::metrics::Outcome;
use crate::nodes::{Ask, Member, Miss, Refusal, Sent};
use crate::rescue::Trouble;
use crate::wanted::Wanted;

/// Nodes that are asked for an object before it is made here.
const NODES_ASKED: usize = 2;

/// What is known here of an object's viewers.
struct Here {
    is_first: bool,
    audience: u32,
    /// By when somebody waits for it.
    deadline: Duration,
}

impl Producer {
    /// The other node that an object belongs to. Where nothing is to be enhanced, none is asked.
    pub(super) fn owner(&self, wanted: &Wanted) -> Option<Arc<Member>> {
        self.0.nodes.owner(wanted, &[]).filter(|_| !self.0.is_stopped(wanted))
    }

    /// Whether somebody wants nothing enhanced there now.
    pub(crate) fn is_stopped(&self, wanted: &Wanted) -> bool {
        self.0.is_stopped(wanted)
    }

    /// The object, made here for whoever wants it; `show` gets its begin as soon as there is one.
    pub(crate) async fn make_here(
        &self,
        wanted: &Wanted,
        viewer: Viewer,
        show: &(dyn Fn(&Arc<Flow>) + Send + Sync),
    ) -> Made {
        let slot = Slot::default;
        let begin = async {
            if let Ok((Product::Flowing(flow), _)) = self.here(wanted, viewer.clone(), true, slot()).await {
                show(&flow);
            }
        };
        // Both at the same time, so that both are of one flight.
        tokio::join!(begin, self.here(wanted, viewer.clone(), false, slot())).1
    }

    /// As [`Self::launch`], for a viewer of another node.
    pub(crate) fn launch_for_node(&self, wanted: &Wanted, media: Duration, fills: bool) -> bool {
        let is_there = self.0.store.has_fresh(&wanted.key, Instant::now()) || self.0.is_stopped(wanted);
        !is_there && self.launch_here(wanted, media, fills, true)
    }

    /// The object, from another node if that can be.
    pub(super) async fn elsewhere(
        &self,
        wanted: &Wanted,
        owner: Arc<Member>,
        viewer: Viewer,
        takes_pieces: bool,
        slot: Slot,
    ) -> Made {
        let enough = |made: &Made| takes_pieces || !matches!(made, Ok((Product::Flowing(_), _)));
        let fetch = |_, early| {
            let (producer, wanted) = (self.clone(), wanted.clone());
            async move {
                let _slot = slot;
                producer.fetch(&wanted, owner, viewer, early).await
            }
        };
        match self.0.fetches.join(wanted.key, enough, fetch).await {
            Ok((Ok((product, Outcome::Made)), Role::Joined)) => Ok((product, Outcome::Joined)),
            Ok((made, _)) => made,
            // No more than one flight's worth is lost.
            Err(error @ (FlightError::TooMany | FlightError::Lost)) => Err(Arc::new(Trouble::Flight(error))),
        }
    }

    async fn fetch(self, wanted: &Wanted, owner: Arc<Member>, viewer: Viewer, early: Early<Made>) -> Made {
        let shared = &self.0;
        let making = shared.purges.begin(wanted.key, wanted.named());
        if let Err(good) = shared.kept(wanted, &Reason::Viewer(viewer.clone()), &making).await {
            return Ok((Product::Whole(good.0), good.1));
        }
        let here = self.what_is_known(wanted, viewer.hurry).await;
        let show = |flow: &Arc<Flow>| early.show(Ok((Product::Flowing(Arc::clone(flow)), Outcome::Node)));
        let mut sent = Sent { show: &show, flow: None, bytes: bytes::BytesMut::new() };
        let by = viewer.asked + here.deadline;
        let share = shared.nodes.share_of_deadline();
        let mut ask = Ask {
            wanted,
            asked: viewer.asked,
            hurry: viewer.hurry,
            is_first: here.is_first,
            audience: here.audience,
            late: viewer.asked + here.deadline.mul_f64(share),
        };
        let mut asked_in_vain = Vec::new();
        let mut next = Some(owner);
        while let Some(owner) = next.take() {
            match shared.nodes.fetch(&owner, &ask, &mut sent).await {
                Ok(object) => {
                    let object = Arc::new(object);
                    making.keep(|| shared.store.put_copy(wanted.key, Arc::clone(&object)));
                    sent.whole(&object);
                    let outcome =
                        if *object.made_by == *super::SOURCE { Outcome::SourceBytes } else { Outcome::Node };
                    return Ok((Product::Whole(object), outcome));
                }
                Err(miss) => {
                    tracing::debug!(path = %wanted.path_and_query, node = %owner.name, why = miss.label(), "not had from another node");
                    if miss == Miss::Refused(Refusal::Private) {
                        shared.nodes.is_private(wanted);
                    }
                    asked_in_vain.push(owner);
                    if miss.is_for_the_next() && asked_in_vain.len() < NODES_ASKED {
                        next = shared.nodes.owner(wanted, &asked_in_vain);
                        // Of what is left of the viewer's time.
                        let now = Instant::now();
                        ask.late = now + by.saturating_duration_since(now).mul_f64(share);
                    }
                }
            }
        }
        let told = Told {
            is_first: here.is_first,
            audience: here.audience,
            again_by: sent.made_by(),
            is_nodes: false,
        };
        let viewer = Viewer { told: Some(told), ..viewer };
        let begin = |flow: &Arc<Flow>| early.show(Ok((Product::Flowing(Arc::clone(flow)), Outcome::Made)));
        let nothing = |_: &Arc<Flow>| {};
        // What has begun to be sent goes on as it began.
        let show: &(dyn Fn(&Arc<Flow>) + Send + Sync) = if sent.has_begun() { &nothing } else { &begin };
        let made = self.make_here(wanted, viewer, show).await;
        if let Ok((Product::Whole(object), _)) = &made {
            sent.whole(object);
        }
        made
    }

    async fn what_is_known(&self, wanted: &Wanted, hurry: Hurry) -> Here {
        let policy = &self.0.config.enhancer.deadline;
        let lists_it = |playlist: &MediaPlaylist| playlist.find(&wanted.path_and_query) != Found::None;
        let found = self.0.playlists.media_that(&wanted.site, &wanted.token.playlist, lists_it).await;
        // Where the playlist cannot be had the object can hardly be made, which shows when it is tried.
        let Ok(playlist) = found else {
            return Here { is_first: false, audience: 0, deadline: policy.shortest };
        };
        let (is_first, audience) = match playlist.find(&wanted.path_and_query) {
            Found::Segment(at) => self.0.company(wanted, &playlist, at),
            Found::Map(_) | Found::None => (false, 0),
        };
        let hurry = Hurry { urgent: hurry.urgent || is_first, ..hurry };
        Here { is_first, audience, deadline: deadline::for_viewer(policy, target_of(&playlist), hurry) }
    }
}
