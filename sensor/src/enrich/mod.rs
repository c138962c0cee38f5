//! Layer 3: puts names where the kernel has numbers.
//!
//! Pure: it learns from the facts in the stream (users, cgroups, programs, clock) and fills the fields of later events
//! that are for it. What was never told stays absent.

use std::sync::Arc;

use foldhash::HashMap;

use crate::event::stream::{Event, EventKind, FileId, Role, Task};

/// Entries kept per kind of fact: as many as `host::facts` tells before it starts over.
const KEPT_MAX: usize = 16_384;

#[derive(Default)]
pub struct Enrich {
    users: HashMap<(u32, u32), Arc<str>>,
    /// What containers call users.
    claims: HashMap<(u32, u32), Arc<str>>,
    /// The host's own mount namespace.
    host: Option<u32>,
    cgroups: HashMap<u64, Arc<str>>,
    programs: HashMap<FileId, Role>,
}

impl Enrich {
    /// Learns from a fact or completes an event.
    pub fn apply(&mut self, event: &mut Event) {
        match &mut event.what {
            EventKind::User { mnt_ns, uid, name } => keep(&mut self.users, (*mnt_ns, *uid), name.clone()),
            EventKind::ContainerUser { mnt_ns, uid, name } if name.is_empty() => {
                self.claims.remove(&(*mnt_ns, *uid));
            }
            EventKind::ContainerUser { mnt_ns, uid, name } => keep(&mut self.claims, (*mnt_ns, *uid), name.clone()),
            EventKind::HostNamespace { mnt_ns } => self.host = Some(*mnt_ns),
            EventKind::Cgroup { id, path } => keep(&mut self.cgroups, *id, path.clone()),
            EventKind::Program { file, role } => keep(&mut self.programs, *file, *role),
            EventKind::ProcessSnapshot(found) => self.name(&mut found.task),
            EventKind::Exec(exec) => {
                self.name(&mut exec.task);
                exec.role = exec.file.and_then(|file| self.programs.get(&file)).copied();
            }
            EventKind::Fork(fork) => self.name(&mut fork.task),
            EventKind::Exit(exit) => self.name(&mut exit.task),
            EventKind::Connect(connect) => self.name(&mut connect.task),
            _ => {}
        }
    }

    fn name(&self, task: &mut Task) {
        task.names.cgroup = task.cgroup.and_then(|id| self.cgroups.get(&id)).cloned();
        let Some(mnt_ns) = task.mnt_ns else { return };
        let user = |uid: u32| self.users.get(&(mnt_ns, uid)).cloned();
        task.names.user = task.credentials.and_then(|c| user(c.uid));
        task.names.effective = task.credentials.and_then(|c| user(c.euid));
        task.names.container = task.credentials.and_then(|c| self.claims.get(&(mnt_ns, c.uid))).cloned();
        // The host alone knows who logged in: a namespace's file is a claim of the user who made the namespace.
        let of_host = |uid: u32| self.users.get(&(self.host.unwrap_or(mnt_ns), uid)).cloned();
        task.names.audit = task.loginuid.and_then(of_host);
    }
}

fn keep<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= KEPT_MAX {
        map.clear();
    }
    map.insert(key, value);
}
