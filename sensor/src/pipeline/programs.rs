//! Probes in the programs and libraries that speak SSH: at the start, when one is executed or begins to speak, when a file is replaced, and away when nobody has it any more.
//!
//! What enters: events, before the middle has them. What leaves: probes in the kernel; `Degraded` for what cannot be probed; `Readable` for a process whose library was new, so that a connection which
//! had its keys by then is known to be missed and not taken for one that nobody can read.

use std::{collections::VecDeque, fs::File, os::fd::AsFd as _, path::Path};

use crate::{
    event::{
        ssh::{ConnectionId, Message},
        stream::{Connect, Degraded, Event, Probe, ProcessId, What},
    },
    host::{
        identity, privileges,
        speakers::{Program, Speakers},
    },
    kernel::{Attach, Kernel},
};

pub(super) struct Programs {
    speakers: Speakers,
    callers: Callers,
}

impl Programs {
    pub(super) fn new(proc: &Path) -> Self {
        Self { speakers: Speakers::new(proc), callers: Callers::default() }
    }

    /// What is there.
    pub(super) fn begin(&mut self, kernel: &mut Kernel, probes: &mut Vec<Probe>, uncovered: &mut Vec<Degraded>) {
        for program in self.speakers.present() {
            let (probe, degraded) = cover(kernel, &program);
            probes.push(probe);
            uncovered.extend(degraded);
        }
    }

    /// Probes what an event shows to be new. The event that is to follow it, if a library was.
    pub(super) fn observe(&mut self, kernel: &mut Kernel, event: &Event, out: &mut Vec<Event>) -> Option<Event> {
        let (process, programs) = match &event.what {
            What::Exec(exec) => (exec.task.id, self.speakers.executed(exec)),
            What::Connect(connect) => {
                self.callers.remember(connect);
                return None;
            }
            What::Ssh(packet) if matches!(packet.message, Message::Identification(_)) => {
                let caller = self.callers.of(packet.connection)?;
                (caller, self.speakers.speaks(caller.tgid))
            }
            _ => return None,
        };
        let mut readable = false;
        for program in &programs {
            readable |= cover_later(kernel, program, event.time, out) && program.is_library;
        }
        let since = identity::boot_time();
        readable.then_some(Event { time: event.time, what: What::Readable(process, since) })
    }

    /// A program that is replaced is probed before anybody runs the new one; one that is written to in place is released.
    pub(super) fn follow_upgrades(&mut self, kernel: &mut Kernel, out: &mut Vec<Event>) {
        let changes = self.speakers.changes();
        for file in changes.written {
            self.speakers.forget(file);
            kernel.release_program(file);
        }
        for program in changes.programs {
            cover_later(kernel, &program, identity::boot_time(), out);
        }
    }

    /// Takes the probes from programs that nobody has any more.
    pub(super) fn sweep(&mut self, kernel: &mut Kernel) {
        for file in self.speakers.gone() {
            // Under another number it would be probed beside what is still on its way out.
            if self.speakers.forget(file) {
                kernel.release_program(file);
            } else {
                kernel.retire_program(file);
            }
        }
    }
}

/// Who made the latest connections: SSH begins right after.
#[derive(Default)]
struct Callers(VecDeque<(ConnectionId, ProcessId)>);

/// A burst of connections between two drains.
const CALLERS_MAX: usize = 256;

impl Callers {
    fn remember(&mut self, connect: &Connect) {
        if self.0.len() >= CALLERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((connect.socket, connect.task.id));
    }

    fn of(&self, connection: ConnectionId) -> Option<ProcessId> {
        self.0.iter().rev().find(|(socket, _)| *socket == connection).map(|(_, process)| *process)
    }
}

/// Probes a program that speaks SSH: its state for the list of probes, and what is not seen if that failed.
fn cover(kernel: &mut Kernel, program: &Program) -> (Probe, Option<Degraded>) {
    let why = match &program.sites {
        Err(why) => Some(why.to_string()),
        Ok(_) if !kernel.can_decrypt() => Some("this kernel cannot run the probe `cipher`".into()),
        Ok(sites) => privileges::raised(|| {
            let places = if kernel.has_cookies() { &sites.places } else { &sites.pairs };
            let target = File::open(program.path()).map_err(|error| error.to_string());
            let probed = target.and_then(|target| {
                let (file, target) = (program.file, target.as_fd());
                let attach = Attach { file, target, places, owner: 0, reserved: true };
                kernel.probe_program(attach).map_err(|error| error.to_string())
            });
            probed.err()
        }),
    };
    let probe = Probe {
        name: "cipher".into(),
        target: program.name.clone(),
        state: if why.is_none() { "attached" } else { "missing" }.into(),
        why: why.clone(),
    };
    let degraded = why.map(|why| Degraded {
        what: format!("SSH in {}", program.name),
        why,
        effect:
            "its sessions are known by their connections and processes only: no authentications, commands and channels"
                .into(),
    });
    (probe, degraded)
}

/// The same, while events come. True: it is probed.
fn cover_later(kernel: &mut Kernel, program: &Program, time: u64, out: &mut Vec<Event>) -> bool {
    let (probe, degraded) = cover(kernel, program);
    let probed = degraded.is_none();
    tracing::info!(program = probe.target, state = probe.state, "a program that speaks SSH");
    out.extend(degraded.map(|degraded| Event { time, what: What::Degraded(degraded) }));
    probed
}
