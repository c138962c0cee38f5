//! Deploys that were running before the sensor.
//!
//! In: a process found in /proc, parents before children. Out: `deploy-started` with `sensor.inferred`, at the time
//! when the tool began, and from then on everything as usual. It rests on what /proc has of the tool: its arguments,
//! which the process itself could have changed, and its project as it is now. What it did before is not known:
//! connections that were open are not read, and no step of then counts.

use super::{super::Correlate, local::Beginning};
use crate::event::{
    record::Record,
    stream::{NS_PER_TICK, ProcessSnapshot},
};

impl Correlate {
    /// A process that was there: is it a deploy, or a step of one?
    pub(in crate::correlate) fn deploy_found(&mut self, found: &ProcessSnapshot, out: &mut Vec<Record>) {
        let id = found.task.id;
        let below = self.processes.get(id).is_some_and(|process| process.deploy.is_some());
        let executable = found.executable.as_ref().map(|path| path.bytes.as_slice());
        if !below && !self.deploys.tools.may_match(&found.args, executable) {
            return;
        }
        let exec = found.as_exec(self.deploys.folder_of(id));
        let beginning: Option<Beginning> = self.deploy_begins(&exec);
        if self.processes.get(id).is_none_or(|process| process.deploy.is_none()) {
            return;
        }
        let program = self.program(&exec);
        if let Some(process) = self.processes.get_mut(id) {
            process.emitted = self.scope.in_scope(process.session, true, process.watched);
            process.title.clone_from(&program.title);
            process.command_line = program.command_line.clone().map(Into::into);
        }
        let began = id.start.saturating_mul(NS_PER_TICK);
        match beginning {
            Some(beginning) => self.deploy_started(began, &exec, &program, beginning.found(), out),
            None => self.deploy_child(began, &exec, &program),
        }
    }
}
