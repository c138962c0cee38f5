//! Who made the latest connections: SSH begins right after.

use std::collections::VecDeque;

use crate::event::{
    ssh::ConnectionId,
    stream::{Connect, Task},
};

#[derive(Default)]
pub(super) struct Callers(VecDeque<(ConnectionId, Task)>);

/// A burst of connections between two drains.
const CALLERS_MAX: usize = 256;

impl Callers {
    pub(super) fn remember(&mut self, connect: &Connect) {
        if self.0.len() >= CALLERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((connect.socket, connect.task.clone()));
    }

    pub(super) fn of(&self, connection: ConnectionId) -> Option<&Task> {
        self.0.iter().rev().find(|(socket, _)| *socket == connection).map(|(_, task)| task)
    }
}
