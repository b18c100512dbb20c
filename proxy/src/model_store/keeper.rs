//! The task that looks at the store, and keeps the models' directory like what it finds there.
//!
//! Of several processes on one directory (for the length of a hand-over) one does so; the others wait and use what is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::Follow;
use acuity_models::{Manifest, Sha256};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::fetch::{self, blocking};
use super::instruments::{Instruments, Look};
use super::remote::{Pointer, Remote, RemoteError};
use super::shelf::{Hold, Shelf};
use super::{Refusal, Wanted, short};

/// How often it is asked whether the directory is free.
const HOLD_EVERY: Duration = Duration::from_secs(1);
/// A file that no catalogue names any more goes after this: whoever still reads it has read it by then.
const GRACE: Duration = Duration::from_secs(3600);
/// After a refusal the same catalogue is tried again after one interval, then two, and so on up to this many: a store may be mended.
const LONGEST_PAUSE_INTERVALS: u32 = 16;

/// The task, before and while it runs.
pub(super) struct Keeper {
    remote: Remote,
    shelf: Arc<Shelf>,
    max_bytes: u64,
    wanted: watch::Receiver<Wanted>,
    instruments: Instruments,
    /// The channel as it was seen last.
    seen: Option<(String, Pointer)>,
    refused: Option<Refused>,
    /// What was said last of a store that fails, until it does not.
    trouble: Option<String>,
}

/// A catalogue that was not taken.
struct Refused {
    digest: Sha256,
    times: u32,
    not_before: Instant,
}

impl Keeper {
    pub(super) fn new(
        remote: Remote,
        shelf: Arc<Shelf>,
        max_bytes: u64,
        wanted: watch::Receiver<Wanted>,
        instruments: Instruments,
    ) -> Self {
        let keeper =
            Self { remote, shelf, max_bytes, wanted, instruments, seen: None, refused: None, trouble: None };
        keeper.show();
        keeper
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let _hold = self.hold().await;
        loop {
            let look = self.look().await;
            self.instruments.look(look);
            self.show();
            let interval = self.wanted.borrow_and_update().interval;
            // Edges that were started together do not ask together for ever.
            let pause = interval.mul_f64(0.9 + 0.2 * fraction());
            match timeout(pause, self.wanted.changed()).await {
                // Somebody has said something else: it is looked at now, whatever was refused before.
                Ok(Ok(())) => self.refused = None,
                // The other end is gone, and so is the edge in a moment.
                Ok(Err(_)) => sleep(pause).await,
                Err(_) => {}
            }
        }
    }

    async fn hold(&self) -> Option<Hold> {
        let mut is_told = false;
        loop {
            let shelf = Arc::clone(&self.shelf);
            match blocking(move || Ok(shelf.hold()?)).await {
                Ok(Some(hold)) => return Some(hold),
                Ok(None) if !is_told => {
                    tracing::info!(directory = %self.shelf, "another edge keeps the models' directory: this one uses what is there");
                    is_told = true;
                }
                Ok(None) => {}
                Err(refusal) => {
                    if !is_told {
                        tracing::error!(%refusal, directory = %self.shelf, "the models' directory cannot be kept like the store");
                        self.instruments.look(Look::Disk);
                        is_told = true;
                    }
                }
            }
            sleep(HOLD_EVERY).await;
        }
    }

    /// One look, and what follows from it.
    async fn look(&mut self) -> Look {
        let follow = self.wanted.borrow().follow.clone();
        let digest = match self.wanted(&follow).await {
            Ok(digest) => digest,
            Err(refusal) => return self.failed(None, refusal),
        };
        let shelf = Arc::clone(&self.shelf);
        let in_force = blocking(move || Ok(shelf.in_force())).await.ok().flatten();
        let is_in_force = in_force.as_ref().map(Manifest::digest) == Some(digest);
        self.instruments.behind(!is_in_force);
        let is_refused = |refused: &Refused| refused.digest == digest && Instant::now() < refused.not_before;
        if self.refused.as_ref().is_some_and(is_refused) {
            self.mend(in_force).await;
            return Look::Refused;
        }
        match self.be(digest, in_force.clone().filter(|_| is_in_force)).await {
            Ok(look) => {
                self.refused = None;
                self.reached(&follow);
                look
            }
            Err(refusal) => {
                if !is_in_force && refusal.is_final() {
                    self.mend(in_force).await;
                }
                self.failed(Some(digest), refusal)
            }
        }
    }

    /// What stays in use is kept whole too.
    async fn mend(&self, in_force: Option<Manifest>) {
        if let Some(manifest) = in_force {
            let mended = fetch::complete(&self.remote, &self.shelf, &manifest, &self.instruments, &|_| {});
            if let Err(refusal) = mended.await {
                tracing::warn!(catalogue = %manifest.digest(), why = %refusal, "the catalogue in use is not whole");
            }
        }
    }

    /// The catalogue that is to be used.
    async fn wanted(&mut self, follow: &Follow) -> Result<Sha256, Refusal> {
        let channel = match follow {
            // The configuration has seen to it that it is one.
            Follow::Pin(pin) => {
                return pin.parse().map_err(|_| Refusal::Pointer { channel: "pin".to_owned() });
            }
            Follow::Channel(channel) => channel,
        };
        let seen = self.seen.as_ref().filter(|(name, _)| name == channel).map(|(_, pointer)| pointer.clone());
        let e_tag = seen.as_ref().and_then(|pointer| pointer.e_tag.as_deref());
        let pointer = match (self.remote.channel(channel, e_tag).await, seen) {
            (Ok(pointer), _) => pointer,
            (Err(RemoteError::Unchanged), Some(pointer)) => pointer,
            (Err(RemoteError::NotADigest), _) => return Err(Refusal::Pointer { channel: channel.clone() }),
            (Err(error), _) => return Err(Refusal::of(error, || format!("channel {channel}"))),
        };
        let digest = pointer.digest;
        self.seen = Some((channel.clone(), pointer));
        Ok(digest)
    }

    /// Has the directory be a catalogue. `in_force`: it is, as far as its document goes.
    async fn be(&self, digest: Sha256, in_force: Option<Manifest>) -> Result<Look, Refusal> {
        let is_in_force = in_force.is_some();
        let manifest = match in_force {
            Some(manifest) => manifest,
            None => fetch::document(&self.remote, &self.shelf, digest, self.max_bytes).await?,
        };
        let fetched =
            fetch::complete(&self.remote, &self.shelf, &manifest, &self.instruments, &|_| {}).await?;
        if !is_in_force {
            fetch::switch(&self.shelf, &manifest).await?;
            tracing::info!(
                catalogue = %digest,
                files = fetched.files,
                bytes = fetched.bytes,
                "another catalogue has come from the store of models"
            );
        }
        let shelf = Arc::clone(&self.shelf);
        let swept = blocking(move || Ok(shelf.sweep(GRACE))).await?;
        if swept > 0 {
            tracing::info!(
                files = swept,
                "files that no catalogue names are gone from the models' directory"
            );
        }
        Ok(match (is_in_force, fetched.files) {
            (false, _) => Look::Taken,
            (true, 0) => Look::Unchanged,
            (true, _) => Look::Mended,
        })
    }

    fn failed(&mut self, digest: Option<Sha256>, refusal: Refusal) -> Look {
        self.instruments.refused(&refusal);
        let said = refusal.to_string();
        let is_news = self.trouble.as_ref() != Some(&said);
        let catalogue = digest.map(short);
        if refusal.is_final() {
            self.instruments.reached();
            // Also where a channel names nothing: what is wanted is not what is in use then.
            self.instruments.behind(true);
            if let Some(digest) = digest {
                let times = match &self.refused {
                    Some(refused) if refused.digest == digest => refused.times.saturating_mul(2),
                    _ => 1,
                };
                let times = times.min(LONGEST_PAUSE_INTERVALS);
                let pause = self.wanted.borrow().interval * times;
                self.refused = Some(Refused { digest, times, not_before: Instant::now() + pause });
            }
            if is_news {
                let reason = refusal.label();
                tracing::error!(
                    catalogue,
                    reason,
                    why = said,
                    "a catalogue of the store is refused: models stay as they were"
                );
            }
        } else if is_news {
            tracing::warn!(catalogue, why = said, "models stay as they were");
        }
        self.trouble = Some(said);
        match refusal {
            Refusal::Unreachable(_) => Look::Unreachable,
            Refusal::Disk(_) => Look::Disk,
            _ => Look::Refused,
        }
    }

    fn reached(&mut self, follow: &Follow) {
        self.instruments.behind(false);
        self.instruments.reached();
        if self.trouble.take().is_some() {
            tracing::info!(?follow, "models are as the store has them");
        }
    }

    /// What is in use, for who asks.
    fn show(&self) {
        let follows = match &self.wanted.borrow().follow {
            Follow::Pin(_) => "pin".to_owned(),
            Follow::Channel(channel) => format!("channel {channel}"),
        };
        self.instruments.in_force(self.shelf.in_force().map(|manifest| manifest.digest()), &follows);
    }
}

/// A number from 0 to 1 that differs from process to process and from time to time.
fn fraction() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let drawn = RandomState::new().hash_one(Instant::now());
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}
