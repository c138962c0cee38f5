//! `process.*`, `user.*` and `container.*`.

use std::net::IpAddr;

use super::{base::Account, objects};
use crate::schema::ecs::{
    list::Texts,
    value::{Id, Text, Timestamp},
};

objects! {
    /// A process, as the kernel has it.
    Process<'a> {
        /// The thread group's id, in the host's pid namespace.
        pub pid: Option<u32>,
        /// A hash of boot id, pid and start: names the process for as long as the machine runs, over exec in place and
        /// restarts of the sensor.
        pub entity_id: Option<Text<'a>>,
        /// The base name of the executable; of busybox and its like, the name that it was called by. Absent where the
        /// process was gone before its executable was known.
        pub name: Option<Text<'a>>,
        /// `args[0]` as it was given, where its base name is not the executable's: a link (`sh` is dash), or a name
        /// that the caller of execve chose. Absent where both agree.
        pub title: Option<Text<'a>>,
        /// The path of the file that the kernel executed, links resolved, in the process's own root.
        pub executable: Option<Text<'a>>,
        /// The arguments, from the process's memory at exec, secrets replaced; at most 48 KiB. At the start only.
        pub args: Option<Texts<'a>>,
        /// How many arguments there were, also those that were cut. At the start only.
        pub args_count: Option<u32>,
        /// The arguments joined by spaces, at most 4 KiB.
        pub command_line: Option<Text<'a>>,
        /// At the start only, in the process's own root.
        pub working_directory: Option<Text<'a>>,
        /// When the process was forked; of one that was there before the sensor to 10 ms, as /proc knows it.
        pub start: Option<Timestamp>,
        /// When its last thread exited. At the end only.
        pub end: Option<Timestamp>,
        /// The exit code, 128+n for a signal. At the end only.
        pub exit_code: Option<u16>,
        /// The number of the signal that ended it. Absent where it exited.
        pub exit_signal: Option<u8>,
        pub thread: Option<Thread>,
        pub parent: Option<Parent<'a>>,
        /// The leader of the POSIX session. Absent where it is not known any more.
        pub session_leader: Option<Leader<'a>>,
        /// The process that serves the SSH session that this one descends from. Absent outside of sessions.
        pub entry_leader: Option<EntryLeader<'a>>,
    }

    /// A thread.
    Thread {
        /// The thread that called execve. Absent where that is the leader.
        pub id: Option<u32>,
    }

    /// The parent process, as it was when it forked if it is gone.
    Parent<'a> {
        /// Its thread group's id.
        pub pid: Option<u32>,
        /// As `process.entity_id`.
        pub entity_id: Option<Text<'a>>,
        /// The base name of its executable. Absent where the parent was never seen.
        pub name: Option<Text<'a>>,
        /// The path of its executable. Absent where the parent was never seen.
        pub executable: Option<Text<'a>>,
    }

    /// A leader.
    Leader<'a> {
        /// Its thread group's id.
        pub pid: Option<u32>,
        /// As `process.entity_id`.
        pub entity_id: Option<Text<'a>>,
    }

    /// Where a session of processes began.
    EntryLeader<'a> {
        /// Its thread group's id.
        pub pid: Option<u32>,
        /// As `process.entity_id`.
        pub entity_id: Option<Text<'a>>,
        pub entry_meta: Option<EntryMeta<'a>>,
    }

    /// How it was entered.
    EntryMeta<'a> {
        /// Always `sshd`.
        #[serde(rename = "type")]
        pub kind: Option<Text<'a>>,
        pub source: Option<EntrySource>,
    }

    /// From where.
    EntrySource {
        /// The address of the SSH client.
        pub ip: Option<IpAddr>,
    }

    /// Who acts. In the server role of SSH: who logs in.
    User<'a> {
        /// The real uid.
        pub id: Option<Id>,
        /// The name, from the host's passwd file; in the server role of SSH the name that was asked for. Absent where
        /// the file has none, or where the process runs in a mount namespace with another file.
        pub name: Option<Text<'a>>,
        /// The effective user.
        pub effective: Option<Account<'a>>,
        /// The login's user: the kernel's loginuid, which sudo and su do not change. Absent where no login set one.
        pub audit: Option<Account<'a>>,
    }

    /// The container that the process runs in; in a deploy's step the one that it acts on.
    Container<'a> {
        /// 64 hex digits, from the path of the process's cgroup. Absent outside of containers.
        pub id: Option<Text<'a>>,
        /// The name that a deploy's command gives it.
        pub name: Option<Text<'a>>,
        pub image: Option<Box<Image<'a>>>,
        pub user: Option<ContainerUser<'a>>,
    }

    /// A container's image, as a deploy's command names it.
    Image<'a> {
        /// Registry and repository.
        pub name: Option<Text<'a>>,
        /// The tag. Absent where the command has none.
        pub tag: Option<Text<'a>>,
    }

    /// A claim.
    ContainerUser<'a> {
        /// What the container's passwd file calls the real user: a claim of who wrote that file.
        pub name: Option<Text<'a>>,
    }
}
