//! Addresses on loopback that nobody uses, for programs that are told where to listen.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::Result;

/// What was given out before: not to be given to a second one before the first has begun to listen.
static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());

/// `N` addresses that were free a moment ago, differ, and are given to nobody else in this process.
///
/// # Errors
/// When the system has none.
pub fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    Ok(free_many(N)?.try_into().map_err(|_| "not so many")?)
}

/// As [`free`], of a number that is not known beforehand.
///
/// # Errors
/// As [`free`].
pub fn free_many(count: usize) -> Result<Vec<SocketAddr>> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Held until all are found: the system gives none twice that is in use.
    let (mut sockets, mut found) = (Vec::new(), Vec::new());
    while found.len() < count {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        sockets.push(socket);
        if given.insert(address) {
            found.push(address);
        }
    }
    Ok(found)
}
