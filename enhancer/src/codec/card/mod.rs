//! The circuits of graphics cards that decode and encode (NVDEC, NVENC), and when the processor does it instead.
//!
//! What a card can do is not asked but tried: at the start each decodes a short stream and encodes a few pictures, and what comes of it
//! is compared with what the processor makes and with what a rendition promises. Afterwards the processor stands behind each of
//! them: a segment whose card fails is decoded to its end by the processor, and after a failure cards are left alone for a while.
//!
//! Has not run on a card yet (docs/gpu.md says what would show that it does).

mod device;
mod nvdec;
mod nvenc;
mod probe;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::{CodecPlace, EnhancerConfig};

use super::{Decoder, Encoder, EncoderSettings};
use crate::{EnhanceError, StartError};
use device::Device;
pub(super) use nvdec::CardDecoder;

/// How long a card that failed is left alone: a driver that is being reset is back by then, and of a card that is gone each try costs
/// one segment a tenth of a second.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// What decodes and encodes.
pub(crate) struct Codecs {
    decoder: Side,
    encoder: Side,
    /// The processor in a card's place.
    #[cfg(test)]
    rehearsal: Option<Rehearsal>,
}

/// Access units and pictures that a rehearsal takes before it fails.
#[cfg(test)]
pub(crate) struct Rehearsal {
    pub(crate) decoder: usize,
    pub(crate) encoder: usize,
}

/// One of the two, on all cards that have it.
#[derive(Default)]
struct Side {
    devices: Vec<Device>,
    /// Whose turn it is.
    turn: AtomicUsize,
    failed: Mutex<Option<Instant>>,
}

/// Which of the two a segment's were.
#[derive(Default)]
pub(crate) struct OnCard {
    pub(crate) decoder: AtomicBool,
    pub(crate) encoder: AtomicBool,
}

/// What the configuration makes of a card's circuit.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    No,
    /// If it works.
    Tried,
    /// Or there is no start.
    Asserted,
}

impl Wanted {
    /// `has_cards`: networks run on cards.
    fn of(place: CodecPlace, has_cards: bool) -> Self {
        match place {
            CodecPlace::Card => Self::Asserted,
            CodecPlace::Auto if has_cards => Self::Tried,
            CodecPlace::Auto | CodecPlace::Cpu => Self::No,
        }
    }
}

impl Codecs {
    #[cfg(test)]
    pub(crate) fn rehearsing(rehearsal: Rehearsal) -> Self {
        Self { decoder: Side::default(), encoder: Side::default(), rehearsal: Some(rehearsal) }
    }

    /// Tries what `config` wants. A card's that does not work is the processor's, with a line in the log.
    ///
    /// # Errors
    /// [`StartError::Codec`] where the card was to be it.
    pub(crate) fn probe(config: &EnhancerConfig) -> Result<Self, StartError> {
        let has_cards = config.provider.is_gpu();
        let side = |key: &'static str, place: CodecPlace, try_it: &dyn Fn(&Device) -> Result<(), String>| {
            let wanted = Wanted::of(place, has_cards);
            if wanted == Wanted::No {
                return Ok(Side::default());
            }
            match devices(&config.gpu.devices, try_it) {
                Ok(devices) => {
                    tracing::info!(key, "on the card");
                    Ok(Side { devices, ..Side::default() })
                }
                Err(message) if wanted == Wanted::Asserted => Err(StartError::Codec { key, message }),
                Err(message) => {
                    tracing::info!(key, message, "on the processor: the card's does not work");
                    Ok(Side::default())
                }
            }
        };
        super::initialise();
        Ok(Self {
            decoder: side("decoder", config.gpu.decoder, &probe::decoder)?,
            encoder: side("encoder", config.gpu.encoder, &probe::encoder)?,
            #[cfg(test)]
            rehearsal: None,
        })
    }

    /// A decoder for one segment.
    pub(crate) fn decoder(&self) -> Result<Decoder, EnhanceError> {
        #[cfg(test)]
        if let Some(Rehearsal { decoder, .. }) = self.rehearsal
            && self.decoder.turn(1, Instant::now()).is_some()
        {
            return CardDecoder::rehearsed(decoder).map(Decoder::of_card);
        }
        match self.decoder.take_turn(Instant::now()).map(CardDecoder::open) {
            Some(Ok(decoder)) => Ok(Decoder::of_card(decoder)),
            Some(Err(error)) => {
                self.decoder_failed(&error);
                Decoder::open()
            }
            None => Decoder::open(),
        }
    }

    /// An encoder for one segment. `in_band`: the container carries parameter sets with the pictures, so that it does not matter whose
    /// they are; where the initialisation holds them they are always the processor's encoder's.
    pub(crate) fn encoder(&self, settings: &EncoderSettings, in_band: bool) -> Result<Encoder, EnhanceError> {
        if !in_band {
            return Encoder::open(settings);
        }
        #[cfg(test)]
        if let Some(Rehearsal { encoder, .. }) = self.rehearsal
            && self.encoder.turn(1, Instant::now()).is_some()
        {
            return Encoder::rehearsed(settings, encoder);
        }
        match self.encoder.take_turn(Instant::now()).map(|device| nvenc::open(device, settings)) {
            Some(Ok(encoder)) => Ok(encoder),
            Some(Err(error)) => {
                self.encoder_failed(&error);
                Encoder::open(settings)
            }
            None => Encoder::open(settings),
        }
    }

    /// A card's decoder did not open, or stopped in a segment.
    pub(crate) fn decoder_failed(&self, error: &EnhanceError) {
        tracing::warn!(%error, "a card does not decode: the processor does, for a while");
        self.decoder.has_failed(Instant::now());
    }

    /// A card's encoder did not open, or stopped in a segment.
    pub(crate) fn encoder_failed(&self, error: &EnhanceError) {
        tracing::warn!(%error, "a card does not encode: the processor does, for a while");
        self.encoder.has_failed(Instant::now());
    }
}

impl Side {
    /// The card whose turn it is; none where there is none, or they are left alone.
    fn take_turn(&self, now: Instant) -> Option<&Device> {
        let turn = self.turn(self.devices.len(), now)?;
        self.devices.get(turn)
    }

    fn turn(&self, count: usize, now: Instant) -> Option<usize> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|failed| now.saturating_duration_since(failed) < LEFT_ALONE) {
            return None;
        }
        *failed = None;
        drop(failed);
        self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(count)
    }

    fn has_failed(&self, now: Instant) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

/// Opens every card, and tries it.
fn devices(numbers: &[u32], try_it: &dyn Fn(&Device) -> Result<(), String>) -> Result<Vec<Device>, String> {
    let open = |number: &u32| {
        let device = Device::open(*number)?;
        try_it(&device).map(|()| device)
    };
    let named = |number: &u32| open(number).map_err(|message| format!("card {number}: {message}"));
    numbers.iter().map(named).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use acuity_config::{GpuConfig, Provider};

    use super::*;

    const HAS_NO_CARD: fn() -> bool = || !std::path::Path::new("/proc/driver/nvidia").exists();

    #[test]
    fn only_where_networks_run_on_cards_is_one_looked_for() {
        for (place, has_cards, wanted) in [
            (CodecPlace::Auto, true, Wanted::Tried),
            (CodecPlace::Auto, false, Wanted::No),
            (CodecPlace::Cpu, true, Wanted::No),
            (CodecPlace::Card, true, Wanted::Asserted),
            (CodecPlace::Card, false, Wanted::Asserted),
        ] {
            assert_eq!(Wanted::of(place, has_cards), wanted, "{place:?} {has_cards}");
        }
    }

    #[test]
    fn without_a_card_auto_is_the_processor_and_card_is_no_start() {
        if !HAS_NO_CARD() {
            return;
        }
        let config = |decoder, encoder| EnhancerConfig {
            provider: Provider::Cuda,
            gpu: GpuConfig { decoder, encoder, ..GpuConfig::default() },
            ..EnhancerConfig::default()
        };
        let codecs = Codecs::probe(&config(CodecPlace::Auto, CodecPlace::Auto)).unwrap();
        assert!(codecs.decoder.devices.is_empty() && codecs.encoder.devices.is_empty());
        assert!(!codecs.decoder().unwrap().is_on_card());
        for (decoder, encoder, key) in
            [(CodecPlace::Card, CodecPlace::Auto, "decoder"), (CodecPlace::Cpu, CodecPlace::Card, "encoder")]
        {
            let Err(error) = Codecs::probe(&config(decoder, encoder)) else {
                panic!("started without a card")
            };
            let said = error.to_string();
            assert!(said.starts_with(&format!("enhancer.gpu.{key} = \"card\": card 0: ")), "{said}");
        }
    }

    #[test]
    fn cards_take_turns_and_are_left_alone_after_a_failure() {
        let (side, now) = (Side::default(), Instant::now());
        assert_eq!([(); 4].map(|()| side.turn(3, now)), [0, 1, 2, 0].map(Some));
        assert_eq!(side.turn(0, now), None, "where there are none");
        side.has_failed(now);
        assert_eq!(side.turn(3, now + LEFT_ALONE / 2), None);
        assert!(side.turn(3, now + LEFT_ALONE).is_some() && side.turn(3, now).is_some());
    }
}
