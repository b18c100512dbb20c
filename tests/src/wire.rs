//! A wire between two processes, which can be cut, fall silent, and turn bits: a TCP relay that tells nobody what it does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::Result;

/// What a wire does to what comes back over it. What goes there always passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All of it passes.
    Passes,
    /// Nothing passes, in neither direction, and nobody is told.
    Silent,
    /// Connections end at once.
    Refuses,
    /// From this byte of each connection's answers on, one in so many is another.
    Turns {
        /// The first that may be wrong.
        from: usize,
        /// Distance between wrong ones.
        every: usize,
    },
    /// Each connection ends after so many bytes of answers.
    Cuts {
        /// Bytes that pass.
        after: usize,
    },
}

/// The wire; gone when dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    target: Arc<Mutex<Option<SocketAddr>>>,
    _stop: oneshot::Sender<()>,
}

impl Wire {
    /// A wire that leads nowhere yet, on a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mode = Arc::new(watch::Sender::new(Mode::Passes));
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (modes, leads_to) = (Arc::clone(&mode), Arc::clone(&target));
        tokio::spawn(async move {
            let accepting = async {
                while let Ok((near, _)) = listener.accept().await {
                    let target = *lock(&leads_to);
                    let modes = modes.subscribe();
                    tokio::spawn(async move {
                        let Some(target) = target.filter(|_| *modes.borrow() != Mode::Refuses) else {
                            return;
                        };
                        let Ok(far) = TcpStream::connect(target).await else { return };
                        relay(near, far, modes).await;
                    });
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
        Ok(Self { address, mode, target, _stop: stop })
    }

    /// Where it is entered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads to from now on.
    pub fn leads_to(&self, target: SocketAddr) {
        *lock(&self.target) = Some(target);
    }

    /// What it does from now on, also to connections that stand.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn relay(near: TcpStream, far: TcpStream, modes: watch::Receiver<Mode>) {
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let mut there_modes = modes.clone();
    let there = async move {
        let mut piece = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_near.read(&mut piece).await {
            if !may_pass(&mut there_modes).await || to_far.write_all(&piece[..read]).await.is_err() {
                break;
            }
        }
        let _ = to_far.shutdown().await;
    };
    let mut back_modes = modes;
    let back = async move {
        let (mut piece, mut passed) = (vec![0; 16 << 10], 0);
        while let Ok(read @ 1..) = from_far.read(&mut piece).await {
            if !may_pass(&mut back_modes).await {
                break;
            }
            let mode = *back_modes.borrow();
            let bytes = &mut piece[..read];
            match mode {
                Mode::Turns { from, every } => {
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        let at = passed + at;
                        if at >= from && (at - from).is_multiple_of(every.max(1)) {
                            *byte ^= 0x20;
                        }
                    }
                }
                Mode::Cuts { after } if passed + read > after => {
                    let _ = to_near.write_all(&bytes[..after.saturating_sub(passed)]).await;
                    break;
                }
                _ => {}
            }
            passed += read;
            if to_near.write_all(bytes).await.is_err() {
                break;
            }
        }
    };
    // Either end ends both.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// Waits while the wire is silent; `false` if it refuses.
async fn may_pass(modes: &mut watch::Receiver<Mode>) -> bool {
    modes.wait_for(|mode| *mode != Mode::Silent).await.is_ok_and(|mode| *mode != Mode::Refuses)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
