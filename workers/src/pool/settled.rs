//! What runs networks on this machine: found out by the first worker, where configuration leaves it open, and told to all others.
//!
//! Sought by each of them, on a machine that is busy with their starts, it need not come out alike, and other kernels make other
//! pictures: what one had begun no other could go on with.

use std::sync::Mutex;

use acuity_config::{EnhancerConfig, Precision, Provider};

use super::lock;
use crate::wire::Nonsense;

#[derive(Default)]
pub(super) struct Settled(Mutex<Option<(Provider, Precision)>>);

impl Settled {
    /// Takes what a worker says of itself, by the names that configuration has for it; whether that is news.
    pub(super) fn hears(&self, provider: &str, precision: &str) -> Result<bool, Nonsense> {
        if provider.is_empty() {
            return Ok(false);
        }
        let provider = Provider::ALL.into_iter().find(|one| one.as_str() == provider);
        let precision = Precision::ALL.into_iter().find(|one| one.as_str() == precision);
        let (Some(provider), Some(precision)) = (provider, precision) else {
            return Err(Nonsense("what runs networks"));
        };
        let mut settled = lock(&self.0);
        // Who came first is right, but for what it had to leave open: until a model comes that has both files.
        let is_news = match *settled {
            None => true,
            Some((known, open)) => {
                known == provider && open == Precision::Auto && precision != Precision::Auto
            }
        };
        if is_news {
            *settled = Some((provider, precision));
        }
        Ok(is_news)
    }

    pub(super) fn is_known(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// Puts it where `config` leaves it open.
    pub(super) fn tell(&self, config: &mut EnhancerConfig) {
        let Some((provider, precision)) = *lock(&self.0) else { return };
        if config.provider == Provider::Auto {
            config.provider = provider;
        }
        if config.precision == Precision::Auto {
            config.precision = precision;
        }
    }
}

/// Whether there is anything to find out.
pub(super) fn is_open(config: &EnhancerConfig) -> bool {
    // Cards run one kind of numbers, or are told which.
    config.provider == Provider::Auto || (!config.provider.is_gpu() && config.precision == Precision::Auto)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(settled: &Settled, provider: Provider, precision: Precision) -> (Provider, Precision) {
        let mut config = EnhancerConfig { provider, precision, ..EnhancerConfig::default() };
        settled.tell(&mut config);
        (config.provider, config.precision)
    }

    #[test]
    fn the_first_word_is_for_all() {
        let settled = Settled::default();
        assert!(!settled.hears("", "").unwrap() && !settled.is_known());
        let open = (Provider::Auto, Precision::Auto);
        assert_eq!(told(&settled, open.0, open.1), open);
        assert!(settled.hears("openvino", "auto").unwrap() && settled.is_known());
        assert!(!settled.hears("cpu", "int8").unwrap(), "another's way");
        assert!(settled.hears("openvino", "int8").unwrap(), "what was left open");
        assert!(!settled.hears("openvino", "float").unwrap(), "it is not any more");
        assert_eq!(told(&settled, open.0, open.1), (Provider::OpenVino, Precision::Int8));
        let named = (Provider::Cpu, Precision::Float);
        assert_eq!(told(&settled, named.0, named.1), named);
        assert!(settled.hears("abacus", "int8").is_err());
    }
}
