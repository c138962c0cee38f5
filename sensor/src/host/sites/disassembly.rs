//! x86-64 instructions of a section, in order, read piece by piece.

use std::vec;

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::elf::Text;

/// Often a few instructions are wanted, and sometimes all.
const FIRST_PIECE: usize = 128;
const PIECE_MAX: usize = 8 << 10;
/// Intel's manual, volume 2, 2.3.11.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// The instructions of a text from an address on.
pub(super) fn instructions<'a>(text: &Text<'a>, from: u64) -> Instructions<'a> {
    Instructions { text: *text, at: from, piece: FIRST_PIECE, decoded: Vec::new().into_iter() }
}

pub(super) struct Instructions<'a> {
    text: Text<'a>,
    /// Where the next piece begins.
    at: u64,
    piece: usize,
    decoded: vec::IntoIter<Instruction>,
}

impl Iterator for Instructions<'_> {
    type Item = Instruction;

    fn next(&mut self) -> Option<Instruction> {
        if let Some(instruction) = self.decoded.next() {
            return Some(instruction);
        }
        let mut buffer = [0; PIECE_MAX];
        let piece = buffer.get_mut(..self.piece)?;
        let count = self.text.read(self.at, piece);
        let bytes = piece.get(..count)?;
        let is_last = count < self.piece || self.text.ends_at(self.at.wrapping_add(count as u64));
        let mut decoder = Decoder::with_ip(64, bytes, self.at, DecoderOptions::NONE);
        let mut decoded = Vec::with_capacity(count / 3);
        // One that may not be in this piece as a whole is decoded with the next.
        while decoder.can_decode() && (is_last || decoder.position() + INSTRUCTION_BYTES_MAX <= count) {
            decoded.push(decoder.decode());
        }
        self.at = self.at.wrapping_add(decoder.position() as u64);
        self.piece = (self.piece * 4).min(PIECE_MAX);
        self.decoded = decoded.into_iter();
        self.decoded.next()
    }
}
