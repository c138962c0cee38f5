//! Sessions of a real sshd: every exec in the right session, none in a wrong one, as the kernel's audit log has them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, process::Command, thread};

use sensor_tests::{Stage, running, terminal::Terminal, wait};

#[test]
fn a_command_and_what_it_leaves_in_the_background_are_one_session() {
    let mut stage = Stage::audited("command");
    let file = stage.folder.open_to_all("out").join("file");
    // The last of it is a shell: coreutils close their output before they exit, and sshd need not wait for them then.
    let command = format!("id; nohup setsid sh -c \"sleep 1; touch {}; :\" & exit 3", file.display());
    let ended = stage.session(&command);
    assert_eq!(ended.code(), 3);
    assert!(ended.text().contains("sensor-test"), "{ended:?}");
    wait::until("the file of the background job", || file.exists().then_some(()));
    stage.until_sessions_end(1);

    let (records, truth) = stage.compare();
    assert_eq!(truth.sessions().len(), 1);
    let session = records.session_of(&["touch", &file.display().to_string()]);
    for args in [&["id"][..], &["sleep", "1"]] {
        assert_eq!(session.exec(args).session(), session[0].session());
    }
    let start = session.one("ssh-session-started", |_| true);
    assert_eq!(start.text("user.name"), "sensor-test");
    assert_eq!(start.text("destination.user.name"), "sensor-test");
    assert_eq!(start.text("source.ip"), "127.0.0.1");
    assert_eq!(start.text("ssh.capture"), "full");
    assert_eq!(start.text("ssh.role"), "server");
    let shell = session.exec(&["bash", "-c", &command]);
    assert_eq!(session.end_of(shell).number("process.exit_code"), Some(3));
    assert_eq!(shell.text("process.entry_leader.entry_meta.type"), "sshd");
    assert_eq!(shell.text("process.entry_leader.entry_meta.source.ip"), "127.0.0.1");
    assert_eq!(shell.text("process.working_directory"), "/home/sensor-test");
    // sshd waits for the end of the job's output: nothing was left.
    let end = session.one("ssh-session-ended", |_| true);
    assert_eq!(end.number("ssh.session.commands"), Some(1));
    assert_eq!(end.number("ssh.session.processes_surviving"), Some(0));
    assert!(end.number("event.duration").is_some_and(|duration| duration > 1_000_000_000));
}

#[test]
fn what_survives_a_session_keeps_its_id() {
    let mut stage = Stage::audited("survivor");
    let (go, file) = (stage.folder.pipe("go"), stage.folder.open_to_all("out").join("file"));
    let job = format!("read line <{}; touch {}", go.display(), file.display());
    let ended = stage.session(&format!("nohup setsid sh -c '{job}' >/dev/null 2>&1 </dev/null & exit 0"));
    assert_eq!(ended.code(), 0);
    stage.until_sessions_end(1);
    fs::write(&go, "go\n").unwrap();
    wait::until("the file of the survivor", || file.exists().then_some(()));
    stage.until("the end of touch", |r| r.is("process-ended") && r.text("process.name") == "touch");

    let (records, _) = stage.compare();
    let touch = ["touch", &file.display().to_string()];
    let session = records.session_of(&touch);
    let end = session.one("ssh-session-ended", |_| true);
    assert_eq!(end.number("ssh.session.processes_surviving"), Some(1));
    let touched = session.exec(&touch);
    assert!(touched.number("event.sequence") > end.number("event.sequence"), "touch came after the end");
    assert_eq!(records.count("ssh-session-started"), 1);
}

#[test]
fn a_terminal_with_sudo_is_one_session_and_says_who_became_whom() {
    let mut stage = Stage::audited("terminal");
    stage.account.may_sudo();
    let mut terminal = Terminal::open(&mut stage.ssh(&["-tt"]));
    terminal.run("/bin/true as-user");
    terminal.run("sudo -n /bin/true as-root");
    terminal.run("sudo -n sh -c '/bin/true below-sudo; exec /bin/true in-place'");
    terminal.run("sudo -n su - sensor-test -c '/bin/true through-su'");
    terminal.run("sudo -n su - -c '/bin/true root-through-su'");
    assert_eq!(terminal.leave("exit 4").code(), Some(4));
    stage.until_sessions_end(1);

    let uid = stage.account.uid.to_string();
    let (records, truth) = stage.compare();
    assert_eq!(truth.sessions().len(), 1);
    let session = records.session_of(&["/bin/true", "as-user"]);
    for (argument, user) in [
        ("as-user", uid.as_str()),
        ("as-root", "0"),
        ("below-sudo", "0"),
        ("in-place", "0"),
        ("through-su", uid.as_str()),
        ("root-through-su", "0"),
    ] {
        let exec = session.exec(&["/bin/true", argument]);
        assert_eq!(exec.text("user.id"), user, "{argument}");
        assert_eq!(exec.text("user.effective.id"), user, "{argument}");
        assert_eq!(exec.text("user.audit.name"), "sensor-test", "{argument}");
    }
    let sudo = session.one("process-started", |r| r.text("process.name") == "sudo" && r.args_contain("as-root"));
    assert_eq!((sudo.text("user.id"), sudo.text("user.effective.id")), (uid.as_str(), "0"));
    let end = session.one("ssh-session-ended", |_| true);
    assert_eq!(end.number("ssh.session.commands"), Some(1), "one shell");
    assert_eq!(end.number("ssh.session.processes_surviving"), Some(0));
}

/// One session's command: pipelines, subshells, exec in place, new POSIX sessions, double forks; each exec bears the
/// name. What is in the background holds the session's output, so sshd waits for it: the last of it is a shell, since
/// coreutils close their output before they exit.
fn tree(name: &str, code: i32) -> String {
    format!(
        "/bin/true {name}-1; (/bin/true {name}-2; sh -c '/bin/true {name}-3; exec /bin/true {name}-4'); \
         echo 1 2 3 | xargs -n1 -P3 /bin/true {name}-5; nohup setsid sh -c '/bin/true {name}-6' & \
         env -i /bin/true {name}-7 | cat; (sh -c '(/bin/true {name}-8; /bin/true {name}-9; :) &' &); wait; exit {code}"
    )
}

#[test]
fn fifty_sessions_at_once_are_told_apart() {
    const SESSIONS: i32 = 50;
    let mut stage = Stage::audited("fifty");
    let name = |number: i32| format!("tree{number:02}");
    thread::scope(|scope| {
        let started: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let mut ssh = stage.ssh(&[]);
                scope.spawn(move || running::finish(ssh.arg(tree(&name(number), number % 7))))
            })
            .collect();
        for (number, session) in (0..).zip(started) {
            let ended = session.join().unwrap();
            assert_eq!(ended.code(), number % 7, "{ended:?}");
        }
    });
    stage.until_sessions_end(SESSIONS as usize);

    let (records, truth) = stage.compare();
    assert_eq!(truth.sessions().len(), SESSIONS as usize);
    for number in 0..SESSIONS {
        let own = name(number);
        let session = records.session_of(&["/bin/true", &format!("{own}-1")]);
        // 1 to 4, three times 5, 6 to 9.
        let execs = session.of("process-started").filter(|r| r.text("process.name") == "true").count();
        assert_eq!(execs, 11, "{own}");
        let strange = session.of("process-started").find(|r| r.args_contain("tree") && !r.args_contain(&own));
        assert!(strange.is_none(), "in the session of {own}: {strange:?}");
        let end = session.one("ssh-session-ended", |_| true);
        assert_eq!(end.number("ssh.session.commands"), Some(1), "{own}");
        assert_eq!(end.number("ssh.session.processes_surviving"), Some(0), "{own}");
        let shell = session.exec(&["bash", "-c", &tree(&own, number % 7)]);
        assert_eq!(session.end_of(shell).number("process.exit_code"), Some((number % 7) as u64), "{own}");
    }
    // Every process with a start record has an end record, once.
    let ends = records.count("process-ended");
    let mut started: Vec<&str> = records.of("process-started").map(|r| r.text("process.entity_id")).collect();
    started.sort_unstable();
    started.dedup();
    assert_eq!(ends, started.len());
}

#[test]
fn a_login_that_fails_is_a_failed_connection_and_no_session() {
    let mut stage = Stage::new("failed", "");
    let wrong = stage.sshd.unknown_key();
    let mut ssh = stage.sshd.program("ssh");
    ssh.args(["-o", "IdentityFile=none", "-i"]).arg(wrong).args(["-o", "PreferredAuthentications=publickey"]);
    // The configured key comes first otherwise.
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-p",
    ]);
    ssh.arg(stage.sshd.port.to_string()).arg("sensor-test@127.0.0.1").arg("/bin/true never");
    let ended = running::finish(&mut ssh);
    assert_eq!(ended.code(), 255, "{ended:?}");
    assert!(ended.stderr.contains("Permission denied"), "{ended:?}");
    stage.until("the failed connection", |r| r.is("connection-closed") && r.text("event.outcome") == "failure");

    let records = stage.records();
    assert_eq!(records.count("ssh-session-started") + records.count("ssh-session-ended"), 0);
    let closed = records.one("connection-closed", |_| true);
    assert_eq!(closed.text("event.outcome"), "failure");
    assert_eq!(closed.text("source.ip"), "127.0.0.1");
    assert_eq!(closed.text("network.protocol"), "ssh");
    // Who it wanted to be, and no user that it became.
    assert_eq!(closed.text("destination.user.name"), "sensor-test");
    assert_eq!(closed.get("destination.user.id"), None, "no login");
}

#[test]
fn a_file_transfer_is_a_session_with_its_subsystem() {
    let mut stage = Stage::audited("sftp");
    let file = stage.folder.write("upload", "content");
    let place = stage.folder.open_to_all("in").join("upload");
    let batch = stage.folder.write("batch", format!("put {} {}\n", file.display(), place.display()));
    running::succeed(stage.sshd.program("sftp").arg("-b").arg(batch).arg("sensor-test@test"));
    assert_eq!(fs::read_to_string(&place).unwrap(), "content");
    stage.until_sessions_end(1);

    let (records, _) = stage.compare();
    let server = records.one("process-started", |r| r.text("process.name") == "sftp-server");
    let session = records.session(server.session());
    let end = session.one("ssh-session-ended", |_| true);
    assert_eq!(end.number("ssh.session.commands"), Some(1));
    assert!(end.number("ssh.session.bytes_in").is_some_and(|bytes| bytes > 1000), "{end:?}");
    assert!(end.number("ssh.session.bytes_out").is_some_and(|bytes| bytes > 1000), "{end:?}");
}

#[test]
fn a_session_that_only_forwards_is_told_within_seconds() {
    use std::{
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };
    let mut stage = Stage::new("forward", "");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("127.0.0.1:{free}:{}", target.local_addr().unwrap());
    let mut client = running::Running::start(&mut stage.ssh(&["-N", "-L", &forward]));
    let _through = wait::until("the forwarded port", || TcpStream::connect(("127.0.0.1", free)).ok());
    let _accepted = target.accept().unwrap();
    // The channel is open: the user is logged in.
    let login = Instant::now();
    let start = stage.until("the start of the session", |record| record.is("ssh-session-started"));
    assert!(login.elapsed() < Duration::from_secs(3), "recorded after {:?}", login.elapsed());
    assert_eq!(start.text("destination.user.name"), "sensor-test");
    // The connection that the session's server process opened.
    let target_port = u64::from(target.local_addr().unwrap().port());
    stage.until("the forwarded connection", |r| {
        r.is("connection-opened") && r.number("destination.port") == Some(target_port) && r.session() == start.session()
    });
    client.signal(rustix::process::Signal::TERM);
    client.wait();
    stage.until_sessions_end(1);

    let records = stage.records();
    let end = records.one("ssh-session-ended", |_| true);
    assert_eq!(end.session(), start.session());
    assert_eq!(end.number("ssh.session.commands"), Some(0));
    assert_eq!(end.number("ssh.session.processes_surviving"), Some(0));
    assert_eq!(end.text("user.name"), "sensor-test");
}

#[test]
fn an_exec_by_another_thread_keeps_the_process_and_names_the_thread() {
    let mut stage = Stage::audited("thread");
    let helper = stage.folder.open_to_all("bin").join("exec-from-thread");
    fs::copy(env!("CARGO_BIN_EXE_exec-from-thread"), &helper).unwrap();
    assert_eq!(stage.session(&format!("{} /bin/true from-a-thread; exit 5", helper.display())).code(), 5);
    stage.until_sessions_end(1);

    let (records, _) = stage.compare();
    let session = records.session_of(&["/bin/true", "from-a-thread"]);
    let helper = session.one("process-started", |r| r.text("process.name") == "exec-from-thread");
    let exec = session.one("process-started", |r| r.text("process.name") == "true");
    assert_eq!(helper.text("process.entity_id"), exec.text("process.entity_id"), "one process");
    assert_ne!(exec.number("process.thread.id"), None);
    assert_ne!(exec.number("process.thread.id"), exec.number("process.pid"));
    let ended = session.end_of(exec);
    assert_eq!(ended.number("process.exit_code"), Some(0));
}

#[test]
fn a_process_killed_by_a_signal_says_so() {
    let mut stage = Stage::audited("signal");
    let ended = stage.session("sh -c 'kill -9 $$'; sh -c 'kill -15 $$'; exit 6");
    assert_eq!(ended.code(), 6);
    stage.until_sessions_end(1);

    let (records, _) = stage.compare();
    for signal in [9, 15] {
        let end = records.end_of(records.exec(&["sh", "-c", &format!("kill -{signal} $$")]));
        assert_eq!(end.number("process.exit_code"), Some(128 + signal));
        assert_eq!(end.number("process.exit_signal"), Some(signal));
        assert_eq!(end.text("event.outcome"), "failure");
    }
}

#[test]
fn a_session_over_ipv6_has_its_addresses() {
    let mut stage = Stage::new("ipv6", "");
    let mut ssh: Command = stage.sshd.program("ssh");
    running::succeed(ssh.arg("sensor-test@test6").arg("/bin/true over-ipv6"));
    stage.until_sessions_end(1);

    let records = stage.records();
    let start = records.one("ssh-session-started", |_| true);
    assert_eq!((start.text("source.ip"), start.text("network.type")), ("::1", "ipv6"));
    assert_eq!(records.exec(&["/bin/true", "over-ipv6"]).text("process.entry_leader.entry_meta.source.ip"), "::1");
}
