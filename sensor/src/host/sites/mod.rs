//! stub
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::read::{ReadRef, elf::ElfFile64};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, elf};
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCovered {
    #[error("it does not import {symbol}")]
    NoImport { symbol: String },
    #[error("broken")]
    Broken,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteRole {
    Body,
    Other(&'static str),
}
#[derive(Debug, Clone)]
pub struct Site {
    pub call: u64,
    pub jump: u64,
    pub role: SiteRole,
    pub result_intact: bool,
    pub emulated: bool,
}
pub fn find<'a>(file: impl ReadRef<'a>, symbol: &str) -> Result<Vec<Site>, NotCovered> {
    let elf = ElfFile64::<Endianness, _>::parse(file).map_err(|_| NotCovered::NoImport { symbol: symbol.into() })?;
    let index = elf
        .dynamic_symbols()
        .find(|s| s.name() == Ok(symbol) && s.is_undefined())
        .map(|s| s.index())
        .ok_or(NotCovered::NoImport { symbol: symbol.into() })?;
    let mut slots = vec![];
    for (at, r) in elf.dynamic_relocations().into_iter().flatten() {
        if r.target() == object::RelocationTarget::Symbol(index) {
            slots.push(at);
        }
    }
    let mut stubs = vec![];
    let mut sites = vec![];
    for pass in 0..2 {
        for s in elf.sections() {
            let object::SectionFlags::Elf { sh_flags } = s.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_EXECINSTR) == 0 {
                continue;
            }
            let Ok(data) = s.data() else { continue };
            let (off, _) = s.file_range().unwrap_or((0, 0));
            let delta = s.address().wrapping_sub(off);
            let mut d = Decoder::with_ip(64, data, s.address(), DecoderOptions::NONE);
            let mut i = Instruction::default();
            let mut recent: Vec<Instruction> = vec![];
            let mut stub_start = 0;
            while d.can_decode() {
                d.decode_out(&mut i);
                if pass == 0 {
                    if i.mnemonic() == Mnemonic::Endbr64 {
                        stub_start = i.ip();
                    }
                    if i.mnemonic() == Mnemonic::Jmp
                        && i.is_ip_rel_memory_operand()
                        && slots.contains(&i.ip_rel_memory_address())
                    {
                        stubs.push(i.ip());
                        if stub_start != 0 && stub_start + 4 == i.ip() {
                            stubs.push(stub_start);
                        }
                    }
                } else {
                    if i.code() == Code::Call_rel32_64 && stubs.contains(&i.near_branch_target()) {
                        let call = i.ip();
                        let at = (i.next_ip() - s.address()) as usize;
                        let mut look =
                            Decoder::with_ip(64, data.get(at..).unwrap_or_default(), i.next_ip(), DecoderOptions::NONE);
                        let mut n = Instruction::default();
                        for _ in 0..6 {
                            look.decode_out(&mut n);
                            if n.flow_control() == FlowControl::ConditionalBranch {
                                sites.push(Site {
                                    call: call - delta,
                                    jump: n.ip() - delta,
                                    role: role(&recent),
                                    result_intact: true,
                                    emulated: true,
                                });
                                break;
                            }
                        }
                    }
                    recent.push(i);
                    if recent.len() > 12 {
                        recent.remove(0);
                    }
                }
            }
        }
    }
    if sites.is_empty() { Err(NotCovered::Broken) } else { Ok(sites) }
}
fn role(recent: &[Instruction]) -> SiteRole {
    for i in recent.iter().rev() {
        if i.flow_control() != FlowControl::Next {
            break;
        }
        if i.op0_kind() == OpKind::Register && i.op0_register().full_register() == Register::RCX {
            if i.mnemonic() == Mnemonic::Mov && i.op1_kind() == OpKind::Immediate32 {
                if i.immediate32() == 0x20 {
                    return SiteRole::Other("poly key");
                }
                if i.immediate32() == 4 {
                    return SiteRole::Other("length");
                }
            }
            if i.mnemonic() == Mnemonic::Xor {
                return SiteRole::Other("final");
            }
        }
        if i.op0_kind() == OpKind::Register
            && i.op0_register().full_register() == Register::RSI
            && i.mnemonic() == Mnemonic::Xor
        {
            return SiteRole::Other("aad");
        }
    }
    SiteRole::Body
}
