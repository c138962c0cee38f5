//! What the programs counted, summed over CPUs, and the kernel's own count of runs that never happened.
//!
//! `recursion_misses` (since 5.12, in the program's fdinfo) are runs that the kernel skipped because the program was
//! already running on that CPU. A second program stands in (`sensor-ebpf/src/program_slot.rs`) and counts what it
//! fallback_handled; the rest is lost and in no counter of ours, so it is part of the account.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
};

use aya::{
    maps::{Map, MapData, PerCpuArray},
    programs::ProgramFd,
};
use sensor_common::{Counters, program};

use super::Error;

/// Of a program's fdinfo: some 300 bytes.
const INFO_MAX: usize = 1024;

/// One program's account since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub counters: Counters,
    /// Events for which the kernel skipped both programs of the tracepoint, at most. Absent before 5.12.
    pub skipped: Option<u64>,
}

impl Program {
    /// The account as it was before the first event.
    #[must_use]
    pub fn begun(self) -> Self {
        Self { counters: Counters::default(), skipped: self.skipped.map(|_| 0), ..self }
    }

    pub fn lost(&self) -> u64 {
        self.counters.lost_full + self.counters.lost_read
    }

    /// Does seen = sent + lost hold?
    pub fn reconciles(&self) -> bool {
        self.counters.seen == self.counters.sent + self.lost()
    }
}

pub struct ProgramCounters {
    map: PerCpuArray<MapData, Counters>,
    /// What the kernel says of each program; open as long as this: read twice a second on a busy host.
    infos: Vec<(&'static str, File)>,
    /// The files are about these.
    _fds: Vec<ProgramFd>,
}

impl ProgramCounters {
    pub(super) fn new(map: Map, fds: Vec<(&'static str, ProgramFd)>) -> Result<Self, Error> {
        let map = PerCpuArray::try_from(map).map_err(|error| used(&error))?;
        let open = |(name, fd): &(&'static str, ProgramFd)| {
            let file = File::open(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
            Some((*name, file))
        };
        let infos = fds.iter().filter_map(open).collect();
        Ok(Self { map, infos, _fds: fds.into_iter().map(|(_, fd)| fd).collect() })
    }

    /// The state of every program's account now.
    pub fn read(&self) -> Result<Vec<Program>, Error> {
        (0u32..)
            .zip(program::NAMES)
            .map(|(row, name)| {
                let mut sum = Counters::default();
                for cpu in self.map.get(&row, 0).map_err(|error| used(&error))?.iter() {
                    sum.seen += cpu.seen;
                    sum.sent += cpu.sent;
                    sum.lost_full += cpu.lost_full;
                    sum.lost_read += cpu.lost_read;
                    sum.truncated += cpu.truncated;
                    sum.untracked += cpu.untracked;
                    sum.fallback_handled += cpu.fallback_handled;
                }
                let misses =
                    self.infos.iter().filter(|(known, _)| *known == name).map(|(_, info)| recursion_misses(info));
                // The SSH probes have no second program: what is skipped is lost.
                let skipped =
                    if row >= program::SSH_PACKET { misses.sum() } else { skipped(misses, sum.fallback_handled) };
                Ok(Program { name, counters: sum, skipped })
            })
            .collect()
    }
}

/// At most so many events were lost: an event that is lost was skipped twice, and what the second program
/// fallback_handled was not. Exact but for sockets that nobody tracks: the second program leaves those uncounted.
fn skipped(misses: impl Iterator<Item = Option<u64>>, fallback_handled: u64) -> Option<u64> {
    let misses: Vec<u64> = misses.collect::<Option<_>>()?;
    let (first, others) = misses.split_first()?;
    Some(others.iter().copied().chain([first.saturating_sub(fallback_handled)]).min().unwrap_or(0))
}

fn recursion_misses(info: &File) -> Option<u64> {
    let mut bytes = [0; INFO_MAX];
    let length = info.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}

fn used(error: &aya::maps::MapError) -> Error {
    Error::MapUse { map: "COUNTERS", why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_lost_only_if_both_programs_were_skipped() {
        let of = |misses: &[Option<u64>], fallback_handled| skipped(misses.iter().copied(), fallback_handled);
        assert_eq!(of(&[Some(5), Some(0)], 4), Some(0), "a thread's event was skipped once");
        assert_eq!(of(&[Some(5), Some(3)], 4), Some(1));
        assert_eq!(of(&[Some(5)], 0), Some(5), "a program without a second");
        assert_eq!(of(&[None, None], 0), None, "a kernel that does not count");
        assert_eq!(of(&[], 0), None, "a probe that is not attached");
    }
}
