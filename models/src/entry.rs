//! One model of the catalogue, and everything that can be wrong with its entry.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::contract::TensorContract;
use crate::digest::Sha256;
use crate::int8::{Int8File, RawInt8};

/// Longest id, cluster, name or licence, in bytes: they become labels, log fields and parts of URLs.
const NAME_LIMIT_BYTES: usize = 64;
/// Longest cluster name; it is part of every enhanced URL.
const CLUSTER_LIMIT_BYTES: usize = 32;

/// A model as the catalogue describes it. That its file is there and is the right one is another question:
/// see [`ModelEntry::digest_state`] and [`ModelEntry::read_verified`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEntry {
    /// Unique in the catalogue, as `generic-x2-s` (`[a-z0-9_-]`).
    pub id: String,
    /// What it does.
    pub task: Task,
    /// The kind of content it was trained on (`[a-z0-9_]`); `generic` is for all.
    pub cluster: String,
    /// How many times wider and higher its output is (2 to 4); how many pictures there are for one (2) if it interpolates.
    pub scale: u32,
    /// Its place on the scale from cheap to dear.
    pub tier: Tier,
    /// The ONNX file, joined to the catalogue's directory.
    pub file: PathBuf,
    /// What the file's bytes must hash to.
    pub sha256: Sha256,
    /// The same network in eight bits, if there is one.
    pub int8: Option<Int8File>,
    /// Trained numbers in it.
    pub parameters: u64,
    /// Its tensors.
    pub contract: TensorContract,
    /// SPDX expression of the terms the weights are under.
    pub licence: String,
    /// What it was trained on, in words.
    pub training_data: String,
    /// The record of its training and evaluation, joined to the catalogue's directory.
    pub record: Option<PathBuf>,
    /// What the evaluation command measured.
    pub measured: Measured,
}

/// What a network does to pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Enlarges one.
    #[default]
    Upscale,
    /// Makes the one between two.
    Interpolate,
}

impl Task {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Upscale => "upscale",
            Self::Interpolate => "interpolate",
        }
    }

    /// The contract that its networks keep.
    #[must_use]
    pub fn contract(self) -> u32 {
        match self {
            Self::Upscale => TensorContract::VERSION,
            Self::Interpolate => TensorContract::INTERPOLATION_VERSION,
        }
    }
}

/// A model's place among those of its cluster and scale, cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// `s`: real time on two cores.
    Small,
    /// `m`: for four cores or a better provider.
    Medium,
    /// `l`: for a GPU.
    Large,
    /// `v10`: VDSR of 10 layers and 32 channels, worked at the output's size; for a GPU, as the next two.
    Vdsr10,
    /// `v15`: VDSR of 15 layers and 48 channels.
    Vdsr15,
    /// `v20`: VDSR of 20 layers and 64 channels, the paper's largest.
    Vdsr20,
}

/// Figures of the evaluation command. Those that were not measured are absent, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Measured {
    /// Mean luma PSNR over the better of swscale's bicubic and Lanczos, on coded clips never trained on, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_db: Option<f64>,
    /// The least of the gains that [`gain_db`](Self::gain_db) is the mean of, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_gain_db: Option<f64>,
    /// The mean gain that is left after the edge's encoder, in dB: what a player gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_after_encoder_db: Option<f64>,
    /// Mean SSIM over the better plain scaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssim_gain: Option<f64>,
    /// How many clips the means are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clips: Option<u64>,
    /// Luma PSNR on Set5, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set5_db: Option<f64>,
    /// Luma PSNR on Set14, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set14_db: Option<f64>,
    /// Luma PSNR of bicubic on Set5, same protocol, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bicubic_set5_db: Option<f64>,
    /// Luma PSNR of bicubic on Set14, same protocol, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bicubic_set14_db: Option<f64>,
    /// Luma PSNR of this model on the held-out tenth of its own training video, in dB. The held-out figures are those of
    /// content-aware models: video of the cluster that training never saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_db: Option<f64>,
    /// SSIM of this model on the held-out video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_ssim: Option<f64>,
    /// Luma PSNR of the better plain scaler on the held-out video, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_plain_db: Option<f64>,
    /// SSIM of the better plain scaler on the held-out video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_plain_ssim: Option<f64>,
    /// Luma PSNR of the generic model of the same tier and scale on the held-out video, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_generic_db: Option<f64>,
    /// SSIM of the generic model of the same tier and scale on the held-out video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heldout_generic_ssim: Option<f64>,
    /// Multiply-accumulates for each source pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs_per_pixel: Option<f64>,
    /// Wall clock of one 640x360 source frame on [`machine`](Self::machine), in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms_per_frame: Option<f64>,
    /// Where `ms_per_frame` was measured: processor, threads, runtime and provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Anything else that was measured, by its name in the catalogue: figures of trainers newer than this crate.
    #[serde(flatten)]
    other: BTreeMap<String, toml::Value>,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A field is missing or of the wrong type.
    #[error("cannot be read: {0}")]
    Malformed(String),
    /// A name has characters or a length it may not have.
    #[error("{field} {value:?} must be 1 to {limit_bytes} bytes of {allowed}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may be made of.
        allowed: &'static str,
        /// How long it may be.
        limit_bytes: usize,
    },
    /// The scale is not one the enhancer has.
    #[error("scale {0} is not 2, 3 or 4")]
    Scale(i64),
    /// A model that interpolates makes two pictures of one, and nothing else.
    #[error("scale {0} is not 2, the only one there is for interpolation")]
    Factor(i64),
    /// The tier is not known.
    #[error("tier {0:?} is not s, m, l, v10, v15 or v20")]
    Tier(String),
    /// The digest is not one.
    #[error("sha256 {0:?} is not 64 hexadecimal digits")]
    Digest(String),
    /// The contract is not one this version knows.
    #[error(
        "contract {0} is not its task's; this version knows contract 1 for upscaling and 2 for interpolation"
    )]
    Contract(i64),
    /// A path leads out of the catalogue's directory.
    #[error("{field} {path:?} must be a relative path below the catalogue's directory")]
    Outside {
        /// Which field.
        field: &'static str,
        /// What it says.
        path: String,
    },
    /// A figure is not a finite number.
    #[error("{0} is not a finite number")]
    Figure(&'static str),
    /// An earlier entry has this id.
    #[error("an earlier entry has this id")]
    DuplicateId,
    /// An earlier entry has this place.
    #[error("{0:?} already is this cluster's model of this scale and tier")]
    DuplicatePlace(String),
    /// There are more entries than a catalogue may have.
    #[error("the catalogue has more than {0} entries")]
    TooMany(usize),
}

/// The entry as it is written.
#[derive(Deserialize)]
pub(crate) struct RawEntry {
    id: String,
    #[serde(default)]
    task: Task,
    cluster: String,
    scale: i64,
    tier: String,
    file: String,
    sha256: String,
    int8: Option<RawInt8>,
    parameters: u64,
    #[serde(default = "default_input")]
    input: String,
    #[serde(default = "default_output")]
    output: String,
    contract: i64,
    licence: String,
    training_data: String,
    record: Option<String>,
    #[serde(default)]
    measured: Measured,
}

fn default_input() -> String {
    TensorContract::DEFAULT_INPUT.to_owned()
}

fn default_output() -> String {
    TensorContract::DEFAULT_OUTPUT.to_owned()
}

impl RawEntry {
    /// Checks everything that can be checked without opening a file.
    pub(crate) fn check(self, directory: &Path) -> Result<ModelEntry, EntryFault> {
        let id = name(
            "id",
            self.id,
            NAME_LIMIT_BYTES,
            "[a-z0-9_-]",
            |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'),
        )?;
        let cluster = name(
            "cluster",
            self.cluster,
            CLUSTER_LIMIT_BYTES,
            "[a-z0-9_]",
            |c| matches!(c, 'a'..='z' | '0'..='9' | '_'),
        )?;
        let tensor = |field, value| {
            name(field, value, NAME_LIMIT_BYTES, "printable ASCII without spaces", |c| c.is_ascii_graphic())
        };
        let licence = name("licence", self.licence, NAME_LIMIT_BYTES, "printable ASCII", |c| {
            c.is_ascii_graphic() || c == ' '
        })?;
        let scale = u32::try_from(self.scale)
            .ok()
            .filter(|scale| (2..=4).contains(scale))
            .ok_or(EntryFault::Scale(self.scale))?;
        if self.contract != i64::from(self.task.contract()) {
            return Err(EntryFault::Contract(self.contract));
        }
        let (input, output) = match self.task {
            Task::Upscale => (tensor("input", self.input)?, tensor("output", self.output)?),
            Task::Interpolate if scale != 2 => return Err(EntryFault::Factor(self.scale)),
            // Their names are the contract's.
            Task::Interpolate => ("previous".to_owned(), "middle".to_owned()),
        };
        self.measured.check()?;
        Ok(ModelEntry {
            tier: self.tier.parse().map_err(|UnknownTier| EntryFault::Tier(self.tier))?,
            file: below(directory, "file", &self.file)?,
            sha256: self.sha256.parse().map_err(|_| EntryFault::Digest(self.sha256))?,
            int8: self.int8.map(|int8| int8.check(directory)).transpose()?,
            parameters: self.parameters,
            contract: TensorContract { version: self.task.contract(), input, output, scale },
            training_data: self.training_data,
            record: self.record.map(|record| below(directory, "record", &record)).transpose()?,
            measured: self.measured,
            id,
            task: self.task,
            cluster,
            scale,
            licence,
        })
    }
}

impl Measured {
    /// The figures this crate has no field for, by name.
    pub fn other_figures(&self) -> impl Iterator<Item = (&str, f64)> {
        let figure = |value: &toml::Value| match value {
            toml::Value::Float(figure) => Some(*figure),
            toml::Value::Integer(figure) => Some(*figure as f64),
            _ => None,
        };
        self.other.iter().filter_map(move |(name, value)| Some((name.as_str(), figure(value)?)))
    }

    fn check(&self) -> Result<(), EntryFault> {
        for (field, value) in [
            ("measured.gain_db", self.gain_db),
            ("measured.worst_gain_db", self.worst_gain_db),
            ("measured.gain_after_encoder_db", self.gain_after_encoder_db),
            ("measured.ssim_gain", self.ssim_gain),
            ("measured.set5_db", self.set5_db),
            ("measured.set14_db", self.set14_db),
            ("measured.bicubic_set5_db", self.bicubic_set5_db),
            ("measured.bicubic_set14_db", self.bicubic_set14_db),
            ("measured.heldout_db", self.heldout_db),
            ("measured.heldout_ssim", self.heldout_ssim),
            ("measured.heldout_plain_db", self.heldout_plain_db),
            ("measured.heldout_plain_ssim", self.heldout_plain_ssim),
            ("measured.heldout_generic_db", self.heldout_generic_db),
            ("measured.heldout_generic_ssim", self.heldout_generic_ssim),
            ("measured.macs_per_pixel", self.macs_per_pixel),
            ("measured.ms_per_frame", self.ms_per_frame),
        ] {
            if value.is_some_and(|value| !value.is_finite()) {
                return Err(EntryFault::Figure(field));
            }
        }
        Ok(())
    }
}

fn name(
    field: &'static str,
    value: String,
    limit_bytes: usize,
    allowed: &'static str,
    fits: fn(char) -> bool,
) -> Result<String, EntryFault> {
    if value.is_empty() || value.len() > limit_bytes || !value.chars().all(fits) {
        return Err(EntryFault::Name { field, value, allowed, limit_bytes });
    }
    Ok(value)
}

/// Joins a path of the catalogue to its directory, refusing any that could lead out of it.
///
/// Symbolic links are followed when the file is read: whoever can make one there can write the catalogue too, and
/// the digest decides what is used.
pub(crate) fn below(directory: &Path, field: &'static str, written: &str) -> Result<PathBuf, EntryFault> {
    let path = Path::new(written);
    let inside = !written.is_empty()
        && !written.contains(['\\', '\0'])
        && path.components().all(|part| matches!(part, Component::Normal(_)));
    if inside {
        Ok(directory.join(path))
    } else {
        Err(EntryFault::Outside { field, path: written.to_owned() })
    }
}

/// A tier that is none of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tier is s, m, l, v10, v15 or v20")]
pub struct UnknownTier;

impl Tier {
    /// All tiers, cheap to dear.
    pub const ALL: [Self; 6] =
        [Self::Small, Self::Medium, Self::Large, Self::Vdsr10, Self::Vdsr15, Self::Vdsr20];

    /// The tier's name in the catalogue and in metric labels.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Small => "s",
            Self::Medium => "m",
            Self::Large => "l",
            Self::Vdsr10 => "v10",
            Self::Vdsr15 => "v15",
            Self::Vdsr20 => "v20",
        }
    }
}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        Self::ALL.into_iter().find(|tier| tier.label() == text).ok_or(UnknownTier)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
