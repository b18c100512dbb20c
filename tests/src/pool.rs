//! Workers that listen, as on other machines: real processes of the real binary, with certificates of their own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::certificates::{Authority, For, Signed};
use crate::metrics::Metrics;
use crate::player::Player;
use crate::ports;
use crate::world::{WorldBuilder, binary, repository, runtime_library};

/// How long a worker may take until it takes segments.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// What edges and workers of one pool have in common.
#[derive(Debug)]
pub struct Pool {
    folder: tempfile::TempDir,
    /// Who has signed all their certificates.
    pub authority: Authority,
    /// What workers show.
    pub worker: Signed,
    /// What edges show.
    pub edge: Signed,
}

/// A worker that listens; ended when dropped.
#[derive(Debug)]
pub struct RemoteWorker {
    child: Child,
    config: PathBuf,
    events: PathBuf,
    /// Where edges are answered.
    pub address: SocketAddr,
    /// `http://127.0.0.1:PORT`.
    pub admin: String,
}

impl Pool {
    /// Makes an authority, and a certificate for workers and one for edges.
    ///
    /// # Errors
    /// When there is no `openssl` or it refuses.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-pool-").tempdir()?;
        let authority = Authority::new(folder.path(), "pool")?;
        let worker = authority.sign("worker", "IP:127.0.0.1,DNS:worker.test", For::Workers, 2)?;
        let edge = authority.sign("edge", "DNS:edge-1.test", For::Edges, 2)?;
        Ok(Self { folder, authority, worker, edge })
    }

    /// A folder of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An edge told by `world`, with these workers and this pool's certificates.
    #[must_use]
    pub fn edge(&self, world: WorldBuilder, workers: &[&RemoteWorker]) -> WorldBuilder {
        self.edge_as(world, workers, &self.edge)
    }

    /// As [`Pool::edge`], with another certificate.
    #[must_use]
    pub fn edge_as(&self, world: WorldBuilder, workers: &[&RemoteWorker], shows: &Signed) -> WorldBuilder {
        let names: Vec<String> = workers.iter().map(|worker| format!("https://{}", worker.address)).collect();
        world
            .set("workers.count", 0)
            .set("workers.remote", format!("{names:?}"))
            .set("workers.tls.authority", format!("{:?}", self.authority.certificate()))
            .set("workers.tls.certificate", format!("{:?}", shows.certificate))
            .set("workers.tls.key", format!("{:?}", shows.key))
    }

    /// Starts a worker, told `more` beside what it needs, and waits until it takes segments.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(&self, more: &str) -> Result<RemoteWorker> {
        self.start_as(more, &self.worker).await
    }

    /// As [`Pool::start`], with another certificate.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub async fn start_as(&self, more: &str, shows: &Signed) -> Result<RemoteWorker> {
        self.start_with(&zoo(), (more, ""), shows).await
    }

    /// As [`Pool::start`], with the models of another directory.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub async fn start_on(&self, models: &Path, more: &str) -> Result<RemoteWorker> {
        self.start_with(models, (more, ""), &self.worker).await
    }

    /// As [`Pool::start`], with a key of `[workers.listen]` that says who is let in: `permitted`, `revoked`.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub async fn start_permitting(&self, who: &str) -> Result<RemoteWorker> {
        self.start_with(&zoo(), ("", who), &self.worker).await
    }

    async fn start_with(
        &self,
        models: &Path,
        (more, listen_more): (&str, &str),
        shows: &Signed,
    ) -> Result<RemoteWorker> {
        let [address, admin] = ports::free()?;
        let config = self.folder.path().join(format!("worker-{}.toml", address.port()));
        let library = runtime_library().map(|library| format!("enhancer.runtime_library = {library:?}\n"));
        let text = format!(
            "models.directory = {:?}\n{}{more}\n[workers.listen]\naddress = \"{address}\"\nadmin = \"{admin}\"\n\
             certificate = {:?}\nkey = {:?}\nclient_authority = {:?}\ndrain_within = \"20s\"\n{listen_more}\n",
            models,
            library.unwrap_or_default(),
            shows.certificate,
            shows.key,
            self.authority.certificate(),
        );
        std::fs::write(&config, text)?;
        let events = config.with_extension("log");
        let child = launch(&config, &events)?;
        let mut worker = RemoteWorker { child, config, events, address, admin: format!("http://{admin}") };
        worker.until_ready().await?;
        Ok(worker)
    }
}

/// The models that ship.
fn zoo() -> PathBuf {
    repository().join("models/zoo")
}

fn launch(config: &Path, events: &Path) -> Result<Child> {
    let events = File::options().create(true).append(true).open(events)?;
    let child = Command::new(binary()?)
        .args(["worker", "--listen", "--config"])
        .arg(config)
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(events)
        .spawn()?;
    Ok(child)
}

impl RemoteWorker {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote.
    #[must_use]
    pub fn events(&self) -> String {
        std::fs::read_to_string(&self.events).unwrap_or_default()
    }

    /// Sends it a signal by its name, such as `TERM`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name}: {status}").into()) }
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub async fn metrics(&self) -> Result<Metrics> {
        let fetched = Player::new()?.get_ok(&format!("{}/metrics", self.admin), &[]).await?;
        Ok(Metrics::new(fetched.text()))
    }

    /// Waits until its metrics are so.
    ///
    /// # Errors
    /// When they are not within half a minute.
    pub async fn until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let start = Instant::now();
        loop {
            let metrics = self.metrics().await?;
            if holds(&metrics) {
                return Ok(metrics);
            }
            if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("not: {what}\n{}\n{}", self.events(), metrics.text()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub async fn until_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("still running after {limit:?}\n{}", self.events()).into())
    }

    /// Starts it again where it was, after it has ended; does not wait until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        self.child.wait()?;
        self.child = launch(&self.config, &self.events)?;
        Ok(())
    }

    /// Waits until it takes segments.
    ///
    /// # Errors
    /// When it ends, or does not within a minute.
    pub async fn until_ready(&mut self) -> Result<()> {
        let (player, start) = (Player::new()?, Instant::now());
        while start.elapsed() < READY_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the worker ended with {status}\n{}", self.events()).into());
            }
            if player.get(&format!("{}/readyz", self.admin)).await.is_ok_and(|said| said.status.is_success())
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Err(format!("the worker is not ready after {READY_LIMIT:?}\n{}", self.events()).into())
    }
}

impl Drop for RemoteWorker {
    fn drop(&mut self) {
        // By its own id.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
