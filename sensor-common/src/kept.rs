//! Where the arguments of a cipher call still lie when it has returned: in the registers that a call keeps, as the
//! loader finds them in a program's text and the probe after the call reads them. They travel in a uprobe's cookie.

/// A register that a call keeps (System V ABI, AMD64). 0 in a packed operand: none.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalleeSavedReg {
    Rbx = 1,
    Rbp,
    Rsp,
    R12,
    R13,
    R14,
    R15,
}

impl CalleeSavedReg {
    #[inline]
    const fn of(number: u16) -> Option<Self> {
        match number & 7 {
            1 => Some(Self::Rbx),
            2 => Some(Self::Rbp),
            3 => Some(Self::Rsp),
            4 => Some(Self::R12),
            5 => Some(Self::R13),
            6 => Some(Self::R14),
            7 => Some(Self::R15),
            _ => None,
        }
    }
}

/// A value: the sum of two registers and a displacement, or what the memory there holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    pub base: Option<CalleeSavedReg>,
    pub index: Option<CalleeSavedReg>,
    /// Only the lower half of `index` counts.
    pub narrow: bool,
    pub displacement: i8,
    /// It is in memory.
    pub load: bool,
}

impl Operand {
    pub const fn pack(self) -> u16 {
        const fn number(register: Option<CalleeSavedReg>) -> u16 {
            match register {
                None => 0,
                Some(register) => register as u16,
            }
        }
        number(self.base)
            | number(self.index) << 3
            | (self.narrow as u16) << 6
            | (self.load as u16) << 7
            | (self.displacement as u8 as u16) << 8
    }

    #[inline]
    pub const fn unpack(packed: u16) -> Self {
        Self {
            base: CalleeSavedReg::of(packed),
            index: CalleeSavedReg::of(packed >> 3),
            narrow: packed >> 6 & 1 != 0,
            load: packed >> 7 & 1 != 0,
            displacement: (packed >> 8) as i8,
        }
    }
}

/// The arguments of `EVP_Cipher`. Without `context` the direction is proven by the four bytes before the packet
/// (chacha20-poly1305).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub context: Operand,
    pub out: Operand,
    pub input: Operand,
    pub len: Operand,
}

impl Arguments {
    pub const fn pack(self) -> u64 {
        self.context.pack() as u64
            | (self.out.pack() as u64) << 16
            | (self.input.pack() as u64) << 32
            | (self.len.pack() as u64) << 48
    }

    #[inline]
    pub const fn unpack(cookie: u64) -> Self {
        Self {
            context: Operand::unpack(cookie as u16),
            out: Operand::unpack((cookie >> 16) as u16),
            input: Operand::unpack((cookie >> 32) as u16),
            len: Operand::unpack((cookie >> 48) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operand_survives_the_cookie() {
        for packed in 0..=u16::MAX {
            assert_eq!(Operand::unpack(packed).pack(), packed);
        }
        let operand = |n: u16| Operand::unpack(n);
        let arguments =
            Arguments { context: operand(0x8f81), out: operand(0x7fbf), input: operand(0x1234), len: operand(1) };
        assert_eq!(Arguments::unpack(arguments.pack()), arguments);
    }
}
