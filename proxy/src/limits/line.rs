//! One connection of a player: what it waits for, and how long it may.
//!
//! pingora bounds the time between two reads and between two requests, not the time that a request's headers take in all, and bounds writing by
//! the size of what is written. So the stream itself is watched, between pingora's HTTP and the socket (or TLS): a client that opens and says nothing,
//! sends its headers byte by byte or takes nothing of its answer ends as a time-out of that stream, which pingora knows how to handle. Where a
//! request begins and ends, pingora says by calling the proxy ([`Line::request`], [`Line::rest`]); what comes between is a request's headers, and what is
//! answered there was answered by pingora itself. HTTP/2 has several requests at a time: there the frames are followed ([`Frames`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use acuity_config::LimitsConfig;
use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::frames::{Fields, Frames};

/// Why a connection was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// It was opened, and nothing was said.
    Silent = 1,
    /// A request's headers did not end in time.
    SlowHeaders = 2,
    /// Nothing was taken of what was sent.
    Stalled = 3,
    /// What came is no HTTP that is served here (pingora's 400 or 405), or is too long.
    Malformed = 4,
}

impl Cut {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Silent, Self::SlowHeaders, Self::Stalled, Self::Malformed];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SlowHeaders => "slow_headers",
            Self::Stalled => "stalled",
            Self::Malformed => "malformed",
        }
    }
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing has come yet.
    New = 0,
    /// A request's headers are coming.
    Head = 1,
    /// A request is being answered; for HTTP/2, which has several at a time, everything but its opening and fields that are coming.
    Busy = 2,
    /// Between two requests: pingora's keep-alive time runs.
    Rest = 3,
}

/// The state that a connection shares with those who answer its requests.
#[derive(Debug, Default)]
pub struct Line {
    phase: AtomicU8,
    cut: AtomicU8,
}

tokio::task_local! {
    /// The connection whose requests this task reads. HTTP/2 reads each in a task of its own and has none.
    static LINE: Arc<Line>;
}

impl Line {
    /// Runs `serve`, the work on this connection.
    pub async fn during<T>(self: Arc<Self>, serve: impl Future<Output = T>) -> T {
        LINE.scope(self, serve).await
    }

    /// A request's headers have been read.
    pub fn request() {
        let _ = LINE.try_with(|line| line.enter(Phase::Busy));
    }

    /// It has been answered.
    pub fn rest() {
        let _ = LINE.try_with(|line| line.enter(Phase::Rest));
    }

    /// Why the connection was ended, if it was.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        let cut = self.cut.load(Ordering::Acquire);
        Cut::ALL.into_iter().find(|reason| *reason as u8 == cut)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::New,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Rest,
        }
    }

    /// The first reason stays: what follows from it is none of its own.
    fn end(&self, reason: Cut) {
        let _ = self.cut.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// A stream that is watched.
pub struct Watched {
    inner: Stream,
    line: Arc<Line>,
    /// Of HTTP/2.
    frames: Option<Frames>,
    /// When the headers that are coming have to be there.
    headers_by: Instant,
    header_timeout: Duration,
    reading: Timer,
    stall_timeout: Duration,
    writing: Timer,
}

/// A timer that costs nothing until it is waited for.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    /// Ready at `at`. Once armed, it keeps to the time it was armed with.
    fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let armed = std::mem::replace(&mut self.armed, true);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if !armed {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }

    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Watched {
    /// Watches `inner`, which was opened a moment ago.
    #[must_use]
    pub fn new(inner: Stream, line: Arc<Line>, limits: &LimitsConfig) -> Self {
        let is_h2 = matches!(inner.selected_alpn_proto(), Some(ALPN::H2));
        Self {
            inner,
            line,
            frames: is_h2.then(Frames::default),
            headers_by: Instant::now() + limits.header_timeout,
            header_timeout: limits.header_timeout,
            reading: Timer::default(),
            stall_timeout: limits.stall_timeout,
            writing: Timer::default(),
        }
    }

    /// These bytes have come.
    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        match (self.line.phase(), &mut self.frames) {
            (_, Some(frames)) => match frames.read(bytes) {
                Fields::Began => self.wait_for_headers(),
                Fields::Go => self.line.enter(Phase::Head),
                Fields::None => self.line.enter(Phase::Busy),
            },
            (Phase::New, None) => self.line.enter(Phase::Head),
            (Phase::Rest, None) => self.wait_for_headers(),
            (Phase::Head | Phase::Busy, None) => {}
        }
        let is_late = self.line.phase() == Phase::Head && Instant::now() >= self.headers_by;
        if is_late { Err(self.late()) } else { Ok(()) }
    }

    /// A request's headers begin; they have their time from now on.
    fn wait_for_headers(&mut self) {
        self.headers_by = Instant::now() + self.header_timeout;
        self.reading.disarm();
        self.line.enter(Phase::Head);
    }

    fn late(&self) -> io::Error {
        let silent = self.line.phase() == Phase::New;
        self.line.end(if silent { Cut::Silent } else { Cut::SlowHeaders });
        io::Error::new(io::ErrorKind::TimedOut, "the request's headers did not come in time")
    }

    /// What becomes of a write: one that does not get on is waited for, not for ever.
    fn written<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing.disarm();
            return written;
        }
        ready!(self.writing.poll(Instant::now() + self.stall_timeout, context));
        self.line.end(Cut::Stalled);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// What is sent before a request has been read is pingora's refusal to read it.
    fn is_answering(&self) {
        if self.frames.is_none() && matches!(self.line.phase(), Phase::New | Phase::Head) {
            self.line.end(Cut::Malformed);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len().saturating_sub(before) {
                0 => Poll::Ready(Ok(())),
                _ => Poll::Ready(this.heard(&buffer.filled()[before..])),
            },
            Poll::Pending if matches!(this.line.phase(), Phase::New | Phase::Head) => {
                ready!(this.reading.poll(this.headers_by, context));
                Poll::Ready(Err(this.late()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_answering();
        let written = Pin::new(&mut this.inner).poll_write(context, buffer);
        this.written(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_answering();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, buffers);
        this.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        this.written(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.inner).poll_shutdown(context);
        this.written(shut, context)
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("line", &self.line).finish_non_exhaustive()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Watched {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}
