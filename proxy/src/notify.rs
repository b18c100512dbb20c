//! What systemd is told (`Type=notify`): that the edge serves, that it stops, and which process serves after a hand-over.
//!
//! The protocol is a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); without one there is nobody
//! to tell.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// `address`: what `NOTIFY_SOCKET` holds, a path or, after an `@`, an abstract name.
    #[must_use]
    pub fn to(address: Option<&OsStr>) -> Self {
        let address = address.and_then(|address| match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(address).ok(),
        });
        Self(address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))))
    }

    /// The edge serves.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The edge is going to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Another process serves from now on.
    pub fn main_process_is(&self, pid: i32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.0 else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, state, "the service manager cannot be told");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn states_are_datagrams() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(Some(path.as_os_str()));
        let heard = || {
            let mut text = [0; 64];
            let length = manager.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        notify.ready();
        assert_eq!(heard(), "READY=1");
        notify.main_process_is(7);
        assert_eq!(heard(), "MAINPID=7");
        // Nobody to tell is no fault.
        Notify::to(None).stopping();
        Notify::to(Some(OsStr::new("@nobody-is-there"))).stopping();
    }
}
