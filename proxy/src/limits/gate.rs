//! Stands between pingora's sockets and its HTTP: counts connections and watches them.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use super::Instruments;
use super::door::Door;
use super::line::{Line, Watched};

/// `A`, for those who come through the door.
pub struct Gate<A> {
    inner: Arc<A>,
    door: Door,
    instruments: Instruments,
}

impl<A> Gate<A> {
    /// Puts `door` before `inner`.
    #[must_use]
    pub fn new(inner: A, door: Door, instruments: Instruments) -> Self {
        Self { inner: Arc::new(inner), door, instruments }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Gate<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let _entered = self.door.enter(peer)?;
        let line = Arc::new(Line::default());
        let watched: Stream = Box::new(Watched::new(stream, Arc::clone(&line), &self.door.limits()));
        let rest = Arc::clone(&line).during(self.inner.process_new(watched, shutdown)).await;
        if let Some(cut) = line.cut() {
            self.instruments.cut(cut);
        }
        rest
    }

    async fn cleanup(&self) {
        self.inner.cleanup().await;
    }
}
