//! The running kernel's field offsets, from its BTF.
//!
//! What enters: /sys/kernel/btf/vmlinux. What leaves: a `Layout`. Members of anonymous structs and unions belong to the
//! struct around them, as in C. A field that is missing or is a bitfield stays ABSENT; which of them the programs
//! cannot do without is said in `REQUIRED`. The parsed BTF (some 10 MiB) is dropped on return.

use std::path::Path;

use btf_rs::{Btf, Type};
use sensor_common::{ABSENT, Layout};

use super::Error;

/// Fields without which no event can be attributed.
const REQUIRED: &[&str] = &[
    "task_tgid",
    "task_pid",
    "task_start_boottime",
    "task_group_leader",
    "task_real_parent",
    "task_cred",
    "task_mm",
    "task_signal",
    "cred_uid",
    "cred_euid",
    "mm_arg_start",
    "mm_arg_end",
    "signal_live",
    "signal_flags",
    "signal_group_exit_code",
    "task_exit_code",
];

/// What cannot be seen where a field is missing; the rest has no effect worth a word.
const EFFECTS: &[(&str, &str)] = &[
    ("task_loginuid", "kernel without CONFIG_AUDIT: no login uid (user.audit.id)"),
    ("task_sessionid", "kernel without CONFIG_AUDIT: no audit session id (auditd.session)"),
    ("mm_exe_file", "executable paths are unknown: SSH servers are not recognised"),
    ("files_fdt", "served connections are unknown: no SSH sessions"),
    ("sock_protocol", "TCP sockets are not recognised: no SSH sessions, no connections"),
    ("tcp_bytes_received", "byte counts of connections are unknown"),
];

/// Reads the offsets of this kernel's fields.
pub fn read(btf: &Path) -> Result<Layout, Error> {
    let parsed = Btf::from_file(btf).map_err(|error| Error::Btf { path: btf.into(), why: error.to_string() })?;
    let layout = Layout::resolve(|structure, member| offset_of(&parsed, structure, member));
    let missing: Vec<&str> = layout
        .entries()
        .filter(|(name, _, _, offset)| *offset == ABSENT && REQUIRED.contains(name))
        .map(|(name, ..)| name)
        .collect();
    if missing.is_empty() { Ok(layout) } else { Err(Error::Fields { missing: missing.join(", ") }) }
}

/// (kernel field, what its absence costs) for the fields of a layout that are absent.
pub fn gaps(layout: &Layout) -> Vec<(String, &'static str)> {
    layout
        .entries()
        .filter(|entry| entry.3 == ABSENT)
        .filter_map(|(name, structure, member, _)| {
            let effect = EFFECTS.iter().find(|(field, _)| *field == name)?.1;
            Some((format!("{structure}.{member}"), effect))
        })
        .collect()
}

fn offset_of(btf: &Btf, structure: &str, names: &str) -> Option<u32> {
    names.split('|').find_map(|path| offset_of_path(btf, structure, path))
}

fn offset_of_path(btf: &Btf, structure: &str, path: &str) -> Option<u32> {
    let mut ty = btf.resolve_types_by_name(structure).ok()?.into_iter().find(|ty| matches!(ty, Type::Struct(_)))?;
    let mut bits = 0;
    for name in path.split('.') {
        let (offset, next) = member(btf, &ty, name, 0)?;
        bits += offset;
        ty = next;
    }
    (bits % 8 == 0).then_some(bits / 8)
}

/// Offset in bits and type of a member, also inside anonymous structs and unions.
fn member(btf: &Btf, ty: &Type, name: &str, depth: u8) -> Option<(u32, Type)> {
    let (Type::Struct(composite) | Type::Union(composite)) = ty else { return None };
    // Kernel structs nest anonymously a few levels deep; a file that claims more is not BTF of a kernel.
    if depth > 8 {
        return None;
    }
    for candidate in &composite.members {
        let resolved = resolve(btf, candidate)?;
        match btf.resolve_name(candidate).as_deref() {
            Ok(found) if found == name => return Some((candidate.bit_offset(), resolved)),
            Ok("") | Err(_) => {
                if let Some((offset, ty)) = member(btf, &resolved, name, depth + 1) {
                    return Some((candidate.bit_offset() + offset, ty));
                }
            }
            Ok(_) => {}
        }
    }
    None
}

/// The type behind typedefs and qualifiers.
fn resolve(btf: &Btf, member: &btf_rs::Member) -> Option<Type> {
    let mut ty = btf.resolve_chained_type(member).ok()?;
    for _ in 0..16 {
        ty = match &ty {
            Type::Typedef(inner) => btf.resolve_chained_type(inner).ok()?,
            Type::Const(inner) | Type::Volatile(inner) => btf.resolve_chained_type(inner).ok()?,
            _ => return Some(ty),
        };
    }
    None
}
