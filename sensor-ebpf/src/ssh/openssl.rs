//! What OpenSSL's cipher context says of itself: its cipher, and whether it encrypts.
//!
//! `evp_cipher_ctx_st` begins with `cipher`, whose first word is its NID. `encrypt` lies behind it, in OpenSSL 4, or
//! behind it and `engine`, before 4. The bytes are a program's: what they say is checked, and what cannot be read or
//! makes no sense is "not known".

use super::memory::{is_user, read};

pub const NID_CHACHA20: u32 = 1019;
/// NIDs of AES-GCM with 128, 192 and 256 bits, of every OpenSSL.
const NIDS_GCM: [u32; 3] = [895, 898, 901];
/// Where `encrypt` may lie. `engine` is used by no program: where the other one has `encrypt`, there is 0.
const ENCRYPT: [u64; 2] = [0x8, 0x10];

#[inline(always)]
pub fn nid(address: u64) -> u32 {
    read::<u32>(read::<u64>(address).0).0
}

/// What a cipher's context claims.
#[derive(Clone, Copy)]
pub struct Claimed {
    /// `sensor_common::ssh::direction`
    pub direction: u8,
    /// An incoming packet may come in two pieces: of every cipher that does not authenticate by itself.
    pub splits: bool,
}

/// What the context of OpenSSH claims (OpenSSL 1.1 and 3). None for chacha20, which claims nothing of worth.
#[inline(always)]
pub fn claimed(context: u64) -> Option<Claimed> {
    if !is_user(context) {
        return None;
    }
    let ([cipher, _, claimed], readable) = read::<[u64; 3]>(context);
    if !is_user(cipher) {
        return None;
    }
    let (nid, known) = read::<u32>(cipher);
    let encrypt = claimed as u32;
    if !known || !readable || nid == NID_CHACHA20 || encrypt > 1 {
        return None;
    }
    // Which is what `direction` calls them.
    Some(Claimed { direction: encrypt as u8, splits: !NIDS_GCM.contains(&nid) })
}

/// What `kind` returns. Neither ENCRYPTS nor DECRYPTS: it does not say (chacha20), or cannot be read.
pub mod is {
    pub const ENCRYPTS: u32 = 1;
    pub const DECRYPTS: u32 = 2;
    /// The cipher may have a context for each packet.
    pub const AEAD: u32 = 4;
}

/// What the context of a library is. A global function: the verifier checks it once, and the ways through it do not
/// multiply with the caller's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cipher_kind(address: u64) -> u32 {
    let (older, newer) = (read::<u32>(address.wrapping_add(ENCRYPT[1])), read::<u32>(address.wrapping_add(ENCRYPT[0])));
    let nid = nid(address);
    if nid == NID_CHACHA20 {
        return is::AEAD;
    }
    if !older.1 || !newer.1 || nid == 0 || older.0 | newer.0 > 1 {
        return 0;
    }
    let direction = if older.0 | newer.0 == 1 { is::ENCRYPTS } else { is::DECRYPTS };
    if nid == NIDS_GCM[0] || nid == NIDS_GCM[1] || nid == NIDS_GCM[2] { direction | is::AEAD } else { direction }
}
