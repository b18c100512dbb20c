//! A world for a scenario: the real `acuity` binary, told where its origin is by a real configuration file, on ports
//! that were free a moment ago, and ended by its process id.
//!
//! The binary is the one that lies beside the test program in `target/<profile>/`; `make test` builds it before it
//! runs the scenarios, and so must whoever runs them by hand.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::player::{Multivariant, Player};
use crate::ports;

/// How long the edge may take until it is ready, models loaded and warmed; a loaded two-core machine needs a few.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// A port that was free can be taken before the edge binds it; so often another is tried.
const PORT_TRIES: usize = 3;

/// Begins the description of an edge.
#[must_use]
pub fn world() -> WorldBuilder {
    WorldBuilder::default()
}

/// What the edge shall be told; everything not said is at its default.
#[derive(Debug, Default, Clone)]
pub struct WorldBuilder {
    settings: Vec<(String, String)>,
    route: Vec<(String, String)>,
    weak_rules: Vec<String>,
    cluster_rules: Vec<String>,
    await_ready: Option<bool>,
    through: Vec<String>,
    open_files: Option<u32>,
    addresses: Option<(SocketAddr, SocketAddr)>,
}

/// An edge and the origin behind it.
#[derive(Debug)]
pub struct World {
    /// The origin.
    pub origin: Origin,
    /// The edge.
    pub edge: Edge,
}

/// A running edge; ended when dropped.
#[derive(Debug)]
pub struct Edge {
    child: Child,
    folder: TempDir,
    /// `http://127.0.0.1:PORT`, where players are answered.
    pub base: String,
    /// `http://127.0.0.1:PORT`, where operators are.
    pub admin: String,
}

impl WorldBuilder {
    /// Sets a key of the configuration, such as `enhancer.look_ahead`, to a TOML value.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Sets a key of the one route, such as `withhold`, to a TOML value.
    #[must_use]
    pub fn route(mut self, key: &str, value: impl ToString) -> Self {
        self.route.retain(|(known, _)| known != key);
        self.route.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a rule that makes a client weak: the inside of a TOML inline table.
    #[must_use]
    pub fn weak_if(mut self, rule: &str) -> Self {
        self.weak_rules.push(rule.to_owned());
        self
    }

    /// Adds a rule that names a stream's cluster: the inside of a TOML table.
    #[must_use]
    pub fn cluster_if(mut self, rule: &str) -> Self {
        self.cluster_rules.push(rule.to_owned());
        self
    }

    /// Starts the edge as the last words of a command that ends by becoming it, such as `unshare -rm`, so that the process id stays.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Lets the edge have so many files open, and no more.
    #[must_use]
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Answers players and operators at these addresses, instead of free ports of the loopback interface.
    #[must_use]
    pub fn at(mut self, players: SocketAddr, operators: SocketAddr) -> Self {
        self.addresses = Some((players, operators));
        self
    }

    /// Does not wait until `/readyz` is green: for edges that never will be.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.await_ready = Some(false);
        self
    }

    /// The configuration file, as the edge will read it.
    #[must_use]
    pub fn config_for(&self, origin_base: &str) -> String {
        let mut text = String::new();
        for (key, value) in self.defaults().iter().chain(&self.settings) {
            let last = self.settings.iter().rev().find(|(other, _)| other == key);
            // a key may stand once: what the scenario says wins over the default, and its last word over its first
            if last.is_none_or(|(_, wanted)| std::ptr::eq(wanted, value)) {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        let _ = writeln!(text, "\n[[route]]\norigin = {origin_base:?}");
        for (key, value) in &self.route {
            let _ = writeln!(text, "{key} = {value}");
        }
        for rule in &self.weak_rules {
            let _ = writeln!(text, "[[route.weak]]\n{rule}");
        }
        for rule in &self.cluster_rules {
            let _ = writeln!(text, "[[route.cluster_rule]]\n{rule}");
        }
        text
    }

    fn defaults(&self) -> Vec<(String, String)> {
        let mut defaults =
            vec![("models.directory".to_owned(), format!("{:?}", repository().join("models/zoo")))];
        if let Some(library) = runtime_library() {
            defaults.push(("enhancer.runtime_library".to_owned(), format!("{library:?}")));
        }
        // Scenarios count what one request causes; the one about look-ahead turns it on.
        defaults.push(("enhancer.look_ahead".to_owned(), "0".to_owned()));
        defaults
    }

    /// Starts the edge before this origin and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is missing, ends by itself or does not get ready; with what it said.
    pub async fn start(self, origin: Origin) -> Result<World> {
        let edge = self.start_before(origin.base()?.as_str()).await?;
        Ok(World { origin, edge })
    }

    /// Starts the edge before any origin, one that does not exist included.
    ///
    /// # Errors
    /// As [`WorldBuilder::start`].
    pub async fn start_before(&self, origin_base: &str) -> Result<Edge> {
        let mut last_error = None;
        for _ in 0..PORT_TRIES {
            let mut edge = self.launch(origin_base)?;
            if self.await_ready == Some(false) {
                return Ok(edge);
            }
            match edge.until_ready().await {
                Ok(()) => return Ok(edge),
                Err(error) if error.to_string().contains("in use") => last_error = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last_error.unwrap_or_else(|| "no free port".into()))
    }

    fn launch(&self, origin_base: &str) -> Result<Edge> {
        let folder = tempfile::Builder::new().prefix("acuity-edge-").tempdir()?;
        let config = folder.path().join("acuity.toml");
        std::fs::write(&config, self.config_for(origin_base))?;
        let [listen, admin] = match self.addresses {
            Some((players, operators)) => [players, operators],
            None => ports::free()?,
        };
        let child = self
            .program()?
            .arg("serve")
            .args(["--listen", &listen.to_string(), "--admin", &admin.to_string(), "--config"])
            .arg(&config)
            .current_dir(repository())
            .stdin(Stdio::null())
            // files, not pipes: nobody has to read them for the edge to go on
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()?;
        Ok(Edge { child, folder, base: format!("http://{listen}"), admin: format!("http://{admin}") })
    }
}

impl WorldBuilder {
    fn program(&self) -> Result<Command> {
        let mut words = Vec::new();
        if let Some(most) = self.open_files {
            let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
            words.extend(["/bin/sh", "-c", &limited].map(PathBuf::from));
        }
        words.extend(self.through.iter().map(PathBuf::from));
        words.push(binary()?);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Ok(command)
    }
}

impl Edge {
    /// The absolute URL of a path at the edge.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The edge's process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by its name, such as `HUP`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name}: {status}").into()) }
    }

    /// Its configuration file, which it reads again when it is told to.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("acuity.toml")
    }

    /// A path in a folder of its own.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it wrote on stderr so far: its events.
    #[must_use]
    pub fn events(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The access log so far.
    #[must_use]
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub async fn metrics(&self) -> Result<Metrics> {
        let fetched = Player::new()?.get_ok(&format!("{}/metrics", self.admin), &[]).await?;
        Ok(Metrics::new(fetched.text()))
    }

    /// Waits until the edge has ended by itself.
    ///
    /// # Errors
    /// When it has not after `limit`.
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

    async fn until_ready(&mut self) -> Result<()> {
        let player = Player::new()?;
        let ready = format!("{}/readyz", self.admin);
        let start = Instant::now();
        while start.elapsed() < READY_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the edge ended with {status}\n{}", self.events()).into());
            }
            if player.get(&ready).await.is_ok_and(|fetched| fetched.status.is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Err(format!("the edge is not ready after {READY_LIMIT:?}\n{}", self.events()).into())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // by its own id; a scenario has nothing to drain
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    /// Opens a stream through the edge, again and again until an enhanced rendition is offered: probing the origin is
    /// bounded in time, and goes on in the background.
    ///
    /// # Errors
    /// When none is offered within ten seconds.
    pub async fn enhanced(&self, player: &Player, path: &str) -> Result<Multivariant> {
        let url = self.edge.url(path);
        let start = Instant::now();
        loop {
            let master = player.open(&url).await?;
            if !master.enhanced().is_empty() {
                return Ok(master);
            }
            if start.elapsed() > Duration::from_secs(10) {
                let (text, events) = (master.fetched.text(), self.edge.events());
                return Err(format!("nothing enhanced is offered:\n{text}\n{events}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

/// The `acuity` binary of the same build.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // target/release/deps/scenarios-0123, or target/release/tour
    let found =
        program.ancestors().skip(1).take(2).map(|folder| folder.join("acuity")).find(|file| file.is_file());
    found.ok_or_else(|| "there is no acuity binary: run `cargo build --release` first".into())
}

/// ONNX Runtime's library: the one named in the environment, else the one `make setup` fetched.
pub(crate) fn runtime_library() -> Option<PathBuf> {
    let named =
        ["ACUITY_ONNXRUNTIME", "ORT_DYLIB_PATH"].into_iter().find_map(std::env::var_os).map(PathBuf::from);
    named.or_else(|| {
        Some(repository().join(".acuity/onnxruntime/libonnxruntime.so")).filter(|file| file.exists())
    })
}
