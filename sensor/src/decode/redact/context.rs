//! How deep and how long one search may go, and who reads what a command prints.
//!
//! In: the size of the input. Out: a [`Context`] that every nested string takes a level and some fuel from.
//! It rests on two bounds; when one is reached the caller gives the nested text up (see [`super::line`]),
//! so that nesting costs an attacker his own command line and never the sensor's time.

use std::cell::Cell;

/// Shells inside shells. Real ones seen: 3 (`ssh` of `sudo sh -c` with a `$(...)`).
pub(super) const MAX_DEPTH: u8 = 8;

/// Bytes lexed per byte of input. Every level reads a byte at most twice.
const FUEL_PER_BYTE: usize = 2 * MAX_DEPTH as usize;

/// Bytes of nested text that may still be read.
pub(super) struct Fuel(Cell<usize>);

impl Fuel {
    pub(super) fn for_input(len: usize) -> Self {
        Self(Cell::new(len.saturating_add(64).saturating_mul(FUEL_PER_BYTE)))
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context { fuel: &self.0, depth: 0 }
    }
}

/// Where in the nesting a search is.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    fuel: &'a Cell<usize>,
    depth: u8,
}

impl Context<'_> {
    /// One level deeper.
    pub(super) fn nested(self) -> Self {
        Self { depth: self.depth.saturating_add(1), ..self }
    }

    /// Takes fuel for `bytes`. `false`: too deep, or out of fuel.
    pub(super) fn admit(self, bytes: usize) -> bool {
        let left = self.fuel.get().checked_sub(bytes);
        self.fuel.set(left.unwrap_or(0));
        left.is_some() && self.depth <= MAX_DEPTH
    }
}

/// Who reads the standard output of a command: it makes the operands of `echo` a secret or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// No known reader.
    Open,
    /// A program that takes a password from standard input, or a secret's own value (`TOKEN=$(echo x)`).
    Secret,
    /// `chpasswd`, which reads `user:password`.
    AccountSecret,
}
