//! x86-64 instructions of a section, in order.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::elf::Text;

/// The instructions from this byte of the section on, which has to be the beginning of one.
pub(super) fn instructions<'a>(text: &Text<'a>, from: usize) -> impl Iterator<Item = Instruction> + use<'a> {
    let data = text.data.get(from..).unwrap_or_default();
    let mut decoder = Decoder::with_ip(64, data, text.address.wrapping_add(from as u64), DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}
