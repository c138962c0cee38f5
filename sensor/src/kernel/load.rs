//! Loading and attaching.
//!
//! Every probe is listed once, in `PROBES`, with what it costs to be without it. The links live as long as `Ebpf`.

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData},
    programs::{CgroupAttachMode, CgroupSkbAttachType, Program},
};
use sensor_common::{
    CONTROL_MAP, Layout, RING_BYTES,
    map::{DedupKey, Mark, Tgid},
};

use super::{
    BTF, ChannelBytes, Control, Error, Holder, ProgramCounters, Ring,
    abi::{self, open},
    error::chain,
    layout,
    stale_entries::StaleEntryGc,
    uprobes::{self, Attach, AttachError, Programs, Uprobes},
};
use crate::event::stream::{FileId, Probe};

/// A probe: its program in the object, where it goes, whether the sensor can run without it and what that costs.
pub struct ProbeSpec {
    pub name: &'static str,
    pub target: &'static str,
    pub required: bool,
    pub effect: &'static str,
}

/// Every probe. The program's name in the object is the name with `_`.
pub const PROBES: &[ProbeSpec] = &[
    ProbeSpec {
        name: "fork",
        target: "sched_process_fork",
        required: true,
        effect: "no lineage: no session can be followed",
    },
    ProbeSpec { name: "exec", target: "sched_process_exec", required: true, effect: "no commands" },
    ProbeSpec { name: "exit", target: "sched_process_exit", required: true, effect: "no results, sessions do not end" },
    ProbeSpec {
        name: "tcp-state",
        target: "inet_sock_set_state",
        required: false,
        effect: "no outcome of connections; sessions end with their last sshd process",
    },
    ProbeSpec { name: "connect4", target: "cgroup/connect4", required: false, effect: "no outgoing IPv4 connections" },
    ProbeSpec { name: "connect6", target: "cgroup/connect6", required: false, effect: "no outgoing IPv6 connections" },
    ProbeSpec {
        name: "clear-in",
        target: "cgroup_skb/ingress",
        required: false,
        effect: "no identification, algorithms and host keys of SSH connections",
    },
    ProbeSpec {
        name: "clear-out",
        target: "cgroup_skb/egress",
        required: false,
        effect: "no identification, algorithms and host keys of SSH connections",
    },
    ProbeSpec {
        name: "cipher",
        target: "call sites of EVP_Cipher and EVP_CipherUpdate",
        required: false,
        effect: "no SSH authentications, commands and channels: sessions are known by their processes only",
    },
];

/// The probe that is attached to programs, not to the kernel.
const CIPHER: &str = "cipher";

#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Where the root of the cgroup v2 tree is; None if it is not mounted.
    pub cgroup2: Option<PathBuf>,
    /// The process that has the links of the probes in programs (`holder::start`). Without one they are this process's,
    /// and its end waits for the kernel to detach them.
    pub holder: Option<Holder>,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: RING_BYTES, cgroup2: None, holder: None }
    }
}

/// The loaded object with its probes attached. Dropping it detaches them.
pub struct Kernel {
    /// Before `ebpf`: links go before their programs.
    uprobes: Uprobes,
    ebpf: Ebpf,
    control: Control,
    handled: HashMap<MapData, DedupKey, Mark>,
    /// Keys of `handled` seen by the last sweep.
    marks: HashSet<DedupKey>,
    listeners: HashMap<MapData, Tgid, Mark>,
    stale_entries: StaleEntryGc,
    layout: Layout,
    probes: Vec<Probe>,
    /// Kept for its end.
    #[cfg(feature = "ebpf-log")]
    _log: super::log::Log,
}

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor"));

impl Kernel {
    /// Loads the object and attaches every probe. Fails if a required one cannot be attached.
    pub fn load(options: &Options) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Root);
        }
        if !options.ring_bytes.is_power_of_two() || options.ring_bytes < 4096 {
            return Err(Error::RingSize(options.ring_bytes));
        }
        abi::check(OBJECT)?;
        let layout = layout::read(BTF.as_ref())?;
        let wake = u64::from(options.ring_bytes / 4);
        let preempted = u64::from(preempts_programs());
        let mut loader = EbpfLoader::new();
        loader
            .override_global("LAYOUT", &layout, true)
            .override_global("WAKE_BYTES", &wake, true)
            .override_global("PREEMPTED", &preempted, true)
            .map_max_entries("EVENTS", options.ring_bytes);
        #[cfg(feature = "ebpf-log")]
        let level = super::log::level();
        #[cfg(feature = "ebpf-log")]
        loader.override_global(aya_log::LEVEL, &level, true);
        let mut ebpf = loader.load(OBJECT)?;
        let control = ebpf.map(CONTROL_MAP).ok_or(Error::Map(CONTROL_MAP))?;
        if let Some(holder) = &options.holder {
            holder.set_control(Control::map(control)?).map_err(Error::Holder)?;
        }
        let control = Control::new(control)?;
        let mut probes = Vec::new();
        let mut uprobes = Programs::Single;
        for spec in PROBES {
            let why = attach(&mut ebpf, spec, options, &mut uprobes).err();
            if let (true, Some(why)) = (spec.required, &why) {
                return Err(Error::Attach { probe: spec.name, target: spec.target, why: why.clone() });
            }
            let state = if why.is_none() { "attached" } else { "missing" };
            probes.push(Probe { name: spec.name.into(), target: spec.target.into(), state: state.into(), why });
        }
        Ok(Self {
            uprobes: Uprobes::new(uprobes, options.holder.clone()),
            handled: open(&mut ebpf, "HANDLED")?,
            marks: HashSet::new(),
            listeners: open(&mut ebpf, "LISTENERS")?,
            stale_entries: StaleEntryGc::new(&mut ebpf)?,
            #[cfg(feature = "ebpf-log")]
            _log: super::log::Log::start(&mut ebpf)?,
            ebpf,
            control,
            layout,
            probes,
        })
    }

    /// Tries each probe on its own and reports: for `sensor check`.
    pub fn try_each(options: &Options) -> Result<Vec<Probe>, Error> {
        abi::check(OBJECT)?;
        let layout = layout::read(BTF.as_ref())?;
        let mut ebpf = EbpfLoader::new().override_global("LAYOUT", &layout, true).load(OBJECT)?;
        Ok(PROBES
            .iter()
            .map(|spec| {
                let why = attach(&mut ebpf, spec, options, &mut Programs::Single).err();
                let state = if why.is_none() { "ok" } else { "missing" };
                Probe { name: spec.name.into(), target: spec.target.into(), state: state.into(), why }
            })
            .collect())
    }

    /// Removes marks of events whose second program was skipped: those that an earlier sweep saw too.
    pub fn sweep(&mut self) {
        // A key that goes away during the walk ends it; the next sweep sees the rest.
        let marks: HashSet<DedupKey> = self.handled.keys().map_while(Result::ok).collect();
        for mark in marks.intersection(&self.marks) {
            // Gone meanwhile is as good.
            let _ = self.handled.remove(mark);
        }
        self.marks = marks;
    }

    /// Removes what the SSH probes remember of connections and processes that are gone. `carried`: connections that
    /// channels carry now. Returns those that the probes follow.
    pub fn sweep_ssh(&mut self, carried: &HashSet<u64>, proc: &Path) -> HashSet<u64> {
        self.stale_entries.sweep(carried, proc)
    }

    /// Can programs be probed at all?
    pub fn can_decrypt(&self) -> bool {
        self.probes.iter().any(|probe| probe.name == CIPHER && probe.why.is_none())
    }

    /// Probes the cipher calls of a program or library. All or none. It may wait for the kernel.
    pub fn probe_program(&mut self, attach: Attach) -> Result<(), AttachError> {
        self.uprobes.attach(&self.ebpf, attach)
    }

    /// Can a probe be told where it is (`Hook::CipherDone`)? Linux 5.15.
    pub fn has_cookies(&self) -> bool {
        self.uprobes.has_cookies(&self.ebpf)
    }

    /// Takes the probes of a program away: its file changes.
    pub fn release_program(&mut self, file: FileId) {
        self.uprobes.release(file);
    }

    /// The same, in time: no process has its file any more. If it comes back soon (`probe_program`), its probes are
    /// still there.
    pub fn retire_program(&mut self, file: FileId) {
        self.uprobes.retire(file);
    }

    /// Files that are not probed any more because the process that held their probes is gone; once. They are to be
    /// probed anew.
    pub fn take_lost(&mut self) -> Vec<FileId> {
        self.uprobes.take_lost()
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// The reading end of the ring. Once only.
    pub fn ring(&mut self) -> Result<Ring, Error> {
        let map = self.ebpf.take_map("EVENTS").ok_or(Error::Map("EVENTS"))?;
        Ring::new(map, self.control.clone())
    }

    /// The switches of the programs. As many as are wanted.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What channels moved. Once only.
    pub fn channel_bytes(&mut self) -> Result<ChannelBytes, Error> {
        ChannelBytes::new(self.ebpf.take_map("FLOWS").ok_or(Error::Map("FLOWS"))?)
    }

    /// The counters' reading end. Once only.
    pub fn account(&mut self) -> Result<ProgramCounters, Error> {
        let mut fds = Vec::new();
        for spec in PROBES {
            let name = program_name(spec);
            // Several programs share a row of counters where they are one probe to the reader.
            let (row, programs) = match name.as_str() {
                "clear_in" | "clear_out" => ("ssh-clear", vec![name]),
                CIPHER => ("ssh-packet", uprobes::PROGRAMS.map(str::to_owned).into()),
                _ => (spec.name, vec![name.clone(), format!("{name}_again")]),
            };
            for name in programs {
                if let Some(program) = self.ebpf.program(&name)
                    && let Ok(fd) = program.fd()
                {
                    fds.push((row, fd.try_clone()?));
                }
            }
        }
        let map = self.ebpf.take_map("COUNTERS").ok_or(Error::Map("COUNTERS"))?;
        ProgramCounters::new(map, fds)
    }

    /// Tells the probes which processes listened on TCP before they were attached.
    pub fn add_listeners(&mut self, tgids: impl Iterator<Item = u32>) -> Result<(), Error> {
        for tgid in tgids {
            let inserted = self.listeners.insert(Tgid { tgid }, Mark::SET, 0);
            inserted.map_err(|error| Error::MapUse { map: "LISTENERS", why: error.to_string() })?;
        }
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Some probes stay for a while.
        self.control.silence();
    }
}

const _: () = {
    /// It lives on the thread that attaches.
    const fn is_send<T: Send>() {}
    is_send::<Kernel>();
    is_send::<Ring>();
};

fn program_name(spec: &ProbeSpec) -> String {
    spec.name.replace('-', "_")
}

/// Attaches a probe. A tracepoint has two programs (`sensor-ebpf/src/program_slot.rs`): the kernel calls them in the
/// order in which they were attached.
fn attach(ebpf: &mut Ebpf, spec: &ProbeSpec, options: &Options, uprobes: &mut Programs) -> Result<(), String> {
    let name = program_name(spec);
    if name == CIPHER {
        // Attached to each program that speaks SSH, once it is known.
        *uprobes = uprobes::load(ebpf, OBJECT)?;
        return Ok(());
    }
    let program = ebpf.program_mut(&name).ok_or("the object has no such program: rebuild sensor")?;
    match program {
        Program::RawTracePoint(program) => {
            program.load().map_err(chain)?;
            let link = program.attach(spec.target).map_err(chain)?;
            if !(preempts_programs() || name == "tcp_state") {
                return Ok(());
            }
            if let Err(why) = attach_second(ebpf, &name, spec.target) {
                // Alone, the first would leave marks that nobody takes away.
                if let Some(Program::RawTracePoint(program)) = ebpf.program_mut(&name) {
                    program.detach(link).map_err(chain)?;
                }
                return Err(why);
            }
        }
        Program::CgroupSockAddr(program) => {
            let root = cgroup_root(options)?;
            program.load().map_err(chain)?;
            // Through a link, which always allows others beside it; AllowMultiple would be refused.
            program.attach(root, CgroupAttachMode::Single).map_err(chain)?;
        }
        Program::CgroupSkb(program) => {
            let root = cgroup_root(options)?;
            let direction = match name.ends_with("_in") {
                true => CgroupSkbAttachType::Ingress,
                false => CgroupSkbAttachType::Egress,
            };
            program.load().map_err(chain)?;
            program.attach(root, direction, CgroupAttachMode::Single).map_err(chain)?;
        }
        _ => return Err("a program of an unexpected type: rebuild sensor".into()),
    }
    Ok(())
}

/// Can a tracepoint's program be preempted, so that the kernel skips it for the next task? Since 7.0 (measured on 7.3).
/// Before, only an interrupt comes in between, which changes states of sockets and forks nothing.
/// A kernel that is newer
/// than its number says tells by its counts of skipped runs, which are reported as lost.
fn preempts_programs() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major >= 7)
}

fn attach_second(ebpf: &mut Ebpf, name: &str, target: &str) -> Result<(), String> {
    let Some(Program::RawTracePoint(second)) = ebpf.program_mut(&format!("{name}_again")) else {
        return Err("the object has no second program: rebuild sensor".into());
    };
    second.load().map_err(chain)?;
    second.attach(target).map_err(chain)?;
    Ok(())
}

/// The root of the cgroup v2 tree.
fn cgroup_root(options: &Options) -> Result<File, String> {
    let path = options.cgroup2.as_ref().ok_or("cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup)")?;
    File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))
}
