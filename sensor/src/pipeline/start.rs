//! What precedes the first kernel event in the stream: the host, the probes, the processes that are there.
//!
//! The probes of the kernel are attached already and their events are drained meanwhile; programs that speak SSH are
//! examined and probed here. All of it is asked of the inspector, within `PATIENCE`: a process whose memory or file
//! system does not answer holds up nothing but its own place.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    present::Present,
    purpose::Purpose,
    source::{Failure, Source},
};
use crate::{
    event::stream::{Degraded, Event, EventKind, Probe, Role},
    host::{
        identity, mounts,
        snapshot::{self, Seen},
    },
    inspect::{Said, Survey, SurveyItem, Unknown},
    kernel::Readable,
    privileges,
};

/// For all of it. *Measured*: 300 processes take 0.2 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// Resolves when there is something to read; never without a descriptor.
pub(super) async fn ready(readable: Option<&Readable>) {
    match readable {
        Some(readable) => readable.readable().await,
        None => std::future::pending().await,
    }
}

impl Source {
    pub(super) async fn begin(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        let time = identity::boot_time();
        self.readable = self.asking.readable();
        self.offset = identity::clock_offset();
        let mut push = |what| out.push(Event { time, what });
        push(EventKind::Host(identity::host(&self.proc, time)));
        push(EventKind::Clock { offset: self.offset });
        push(EventKind::Labels(std::mem::take(&mut self.labels)));
        if let Some(mnt_ns) = self.facts.host_ns() {
            push(EventKind::HostNamespace { mnt_ns });
        }
        out.extend(self.deploys.own_tools().map(|what| Event { time, what }));
        self.facts.begin(&mut self.asking);
        let until = Instant::now() + PATIENCE;
        self.asking.survey(Survey::Processes, Purpose::Processes);
        let mut later = Vec::new();
        while !self.present.ended && Instant::now() < until {
            self.progress(until, &mut later).await?;
        }
        let mut present = std::mem::take(&mut self.present);
        snapshot::in_order(&mut present.seen);
        self.examine_present(&present.seen, &mut later);
        while self.programs.is_busy() && Instant::now() < until {
            self.progress(until, &mut later).await?;
        }
        self.attacher.listeners(present.seen.iter().filter(|seen| seen.listens).map(|seen| seen.found.task.id.tgid));
        self.introduce(time, &present, out);
        // What was found out meanwhile; what is not found out yet comes when it comes.
        out.append(&mut later);
        self.introduce_processes(time, present.seen, out);
        self.settle_down();
        Ok(())
    }

    /// At the end: events that still wait get their facts, or their time is over.
    pub(super) async fn last_facts(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        while let Some(until) = self.gate.next_deadline() {
            self.progress(until, out).await?;
        }
        Ok(())
    }

    /// Waits for answers or attachments.
    async fn progress(&mut self, until: Instant, out: &mut Vec<Event>) -> Result<(), Failure> {
        let wake = self.asking.next_deadline().map_or(until, |deadline| deadline.min(until));
        tokio::select! {
            () = ready(self.readable.as_ref()) => {}
            done = self.attacher.next() => {
                if let Some(done) = done {
                    self.done(done, out)?;
                }
            }
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        self.answered(out);
        Ok(())
    }

    fn examine_present(&mut self, seen: &[Seen], out: &mut Vec<Event>) {
        let Self { gate, asking, attacher, programs, .. } = self;
        let hands = &mut super::programs::Hands { gate, asking, attacher, out };
        programs.begin(hands);
        for Seen { found, .. } in seen {
            let name = found.executable.as_ref().map(|path| path.bytes.as_slice()).unwrap_or_default();
            programs.present(&found.task, found.file, Path::new(OsStr::from_bytes(name)), hands);
        }
    }

    fn introduce(&mut self, time: u64, present: &Present, out: &mut Vec<Event>) {
        let mut push = |what| out.push(Event { time, what });
        let mut probes: Vec<Probe> = std::mem::take(&mut self.probes);
        probes.extend(self.programs.take_probes());
        push(EventKind::Probes(probes));
        for gap in self.gaps.drain(..) {
            push(EventKind::Degraded(gap));
        }
        if !mounts::sees_whole_cgroup_tree(&self.proc) {
            push(EventKind::Degraded(Degraded {
                what: "cgroup/connect4, cgroup/connect6".into(),
                why: "this process is in a cgroup namespace of its own (in Kubernetes: hostPID with cgroupns: host)"
                    .into(),
                effect: "outgoing connections of processes outside of this namespace are not seen".into(),
            }));
        }
        let why = match (present.ended, present.skipped) {
            (false, _) => Some("they could not be listed in time".to_owned()),
            (true, 0) => None,
            (true, skipped) => Some(format!("{skipped} of them did not answer")),
        };
        if let Some(why) = why {
            push(EventKind::Degraded(Degraded {
                what: "processes that were there at the start".into(),
                why,
                effect: "what they start is in no session unless its own session is known".into(),
            }));
        }
        if !self.asking.is_running() {
            push(EventKind::Degraded(Degraded {
                what: "the inspector".into(),
                why: "it could not be started".into(),
                effect: "what users' files say is unknown: names in containers, configuration, libraries".into(),
            }));
        }
    }

    fn introduce_processes(&mut self, time: u64, seen: Vec<Seen>, out: &mut Vec<Event>) {
        for Seen { mut found, working_directory, .. } in seen {
            found.role = found.file.and_then(|file| self.programs.role(file)).unwrap_or(Role::Other);
            if let Some(file) = found.file.filter(|_| found.role.is_server()) {
                // What it executes for a connection is, as a rule, itself, and that can be gone before it is looked at.
                out.push(Event { time, what: EventKind::Program { file, role: found.role } });
            } else {
                found.served = None;
            }
            self.enter(
                Event { time, what: EventKind::ProcessSnapshot(Box::new(found)) },
                working_directory.as_ref(),
                out,
            );
        }
        self.gate.push(Event { time: identity::boot_time(), what: EventKind::SnapshotComplete }, &[], Instant::now());
        self.release(out);
    }

    /// From here on least privilege.
    fn settle_down(&mut self) {
        self.config_files.begin();
        self.attacher.drop_privileges();
        if let Err(error) = privileges::drop_unneeded() {
            tracing::warn!(%error, "cannot give up capabilities that are no longer needed");
        }
    }

    /// An item of the survey of processes.
    pub(super) fn found(&mut self, said: Result<Said, Unknown>) {
        match said {
            Ok(Said::Item(item)) => {
                if let SurveyItem::Process(seen) = *item {
                    self.present.seen.push(*seen);
                }
            }
            Ok(Said::End { skipped }) => (self.present.ended, self.present.skipped) = (true, skipped.len()),
            Ok(Said::Answer(_)) | Err(_) => self.present.ended = true,
        }
    }
}
