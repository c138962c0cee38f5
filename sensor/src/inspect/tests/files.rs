//! What users put where a file is expected; and which process a question is about.

use std::os::unix::{fs::symlink, net::UnixListener};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, ""));
    let at = |name: &str| folder.path().join(name);
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
    mknodat(CWD, at("zero"), FileType::CharacterDevice, mode, rustix::fs::makedev(1, 5)).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("fifo", at("link")).unwrap();
    for name in ["fifo", "zero", "socket", "folder", "link"] {
        assert_eq!(lab.read(&user.subject(), &at(name)), Err(Unknown::Refused(Why::Kind)), "{name}");
    }
    for path in [at("loop"), "/proc/self/mem/".into(), "/proc/self/exe".into()] {
        assert!(matches!(lab.read(&user.subject(), &path), Err(Unknown::Budget | Unknown::Refused(_))), "{path:?}");
    }
    assert_eq!(lab.read(&user.subject(), &at("nothing")), Err(Unknown::Refused(Why::Absent)));
    let large = fs::File::create(at("large")).unwrap();
    large.set_len(1 << 40).unwrap();
    assert_eq!(lab.read(&user.subject(), &at("large")), Err(Unknown::Budget), "a terabyte of nothing");
    assert_eq!(lab.inspector.counters().deadline, 0);
}

#[test]
fn names_come_with_the_file_that_says_so() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let question = Question::Names { uids: vec![0, 4_000_000] };
    let ticket = lab.inspector.ask(&user.subject(), question, PATIENCE).unwrap();
    let Said::Answer(Answer::Names(names)) = lab.wait(ticket).answer.unwrap() else { panic!() };
    let metadata = fs::metadata("/etc/passwd").unwrap();
    assert_eq!(names.file.inode, std::os::unix::fs::MetadataExt::ino(&metadata));
    assert_eq!((names.names, names.cut), (vec![(0, "root".into())], false));
}

#[test]
fn a_number_that_is_another_processs_is_gone_and_a_fallback_lends_its_root_only() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, ""));
    let path = super::file(&folder, "own", (1234, 1234), 0o600);
    let mut subject = user.subject();
    subject.process.start += 1;
    assert_eq!(lab.read(&subject, &path), Err(Unknown::Gone));
    subject.process.tgid = u32::MAX;
    assert_eq!(lab.read(&subject, &path), Err(Unknown::Gone));
    subject.fallback = vec![ProcessId { tgid: u32::MAX, start: 1 }, own().process];
    assert_eq!(lab.read(&subject, &path), Ok(b"own".into()), "with the rights of the subject");
    let root = super::file(&folder, "root", (0, 0), 0o600);
    assert_eq!(lab.read(&subject, &root), Err(Unknown::Refused(Why::Permission)));
    assert_eq!(lab.try_bytes(&subject, Trial::Content), Err(Unknown::Gone), "not what the fallback executes");
    assert_eq!(lab.try_bytes(&subject, Trial::Environ), Err(Unknown::Gone));
    assert_eq!(lab.try_bytes(&subject, Trial::Cmdline), Err(Unknown::Gone));
    subject.mnt_ns = Some(7);
    assert_eq!(lab.read(&subject, &path), Err(Unknown::Gone), "it is in another mount namespace");
}

#[test]
fn descriptors_come_with_an_answer_if_closing_them_never_waits() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, ""));
    let path = super::file(&folder, "own", (1234, 1234), 0o600);
    let ticket = lab.send(&user.subject(), Trial::Descriptor(path.to_str().unwrap().into()), PATIENCE);
    let reply = lab.wait(ticket);
    let [descriptor] = <[_; 1]>::try_from(reply.descriptors).unwrap();
    let found = file::stat(&descriptor, "").unwrap();
    assert!(rustix::fs::fcntl_getfl(&descriptor).unwrap().contains(rustix::fs::OFlags::PATH));
    assert_eq!(found.file.inode, std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap()));
    let ticket = lab.send(&user.subject(), Trial::ReadDescriptor(path.to_str().unwrap().into()), PATIENCE);
    let reply = lab.wait(ticket);
    assert_eq!((reply.answer, reply.descriptors.len()), (Err(Unknown::Crashed), 0), "not O_PATH");
    assert_eq!(lab.inspector.counters().children.distrusted, 1);
}

#[test]
fn a_survey_finds_this_process_and_ends() {
    let mut lab = Lab::new();
    let (pids, skipped) = survey(&mut lab, Survey::Pids);
    assert!(pids.contains(&std::process::id()) && pids.is_sorted());
    assert!(skipped.is_empty());
}

#[test]
fn a_survey_that_hangs_or_crashes_at_a_process_continues_behind_it() {
    let mut lab = Lab::new();
    let [one, two, three] = [(); 3].map(|()| User::new(1234, 1234, ""));
    let [hangs, crashes, last] = [&one, &two, &three].map(|user| user.0.id());
    let (pids, mut skipped) = survey(&mut lab, Survey::Trial { hangs, crashes });
    assert!(pids.contains(&1) && pids.contains(&last));
    assert!(!pids.contains(&hangs) && !pids.contains(&crashes));
    skipped.sort_unstable();
    assert_eq!(skipped, [hangs, crashes]);
    assert_eq!(lab.inspector.counters().children.survey_hangs, 2);
}

/// Processes found, and those passed over.
fn survey(lab: &mut Lab, survey: Survey) -> (Vec<u32>, Vec<u32>) {
    let ticket = lab.inspector.survey(survey).unwrap();
    let mut pids = Vec::new();
    loop {
        lab.turn();
        for reply in lab.replies.remove(&ticket).unwrap_or_default() {
            match reply.answer.unwrap() {
                Said::Item(item) => match *item {
                    SurveyItem::Pid(pid) => pids.push(pid),
                    other => panic!("{other:?}"),
                },
                Said::End { skipped } => return (pids, skipped),
                Said::Answer(answer) => panic!("{answer:?}"),
            }
        }
    }
}
