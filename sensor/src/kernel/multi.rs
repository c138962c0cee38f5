//! uprobe_multi (Linux 6.6): one link for all places of a file, attached and detached without the lock that single
//! uprobes share.
//!
//! What enters: the object and the maps that aya made of it. What leaves: the uprobes' programs, loaded for this kind
//! of link, and such links. *Measured* on 6.18, two places a file: detaching takes 47 ms a file instead of 227, with
//! four places 54 instead of 923; and while another process's single uprobes are on their way out, attaching takes 0.04
//! ms a file instead of 230 ms a place. So a sensor that ends holds up no other, and is held up by none.
//!
//! aya 0.14 has no such programs. They are the same instructions, but must be loaded with an expected attach type, so
//! they are loaded here: the object is parsed once more, by the crate that aya parses it with, and its instructions are
//! given the numbers of aya's maps. Where anything of this fails, the caller takes aya's programs and single links
//! (`links`). The structures are those of the kernel's uapi (`union bpf_attr`), up to the last field that is used here.
#![allow(unsafe_code, reason = "bpf(2) with three commands that aya does not have in this form")]

use std::{
    collections::HashMap,
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{Object, generated::bpf_insn};

use super::links::descriptor;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;

#[repr(C)]
#[derive(Default)]
struct ProgramAttributes {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    /// Level, size, address.
    log: (u32, u32, u64),
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
    btf: u32,
    function_bytes: u32,
    functions: u64,
    function_count: u32,
    line_bytes: u32,
    lines: u64,
    line_count: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct BtfAttributes {
    data: u64,
    log: u64,
    bytes: u32,
    log_bytes: u32,
    log_level: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    process: u32,
    pad: u32,
}

const _: () = {
    assert!(size_of::<ProgramAttributes>() == 112);
    assert!(size_of::<BtfAttributes>() == 32);
    assert!(size_of::<LinkAttributes>() == 64);
};

/// The uprobes' programs.
pub(super) struct Multi {
    programs: HashMap<&'static str, OwnedFd>,
}

impl Multi {
    /// Loads these programs. An error: why this kernel takes single uprobes.
    pub(super) fn load(ebpf: &Ebpf, object: &[u8], names: &[&'static str]) -> Result<Self, String> {
        is_known().map_err(|error| format!("no uprobe_multi: {error}"))?;
        let mut object = Object::parse(object).map_err(|error| error.to_string())?;
        let features = aya::features();
        let btf = features.btf().ok_or("a kernel without BTF")?;
        let btf = object.fixup_and_sanitize_btf(btf).map_err(|error| error.to_string())?;
        let btf = load_btf(&btf.ok_or("an object without BTF: rebuild sensor")?.to_bytes());
        let btf = btf.map_err(|error| format!("cannot load the object's BTF: {error}"))?;
        let made: HashMap<&str, i32> =
            ebpf.maps().filter_map(|(name, map)| Some((name, data(map)?.fd().as_fd().as_raw_fd()))).collect();
        let maps = std::mem::take(&mut object.maps);
        let maps = maps.iter().filter_map(|(name, map)| Some((name.as_str(), *made.get(name.as_str())?, map)));
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_maps(maps, &sections).map_err(|error| error.to_string())?;
        object.relocate_calls(&sections).map_err(|error| error.to_string())?;
        object.sanitize_functions(features);
        let mut programs = HashMap::new();
        for name in names {
            let program = object.programs.get(*name).ok_or("the object has no such program: rebuild sensor")?;
            let function = object.functions.get(&program.function_key()).ok_or("a program without a function")?;
            let loaded = load_program(name, &program.license, function, &btf);
            programs.insert(*name, loaded.map_err(|error| format!("cannot load `{name}` for uprobe_multi: {error}"))?);
        }
        Ok(Self { programs })
    }

    /// One link for places of a file: their offsets and cookies.
    pub(super) fn attach(&self, program: &str, file: BorrowedFd, places: &[(u64, u64)]) -> io::Result<OwnedFd> {
        let program = self.programs.get(program).ok_or(io::ErrorKind::NotFound)?;
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = places.iter().copied().unzip();
        let attributes = LinkAttributes {
            program: program.as_raw_fd().cast_unsigned(),
            attach: BPF_TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            cookies: cookies.as_ptr() as u64,
            count: offsets.len() as u32,
            ..LinkAttributes::default()
        };
        // SAFETY: the path and the arrays, each of this many words, outlive the call, which only reads them.
        unsafe { bpf(BPF_LINK_CREATE, &attributes) }
    }
}

/// Does this kernel have such links? Before 6.6 it takes the program but not the link: a folder is no place to probe,
/// and only a kernel that knows the link says so (EBADF; as libbpf asks).
fn is_known() -> io::Result<()> {
    // r0 = 0; exit
    let instructions = [0xb7u64, 0x95];
    let attributes = ProgramAttributes {
        kind: BPF_PROG_TYPE_KPROBE,
        instructions: instructions.len() as u32,
        code: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach: BPF_TRACE_UPROBE_MULTI,
        ..ProgramAttributes::default()
    };
    // SAFETY: the instructions and the licence outlive the call, which only reads them.
    let program = unsafe { bpf(BPF_PROG_LOAD, &attributes) }?;
    let offset = 0u64;
    let attributes = LinkAttributes {
        program: program.as_raw_fd().cast_unsigned(),
        attach: BPF_TRACE_UPROBE_MULTI,
        path: c"/".as_ptr() as u64,
        offsets: &raw const offset as u64,
        count: 1,
        ..LinkAttributes::default()
    };
    // SAFETY: as above.
    match unsafe { bpf(BPF_LINK_CREATE, &attributes) } {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn load_btf(bytes: &[u8]) -> io::Result<OwnedFd> {
    let attributes =
        BtfAttributes { data: bytes.as_ptr() as u64, bytes: bytes.len() as u32, ..BtfAttributes::default() };
    // SAFETY: the bytes outlive the call, which only reads them.
    unsafe { bpf(BPF_BTF_LOAD, &attributes) }
}

fn load_program(name: &str, license: &CString, function: &aya_obj::Function, btf: &OwnedFd) -> io::Result<OwnedFd> {
    let code: &[bpf_insn] = &function.instructions;
    let (functions, lines) = (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
    let mut attributes = ProgramAttributes {
        kind: BPF_PROG_TYPE_KPROBE,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        attach: BPF_TRACE_UPROBE_MULTI,
        btf: btf.as_raw_fd().cast_unsigned(),
        function_bytes: function.func_info_rec_size as u32,
        functions: functions.as_ptr() as u64,
        function_count: function.func_info.len() as u32,
        line_bytes: function.line_info_rec_size as u32,
        lines: lines.as_ptr() as u64,
        line_count: function.line_info.len() as u32,
        ..ProgramAttributes::default()
    };
    // Its last byte stays zero.
    let room = attributes.name.len() - 1;
    for (to, byte) in attributes.name.iter_mut().take(room).zip(name.bytes()) {
        *to = byte;
    }
    // SAFETY: all that the attributes point to outlives the call, which only reads it; each length is that of what it
    // stands beside.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }
}

/// bpf(2) of a command that gives a descriptor.
///
/// # Safety
/// What the attributes point to is there, as long as they say.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the call reads the structure of this size.
    descriptor(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) })
}

/// What is behind a map of a kind that the object has.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerfEventArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
