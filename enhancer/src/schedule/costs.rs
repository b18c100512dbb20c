//! The book of costs as lanes and the loader share it, and the file it is kept in.
//!
//! Written by the loader's thread and at the end, never by a lane: a disk may take its time. A file that cannot be read or written
//! costs a word in the log and nothing else; the machine is then learned anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use acuity_config::{EnhancerConfig, GpuConfig};

use super::book::{CostBook, PLAIN, QUICK};
use super::cost::Forecast;
use crate::codec::Effort;
use crate::inference::cards_of_the_machine;

/// More is no book of ours: a thousand models at ten sizes are below it.
const FILE_BYTES_LIMIT: u64 = 1 << 20;

/// Six and a half milliseconds for a 720p picture, a little more than two cores take; replaced by what is measured.
pub(crate) const PLAIN_SECONDS_PER_PIXEL: f64 = 7e-9;

/// The part of it that is left when the encoder takes the least effort.
const QUICK_PART: f64 = 0.6;

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
        let EnhancerConfig { provider, precision, lanes, preset, detail_share, still_limit, .. } = config;
        let (inference, encoder) = (config.inference_threads, config.encoder_threads);
        let setup = format!(
            "provider={provider} precision={precision} lanes={lanes} inference={inference} encoder={encoder} preset={preset} \
             detail={detail_share} {} still={still_limit} {}",
            config.detail_share_of.text(),
            cards(config, &cards_of_the_machine()),
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

    /// What decoder, plain scaler and encoder take; `recipe`: with what is done beside them.
    pub(crate) fn plain(&self, recipe: &str, picture_pixels: u64, pixels: u64, busy: usize) -> Forecast {
        self.forecast(&self.plain_key(Effort::Full, recipe), picture_pixels, pixels, busy)
    }

    /// The same with the encoder's least effort.
    pub(crate) fn quick(&self, recipe: &str, picture_pixels: u64, pixels: u64, busy: usize) -> Forecast {
        self.forecast(&self.plain_key(Effort::Least, recipe), picture_pixels, pixels, busy)
    }

    /// A segment was made without a network.
    pub(crate) fn learn_plain(
        &self,
        (effort, recipe): (Effort, &str),
        seconds: f64,
        pictures: u64,
        picture_pixels: u64,
        busy: usize,
    ) {
        self.learn(&self.plain_key(effort, recipe), seconds, pictures, picture_pixels, busy);
    }

    fn plain_key(&self, effort: Effort, recipe: &str) -> String {
        let (what, part) = match effort {
            Effort::Full => (PLAIN, 1.0),
            Effort::Least => (QUICK, QUICK_PART),
        };
        let key = format!("{what}{recipe}");
        self.introduce(&key, PLAIN_SECONDS_PER_PIXEL * part);
        key
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

/// What costs depend on where there are cards, in one line: which and of what model, numbers, batches, and what of the codec is theirs.
/// `models`: of the cards that the machine has.
fn cards(config: &EnhancerConfig, models: &[String]) -> String {
    let GpuConfig { devices, precision, batch, batch_wait, decoder, encoder, .. } = &config.gpu;
    // On a processor none of it counts but what is asserted.
    if !config.provider.is_gpu() {
        return format!("decoder={} encoder={}", decoder.as_str(), encoder.as_str());
    }
    let models: Vec<String> =
        models.iter().map(|model| model.split_whitespace().collect::<Vec<_>>().join("-")).collect();
    format!(
        "cards={devices:?} {} batch={batch} wait={batch_wait:?} decoder={} encoder={} models={}",
        precision.as_str(),
        decoder.as_str(),
        encoder.as_str(),
        models.join(",")
    )
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
        anew.learn_plain((Effort::Full, ""), 0.5, 30, HD, 1);
        anew.keep();
        assert!(fs::read_to_string(&file).unwrap().starts_with("acuity-costs 1 provider=auto"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no half-written file is left");
    }

    #[test]
    fn other_cards_and_other_numbers_are_another_setup() {
        let of = |gpu: GpuConfig, models: &[&str]| {
            let config =
                EnhancerConfig { provider: acuity_config::Provider::Cuda, gpu, ..EnhancerConfig::default() };
            cards(&config, &models.iter().map(|model| (*model).to_owned()).collect::<Vec<_>>())
        };
        let usual = of(GpuConfig::default(), &["NVIDIA H100 80GB\nHBM3"]);
        assert!(usual.ends_with("models=NVIDIA-H100-80GB-HBM3") && !usual.contains('\n'), "{usual}");
        let half = GpuConfig { precision: acuity_config::GpuPrecision::Float16, ..GpuConfig::default() };
        let others = [
            of(GpuConfig::default(), &["NVIDIA L4"]),
            of(half, &["NVIDIA H100 80GB HBM3"]),
            of(GpuConfig { devices: vec![0, 1], ..GpuConfig::default() }, &["NVIDIA H100 80GB HBM3"]),
            of(GpuConfig { batch: 1, ..GpuConfig::default() }, &["NVIDIA H100 80GB HBM3"]),
        ];
        assert!(others.iter().all(|other| *other != usual), "{others:?}");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_reason_to_stop() {
        let file = PathBuf::from("/proc/no/such/place");
        let costs = Costs::open(&EnhancerConfig { cost_file: Some(file), ..EnhancerConfig::default() });
        costs.learn_plain((Effort::Full, ""), 0.5, 30, HD, 1);
        costs.keep();
        assert!(costs.plain("", HD, HD, 1).is_learned);
    }
}
