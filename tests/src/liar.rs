//! An origin that breaks HTTP itself, byte by byte as it is told: what no server library would write.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::Result;

/// A whole answer, from the status line on.
#[derive(Debug, Clone)]
pub struct Lie {
    /// What is sent.
    pub bytes: Bytes,
    /// Whether the connection ends then, or stands for a next request.
    pub closes: bool,
}

/// The origin; gone when dropped.
#[derive(Debug)]
pub struct Liar {
    address: SocketAddr,
    lies: Arc<Mutex<HashMap<String, Lie>>>,
    _stop: oneshot::Sender<()>,
}

impl Liar {
    /// Serves a folder below `/vod` in good faith until it is told otherwise.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let lies: Arc<Mutex<HashMap<String, Lie>>> = Arc::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let told = Arc::clone(&lies);
        tokio::spawn(async move {
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, folder.clone(), Arc::clone(&told)));
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = stopped => {}
            }
        });
        Ok(Self { address, lies, _stop: stop })
    }

    /// Its base URL, as a configuration names it.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers a path like this from now on; `None`: well again.
    pub fn tell(&self, path: &str, lie: Option<Lie>) {
        let mut lies = lock(&self.lies);
        match lie {
            Some(lie) => drop(lies.insert(path.to_owned(), lie)),
            None => drop(lies.remove(path)),
        }
    }
}

fn lock(lies: &Mutex<HashMap<String, Lie>>) -> MutexGuard<'_, HashMap<String, Lie>> {
    lies.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of a connection, none of which has a body.
async fn serve(mut stream: TcpStream, folder: PathBuf, lies: Arc<Mutex<HashMap<String, Lie>>>) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let target = head.split(' ').nth(1)?;
        let path = target.split('?').next()?;
        let lie = lock(&lies).get(path).cloned();
        let Lie { bytes, closes } = lie.unwrap_or_else(|| honest(&folder, path));
        stream.write_all(&bytes).await.ok()?;
        if closes {
            stream.shutdown().await.ok()?;
            return None;
        }
    }
}

fn honest(folder: &std::path::Path, path: &str) -> Lie {
    let file = path.strip_prefix("/vod/").map(|name| folder.join(name));
    let bytes = match file.and_then(|file| std::fs::read(file).ok()) {
        Some(body) => {
            let kind = if path.ends_with(".m3u8") { "application/vnd.apple.mpegurl" } else { "video/mp2t" };
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.into_bytes(), body].concat()
        }
        None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    Lie { bytes: bytes.into(), closes: false }
}
