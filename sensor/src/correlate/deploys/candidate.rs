//! What is known of a connection to this host that may be a deploy's, and its steps until that is known.

use std::sync::Arc;

use super::{about::EndedStep, names::Names};
use crate::{deploy::Tool, finding::deploy::Description};

/// Commands of a session that wait for a mark: Kamal's first is its second command.
const WAITING_MAX: usize = 64;

/// A step that has ended, of a session that is not known to be a deploy's.
#[derive(Debug)]
pub(super) struct PendingStep {
    pub(super) tool: Arc<Tool>,
    /// What the session had said of the deploy by then.
    pub(super) description: Description,
    pub(super) ended: EndedStep,
}

impl PendingStep {
    /// Is it enough to make the session a deploy's where nothing else is?
    fn is_enough(&self) -> bool {
        self.ended.step.marked || self.ended.step.standalone
    }
}

#[derive(Debug, Default)]
pub(super) struct Candidate {
    pub(super) names: Names,
    waiting: Vec<PendingStep>,
    /// The client's software is the tool's.
    pub(super) client: bool,
    /// A command was the tool's own.
    pub(super) marked: bool,
}

impl Candidate {
    pub(super) fn wait(&mut self, step: PendingStep) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(step);
        }
    }

    pub(super) fn take_waiting(&mut self) -> Vec<PendingStep> {
        std::mem::take(&mut self.waiting)
    }

    /// It is known to be a deploy, and which; or it cannot wait any longer.
    pub(super) fn is_ripe(&self) -> bool {
        self.marked && (self.names.service.is_some() || self.waiting.len() >= WAITING_MAX)
    }

    /// The tool whose deploy it was all the same, at its end: what only the tool sends was seen, or what its client ran
    /// that is enough (a login to a registry).
    pub(super) fn tool(&self) -> Option<&Arc<Tool>> {
        let enough = self.waiting.iter().find(|step| step.is_enough() && (self.marked || self.client));
        let step = enough.or_else(|| self.waiting.first().filter(|_| self.marked))?;
        Some(&step.tool)
    }
}
