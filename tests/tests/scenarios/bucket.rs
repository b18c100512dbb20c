//! A bucket of a real server of S3's protocol (`s3s-fs`), which checks every signature, on a port of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

const SECRET: &str = "c2VjcmV0/secret+key";

/// The bucket; its server ends, with its connections, when this is dropped.
pub(crate) struct Bucket {
    folder: TempDir,
    name: &'static str,
    pub(crate) endpoint: String,
    serving: JoinHandle<()>,
}

impl Bucket {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_at(name, listener)
    }

    /// As [`Bucket::start`], where somebody may have asked for it before.
    pub(crate) fn start_at(name: &'static str, listener: TcpListener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data").join(name)).unwrap();
        for (name, content) in [("id", "AKIAEDGE"), ("key", SECRET), ("wrong", "another/secret+key")] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path().join("data")).unwrap());
        service.set_auth(SimpleAuth::from_single("AKIAEDGE", SECRET));
        let service = service.build();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { folder, name, endpoint, serving }
    }

    /// The file of a key: `id`, `key`, or `wrong`, which the server does not take.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where its objects lie.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data").join(self.name)
    }

    /// The server is gone from here on.
    pub(crate) fn stop(&self) {
        self.serving.abort();
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.stop();
    }
}
