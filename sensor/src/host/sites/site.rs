//! What is found in a program, and why one cannot be probed.

use sensor_common::kept::Arguments;

/// Instructions between a call and the jump; OpenSSH's have one or two.
pub(super) const JUMP_WITHIN: usize = 6;
/// Sites of one program: OpenSSH has seven.
pub(super) const SITES_MAX: usize = 64;

/// The role of a call without output: additional data, or a length that is announced.
pub const AAD: &str = "aad";
/// chacha20-poly1305: the key for the tag, and the length before a packet.
pub(super) const POLY_KEY: &str = "poly key";
pub(super) const HEADER: &str = "header";

/// A call of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Offset of the call instruction in the file.
    pub call: u64,
    /// Offset of the first conditional jump after it; in a library of the first branch that the kernel emulates.
    pub jump: u64,
    pub role: SiteRole,
    pub convention: Convention,
    /// The register with the result is not written to before the jump.
    pub result_intact: bool,
    /// A direct call: the kernel emulates it. A call through memory is single-stepped, which takes five times as long.
    pub emulated: bool,
    /// One probe that does for both.
    pub single: Option<Single>,
}

/// A place after a call where its arguments are still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// Offset in the file, of a branch, which the kernel emulates.
    pub at: u64,
    pub arguments: Arguments,
}

/// Where a function has its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `EVP_Cipher(ctx, out, in, inl)`
    Cipher,
    /// `EVP_CipherUpdate(ctx, out, outl, in, inl)` and its two halves.
    Update,
}

/// What must be known of a file before it is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Every call and its test: half of the calls of a program that speaks SSH would be half of a session.
    Whole,
    /// The calls that can be found: a library has others, which are not used for SSH (pointers to its functions for
    /// foreign callers). What comes after a call need not test it.
    Calls,
}

/// What passes at a site, by the operands that are constants in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteRole {
    /// May carry a packet or the length before it.
    Body,
    /// Proven to carry none.
    Other(&'static str),
}

/// Why a program cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCovered {
    #[error("it does not import {symbol}")]
    NoImport { symbol: String },
    #[error("it is not an ELF file that can be read: {why}")]
    Broken { why: &'static str },
    #[error("it is built for another machine ({machine})")]
    Machine { machine: u16 },
    #[error("it imports {symbol}, but nothing in its text calls it directly")]
    NoCall { symbol: String },
    #[error("it jumps to {symbol} instead of calling it (at {at:#x}): the result is tested elsewhere")]
    TailCall { symbol: String, at: u64 },
    #[error("it takes the address of {symbol} (at {at:#x}): calls through pointers cannot be found")]
    AddressTaken { symbol: String, at: u64 },
    #[error("the result of the call at {at:#x} is not tested by a conditional jump nearby")]
    NoJump { at: u64 },
    #[error("the call at {at:#x} was found by its bytes and not by disassembly: its text is not what it seems")]
    Ambiguous { at: u64 },
    #[error("it uses {library}, whose EVP_CIPHER_CTX is not known")]
    Library { library: String },
}
