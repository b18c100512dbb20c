//! Another configuration for an edge that runs.
//!
//! All of it is read and checked before anything changes: text, keys, certificate. What is wrong is told in full and the edge goes on
//! as it was; what is right and can be taken is taken as a whole, for requests that begin from then on. What needs a restart is named
//! ([`acuity_config::Reloaded`]).

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use acuity_config::{Config, LogLevel};
use prometheus::{Gauge, IntCounterVec, IntGauge, Opts, Registry};
use serde::Serialize;

use crate::app::App;
use crate::certificates::{Certificate, Certificates};
use crate::setup::Setup;
use crate::signed::RouteKeys;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Reload {
    /// The new configuration is in force.
    Applied {
        /// Keys that differ from what is in force, and need a restart.
        restart_needed: Vec<&'static str>,
    },
    /// The one before stays in force.
    Refused {
        /// All that is wrong.
        faults: Vec<String>,
    },
}

/// Reads the configuration again, as the start did.
pub type Read = dyn Fn() -> Result<Config, Vec<String>> + Send + Sync;

/// What a reload needs to know of the world.
pub struct Reloader {
    /// Reads the configuration.
    pub read: Box<Read>,
    /// Changes what is logged.
    pub set_level: Box<dyn Fn(LogLevel) + Send + Sync>,
    /// Where the certificate is shown, if HTTPS is answered.
    pub certificates: Option<Certificates>,
}

/// The metrics.
pub struct Instruments {
    reloads: IntCounterVec,
    successful: IntGauge,
    success_seconds: Gauge,
    restart_needed: IntGauge,
    /// One at a time.
    turn: Mutex<()>,
}

impl Instruments {
    /// Registers everything in `registry`; the start counts as a success and as no reload.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let instruments = Self {
            reloads: IntCounterVec::new(
                Opts::new(
                    "acuity_config_reloads_total",
                    "Attempts to take another configuration, by outcome",
                ),
                &["outcome"],
            )?,
            successful: IntGauge::new(
                "acuity_config_last_reload_successful",
                "Whether the last attempt to take another configuration succeeded (1 at the start)",
            )?,
            success_seconds: Gauge::new(
                "acuity_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was taken",
            )?,
            restart_needed: IntGauge::new(
                "acuity_config_restart_needed",
                "Keys of the configuration that differ from what is in force until a restart",
            )?,
            turn: Mutex::default(),
        };
        registry.register(Box::new(instruments.reloads.clone()))?;
        registry.register(Box::new(instruments.successful.clone()))?;
        registry.register(Box::new(instruments.success_seconds.clone()))?;
        registry.register(Box::new(instruments.restart_needed.clone()))?;
        for outcome in ["applied", "refused"] {
            instruments.reloads.with_label_values(&[outcome]).inc_by(0);
        }
        instruments.succeeded(0);
        Ok(instruments)
    }

    fn succeeded(&self, restart_needed: usize) {
        self.successful.set(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success_seconds.set(now.as_secs_f64());
        self.restart_needed.set(i64::try_from(restart_needed).unwrap_or(i64::MAX));
    }
}

impl App {
    /// Reads the configuration again and takes what can be taken. Blocks: it reads files.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let _turn = self.reloads.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.try_reload();
        match &done {
            Ok(restart_needed) => {
                self.reloads.reloads.with_label_values(&["applied"]).inc();
                self.reloads.succeeded(restart_needed.len());
                if restart_needed.is_empty() {
                    tracing::info!("the configuration was read again and is in force");
                } else {
                    let keys = restart_needed.join(", ");
                    tracing::warn!(
                        restart_needed = keys,
                        "the configuration is in force but for keys that need a restart"
                    );
                }
            }
            Err(faults) => {
                self.reloads.reloads.with_label_values(&["refused"]).inc();
                self.reloads.successful.set(0);
                tracing::error!(
                    faults = faults.join("; "),
                    "the configuration stays as it was: the new one cannot be used"
                );
            }
        }
        match done {
            Ok(restart_needed) => Reload::Applied { restart_needed },
            Err(faults) => Reload::Refused { faults },
        }
    }

    fn try_reload(&self) -> Result<Vec<&'static str>, Vec<String>> {
        let before = self.setup();
        let reloaded = before.config.reloaded(&(self.reloader.read)()?);
        let (config, mut faults) = (reloaded.config, reloaded.faults);
        let keys = RouteKeys::load(&config.routes);
        let shown = config.server.tls.as_ref().zip(self.reloader.certificates.as_ref());
        let certificate = shown.map(|(tls, certificates)| (certificates, Certificate::load(tls)));
        faults.extend(keys.as_ref().err().into_iter().flatten().map(ToString::to_string));
        let certificate = match certificate {
            Some((certificates, Ok(certificate))) => Some((certificates, certificate)),
            Some((_, Err(fault))) => {
                faults.push(fault.to_string());
                None
            }
            None => None,
        };
        let (Ok(keys), true) = (keys, faults.is_empty()) else { return Err(faults) };
        let (level, sample_ratio) = (config.log.level, config.tracing.sample_ratio);
        let setup = Setup::new(config, keys, &self.lasting, Some(&before))
            .map_err(|error| vec![format!("cannot set up the client toward origins: {error}")])?;
        // Nothing can fail from here on.
        if let Some((certificates, certificate)) = certificate {
            certificates.take(certificate);
        }
        (self.reloader.set_level)(level);
        self.lasting.engine.set_log_level(level);
        self.traces.set_ratio(sample_ratio);
        self.enter(setup);
        Ok(reloaded.waiting)
    }
}
