//! What a client is told about a model set, so that one strong enough may enhance on its own: what the networks are for,
//! what their files must hash to, which tensors they have, and what they gained.
//!
//! The values serialise to the JSON that the edge serves; their field names are that document's, and stay.

use serde::{Serialize, Serializer};

use crate::contract::TensorContract;
use crate::digest::Sha256;
use crate::entry::{Measured, ModelEntry};
use crate::int8::Int8File;

/// A model set as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetDescription {
    /// The kind of content its models were trained on.
    pub cluster: String,
    /// How many times wider and higher the output is (2 to 4).
    pub scale: u32,
    /// Eight hexadecimal digits that stand for all its models: [`crate::ModelSet::digest`].
    pub digest: String,
    /// Its usable models, cheap to dear.
    pub models: Vec<ModelDescription>,
}

/// One model as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDescription {
    /// Its id in the catalogue.
    pub id: String,
    /// Its tier's name, `s` to `v20`.
    pub tier: &'static str,
    /// Where the file is, relative to the description: `<sha256>.onnx`.
    pub uri: String,
    /// What the file's bytes hash to: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// The same network in eight bits, quicker on processors, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8: Option<Int8Description>,
    /// Trained numbers in it.
    pub parameters: u64,
    /// Its tensors.
    pub contract: ContractDescription,
    /// SPDX expression of the terms the weights are under.
    pub licence: String,
    /// What it was trained on, in words.
    pub training_data: String,
    /// What was measured; absent figures were not.
    pub measured: Measured,
}

/// The int8 twin of a model as clients see it. Its tensors are the model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Int8Description {
    /// Where the file is, relative to the description: `<sha256>.onnx`.
    pub uri: String,
    /// What the file's bytes hash to: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Luma PSNR that it loses against the float file, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_db: Option<f64>,
}

/// A model's tensors as clients see them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContractDescription {
    /// The contract's number: see [`TensorContract`].
    pub version: u32,
    /// The one input.
    pub input: TensorDescription,
    /// The one output.
    pub output: TensorDescription,
}

/// One tensor as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDescription {
    /// Its name in the graph.
    pub name: String,
    /// Its element type as ONNX spells it: `uint8`.
    #[serde(rename = "type")]
    pub element: &'static str,
    /// Its dimensions: numbers, and names for those that follow the picture (`H`, `2W`).
    pub shape: Vec<Dimension>,
}

/// One dimension of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Dimension {
    /// Always this long.
    Fixed(u32),
    /// As long as the picture makes it.
    Named(String),
}

impl SetDescription {
    /// Describes a set of which `models` are usable, each with its file's size in bytes.
    #[must_use]
    pub fn new<'a>(
        cluster: &str,
        scale: u32,
        digest: &str,
        models: impl IntoIterator<Item = (&'a ModelEntry, u64)>,
    ) -> Self {
        Self {
            cluster: cluster.to_owned(),
            scale,
            digest: digest.to_owned(),
            models: models.into_iter().map(|(entry, bytes)| ModelDescription::new(entry, bytes)).collect(),
        }
    }
}

impl ModelDescription {
    fn new(entry: &ModelEntry, bytes: u64) -> Self {
        let sha256 = entry.sha256.to_string();
        Self {
            id: entry.id.clone(),
            tier: entry.tier.label(),
            uri: format!("{sha256}.onnx"),
            sha256,
            bytes,
            int8: entry.int8.as_ref().map(Int8Description::new),
            parameters: entry.parameters,
            contract: (&entry.contract).into(),
            licence: entry.licence.clone(),
            training_data: entry.training_data.clone(),
            measured: entry.measured.clone(),
        }
    }
}

impl Int8Description {
    fn new(int8: &Int8File) -> Self {
        let sha256 = int8.sha256.to_string();
        Self { uri: format!("{sha256}.onnx"), sha256, loss_db: int8.loss_db }
    }
}

impl From<&TensorContract> for ContractDescription {
    fn from(contract: &TensorContract) -> Self {
        let tensor = |name: &str, rows: String, columns: String| TensorDescription {
            name: name.to_owned(),
            element: TensorContract::ELEMENT.label(),
            shape: vec![
                Dimension::Fixed(1),
                Dimension::Fixed(1),
                Dimension::Named(rows),
                Dimension::Named(columns),
            ],
        };
        let scale = contract.scale;
        Self {
            version: contract.version,
            input: tensor(&contract.input, "H".into(), "W".into()),
            output: tensor(&contract.output, format!("{scale}H"), format!("{scale}W")),
        }
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
