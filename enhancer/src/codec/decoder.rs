//! H.264 access units to pictures.
//!
//! One decoder per segment. On the processor it has one thread: at the sizes that are enhanced, decoding costs about a
//! millisecond a picture, and frame threads would add delay and memory for nothing.

use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::{Error, Packet, frame};

use super::card::CardDecoder;
use super::{Picture, failed};
use crate::EnhanceError;

pub(crate) struct Decoder(By);

enum By {
    Processor(decoder::Video),
    Card(CardDecoder),
}

impl Decoder {
    /// The processor's.
    pub(crate) fn open() -> Result<Self, EnhanceError> {
        super::initialise();
        let codec = decoder::find(codec::Id::H264).ok_or(EnhanceError::Codec {
            stage: "decode",
            message: "this FFmpeg has no H.264 decoder".into(),
        })?;
        let mut context = codec::Context::new_with_codec(codec);
        context.set_threading(codec::threading::Config::count(1));
        let opened =
            context.decoder().open_as(codec).and_then(decoder::Opened::video).map_err(failed("decode"))?;
        Ok(Self(By::Processor(opened)))
    }

    pub(super) fn of_card(decoder: CardDecoder) -> Self {
        Self(By::Card(decoder))
    }

    /// Whether it is a card's. Its failures are the card's, and another decoder may go on where it stopped.
    pub(crate) fn is_on_card(&self) -> bool {
        matches!(self.0, By::Card(_))
    }

    /// Takes one access unit in Annex B; `emit` gets what came out, in presentation order, each with the
    /// timestamp its access unit was given. Damage is concealed where it can be; an access unit that cannot
    /// be decoded gives nothing, and the timeline holds the picture before it.
    pub(crate) fn push(
        &mut self,
        annex_b: &[u8],
        pts: i64,
        emit: &mut dyn FnMut(i64, Picture),
    ) -> Result<(), EnhanceError> {
        let decoder = match &mut self.0 {
            By::Card(card) => return card.push(annex_b, pts, emit),
            By::Processor(decoder) => decoder,
        };
        let mut packet = Packet::copy(annex_b);
        packet.set_pts(Some(pts));
        match decoder.send_packet(&packet) {
            Ok(()) => {}
            // Broken data is the segment's fault, not ours: the next access unit may be sound.
            Err(Error::InvalidData | Error::Other { .. }) => return Ok(()),
            Err(error) => return Err(failed("decode")(error)),
        }
        receive(decoder, emit);
        Ok(())
    }

    /// Gives what the decoder still holds. It takes no more afterwards.
    pub(crate) fn drain(&mut self, emit: &mut dyn FnMut(i64, Picture)) -> Result<(), EnhanceError> {
        match &mut self.0 {
            By::Card(card) => card.drain(emit),
            By::Processor(decoder) => {
                decoder.send_eof().map_err(failed("decode"))?;
                receive(decoder, emit);
                Ok(())
            }
        }
    }
}

fn receive(decoder: &mut decoder::Video, emit: &mut dyn FnMut(i64, Picture)) {
    loop {
        let mut video = frame::Video::empty();
        // Whatever keeps a picture from coming out (end, more input needed, damage) ends this round only.
        if decoder.receive_frame(&mut video).is_err() {
            return;
        }
        if let Some(pts) = video.pts() {
            emit(pts, Picture(video));
        }
    }
}
