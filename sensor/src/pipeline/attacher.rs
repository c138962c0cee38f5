//! The thread that attaches: it owns the loaded object and its probes.
//!
//! What enters: programs to probe, files to release, sweeps of the kernel's maps. What leaves: what became of each, in
//! their order. Attaching and detaching wait for the kernel, which holds one lock for both and 0.1 s of it for each
//! probe that goes, whichever process takes it away; here nothing else waits for that. This thread alone keeps
//! CAP_SYS_ADMIN (permitted, raised for one call): perf_event_open(2) of a uprobe asks for it.

use std::{
    collections::HashSet,
    os::fd::AsFd as _,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    event::stream::FileId,
    host::examine::Program,
    kernel::{Attach, AttachError, Kernel},
    privileges,
};

/// Something for the kernel to do.
enum Command {
    Probe {
        attachment: Attachment,
        program: Box<Program>,
    },
    /// The file changes: what is at the places is not what it was.
    Release(FileId),
    /// The file is not used any more.
    Retire(FileId),
    /// Processes that listened on TCP before the probes.
    Listeners(Vec<u32>),
    SweepMarks,
    SweepSsh {
        carried: HashSet<u64>,
        proc: PathBuf,
    },
    /// Lowers what this thread may do.
    DropPrivileges,
}

/// One program that was given to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attachment(pub u64);

/// Why a program is not probed.
#[derive(Debug)]
pub(super) struct Failed {
    pub why: String,
    /// As many files as may be are probed already.
    pub is_budget: bool,
}

/// What became of a command.
pub(super) enum Done {
    Probed {
        attachment: Attachment,
        program: Box<Program>,
        failed: Option<Failed>,
    },
    /// Files whose probes are gone, since the process that held them has died.
    Lost(Vec<FileId>),
    /// SSH connections that the probes follow.
    Swept(HashSet<u64>),
    Failed(crate::kernel::Error),
}

pub(super) struct Attacher {
    commands: Sender<Command>,
    done: UnboundedReceiver<Done>,
    next: u64,
}

impl Attacher {
    pub(super) fn start(kernel: Kernel) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        let (outbox, done) = unbounded_channel();
        let run = move || Thread { kernel, outbox }.run(&inbox);
        std::thread::Builder::new().name("attach".into()).spawn(run)?;
        Ok(Self { commands, done, next: 0 })
    }

    /// Probes a program, whose places were checked; `Done::Probed` says how that went.
    pub(super) fn probe(&mut self, program: Program) -> Attachment {
        self.next += 1;
        let attachment = Attachment(self.next);
        self.send(Command::Probe { attachment, program: Box::new(program) });
        attachment
    }

    pub(super) fn release(&self, file: FileId) {
        self.send(Command::Release(file));
    }

    pub(super) fn retire(&self, file: FileId) {
        self.send(Command::Retire(file));
    }

    pub(super) fn listeners(&self, tgids: impl Iterator<Item = u32>) {
        self.send(Command::Listeners(tgids.collect()));
    }

    pub(super) fn sweep_marks(&self) {
        self.send(Command::SweepMarks);
    }

    pub(super) fn sweep_ssh(&self, carried: HashSet<u64>, proc: PathBuf) {
        self.send(Command::SweepSsh { carried, proc });
    }

    pub(super) fn drop_privileges(&self) {
        self.send(Command::DropPrivileges);
    }

    /// The next thing that was done. None: the thread has ended.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.done.recv().await
    }

    fn send(&self, command: Command) {
        // Without the thread there is nothing to be done; its end is seen by `next`.
        let _ = self.commands.send(command);
    }
}

struct Thread {
    kernel: Kernel,
    outbox: UnboundedSender<Done>,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<Command>) {
        while let Ok(command) = inbox.recv() {
            let Some(done) = self.act(command) else { continue };
            if self.outbox.send(done).is_err() {
                return;
            }
        }
    }

    fn act(&mut self, command: Command) -> Option<Done> {
        match command {
            Command::Probe { attachment, program } => {
                let failed = self.probe(&program);
                Some(Done::Probed { attachment, program, failed })
            }
            Command::Release(file) => {
                self.kernel.release_program(file);
                None
            }
            Command::Retire(file) => {
                self.kernel.retire_program(file);
                None
            }
            Command::Listeners(tgids) => self.kernel.add_listeners(tgids.into_iter()).err().map(Done::Failed),
            Command::SweepMarks => {
                self.kernel.sweep();
                Some(self.kernel.take_lost()).filter(|lost| !lost.is_empty()).map(Done::Lost)
            }
            Command::SweepSsh { carried, proc } => Some(Done::Swept(self.kernel.sweep_ssh(&carried, &proc))),
            Command::DropPrivileges => {
                if let Err(error) = privileges::keep_for_attaching() {
                    tracing::warn!(%error, "the thread that attaches cannot give up capabilities");
                }
                None
            }
        }
    }

    fn probe(&mut self, program: &Program) -> Option<Failed> {
        let failed = |why: String| Some(Failed { why, is_budget: false });
        let sites = match &program.sites {
            Err(why) => return failed(why.clone()),
            Ok(_) if !self.kernel.can_decrypt() => return failed("this kernel cannot run the probe `cipher`".into()),
            Ok(sites) => sites,
        };
        let places = if self.kernel.has_cookies() { &sites.places } else { &sites.pairs };
        let Program { file, owner, reserved, .. } = *program;
        let attach = Attach { file, target: program.open.as_fd(), places, owner, reserved };
        let error = privileges::raised(|| self.kernel.probe_program(attach)).err()?;
        Some(Failed { is_budget: matches!(error, AttachError::Budget(_)), why: error.to_string() })
    }
}
