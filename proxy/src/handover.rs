//! One edge takes over from another without a moment in which nobody listens.
//!
//! The sockets themselves change hands, by a Unix socket (`server.upgrade_socket`), as with pingora's own hand-over. The order is
//! another: there the old process leaves five seconds after it has sent the sockets, whatever has become of the new one. Here the new
//! one reads its configuration and loads its models while the old one serves, begins to accept, and *then* says that it has; only that
//! makes the old one leave. One that fails on the way changes nothing.
//!
//! ```text
//! new -> old   connects (the same user, or root)
//! old -> new   one line of JSON ([`Legacy`]), with the listening sockets
//!              ... configuration, models ...
//! new -> old   "taken\n", once it accepts; a closed connection instead means that it never will
//! ```

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixListener;
use tokio::time::{sleep, timeout};

/// Listening sockets of one edge: the kernel takes at most 253 in one message.
const SOCKETS_LIMIT: usize = 128;
/// Addresses and names; far above what they take.
const MESSAGE_LIMIT_BYTES: usize = 64 << 10;
/// What travels before "taken" does: seconds for a machine under load.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new edge may load its models. TensorRT compiles for minutes.
const LOADING_LIMIT: Duration = Duration::from_secs(1800);
const TAKEN: &[u8] = b"taken\n";

/// A listening socket that changes hands.
#[derive(Debug)]
pub struct Handed {
    /// Which key of the configuration asked for it.
    pub key: String,
    /// The address it was asked for by: with port 0 not the one that was bound.
    pub configured: SocketAddr,
    /// The socket.
    pub listener: TcpListener,
}

/// What one edge tells the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Legacy {
    /// Key and configured address of each socket, in the order in which they come.
    listeners: Vec<(String, SocketAddr)>,
    /// Names of the routes that were switched off by hand.
    pub switched_off: Vec<String>,
}

/// The edge that serves now, asked to hand over.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// Its sockets; each is taken by who has its address in the configuration.
    pub sockets: Vec<Handed>,
    /// What else it says.
    pub legacy: Legacy,
}

impl Predecessor {
    /// Asks whoever answers at `path` for the sockets. It goes on serving until [`Self::taken`].
    ///
    /// # Errors
    /// Nobody answers there, or not in this language.
    pub fn ask(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut text, mut sockets) = (Vec::new(), Vec::new());
        while !text.ends_with(b"\n") {
            let mut piece = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_LIMIT))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                &stream,
                &mut [IoSliceMut::new(&mut piece)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds);
                }
            }
            text.extend_from_slice(piece.get(..received.bytes).unwrap_or_default());
            if received.bytes == 0 || text.len() > MESSAGE_LIMIT_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no sockets were handed over"));
            }
        }
        let legacy: Legacy = serde_json::from_slice(&text)?;
        if legacy.listeners.len() != sockets.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "fewer sockets came than were named"));
        }
        let handed = |((key, configured), socket): (&(String, SocketAddr), OwnedFd)| Handed {
            key: key.clone(),
            configured: *configured,
            listener: TcpListener::from(socket),
        };
        let sockets = legacy.listeners.iter().zip(sockets).map(handed).collect();
        Ok(Self { stream, sockets, legacy })
    }

    /// This edge accepts connections: the one before may leave.
    ///
    /// # Errors
    /// It is gone already, which is as well.
    pub fn taken(mut self) -> io::Result<()> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(TAKEN)
    }
}

/// Where a running edge can be asked to hand over.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    sockets: Vec<Handed>,
}

/// Opens the door at `path`, in place of the one of an edge that is gone or leaves. To be called within the runtime.
///
/// # Errors
/// The directory is not there or not writable; or another edge answers at `path` and is not `replaced`.
pub fn open(path: &Path, replaced: bool, sockets: Vec<Handed>) -> io::Result<Door> {
    if !replaced && UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another edge hands over there"));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    // One of the same process id that never came to rename it.
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
    // At no time is there a path at which nobody answers.
    std::fs::rename(&beside, path)?;
    Ok(Door { listener, sockets })
}

impl Door {
    /// Returns the process id of the edge that has taken over. `switched_off`: asked when somebody comes; `failed`: told when nothing came
    /// of it.
    pub async fn until_taken(self, switched_off: impl Fn() -> Vec<String>, failed: impl Fn()) -> Option<i32> {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot hear who wants to take over");
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match self.hand_over(stream, switched_off()).await {
                Ok(pid) => return pid,
                Err(error) => {
                    tracing::error!(%error, "nobody took over: this edge goes on");
                    failed();
                }
            }
        }
    }

    async fn hand_over(
        &self,
        mut stream: tokio::net::UnixStream,
        switched_off: Vec<String>,
    ) -> io::Result<Option<i32>> {
        let peer = stream.peer_cred()?;
        let own = rustix::process::geteuid().as_raw();
        if peer.uid() != own && peer.uid() != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "asked by another user"));
        }
        let pid = peer.pid();
        tracing::info!(pid, "another edge asks to take over: it gets the sockets");
        timeout(PATIENCE, self.send(&stream, switched_off)).await??;
        let mut word = [0; TAKEN.len()];
        timeout(LOADING_LIMIT, stream.read_exact(&mut word)).await??;
        Ok(pid)
    }

    async fn send(&self, stream: &tokio::net::UnixStream, switched_off: Vec<String>) -> io::Result<()> {
        let listeners = self.sockets.iter().map(|handed| (handed.key.clone(), handed.configured)).collect();
        let mut text = serde_json::to_vec(&Legacy { listeners, switched_off })?;
        text.push(b'\n');
        let fds: Vec<_> = self.sockets.iter().map(|handed| handed.listener.as_fd()).collect();
        let mut sent = 0;
        while sent < text.len() {
            stream.writable().await?;
            let rest = text.get(sent..).unwrap_or_default();
            let result = stream.try_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_LIMIT))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                // With the first byte alone: the rest carries nothing.
                if sent == 0 && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
                }
                let sent =
                    rustix::net::sendmsg(stream, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL);
                Ok(sent?)
            });
            match result {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::*;

    fn handed(listener: &TcpListener) -> Handed {
        Handed {
            key: "server.listen".to_owned(),
            configured: "127.0.0.1:0".parse().unwrap(),
            listener: listener.try_clone().unwrap(),
        }
    }

    #[tokio::test]
    async fn sockets_change_hands_and_nobody_leaves_before_they_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = open(&path, false, vec![handed(&listener)]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        let old = tokio::spawn(door.until_taken(|| vec!["films".to_owned()], || {}));

        // One that dies before it serves changes nothing.
        let at = path.clone();
        drop(tokio::task::spawn_blocking(move || Predecessor::ask(&at).unwrap()).await.unwrap());
        let at = path.clone();
        let mut new = tokio::task::spawn_blocking(move || Predecessor::ask(&at).unwrap()).await.unwrap();
        assert!(!old.is_finished());
        assert_eq!(new.legacy.switched_off, ["films"]);
        let taken = new.sockets.pop().unwrap();
        assert_eq!((taken.key.as_str(), taken.listener.local_addr().unwrap()), ("server.listen", address));

        // A second door is refused unless it replaces the first.
        assert!(open(&path, false, vec![]).is_err());
        let own = std::process::id();
        tokio::task::spawn_blocking(move || new.taken().unwrap()).await.unwrap();
        assert_eq!(old.await.unwrap(), Some(i32::try_from(own).unwrap()));
        let waiting = std::thread::spawn(move || {
            let (mut connection, _) = taken.listener.accept().unwrap();
            let mut text = String::new();
            connection.read_to_string(&mut text).unwrap();
            text
        });
        TcpStream::connect(address).unwrap().write_all(b"hello").unwrap();
        assert_eq!(waiting.join().unwrap(), "hello");
    }

    #[test]
    fn nobody_there_is_an_error() {
        assert!(Predecessor::ask(Path::new("/no/such/place")).is_err());
    }
}
