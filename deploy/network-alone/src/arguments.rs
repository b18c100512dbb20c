//! What is measured, read from the command line.

use std::path::PathBuf;
use std::str::FromStr;

/// What runs the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// ONNX Runtime's own kernels.
    Cpu,
    /// NVIDIA CUDA.
    Cuda,
    /// NVIDIA TensorRT, with CUDA for what it leaves.
    TensorRt,
}

impl Provider {
    /// Its name in ONNX Runtime's configuration and here.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The network.
    pub model: PathBuf,
    /// The float32 file that its pictures are compared with, on plain kernels.
    pub reference: Option<PathBuf>,
    /// ONNX Runtime's shared library.
    pub library: PathBuf,
    /// What runs it.
    pub provider: Provider,
    /// Whether layers may be computed in float16 (TensorRT) or TensorFloat-32 (CUDA).
    pub half: bool,
    /// The card, as CUDA counts.
    pub device: i32,
    /// Pictures in one run (1 to 64).
    pub batch: usize,
    /// Width of the low picture in pixels (16 to 4096).
    pub width: usize,
    /// Its height (16 to 4096).
    pub height: usize,
    /// How long is measured, in seconds, after a warm-up of a third of it (0.01 to 600).
    pub seconds: f64,
}

/// How it is called.
pub const USAGE: &str = "usage: network-alone --library FILE [--provider cpu|cuda|tensorrt] [--half] [--device N] [--batch N]
                     [--width PIXELS] [--height PIXELS] [--seconds S] [--reference MODEL.onnx] MODEL.onnx
Prints one JSON object: milliseconds a picture on the card, and with the way to it and back from pinned memory.
Exit codes: 0 done, 1 wrong call, 2 the provider did not run it, or its picture is wrong.";

impl Arguments {
    /// Reads the words behind the program's name.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut read = Self {
            model: PathBuf::new(),
            reference: None,
            library: PathBuf::new(),
            provider: Provider::Cpu,
            half: false,
            device: 0,
            batch: 1,
            width: 640,
            height: 360,
            seconds: 3.0,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--library" => read.library = value()?.into(),
                "--reference" => read.reference = Some(value()?.into()),
                "--provider" => {
                    let name = value()?;
                    let all = [Provider::Cpu, Provider::Cuda, Provider::TensorRt];
                    read.provider = all
                        .into_iter()
                        .find(|provider| provider.as_str() == name)
                        .ok_or_else(|| format!("no provider is called {name}"))?;
                }
                "--half" => read.half = true,
                "--device" => read.device = number(&word, &value()?, 0, 63)?,
                "--batch" => read.batch = number(&word, &value()?, 1, 64)?,
                "--width" => read.width = number(&word, &value()?, 16, 4096)?,
                "--height" => read.height = number(&word, &value()?, 16, 4096)?,
                "--seconds" => read.seconds = number(&word, &value()?, 0.01, 600.0)?,
                _ if word.starts_with("--") => return Err(format!("there is no {word}")),
                _ if read.model.as_os_str().is_empty() => read.model = word.into(),
                _ => return Err(format!("one network at a time, not {word} as well")),
            }
        }
        if read.model.as_os_str().is_empty() || read.library.as_os_str().is_empty() {
            return Err("a network and --library are needed".to_owned());
        }
        Ok(read)
    }
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    key: &str,
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        _ => Err(format!("{key} is from {least} to {most}, not {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_said_is_what_is_read() {
        let Ok(said) = read("--library a.so --provider tensorrt --half --batch 8 --device 1 m.onnx") else {
            panic!("refused");
        };
        assert_eq!((said.provider, said.half, said.batch, said.device), (Provider::TensorRt, true, 8, 1));
        assert_eq!((said.width, said.height), (640, 360));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("m.onnx", "--library"),
            ("--library a.so", "a network"),
            ("--library a.so --batch 0 m.onnx", "from 1 to 64"),
            ("--library a.so --seconds nan m.onnx", "from 0.01"),
            ("--library a.so --provider gpu m.onnx", "gpu"),
            ("--library a.so --fast m.onnx", "--fast"),
            ("--library", "wants a value"),
            ("--library a.so m.onnx n.onnx", "n.onnx"),
        ] {
            let error = read(line).err().unwrap_or_default();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
