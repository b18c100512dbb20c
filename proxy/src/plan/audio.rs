//! What a listener gets with a variant, so that one variant takes another's place only where nobody hears it.

use std::collections::BTreeSet;

use acuity_playlist::multivariant::{Multivariant, Variant, family};

/// Codec families, and language, name and channels of each rendition. Group names do not count.
#[derive(Debug)]
pub(super) struct AudioChoice<'a> {
    families: Option<BTreeSet<&'a str>>,
    group: Option<BTreeSet<Listening<'a>>>,
}

/// Language, name and channels.
type Listening<'a> = (Option<&'a str>, &'a str, Option<&'a str>);

impl<'a> AudioChoice<'a> {
    /// Of a variant. Without CODECS the families are unknown, which equals any.
    pub(super) fn of(playlist: &'a Multivariant, variant: &'a Variant) -> Self {
        let known = !variant.codecs.is_empty();
        let text = |family: &&str| matches!(*family, "wvtt" | "stpp");
        let families = variant.other_codecs().map(family).filter(|family| !text(family)).collect();
        let group = variant.audio.as_deref().map(|group| {
            let renditions = playlist.audio_group(group);
            renditions.map(|r| (r.language.as_deref(), r.name.as_str(), r.channels.as_deref())).collect()
        });
        Self { families: known.then_some(families), group }
    }
}

impl PartialEq for AudioChoice<'_> {
    fn eq(&self, other: &Self) -> bool {
        let known = self.families.as_ref().zip(other.families.as_ref());
        known.is_none_or(|(a, b)| a == b) && self.group == other.group
    }
}
