//! What signals mean.
//!
//! | signal | |
//! |---|---|
//! | SIGTERM | stop: tell load balancers, then drain |
//! | SIGINT | stop at once but for requests in progress: a person waits at a terminal |
//! | SIGTERM or SIGINT after that | end now (130) |
//! | SIGHUP | read the configuration again |
//! | SIGUSR2 | start the program again, as it is on the disk by now, to take over |

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;

/// Why an edge stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is asked to, by a service manager.
    Terminate,
    /// It is asked to, by a person.
    Interrupt,
    /// Another process, of this id, serves.
    HandedOver(Option<i32>),
}

/// How the program is started again.
#[derive(Debug, Clone)]
pub struct Successor {
    /// The program.
    pub program: PathBuf,
    /// What this one was told, and to take over.
    pub arguments: Vec<OsString>,
}

/// Resolves on SIGTERM or SIGINT. A second one ends the process at once.
pub async fn stop() -> Stop {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the system's defaults hold: signals end the process.
        return std::future::pending().await;
    };
    let why = tokio::select! {
        _ = terminate.recv() => Stop::Terminate,
        _ = interrupt.recv() => Stop::Interrupt,
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // 128 + SIGINT, as shells have it.
        std::process::exit(130);
    });
    why
}

/// Heeds SIGHUP and SIGUSR2 for as long as the edge runs. `successor`: none where nobody can take over.
pub async fn heed(app: Arc<App>, successor: Option<Successor>) {
    let (Ok(mut hangup), Ok(mut upgrade)) =
        (signal(SignalKind::hangup()), signal(SignalKind::user_defined2()))
    else {
        return;
    };
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => {
                let app = Arc::clone(&app);
                // What came of it is in the log and the metrics.
                let _ = tokio::task::spawn_blocking(move || app.reload()).await;
            }
            Some(()) = upgrade.recv() => start_again(successor.as_ref()),
            else => return,
        }
    }
}

fn start_again(successor: Option<&Successor>) {
    let Some(Successor { program, arguments }) = successor else {
        tracing::error!("asked to hand over, but there is no server.upgrade_socket to do it by");
        return;
    };
    let started = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
    match started {
        Ok(mut child) => {
            tracing::info!(pid = child.id(), program = %program.display(), "started to take over");
            // Somebody has to hear of its end, if it ends before this process does.
            let waits = std::thread::Builder::new().name("acuity-child".to_owned()).spawn(move || {
                if let Ok(status) = child.wait() {
                    tracing::error!(%status, "what was started to take over has ended: this edge goes on");
                }
            });
            if let Err(error) = waits {
                tracing::warn!(%error, "nobody waits for what was started");
            }
        }
        Err(error) => tracing::error!(%error, program = %program.display(), "cannot be started"),
    }
}
