//! An object on its way: bytes that are sent while the rest is being made.
//!
//! One maker puts pieces in, any number of readers take them out, each at its own pace and from the beginning. Only the whole
//! is ever cached; what breaks off midway breaks off for its readers too, so that none takes a part for the whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// An object whose first bytes are there.
#[derive(Debug)]
pub struct Flow {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// For how long it will be fresh when it is whole.
    pub fresh_for: Duration,
    /// Whether the origin forbids that other nodes get it.
    pub private: bool,
    made_by: Mutex<Option<Arc<str>>>,
    pieces: Mutex<Vec<Bytes>>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// Pieces that are there.
    pieces: usize,
    end: Option<FlowEnd>,
}

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEnd {
    /// All of it is there.
    Whole,
    /// No more will come, and what came is not all.
    Broken,
}

impl Flow {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(content_type: &'static str, fresh_for: Duration, private: bool) -> Arc<Self> {
        let (state, _) = watch::channel(State { pieces: 0, end: None });
        let (made_by, pieces) = (Mutex::default(), Mutex::default());
        Arc::new(Self { content_type, fresh_for, private, made_by, pieces, state })
    }

    /// The next piece, made by a model (its id) or `plain`, and what else has to be known to make the same again; gives whether it was the
    /// first. Never blocks.
    pub fn push(&self, piece: Bytes, made_by: &str) -> bool {
        let mut said = self.said();
        if said.as_deref() != Some(made_by) {
            *said = Some(made_by.into());
        }
        drop(said);
        let count = {
            let mut pieces = self.pieces();
            pieces.push(piece);
            pieces.len()
        };
        self.state.send_modify(|state| state.pieces = count);
        count == 1
    }

    /// What makes it, as the last piece has it. `None` before the first.
    #[must_use]
    pub fn made_by(&self) -> Option<Arc<str>> {
        self.said().clone()
    }

    fn said(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        // It is replaced in one step.
        self.made_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes. The first end counts.
    pub fn end(&self, end: FlowEnd) {
        self.state.send_modify(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Whether some of it may have been sent.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state.borrow().pieces > 0
    }

    /// A reader of all of it.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> FlowReader {
        FlowReader { flow: Arc::clone(self), state: self.state.subscribe(), at: 0 }
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<Bytes>> {
        // A push is one step: a panic elsewhere leaves the list whole.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes pieces out of a [`Flow`].
#[derive(Debug, Clone)]
pub struct FlowReader {
    flow: Arc<Flow>,
    state: watch::Receiver<State>,
    at: usize,
}

impl FlowReader {
    /// How it ends, once it does.
    pub async fn ended(&mut self) -> FlowEnd {
        match self.state.wait_for(|state| state.end.is_some()).await {
            Ok(state) => state.end.unwrap_or(FlowEnd::Broken),
            Err(_) => FlowEnd::Broken,
        }
    }

    /// The next piece, waiting for it if need be, or how it ended.
    ///
    /// # Errors
    /// The end.
    pub async fn next(&mut self) -> Result<Bytes, FlowEnd> {
        loop {
            if let Some(piece) = self.flow.pieces().get(self.at) {
                self.at += 1;
                return Ok(piece.clone());
            }
            let at = self.at;
            let news = self.state.wait_for(|state| state.pieces > at || state.end.is_some()).await;
            match news.map(|state| (state.pieces > at, state.end)) {
                Ok((true, _)) => {}
                Ok((false, end)) => return Err(end.unwrap_or(FlowEnd::Broken)),
                Err(_) => return Err(FlowEnd::Broken),
            }
        }
    }
}

/// The maker's end of a flow: if it is dropped before the end was told, the flow broke.
#[derive(Debug)]
pub struct Inlet(pub Arc<Flow>);

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.end(FlowEnd::Broken);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    async fn all(mut reader: FlowReader) -> (Vec<u8>, FlowEnd) {
        let mut bytes = Vec::new();
        loop {
            match reader.next().await {
                Ok(piece) => bytes.extend(piece),
                Err(end) => return (bytes, end),
            }
        }
    }

    #[tokio::test]
    async fn every_reader_gets_all_of_it_whenever_it_comes() {
        let flow = Flow::new("video/mp2t", Duration::ZERO, false);
        let early = tokio::spawn(all(flow.reader()));
        tokio::task::yield_now().await;
        assert!(flow.push(Bytes::from_static(b"one "), "m"));
        let midway = tokio::spawn(all(flow.reader()));
        tokio::task::yield_now().await;
        assert_eq!(flow.made_by().as_deref(), Some("m"));
        assert!(!flow.push(Bytes::from_static(b"two"), "m@9"));
        assert_eq!(
            flow.made_by().as_deref(),
            Some("m@9"),
            "what goes on with it has to know where it was cut"
        );
        flow.end(FlowEnd::Whole);
        flow.end(FlowEnd::Broken);
        for reader in [early, midway, tokio::spawn(all(flow.reader()))] {
            let (bytes, end) = reader.await.unwrap();
            assert_eq!(bytes, b"one two");
            assert_eq!(end, FlowEnd::Whole);
        }
    }

    #[tokio::test]
    async fn what_its_maker_forgets_is_broken() {
        let flow = Flow::new("video/mp2t", Duration::ZERO, false);
        let inlet = Inlet(Arc::clone(&flow));
        flow.push(Bytes::from_static(b"part"), "m");
        drop(inlet);
        let (bytes, end) = all(flow.reader()).await;
        assert_eq!((bytes.as_slice(), end), (b"part".as_slice(), FlowEnd::Broken));
    }
}
