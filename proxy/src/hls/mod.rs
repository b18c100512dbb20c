//! HLS playlists as pure values: reading them for decisions, rewriting them for enhanced renditions.
//!
//! Why it exists: the edge may only change what it must. A playlist that a packager wrote reaches the player
//! with every line the edge has no business with *byte for byte* as it was, whatever the edge understands of it.
//! So nothing here serialises a playlist from a model of it: readers give facts and line numbers, rewriters give
//! [`lines::Edits`] on single lines, and all other bytes are copied.
//!
//! No I/O, no clock, no async: text in, values or text out.
//!
//! | module | what |
//! |---|---|
//! | [`lines`] | a text as numbered lines whose bytes are kept; edits on them |
//! | [`attributes`] | lenient attribute lists, changed in place |
//! | [`variables`] | `EXT-X-DEFINE` and `{$name}` |
//! | [`uri`] | where a URI leads, in the edge's own path space |
//! | [`token`] | the rendition token in enhanced URLs |
//! | [`kind`] | multivariant, media, or no playlist at all |
//! | [`multivariant`] | variants and renditions; inserting enhanced variants, withholding others |
//! | [`media`] | segments, keys, maps; the media playlist of an enhanced rendition; which segment a request means |

pub mod attributes;
pub mod kind;
pub mod lines;
pub mod media;
pub mod multivariant;
pub mod token;
pub mod uri;
pub mod variables;

pub use kind::{PlaylistKind, sniff};
pub use media::{Found, MediaPlaylist, Obstacle};
pub use multivariant::Multivariant;
pub use token::{RenditionToken, TokenError};
pub use uri::{Base, ByteRange, Target};
