//! Configuration files that changed.
//!
//! What enters: facts about a file (`host::config_files`), with what it held before. What leaves:
//! `deploy-config-changed` where it holds something else now, with who did it and the session he was in;
//! `sensor-degraded` where a file is not read. At a deploy it is compared with the last deploy, in between with when it
//! was last looked at. Who changed it can have ended by now: the table remembers the processes that ended last.

use super::{
    deploys::{Deploys, Of},
    health,
    lineage::Lineage,
    ssh::Ssh,
};
use crate::{
    event::{
        config_file::{Author, Cause, ConfigFile, Contents},
        stream::Degraded,
        text::escape,
    },
    finding::{
        Account, Field, Finding, FindingKind, Outcome, User,
        deploy::{ConfigChange, FileHash},
    },
};

/// The finding of a file that differs from before, or that is not read any more.
pub(super) fn finding(
    time: u64,
    file: &ConfigFile,
    lineage: &Lineage,
    ssh: &Ssh,
    deploys: &Deploys,
) -> Option<Finding> {
    if let Contents::Unread(why) = file.now {
        let known = file.before.is_some_and(|before| matches!(before, Contents::Unread(_)));
        let degraded = Degraded {
            what: format!("configuration file {}", escape(&file.path.bytes).0),
            why: why.to_string(),
            effect: "its changes are not seen".into(),
        };
        return (!known).then(|| health::degraded(lineage.time(time), &degraded));
    }
    let before = file.before.filter(|before| *before != file.now)?;
    let (path, escaped) = escape(&file.path.bytes);
    let change = ConfigChange {
        path: path.into_owned(),
        now: hash(file.now).map(|sha256| FileHash { sha256, secret: file.secret }),
        previous: hash(before),
        keyed: true,
    };
    let kind = FindingKind::DeployConfigChanged(Box::new(change));
    let mut finding = Finding::new(lineage.time(file.at), Outcome::Success, kind);
    if escaped {
        finding.quality.escaped.add(Field::FilePath);
    }
    finding.quality.inferred = file.inferred;
    let process = match file.cause {
        Cause::Deploy(id) | Cause::Changed(Author::Process(id)) => lineage.process_or_remembered(id),
        Cause::Changed(Author::Gone { tgid }) => lineage.by_tgid_or_remembered(tgid),
        Cause::Changed(Author::Unknown) | Cause::Start => None,
    };
    // Who did it, and the session that the process belongs to.
    if let Some(process) = process {
        let subject = &mut finding.subject;
        lineage.describe_process(subject, process.id, Some(process));
        if let Some(fields) = &mut subject.process {
            fields.command_line.clone_from(&process.command_line);
        }
        subject.user =
            process.user.clone().map(|(id, name)| User { real: Account { id: Some(id), name }, ..User::default() });
        lineage.describe_membership(subject, process.session);
        ssh.describe_membership(subject, process.session);
        deploys.label(Of::Process(process), subject);
    }
    Some(finding)
}

fn hash(contents: Contents) -> Option<[u8; 32]> {
    match contents {
        Contents::Hash(hash) => Some(hash),
        Contents::Missing | Contents::Unread(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        correlate::{Correlate, Scope},
        event::{
            config_file::Unread,
            stream::{Credentials, Event, EventKind, Exec, Exit, Fork, Limits, Names, Path, ProcessId, Status, Task},
        },
        finding::Time,
    };

    const OLD: Contents = Contents::Hash([1; 32]);
    const NEW: Contents = Contents::Hash([2; 32]);

    fn task(tgid: u32) -> Task {
        Task {
            id: ProcessId { tgid, start: 5 },
            tid: tgid,
            parent: Some(ProcessId { tgid: 1, start: 0 }),
            sid: None,
            credentials: Some(Credentials { uid: 1000, euid: 1000, gid: 1000, egid: 1000 }),
            loginuid: None,
            audit_session: None,
            mnt_ns: None,
            pid_ns: None,
            cgroup: None,
            comm: b"sed".to_vec(),
            names: Names::default(),
        }
    }

    /// A `sed` that came, and maybe went.
    fn correlate(ended: bool) -> Correlate {
        let limits = Limits { processes: 10, sessions: 10, connections: 10 };
        let mut correlate = Correlate::new(limits, Scope::default());
        let fork = Fork { task: task(7), creator: ProcessId { tgid: 1, start: 0 }, served: None };
        let exec = Exec {
            task: task(7),
            file: None,
            role: None,
            executable: Some(Path { bytes: b"/usr/bin/sed".to_vec(), cut: false }),
            working_directory: None,
            args: crate::event::stream::Args::default(),
            argc: 1,
            served: None,
            thread: None,
            stamp: None,
        };
        let mut events = vec![EventKind::Fork(fork), EventKind::Exec(Box::new(exec))];
        if ended {
            events.push(EventKind::Exit(Exit { task: task(7), status: Status::Code(0) }));
        }
        for (time, what) in (1..).zip(events) {
            correlate.observe(&Event { time, what }, &mut Vec::new());
        }
        correlate
    }

    fn file(cause: Cause, now: Contents, before: Option<Contents>) -> ConfigFile {
        let path = Path { bytes: b"/srv/a/config/deploy.yml".to_vec(), cut: false };
        ConfigFile { path, secret: false, cause, at: 9, now, before, inferred: false }
    }

    fn change(finding: &Finding) -> &ConfigChange {
        let FindingKind::DeployConfigChanged(change) = &finding.kind else { panic!("{finding:?}") };
        change
    }

    fn told(ended: bool, file: ConfigFile) -> Vec<Finding> {
        let mut out = Vec::new();
        correlate(ended).observe(&Event { time: 10, what: EventKind::ConfigFile(Box::new(file)) }, &mut out);
        out
    }

    #[test]
    fn a_change_is_told_with_both_hashes_and_who_made_it_even_if_that_has_ended() {
        for (ended, author) in [
            (false, Author::Process(task(7).id)),
            (true, Author::Process(task(7).id)),
            (true, Author::Gone { tgid: 7 }),
        ] {
            let records = told(ended, file(Cause::Changed(author), NEW, Some(OLD)));
            let [record] = records.as_slice() else { panic!("{records:?}") };
            assert_eq!(record.time, Time(9));
            let process = record.subject.process.as_ref().unwrap();
            assert_eq!((process.pid, process.executable.as_deref()), (7, Some("/usr/bin/sed")), "{author:?}");
            assert_eq!(record.subject.user.as_ref().unwrap().real.id, Some(1000));
            let config = change(record);
            assert_eq!(config.now.unwrap().sha256, [2; 32]);
            assert_eq!(config.previous, Some([1; 32]));
            assert!(record.subject.ssh.is_none() && !record.quality.inferred);
        }
    }

    #[test]
    fn nothing_is_told_of_what_is_the_same_or_new() {
        let at_start = |now, before| told(false, file(Cause::Start, now, before)).len();
        assert_eq!(at_start(NEW, Some(NEW)), 0);
        assert_eq!(at_start(NEW, None), 0);
        assert_eq!(at_start(Contents::Missing, Some(Contents::Missing)), 0);
        assert_eq!(at_start(NEW, Some(Contents::Missing)), 1);
        assert_eq!(at_start(Contents::Missing, Some(OLD)), 1);
    }

    #[test]
    fn a_file_that_is_not_read_is_said_once() {
        let large = |bytes| Contents::Unread(Unread::TooLarge { bytes });
        let records = told(false, file(Cause::Deploy(task(7).id), large(5 << 20), Some(OLD)));
        assert_eq!(records.len(), 1);
        let FindingKind::SensorDegraded(degraded) = &records[0].kind else { panic!("{records:?}") };
        assert!(degraded.what.contains("/srv/a/config/deploy.yml") && degraded.why.contains("5242880"), "{degraded:?}");
        assert_eq!(told(false, file(Cause::Deploy(task(7).id), large(6 << 20), Some(large(5 << 20)))).len(), 0);
        // What it was before that is not known: nothing is made up.
        let back = told(false, file(Cause::Start, NEW, Some(large(5))));
        assert_eq!(change(&back[0]).previous, None);
    }

    #[test]
    fn a_secret_is_marked_as_keyed_and_related_to_nothing() {
        let secret = ConfigFile { secret: true, inferred: true, ..file(Cause::Start, NEW, Some(OLD)) };
        let records = told(false, secret);
        let change = change(&records[0]);
        assert!(change.keyed && change.now.unwrap().secret && records[0].quality.inferred);
    }
}
