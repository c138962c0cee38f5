//! Layer 1: what leaves correlation. A finding is a typed value, and no format's text: who and where (`Subject`), what
//! (`FindingKind`, one variant for each action), and what the finding says of itself (`Quality`).
//!
//! In: what the state machines of `correlate` know. Out: values for detection, for `schema` (ECS and further formats)
//! and, read back from lines by `schema`, for `review`. An address is an address, a time a time, an id a type of its
//! own. What is not known is absent: never an empty text or a made-up zero.
//!
//! ```
//! use sensor::finding::{
//!     Account, Capture, Finding, FindingKind, Outcome, Process, Role, Session, Ssh, Time, User,
//! };
//!
//! let mut finding = Finding::new(Time(1_795_295_924_000_000_005), Outcome::Success, FindingKind::ProcessStarted);
//! let subject = &mut finding.subject;
//! subject.process = Some(Box::new(Process { name: Some("ls".into()), ..Process::new(4711, "5ad4447457bd".into()) }));
//! subject.user = Some(User { real: Account { id: Some(1001), name: Some("alice".into()) }, ..User::default() });
//! subject.ssh = Some(Ssh {
//!     role: Some(Role::Server),
//!     capture: Some(Capture::Full),
//!     session: Some(Session { id: "0cdccac23076dd93".into(), ..Session::default() }),
//!     ..Ssh::default()
//! });
//! assert_eq!(finding.action(), sensor::finding::Action::ProcessStarted);
//! ```

pub mod action;
pub mod deploy;
pub mod health;
pub mod ids;
pub mod kind;
pub mod quality;
pub mod ssh;
pub mod subject;

pub use action::{Action, Family};
pub use ids::{CommandId, CommunityId, DeployId, EntityId, SessionId, SshConnectionId};
pub use kind::{ConnectionClosed, FindingKind};
pub use quality::{AdoptedBy, Field, Fields, Lineage, Quality};
pub use ssh::Failure;
pub use subject::{
    Account, Application, Capture, Container, Destination, Direction, EntryLeader, Exit, Flow, Leader, Network, Parent,
    Process, Protocol, Role, Session, Source, Ssh, Subject, User,
};

pub use crate::event::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Success,
    Failure,
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// When it happened.
    pub time: Time,
    pub outcome: Outcome,
    /// How long it took, ns.
    pub duration: Option<u64>,
    /// Beginning and end, of what happened over a time: a loss, a summary.
    pub span: Option<(Time, Time)>,
    pub subject: Subject,
    pub kind: FindingKind,
    pub quality: Quality,
}

impl Finding {
    pub fn new(time: Time, outcome: Outcome, kind: FindingKind) -> Self {
        Self {
            time,
            outcome,
            duration: None,
            span: None,
            subject: Subject::default(),
            kind,
            quality: Quality::default(),
        }
    }

    pub fn action(&self) -> Action {
        self.kind.action()
    }

    /// What is left where all of it is too long for a reader; `size`: what it takes, bytes.
    ///
    /// Each part is bounded where it is made; only all of them together come here. What says who, where and when is
    /// left.
    pub fn shorten(&mut self, size: usize) {
        if let Some(process) = &mut self.subject.process {
            (process.args, process.command_line) = (Vec::new(), None);
        }
        match &mut self.kind {
            FindingKind::DeployStarted(started) => **started = deploy::DeployStarted::default(),
            FindingKind::DeployFinished(finished) => {
                let (evidence, exit) = (finished.evidence, finished.exit);
                let (reason, message) = (finished.reason.take(), finished.message.take());
                let none = deploy::DeployFinished::default();
                **finished = deploy::DeployFinished { evidence, reason, message, exit, ..none };
            }
            FindingKind::DeployStep(step) => {
                let (kind, exit_status, exit) = (std::mem::take(&mut step.kind), step.exit_status, step.exit);
                **step = deploy::DeployStep { kind, exit_status, exit, ..deploy::DeployStep::default() };
            }
            FindingKind::SshConnection(handshake) => {
                let failure = handshake.failure.take();
                **handshake = ssh::Handshake { failure, ..ssh::Handshake::default() };
            }
            _ => {}
        }
        self.quality.truncated = Field::Record.into();
        self.quality.original_size = u32::try_from(size).ok();
    }
}
