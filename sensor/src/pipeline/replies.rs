//! What comes back: answers of the inspector, attachments that are done; and what the thread of configuration files
//! wants to be read.

use std::time::Instant;

use super::{
    asking::Answered,
    attacher::Done,
    configuration::ask_for,
    deploys::Deploys,
    programs::Hands,
    purpose::Purpose,
    source::{Failure, Source},
};
use crate::{
    event::{
        host_key::{Extent, KnownHosts},
        stream::{Event, EventKind},
    },
    host::{config_files::look::Look, identity},
    inspect::{Answer, Said, SurveyItem, Unknown, Why},
};

impl Source {
    /// Answers of the inspector.
    pub(super) fn answered(&mut self, out: &mut Vec<Event>) {
        for answered in self.asking.take() {
            self.answer(answered, out);
        }
        for degraded in self.asking.take_degraded() {
            out.push(Event { time: identity::boot_time(), what: EventKind::Degraded(degraded) });
        }
        self.release(out);
    }

    fn answer(&mut self, answered: Answered, out: &mut Vec<Event>) {
        let Answered { purpose, said, descriptors } = answered;
        let time = identity::boot_time();
        let (wait, before) = match purpose {
            Purpose::Names(named) => (named.wait, self.facts.named(time, &named, said)),
            Purpose::Program(wanted) => {
                let Self { gate, asking, attacher, programs, .. } = self;
                programs.answered(wanted, said, descriptors, &mut Hands { gate, asking, attacher, out });
                return;
            }
            Purpose::Project { asked, wait } => {
                let (before, deploying) = self.deploys.project(&asked, said);
                if let Some(deploying) = deploying {
                    self.config_files.deploy_started(deploying);
                }
                (wait, before)
            }
            Purpose::Variables { facts, wait } => (wait, Deploys::variables(time, facts, said)),
            Purpose::KnownHosts(connection) => {
                // In turn: the packet with the key may still wait for facts, and before it correlate does not know the
                // connection.
                let known = match said {
                    Ok(Said::Answer(Answer::KnownHosts(known))) => known,
                    said => Box::new(KnownHosts { connection, extent: unread(&said), ..KnownHosts::default() }),
                };
                self.gate.push(Event { time, what: EventKind::KnownHosts(known) }, &[], Instant::now());
                return;
            }
            Purpose::Configuration(look) => {
                look.answer(match said {
                    Ok(Said::Answer(Answer::Configuration(looked))) => Ok(looked),
                    Ok(_) => Err("it was not answered".into()),
                    Err(why) => Err(format!("it is not known: {why:?}")),
                });
                return;
            }
            Purpose::Gone => {
                if let Ok(Said::Item(item)) = said
                    && let SurveyItem::Gone(files) = *item
                {
                    self.programs.gone(files, &self.attacher);
                }
                return;
            }
            Purpose::Processes => {
                self.found(said);
                return;
            }
        };
        match wait {
            Some(wait) => out.extend(self.gate.settle(wait, before, Vec::new())),
            None => out.extend(before),
        }
    }

    /// Something was done by the thread that attaches.
    pub(super) fn done(&mut self, done: Done, out: &mut Vec<Event>) -> Result<(), Failure> {
        match done {
            Done::Probed { attachment, program, failed } => {
                let Self { gate, asking, attacher, programs, .. } = self;
                programs.attached(attachment, &program, failed, &mut Hands { gate, asking, attacher, out });
                self.release(out);
            }
            Done::Lost(files) => {
                let Self { gate, asking, attacher, programs, .. } = self;
                programs.lost(&files, &mut Hands { gate, asking, attacher, out });
            }
            Done::Swept(live) => self.channels.sweep(&live),
            Done::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The thread of configuration files wants files to be read.
    pub(super) fn look(&mut self, look: Look) {
        ask_for(&mut self.asking, look);
    }
}

/// Why nothing is known of what a client goes by.
fn unread(said: &Result<Said, Unknown>) -> Extent {
    match said {
        Err(Unknown::Deadline) => Extent::Deadline,
        Err(Unknown::Gone) => Extent::Gone,
        Err(Unknown::Refused(Why::Queue | Why::Penalty)) => Extent::Busy,
        _ => Extent::Unreadable,
    }
}
