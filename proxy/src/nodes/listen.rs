//! Being asked by other nodes, on a listener of their own. What is asked for here is made here or refused.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use acuity_enhancer::Readiness;
use acuity_playlist::uri;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::seal::{Binding, NODE, Secret, Stranger};
use super::wire::{self, Begin, End, Kind, LaunchAsked, ObjectAsked, PurgeAsked, Refusal, Which};
use super::{Nodes, Shared};
use crate::app::App;
use crate::cache::depot::format;
use crate::cache::flow::{Flow, FlowEnd, FlowReader};
use crate::cache::store::Object;
use crate::produce::{Producer, Product, Told, Viewer};
use crate::rescue::Trouble;
use crate::setup::Setup;
use crate::wanted::Wanted;

/// Connections of nodes at one time; strangers could open as many, and then nodes work each for itself.
const CONNECTIONS: usize = 1024;
/// How long a connection lies idle, above what the other side keeps it for.
const KEEPALIVE_SECONDS: u64 = 60;
/// From then on until a request's head is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(KEEPALIVE_SECONDS + 10);
/// A request's body is a few hundred bytes.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever is asked for, signs of life come this often and no oftener.
const BEATS_MS: std::ops::RangeInclusive<u64> = 30..=5000;
/// Nobody has so many viewers, or waits so long.
const AUDIENCE_LIMIT: u32 = 1_000_000;
const WAITED_LIMIT_MS: u64 = 60_000;

/// Answers other nodes.
pub struct Listener {
    app: Arc<App>,
    shared: Arc<Shared>,
}

/// [`Listener`], for as many connections as there is room for.
pub struct Door {
    inner: Arc<Listener>,
    room: Semaphore,
}

impl Door {
    /// For the nodes of `app`; none where it is alone.
    #[must_use]
    pub fn new(app: &Arc<App>, nodes: &Nodes) -> Option<Self> {
        let shared = Arc::clone(nodes.0.as_ref()?);
        let inner = Arc::new(Listener { app: Arc::clone(app), shared });
        Some(Self { inner, room: Semaphore::new(CONNECTIONS) })
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _place = self.room.try_acquire().ok()?;
        self.inner.process_new(stream, shutdown).await
    }
}

#[async_trait]
impl HttpServerApp for Listener {
    async fn process_new_http(
        self: &Arc<Self>,
        mut http: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        http.set_keepalive((!*shutdown.borrow()).then_some(KEEPALIVE_SECONDS));
        http.set_write_timeout(Some(WRITE_TIMEOUT));
        if !matches!(timeout(HEAD_TIMEOUT, http.read_request()).await, Ok(Ok(true))) {
            return None;
        }
        match self.known(&mut http).await {
            Ok((path, body, binding)) => self.answer(&mut http, &path, &body, binding).await.ok()?,
            Err(status) => {
                refuse(&mut http, status).await.ok()?;
                return None;
            }
        }
        let settings = HttpPersistentSettings::for_session(&http);
        let reusable = http.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

/// The connection is of no more use.
struct Gone;

impl<E: std::error::Error> From<E> for Gone {
    fn from(_: E) -> Self {
        Self
    }
}

impl Listener {
    /// What a node asks; anybody else gets a status.
    async fn known(&self, http: &mut ServerSession) -> Result<(String, Bytes, Binding), StatusCode> {
        let request = http.req_header();
        let value = request.headers.get(NODE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let stranger = |why: Stranger| {
            self.shared.instruments.refused.with_label_values(&[why.label()]).inc();
            StatusCode::FORBIDDEN
        };
        // Strangers' bodies are not read.
        Secret::may_be(value.as_deref(), SystemTime::now()).map_err(stranger)?;
        let body = timeout(BODY_TIMEOUT, body(http)).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)??;
        let checked =
            self.shared.secret.check(value.as_deref(), method.as_str(), &path, &body, SystemTime::now());
        let binding = checked.map_err(stranger)?;
        if method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        Ok((path, body, binding))
    }

    async fn answer(
        &self,
        http: &mut ServerSession,
        path: &str,
        body: &[u8],
        binding: Binding,
    ) -> Result<(), Gone> {
        let mut answer = Answer::begin(http, binding).await?;
        let done = match path {
            wire::OBJECT => self.object(&mut answer, read(body)?).await?,
            wire::LAUNCH => self.launch(read(body)?),
            wire::PURGE => {
                let PurgeAsked { order, again } = read(body)?;
                if again {
                    self.app.purge_copies(&order);
                } else {
                    self.app.purge(&order, "node").await;
                }
                Ok(())
            }
            // One without models would make less than others; one that leaves is not to be missed.
            wire::ALIVE if self.app.is_leaving() || self.app.readiness() != Readiness::Ready => {
                Err(Refusal::Leaving)
            }
            wire::ALIVE => Ok(()),
            _ => Err(Refusal::Trouble),
        };
        match done {
            Ok(()) if path == wire::OBJECT => {}
            Ok(()) => answer.end(&End { improve_after_ms: None }).await?,
            Err(why) => answer.frame(Kind::Refused, why.label().as_bytes()).await?,
        }
        answer.http.write_response_body(Bytes::new(), true).await?;
        Ok(())
    }

    fn launch(&self, asked: LaunchAsked) -> Result<(), Refusal> {
        let setup = self.app.setup();
        let wanted = self.wanted(&setup, &asked.which)?;
        let media = Duration::from_millis(asked.media_ms);
        let _ = setup.enhanced_journey.producer.launch_for_node(&wanted, media, asked.fills);
        Ok(())
    }

    async fn object(&self, answer: &mut Answer<'_>, asked: ObjectAsked) -> Result<Result<(), Refusal>, Gone> {
        let given = self.give(answer, asked).await;
        let label = match &given {
            Ok(Ok(())) => "given",
            Ok(Err(why)) => why.label(),
            Err(Gone) => "broke_off",
        };
        self.shared.instruments.served.with_label_values(&[label]).inc();
        self.shared.instruments.sent_bytes.inc_by(answer.sent as u64);
        given
    }

    async fn give(&self, answer: &mut Answer<'_>, asked: ObjectAsked) -> Result<Result<(), Refusal>, Gone> {
        let Ok(_place) = self.shared.serving.try_acquire() else { return Ok(Err(Refusal::Busy)) };
        let setup = self.app.setup();
        let wanted = match self.wanted(&setup, &asked.which) {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Err(why)),
        };
        let producer = &setup.enhanced_journey.producer;
        if producer.is_stopped(&wanted) {
            return Ok(Err(Refusal::Stopped));
        }
        let waited = Duration::from_millis(asked.waited_ms.min(WAITED_LIMIT_MS));
        let viewer = Viewer {
            asked: Instant::now().checked_sub(waited).unwrap_or_else(Instant::now),
            hurry: asked.hurry(),
            told: Some(Told {
                is_first: asked.is_first,
                audience: asked.audience.min(AUDIENCE_LIMIT),
                again_by: asked.again_by.as_deref().map(Into::into),
                is_nodes: true,
            }),
        };
        let beat = Duration::from_millis(asked.beat_ms.clamp(*BEATS_MS.start(), *BEATS_MS.end()));
        let object = match make(answer, producer, &wanted, viewer, beat).await? {
            Ok(object) if object.private => return Ok(Err(Refusal::Private)),
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        object.count_request();
        if object.is_due_for_improvement(Instant::now()) {
            producer.improve_here(&wanted);
        }
        let Some(head) = format::head(&wanted.key, &object, wire::epoch()) else {
            return Ok(Err(Refusal::Trouble));
        };
        answer.pieces(&object.bytes.slice(answer.sent.min(object.bytes.len())..)).await?;
        answer.frame(Kind::Head, &head).await?;
        let improve_after_ms =
            object.improve_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        answer.end(&End { improve_after_ms }).await?;
        Ok(Ok(()))
    }

    /// What is meant, if this node would make the same of it.
    fn wanted(&self, setup: &Setup, which: &Which) -> Result<Wanted, Refusal> {
        let differs = || Refusal::Differs;
        let token = which.token.parse().map_err(|_| differs())?;
        if which.settings != self.shared.settings
            || !crate::wanted::is_within_limits(&token, setup.config.enhancer.max_source_pixels)
            || !uri::normalise(&which.path_and_query).is_ok_and(|normal| normal == which.path_and_query)
        {
            return Err(differs());
        }
        let site = setup.sites.site(Some(&which.site));
        let (path, _) = uri::take_range(&which.path_and_query);
        let route = setup.sites.find(&site, &path).ok_or_else(differs)?.route;
        let origin = setup.config.routes.get(route).ok_or_else(differs)?.origin.as_str();
        let wanted = Wanted::new(site, Arc::new(token), origin, &which.path_and_query);
        if wanted.key.hex() == which.key { Ok(wanted) } else { Err(differs()) }
    }
}

/// Has an object made, with signs of life meanwhile, and its pieces as soon as there are some.
async fn make(
    answer: &mut Answer<'_>,
    producer: &Producer,
    wanted: &Wanted,
    viewer: Viewer,
    beat: Duration,
) -> Result<Result<Arc<Object>, Refusal>, Gone> {
    let (shown, mut flows) = mpsc::unbounded_channel::<Arc<Flow>>();
    let show = |flow: &Arc<Flow>| drop(shown.send(Arc::clone(flow)));
    let mut making = std::pin::pin!(producer.make_here(wanted, viewer, &show));
    let mut made = None;
    let mut reader: Option<FlowReader> = None;
    let mut flowing: Option<Arc<Flow>> = None;
    loop {
        tokio::select! {
            biased;
            piece = next(&mut reader), if reader.is_some() => match piece {
                Ok(piece) => {
                    if let Some(flow) = &flowing {
                        answer.begin_with(flow).await?;
                    }
                    answer.pieces(&piece).await?;
                }
                Err(FlowEnd::Whole) => reader = None,
                // What was sent is the begin of nothing.
                Err(FlowEnd::Broken) => return Err(Gone),
            },
            Some(flow) = flows.recv(), if flowing.is_none() => {
                if flow.private {
                    return Ok(Err(Refusal::Private));
                }
                answer.begin_with(&flow).await?;
                reader = Some(flow.reader());
                flowing = Some(flow);
            }
            done = &mut making, if made.is_none() => made = Some(done),
            () = sleep(beat) => answer.frame(Kind::Working, b"").await?,
        }
        if reader.is_some() {
            continue;
        }
        match made.take() {
            Some(Ok((Product::Whole(object), _))) => return Ok(Ok(object)),
            Some(Ok((Product::Flowing(_), _))) => return Ok(Err(Refusal::Trouble)),
            Some(Err(_)) if flowing.is_some() => return Err(Gone),
            Some(Err(trouble)) if matches!(*trouble, Trouble::Private) => return Ok(Err(Refusal::Private)),
            Some(Err(_)) => return Ok(Err(Refusal::Trouble)),
            None => {}
        }
    }
}

async fn next(reader: &mut Option<FlowReader>) -> Result<Bytes, FlowEnd> {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Gone> {
    Ok(serde_json::from_slice(body)?)
}

async fn body(http: &mut ServerSession) -> Result<Bytes, StatusCode> {
    let mut body = BytesMut::new();
    while let Some(piece) = http.read_request_body().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        if body.len() + piece.len() > wire::REQUEST_LIMIT_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// A status and nothing else; the connection ends.
async fn refuse(http: &mut ServerSession, status: StatusCode) -> pingora::Result<()> {
    http.set_keepalive(None);
    let mut header = ResponseHeader::build(status, Some(1))?;
    header.insert_header(CONTENT_LENGTH, 0)?;
    http.write_response_header(Box::new(header)).await?;
    http.write_response_body(Bytes::new(), true).await
}

/// An answer in frames.
struct Answer<'a> {
    http: &'a mut ServerSession,
    binding: Binding,
    /// Bytes of the object so far.
    sent: usize,
    /// What was last said to make them.
    said: Option<Arc<str>>,
}

impl<'a> Answer<'a> {
    /// Its head, which is the first sign of life.
    async fn begin(http: &'a mut ServerSession, binding: Binding) -> Result<Self, Gone> {
        let mut header = ResponseHeader::build(StatusCode::OK, Some(1))?;
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
        http.write_response_header(Box::new(header)).await?;
        Ok(Self { http, binding, sent: 0, said: None })
    }

    async fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Gone> {
        let frame = wire::frame(&mut self.binding, kind, payload);
        self.http.write_response_body(frame, false).await?;
        Ok(())
    }

    /// What is coming; again where a network has been cut short since, which whoever goes on with it has to know.
    async fn begin_with(&mut self, flow: &Flow) -> Result<(), Gone> {
        let made_by = flow.made_by();
        if self.said.is_some() && self.said == made_by {
            return Ok(());
        }
        let begin = Begin {
            content_type: flow.content_type.to_owned(),
            fresh_for_ms: u64::try_from(flow.fresh_for.as_millis()).unwrap_or(u64::MAX),
            made_by: made_by.as_deref().unwrap_or_default().to_owned(),
        };
        self.said = made_by;
        self.frame(Kind::Begin, &serde_json::to_vec(&begin)?).await
    }

    async fn pieces(&mut self, bytes: &Bytes) -> Result<(), Gone> {
        for piece in bytes.chunks(wire::PIECE_BYTES) {
            self.frame(Kind::Piece, piece).await?;
            self.sent += piece.len();
        }
        Ok(())
    }

    async fn end(&mut self, end: &End) -> Result<(), Gone> {
        self.frame(Kind::End, &serde_json::to_vec(end)?).await
    }
}
