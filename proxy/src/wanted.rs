//! A request for something below a rendition's token, as a value: enough to make it, here or on any other edge.

use std::sync::Arc;

use acuity_enhancer::{Interpolator, RenditionSpec, Upscaler};
use acuity_playlist::{RenditionToken, uri};

use crate::cache::key::ObjectKey;
use crate::cache::purge::Named;
use crate::client::strip_cmcd;
use crate::site::Site;

/// An enhanced segment or init segment that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Who asks for it.
    pub site: Site,
    /// Of which rendition.
    pub token: Arc<RenditionToken>,
    /// Edge path and query of the source, CMCD removed, `~acuity-range` still in it.
    pub path_and_query: String,
    /// Its identity.
    pub key: ObjectKey,
}

impl Wanted {
    /// `origin`: the base URL of the route that the path takes. `path_and_query`: normalised.
    #[must_use]
    pub fn new(site: Site, token: Arc<RenditionToken>, origin: &str, path_and_query: &str) -> Self {
        let path_and_query = strip_cmcd(path_and_query);
        let key = ObjectKey::new(site.name(), origin, &token.to_string(), &path_and_query);
        Self { site, token, path_and_query, key }
    }

    /// What a purge knows it by.
    #[must_use]
    pub fn named(&self) -> Named {
        let enlarges = Some(self.token.cluster.as_str());
        let between = self.token.interpolation.as_ref().and_then(|interpolation| match &interpolation.by {
            Interpolator::Model { cluster, .. } => Some(cluster.as_str()),
            _ => None,
        });
        Named {
            site: self.site.name().into(),
            path_and_query: uri::take_range(&self.path_and_query).0.into(),
            clusters: enlarges.into_iter().chain(between).map(Into::into).collect(),
        }
    }
}

/// A token's bounds are those of its format. Tokens are not signed, so what nobody is offered must not cost anybody anything: no source of
/// `max_source_pixels` reaches a larger picture.
#[must_use]
pub fn is_within_limits(token: &RenditionToken, max_source_pixels: u32) -> bool {
    let pixels = u64::from(token.width) * u64::from(token.height);
    pixels <= u64::from(max_source_pixels) * u64::from(token.scale) * u64::from(token.scale)
}

/// What the enhancer is told of a rendition: all of it stands in the token.
#[must_use]
pub fn spec_of(token: &RenditionToken) -> RenditionSpec {
    let upscaler = if token.is_plain() {
        Upscaler::Bicubic
    } else {
        Upscaler::Model { cluster: token.cluster.clone(), digest: token.digest.clone() }
    };
    RenditionSpec {
        width: token.width,
        height: token.height,
        scale: token.scale,
        frame_rate_milli: token.frame_rate_milli,
        max_video_kbps: token.max_video_kbps,
        upscaler,
        interpolation: token.interpolation.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn token(model_set: &str) -> Arc<RenditionToken> {
        Arc::new(
            format!("v1.x2.1280x720.29970.2800.{model_set}.L29jZWFuLzM2MHAvMzYwcC5tM3U4").parse().unwrap(),
        )
    }

    #[test]
    fn players_statistics_do_not_make_another_object() {
        let wanted = |path| Wanted::new(Site::default(), token("generic-1a2b3c4d"), "http://o/", path);
        let clean = wanted("/ocean/360p/1.ts?v=2");
        assert_eq!(clean.key, wanted("/ocean/360p/1.ts?v=2&CMCD=bl%3D100").key);
        assert_eq!(wanted("/ocean/360p/1.ts?CMCD=sid%3D1&v=2").path_and_query, "/ocean/360p/1.ts?v=2");
        assert_ne!(clean.key, wanted("/ocean/360p/1.ts?v=3").key);
    }

    #[test]
    fn a_token_says_all_that_the_enhancer_must_know() {
        let spec = spec_of(&token("generic-1a2b3c4d"));
        assert_eq!((spec.width, spec.height, spec.scale), (1280, 720, 2));
        assert_eq!((spec.frame_rate_milli, spec.max_video_kbps), (29_970, 2800));
        let set = Upscaler::Model { cluster: "generic".to_owned(), digest: "1a2b3c4d".to_owned() };
        assert_eq!(spec.upscaler, set);
        assert_eq!(spec_of(&token("plain-00000000")).upscaler, Upscaler::Bicubic);
    }
}
