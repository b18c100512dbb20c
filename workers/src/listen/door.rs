//! Who comes in: connections are taken, shaken hands with within a time, and counted by what came of it.
//!
//! Whoever can reach the port can open connections and say nothing. So handshakes are few at one time and short, and few for each address:
//! a stranger costs a socket for some seconds, and no edge its place.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::instruments::{Instruments, TOO_MANY, TRUSTED};
use crate::tls::{self, Distrust};

/// Until hands are shaken: three round trips across an ocean, and a machine that is busy with other things.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Handshakes at one time, in all and with one address. An edge that starts needs one.
const HANDSHAKES: usize = 128;
const HANDSHAKES_EACH: u32 = 8;

/// After the system would not take a connection (out of files): trying at once would be a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// An edge that is trusted.
pub(super) struct Guest {
    stream: TlsStream<TcpStream>,
    _place: Counted,
    _permit: OwnedSemaphorePermit,
}

struct Counted(Instruments);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.edges.dec();
    }
}

/// Takes connections for as long as somebody takes guests.
pub(super) async fn open(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    connections: usize,
    instruments: Instruments,
    guests: mpsc::Sender<io::Result<Guest>>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(connections));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let each = Arc::new(Each::default());
    loop {
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            () = guests.closed() => return,
        };
        let (stream, from) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let one_of = each.one_more(from.ip());
        let (Some(one_of), Ok(handshake)) = (one_of, Arc::clone(&handshakes).try_acquire_owned()) else {
            instruments.handshake(TOO_MANY);
            continue;
        };
        let (acceptor, places) = (acceptor.clone(), Arc::clone(&places));
        let (instruments, guests) = (instruments.clone(), guests.clone());
        tokio::spawn(async move {
            let shaken = shake_hands(stream, from, &acceptor, &instruments).await;
            drop((one_of, handshake));
            let Some(stream) = shaken else { return };
            let Ok(permit) = places.try_acquire_owned() else {
                instruments.handshake(TOO_MANY);
                tracing::warn!(%from, "an edge is refused: there are workers.listen.connections already");
                return;
            };
            instruments.handshake(TRUSTED);
            instruments.edges.inc();
            let guest = Guest { stream, _place: Counted(instruments), _permit: permit };
            // Nobody takes it only where the worker ends.
            let _ = guests.send(Ok(guest)).await;
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: &TlsAcceptor,
    instruments: &Instruments,
) -> Option<TlsStream<TcpStream>> {
    // Messages are small and whole: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let (why, said) = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let names = leaf.map(tls::names).unwrap_or_default();
            tracing::info!(%from, names = names.join(", "), "an edge has connected");
            return Some(stream);
        }
        Ok(Err(error)) => (Distrust::of(&error), error.to_string()),
        Err(_) => (Distrust::Timeout, format!("no handshake within {HANDSHAKE_LIMIT:?}")),
    };
    instruments.handshake(why.label());
    // Who merely looks whether the port is open (a load balancer, a scan) is counted, and no line.
    if why == Distrust::Closed {
        tracing::debug!(%from, said, "a connection broke off");
    } else {
        tracing::warn!(%from, why = why.label(), said, "a connection is refused");
    }
    None
}

/// Handshakes by address.
#[derive(Default)]
struct Each(Mutex<HashMap<IpAddr, u32>>);

struct OneOf {
    each: Arc<Each>,
    from: IpAddr,
}

impl Each {
    fn one_more(self: &Arc<Self>, from: IpAddr) -> Option<OneOf> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_default();
        if *count >= HANDSHAKES_EACH {
            return None;
        }
        *count += 1;
        Some(OneOf { each: Arc::clone(self), from })
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        let mut counts = self.each.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

impl Connected for Guest {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_handshakes() {
        let each = Arc::new(Each::default());
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut held: Vec<_> = (0..HANDSHAKES_EACH).map(|_| each.one_more(one).unwrap()).collect();
        assert!(each.one_more(one).is_none() && each.one_more(other).is_some());
        held.pop();
        assert!(each.one_more(one).is_some());
        drop(held);
        assert!(each.0.lock().unwrap().is_empty());
    }
}
