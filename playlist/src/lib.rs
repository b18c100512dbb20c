//! HLS playlists as pure values: reading them for decisions, rewriting them for enhanced renditions.
//!
//! Why it exists: the edge may only change what it must. A playlist that a packager wrote reaches the player
//! with every line the edge has no business with *byte for byte* as it was, whatever the edge understands of it.
//! So nothing here serialises a playlist from a model of it: readers give facts and line numbers, rewriters give
//! [`lines::Edits`] on single lines, and all other bytes are copied.
//!
//! No I/O, no clock, no async: text in, values or text out. It is a crate of its own so that it can be fuzzed, and used, without
//! the server.
//!
//! | module | what |
//! |---|---|
//! | [`lines`] | a text as numbered lines whose bytes are kept; edits on them |
//! | [`attributes`] | lenient attribute lists, changed in place |
//! | [`variables`] | `EXT-X-DEFINE` and `{$name}` |
//! | [`uri`] | where a URI leads, in the edge's own path space |
//! | [`token`] | the rendition token in enhanced URLs |
//! | [`model_path`] | URLs of networks and of what there is to know of them |
//! | [`carry`] | a playlist for players whose URLs begin with a signature |
//! | [`kind`] | multivariant, media, or no playlist at all |
//! | [`multivariant`] | variants and renditions; inserting enhanced variants, withholding others |
//! | [`media`] | segments, keys, maps; the media playlist of an enhanced rendition; which segment a request means |

#![forbid(unsafe_code)]

pub mod attributes;
pub mod carry;
pub mod kind;
pub mod lines;
pub mod media;
pub mod model_path;
pub mod multivariant;
pub mod token;
pub mod uri;
pub mod variables;

pub use kind::{PlaylistKind, is_too_long, sniff};
pub use media::{Found, MediaPlaylist, Obstacle};
pub use multivariant::Multivariant;
pub use token::{RenditionToken, TokenError};
pub use uri::{Base, ByteRange, Target};
