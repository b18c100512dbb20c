//! The edge: an HLS proxy that serves enhanced renditions to unmodified players.
//!
//! Pure rooms: [`acuity_playlist`] (a crate of its own), [`route`], [`plan`], [`client`], [`cluster`], [`deadline`], [`respond`], [`rescue`]. Rooms that touch the world:
//! [`origin`] and what is built on it ([`playlists`], [`inputs`], [`probes`], [`looks`], [`planner`], [`produce`], [`ahead`], [`guard`]), [`cache`],
//! [`edge`] and [`admin`]. [`traces`] tells what happened to single requests.
//! [`setup`] joins them as a configuration says ([`reload`] changes it), [`app`] holds what outlives it, [`server`] gives them sockets and signals, [`cli`] is the way in.
//!
//! # Life of a request
//!
//! [`edge`] reads the request into [`asked`] and [`route`]; one of the [`journey`]s answers it, or it is passed through. For
//! an enhanced segment: token and path make a key, the [`cache`] is asked; on a miss [`produce`] makes it once for all who
//! wait, with the remedies of [`rescue`]; [`respond`] shapes the answer; [`ahead`] starts what will be asked for next.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod admin;
pub mod ahead;
pub mod app;
pub mod asked;
pub mod bucket;
pub mod cache;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod connections;
pub mod control;
pub mod crypt;
pub mod deadline;
pub mod edge;
pub mod guard;
pub mod handover;
pub mod inputs;
pub mod journey;
pub mod limits;
pub mod looks;
pub mod metrics;
pub mod model_store;
pub mod nodes;
pub mod notify;
pub mod origin;
pub mod peers;
pub mod plan;
pub mod planner;
pub mod playlists;
pub mod probes;
pub mod process;
pub mod produce;
pub mod reload;
pub mod request_id;
pub mod rescue;
pub mod respond;
pub mod route;
pub mod secret;
pub mod server;
pub mod setup;
pub mod signals;
pub mod signed;
pub mod site;
pub mod status;
pub mod switches;
pub mod traces;
pub mod wanted;
