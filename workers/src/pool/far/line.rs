//! The way to a worker on another machine: TCP, mutual TLS, HTTP/2.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use acuity_config::{NodeName, RemoteTls};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::process::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::tls::Distrust;

/// Until hands are shaken.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Signs of life that HTTP/2 asks for, beside the worker's own: they find a way that is broken while nobody says anything.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_LIMIT: Duration = Duration::from_secs(3);

/// A connection that stands.
pub(super) struct Line {
    pub(super) channel: Channel,
    socket: std::net::TcpStream,
    noted: Noted,
}

/// What was seen of TLS once hands were shaken: with TLS 1.3 a worker that refuses this edge's certificate says so only then.
type Noted = Arc<OnceLock<(Distrust, String)>>;

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoLine {
    /// Of TLS; none: there is no TCP.
    pub(super) distrust: Option<Distrust>,
    pub(super) said: String,
}

impl NoLine {
    fn tcp(error: &io::Error) -> Self {
        Self { distrust: None, said: error.to_string() }
    }

    /// The metric label.
    pub(super) fn label(&self) -> &'static str {
        self.distrust.map_or("connect", Distrust::label)
    }
}

impl Line {
    /// Connects to `address`, which `name` stands for.
    pub(super) async fn open(
        (name, address): (&NodeName, SocketAddr),
        tls: &RemoteTls,
        config: Arc<ClientConfig>,
    ) -> Result<Self, NoLine> {
        let late = |_| NoLine {
            distrust: Some(Distrust::Timeout),
            said: format!("no connection within {CONNECT_WITHIN:?}"),
        };
        timeout(CONNECT_WITHIN, Self::connect((name, address), tls, config)).await.map_err(late)?
    }

    async fn connect(
        (name, address): (&NodeName, SocketAddr),
        tls: &RemoteTls,
        config: Arc<ClientConfig>,
    ) -> Result<Self, NoLine> {
        let tcp = |error: io::Error| NoLine::tcp(&error);
        let stream = TcpStream::connect(address).await.map_err(tcp)?;
        stream.set_nodelay(true).map_err(tcp)?;
        let stream = stream.into_std().map_err(tcp)?;
        let socket = stream.try_clone().map_err(tcp)?;
        let stream = TcpStream::from_std(stream).map_err(tcp)?;
        let expected = tls.server_name.clone().unwrap_or_else(|| name.host.clone());
        let expected = ServerName::try_from(expected)
            .map_err(|error| NoLine { distrust: Some(Distrust::Name), said: error.to_string() })?;
        let stream = TlsConnector::from(config).connect(expected, stream).await;
        let stream = stream
            .map_err(|error| NoLine { distrust: Some(Distrust::of(&error)), said: error.to_string() })?;
        let noted = Noted::default();
        let channel = channel(name, Watched { stream, noted: Arc::clone(&noted) })
            .map_err(|error| NoLine { distrust: None, said: error.to_string() })?;
        Ok(Self { channel, socket, noted })
    }

    /// What is wrong with TLS after all, if anything is.
    pub(super) fn distrust(&self) -> Option<(Distrust, String)> {
        self.noted.get().filter(|(why, _)| *why != Distrust::Closed).cloned()
    }

    /// Ends it, and every call that still waits on it.
    pub(super) fn close(&self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Calls over a connection that exists. When it is gone it is gone: a new one is a new member of the pool.
fn channel(name: &NodeName, stream: Watched) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(stream);
    let connector = service_fn(move |_: Uri| {
        let taken = stream.take().map(TokioIo::new);
        async move { taken.ok_or_else(|| io::Error::other("the connection is gone")) }
    });
    // With "https" the library would put TLS of its own above this.
    let endpoint = Endpoint::from_shared(format!("http://{name}"))?;
    Ok(endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

/// A connection whose first error of TLS is noted: what calls are told of it above is no more than that it broke.
struct Watched {
    stream: TlsStream<TcpStream>,
    noted: Noted,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            // The first counts.
            let _ = self.noted.set((Distrust::of(error), error.to_string()));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
