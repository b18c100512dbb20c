//! What is there already, in memory or below it, and what of the new is kept where.

use std::sync::Arc;
use std::time::Instant;

use super::job::Job;
use super::{Reason, Shared, freshness};
use crate::cache::depot::Lookup;
use crate::cache::purge::Making;
use crate::cache::store::{NewObject, Object};
use crate::metrics::Outcome;
use crate::wanted::Wanted;

/// What is there of an object that has to be made or asked about.
#[derive(Default)]
pub(super) struct Kept {
    /// One that was good once.
    pub(super) object: Option<Arc<Object>>,
    /// Whether there may be something in the depot that the new one takes the place of.
    pub(super) replaces: bool,
}

impl Shared {
    /// What is there of an object.
    ///
    /// # Errors
    /// No error: the object itself, if it is good as it is.
    pub(super) async fn kept(
        &self,
        wanted: &Wanted,
        reason: &Reason,
        making: &Making,
    ) -> Result<Kept, (Arc<Object>, Outcome)> {
        if matches!(reason, Reason::Improve) {
            // Nothing less than promised lies in the depot.
            return Ok(Kept::default());
        }
        let is_good = |object: &Arc<Object>| object.freshness_left(Instant::now()).is_some();
        // Between the look into the cache and the start of this flight another one may have landed.
        if let Some(object) = self.store.get(&wanted.key) {
            if is_good(&object) {
                return Err((object, Outcome::Hit));
            }
            return Ok(Kept { object: Some(object), replaces: true });
        }
        match self.depot.get(&wanted.key).await {
            Lookup::Found(object) => {
                let object = Arc::new(*object);
                if is_good(&object) {
                    making.keep(|| self.store.put(wanted.key, Arc::clone(&object)));
                    return Err((object, Outcome::Stored));
                }
                Ok(Kept { object: Some(object), replaces: true })
            }
            Lookup::Unusable => Ok(Kept { object: None, replaces: true }),
            Lookup::Absent => Ok(Kept::default()),
        }
    }

    /// Keeps an object in memory. `lasts`: below it too, being all that its rendition promises, if it is of use for long enough.
    pub(super) fn keep(&self, job: &Job<'_>, object: NewObject, lasts: bool) -> Arc<Object> {
        let object = Arc::new(Object::new(object));
        job.making.keep(|| {
            self.store.put(job.wanted.key, Arc::clone(&object));
            if lasts && object.improve_after.is_none() && freshness::is_worth_keeping(&object) {
                self.depot.put(&job.wanted.key, &object, job.replaces);
            }
        });
        object
    }
}
