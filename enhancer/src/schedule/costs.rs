//! The book of costs as lanes and the loader share it, and the file it is kept in.
//!
//! Written by the loader's thread and at the end, never by a lane: a disk may take its time. A file that cannot be read or written
//! costs a word in the log and nothing else; the machine is then learned anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use acuity_config::EnhancerConfig;

use super::book::{CostBook, PLAIN};
use super::cost::Forecast;

/// More is no book of ours: a thousand models at ten sizes are below it.
const FILE_BYTES_LIMIT: u64 = 1 << 20;

/// Ten milliseconds for a 720p picture, about what two cores take; replaced by what is measured.
const PLAIN_SECONDS_PER_PIXEL: f64 = 1.1e-8;

/// The shared book.
pub(crate) struct Costs {
    book: Mutex<CostBook>,
    file: Option<PathBuf>,
    /// Provider, threads and preset: what costs depend on beside the model.
    setup: String,
    /// Lessons that are in the file.
    kept: AtomicU64,
}

impl Costs {
    /// Reads the file that `config` names, if there is one that was written under the same settings.
    pub(crate) fn open(config: &EnhancerConfig) -> Self {
        let EnhancerConfig { provider, precision, lanes, preset, detail_share, .. } = config;
        let (inference, encoder) = (config.inference_threads, config.encoder_threads);
        let setup = format!(
            "provider={provider} precision={precision} lanes={lanes} inference={inference} encoder={encoder} preset={preset} \
             detail={detail_share} card={} {}",
            config.gpu.device,
            config.gpu.precision.as_str(),
            precision = precision.as_str()
        );
        let mut book = CostBook::default();
        if let Some(file) = &config.cost_file {
            match read(file) {
                Ok(text) => {
                    let records = book.recall(&text, &setup);
                    tracing::info!(file = %file.display(), records, "costs recalled");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(file = %file.display(), %error, "costs cannot be read"),
            }
        }
        book.introduce(PLAIN, PLAIN_SECONDS_PER_PIXEL);
        Self { book: Mutex::new(book), file: config.cost_file.clone(), setup, kept: AtomicU64::new(0) }
    }

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn book(&self) -> MutexGuard<'_, CostBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn introduce(&self, what: &str, seconds_per_pixel: f64) {
        self.book().introduce(what, seconds_per_pixel);
    }

    /// What a segment takes; for ever if nothing at all is known.
    pub(crate) fn forecast(&self, what: &str, picture_pixels: u64, pixels: u64, busy: usize) -> Forecast {
        let unknown = Forecast { seconds: f64::INFINITY, spread: 0.0, is_learned: false };
        self.book().forecast(what, picture_pixels, pixels, busy).unwrap_or(unknown)
    }

    /// What decoder, plain scaler and encoder take.
    pub(crate) fn plain(&self, picture_pixels: u64, pixels: u64, busy: usize) -> Forecast {
        self.forecast(PLAIN, picture_pixels, pixels, busy)
    }

    pub(crate) fn learn(&self, what: &str, seconds: f64, pictures: u64, picture_pixels: u64, busy: usize) {
        self.book().learn(what, seconds, pictures, picture_pixels, busy);
    }

    pub(crate) fn relax(&self, what: &str) {
        self.book().relax(what);
    }

    /// Writes the file if there is anything new. May wait for a disk.
    pub(crate) fn keep(&self) {
        let Some(file) = &self.file else { return };
        let (lessons, text) = {
            let book = self.book();
            if book.lessons() == self.kept.load(Ordering::Acquire) {
                return;
            }
            (book.lessons(), book.to_text(&self.setup))
        };
        match write(file, &text) {
            Ok(()) => self.kept.store(lessons, Ordering::Release),
            Err(error) => tracing::warn!(file = %file.display(), %error, "costs cannot be kept"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whole or not at all: a reader, or the next start after a crash, sees the old file or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is half written is of no use to anybody; if it cannot be removed either there is nothing to be done.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HD: u64 = 1280 * 720;

    #[test]
    fn a_restart_knows_what_was_learned_and_rubbish_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("costs");
        let config = EnhancerConfig { cost_file: Some(file.clone()), ..EnhancerConfig::default() };
        let model = "a".repeat(64);
        let costs = Costs::open(&config);
        costs.introduce(&model, 1e-8);
        costs.learn(&model, 3.0, 30, HD, 1);
        costs.keep();
        let written = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        costs.keep();
        assert!(!file.exists(), "nothing new, nothing written");
        fs::write(&file, &written).unwrap();

        let again = Costs::open(&config);
        again.introduce(&model, 1e-8);
        assert!((again.forecast(&model, HD, 30 * HD, 1).seconds - 3.0).abs() < 0.01);
        let gpu = EnhancerConfig { provider: acuity_config::Provider::Cuda, ..config.clone() };
        let other = Costs::open(&gpu);
        other.introduce(&model, 1e-8);
        assert!(!other.forecast(&model, HD, HD, 1).is_learned, "another provider's figures are not ours");

        fs::write(&file, [0xff; 4096]).unwrap();
        let anew = Costs::open(&config);
        anew.learn(PLAIN, 0.5, 30, HD, 1);
        anew.keep();
        assert!(fs::read_to_string(&file).unwrap().starts_with("acuity-costs 1 provider=auto"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no half-written file is left");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_reason_to_stop() {
        let file = PathBuf::from("/proc/no/such/place");
        let costs = Costs::open(&EnhancerConfig { cost_file: Some(file), ..EnhancerConfig::default() });
        costs.learn(PLAIN, 0.5, 30, HD, 1);
        costs.keep();
        assert!(costs.plain(HD, HD, 1).is_learned);
    }
}
