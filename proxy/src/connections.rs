//! Players' connections, counted, and left alone when the edge stops.
//!
//! pingora drops idle connections the moment its services shut down. A player that has just sent a request on one of them then gets no
//! answer, and must not repeat it by itself unless it knows that nothing was done. Here a connection ends after an answer that says so,
//! and an idle one waits for its next request until the drain is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

/// How many there are. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<AtomicUsize>);

impl Connections {
    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// A service whose connections are counted here.
    #[must_use]
    pub fn count<A>(&self, app: A) -> Counted<A> {
        Counted { app: Arc::new(app), open: self.clone() }
    }
}

/// An application whose connections are counted.
pub struct Counted<A> {
    app: Arc<A>,
    open: Connections,
}

struct Open(Connections);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, session: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.open.0.fetch_add(1, Ordering::AcqRel);
        let _open = Open(self.open.clone());
        self.app.process_new(session, shutdown).await
    }

    // `cleanup` is not passed on: it is what drops idle connections.
}
