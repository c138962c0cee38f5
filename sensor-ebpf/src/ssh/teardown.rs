//! What is forgotten when a thread, a process or a connection ends.

use sensor_common::{
    map::Tgid,
    ssh_map::{Connection, ConnectionKey, ThreadId, process_flag},
};

use super::maps::{CONNECTIONS, CONTEXTS, PROCESSES, THREADS};
use crate::shared::get;

/// A thread is gone.
#[inline(always)]
pub fn thread_ends(pid_tgid: u64) {
    let _ = THREADS.remove(ThreadId { pid_tgid });
}

/// A process is gone.
#[inline(always)]
pub fn process_ends(tgid: u32) {
    let _ = PROCESSES.remove(Tgid { tgid });
}

/// A connection is over: `place` is that of its `ConnectionKey`.
#[inline(always)]
pub fn ends(place: u64) {
    let key = ConnectionKey { place };
    if let Some(connection) = CONNECTIONS.get_ptr(key) {
        forget_contexts(connection);
        let _ = CONNECTIONS.remove(key);
    }
}

/// Forgets the cipher contexts of a connection, and their processes where they had no other connection.
#[inline(always)]
fn forget_contexts(connection: *const Connection) {
    // SAFETY: a live value of the map; numbers are copied out at once.
    let (id, keys) = unsafe { (get!(connection.id), [get!(connection.contexts[0]), get!(connection.contexts[1])]) };
    for key in keys {
        if key.address != 0 {
            let _ = CONTEXTS.remove(key);
            let owner = Tgid { tgid: key.tgid };
            // SAFETY: as above.
            let its = PROCESSES.get_ptr(owner).is_some_and(|process| unsafe {
                get!(process.connection) == id && get!(process.flags) & process_flag::MANY == 0
            });
            if its {
                let _ = PROCESSES.remove(owner);
            }
        }
    }
}
