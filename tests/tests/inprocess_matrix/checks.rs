//! One run's records against what its program, the library's log and sshd's log say.

use sensor_tests::{
    Record, Records,
    attempts::{self, Attempt},
    clients::Library,
    lab,
};

use super::{Case, Run, Stage};

pub(crate) fn check(stage: &Stage, run: &Run, records: &Records) {
    let shown = format!("{:?} {:?}", run.library, run.case);
    let port = stage.lab.sshd.port;
    let (server, client) = (records.of_server(port), records.of_clients(port));
    // The outermost connection; that of a jump comes later, from another program or from sshd.
    let own = client.of("ssh-connection").find(|record| record.pid() == run.done.pid);
    let own = own.unwrap_or_else(|| panic!("{shown}: no record of the client's"));
    let id = own.text("ssh.connection.id");
    assert_eq!(id.len(), 32, "{shown}");
    let of_it =
        |records: &Records| Records(records.iter().filter(|r| r.text("ssh.connection.id") == id).cloned().collect());
    let (near, far) = (of_it(&client), of_it(&server));
    for (who, side) in [("client", &near), ("server", &far)] {
        handshake(&format!("{shown}: {who}"), stage, run, side.one("ssh-connection", |_| true));
    }
    attributed(&shown, stage, run, own);
    end(&shown, run, &near);
    host_key(&shown, stage, run, near.one("ssh-host-key", |_| true));
    assert_eq!(far.count("ssh-host-key"), 0, "{shown}: a server shows its own");
    let truth = attempts(stage, run);
    if run.case.knows_host() || run.case.succeeds() {
        assert!(!truth.is_empty(), "{shown}: {}", run.done.log);
    }
    assert_eq!(attempts::by_records(far.iter()), truth, "{shown}: the server's records and the client's log");
    let logged = attempts::by_sshd(&stage.lab.sshd.log(), own.number("source.port").unwrap());
    // sshd does not write the attempt without a method.
    let rest: Vec<&Attempt> = truth.iter().filter(|recorded| recorded.method != "none").collect();
    let fits = |one: &Vec<Attempt>| {
        one.len() == rest.len() && one.iter().zip(&rest).all(|(l, recorded)| recorded.is_logged_as(l))
    };
    assert!(logged.iter().any(fits), "{shown}: sshd says {logged:#?}, the client {rest:#?}");
    acts(&format!("{shown}: server"), stage, run, &far);
    assert_eq!(attempts::by_records(near.iter()), truth, "{shown}: the client's records and its log");
    acts(&format!("{shown}: client"), stage, run, &near);
    if run.case == Case::RefusedPort {
        let refused = records.one("connection-failed", |record| record.pid() == run.done.pid);
        assert_eq!(refused.number("destination.port"), Some(stage.nobody.into()), "{shown}");
        assert_eq!((refused.text("error.code"), refused.text("network.protocol")), ("ECONNREFUSED", "ssh"), "{shown}");
        assert_eq!(refused.text("ssh.application.name"), own.text("ssh.application.name"), "{shown}");
        assert_eq!(refused.text("user.name"), stage.app.account.name, "{shown}");
        assert_ne!(refused.session(), own.session(), "{shown}");
    }
    if run.case == Case::Jump {
        inner(&shown, run, &server, records);
    }
}

/// What both ends say of the key exchange, against the client's log.
fn handshake(shown: &str, stage: &Stage, run: &Run, record: &Record) {
    let log = |python: &str, ruby: &str| {
        let prefix =
            if run.library.is_python() { format!("paramiko.transport: {python}: ") } else { format!("* {ruby}: ") };
        run.done.logged(&prefix).unwrap_or_else(|| panic!("{shown}: no {prefix} in {}", run.done.log)).to_owned()
    };
    // A client that leaves right after the key exchange has sent nothing that could be decrypted.
    if run.case.knows_host() || run.case.succeeds() {
        assert_eq!(record.text("ssh.capture"), "full", "{shown}");
    }
    assert_eq!(record.text("ssh.kex"), log("Kex", "kex"), "{shown}");
    for (field, ruby) in [("client_to_server", "client"), ("server_to_client", "server")] {
        assert_eq!(
            record.text(&format!("ssh.cipher.{field}")),
            log("Cipher", &format!("encryption_{ruby}")),
            "{shown}"
        );
        assert_eq!(record.text(&format!("ssh.mac.{field}")), log("MAC", &format!("hmac_{ruby}")), "{shown}");
    }
    assert_eq!(record.text("ssh.host_key.type"), log("HostKey", "host_key"), "{shown}");
    let fingerprint = lab::fingerprint(&stage.lab.sshd.file("host_key.pub"));
    assert_eq!(record.text("ssh.host_key.fingerprint"), fingerprint, "{shown}");
    assert!(record.text("ssh.server.software").starts_with("OpenSSH_"), "{shown}");
    let version = run.done.one("begin")["version"].as_str().unwrap();
    let software = match run.library.is_python() {
        true => format!("paramiko_{version}"),
        false => format!("Ruby/Net::SSH_{version} "),
    };
    assert!(record.text("ssh.client.software").starts_with(&software), "{shown}: {software}");
    assert_eq!((record.text("source.ip"), record.text("destination.ip")), ("127.0.0.1", "127.0.0.1"), "{shown}");
    assert_eq!(record.number("destination.port"), Some(stage.lab.sshd.port.into()), "{shown}");
    if let Some(port) = run.done.of("connect").find_map(|recorded| recorded["port"].as_u64()) {
        assert_eq!(record.number("source.port"), Some(port), "{shown}");
    }
}

/// Whose connection it is.
fn attributed(shown: &str, stage: &Stage, run: &Run, own: &Record) {
    let name = if run.library.is_python() { "python3" } else { "ruby" };
    assert!(own.text("process.name").starts_with(name), "{shown}");
    assert_eq!(own.text("user.name"), stage.app.account.name, "{shown}");
    assert_eq!(own.text("user.id"), stage.app.account.uid.to_string(), "{shown}");
    assert_eq!(own.number("process.parent.pid"), Some(std::process::id().into()), "{shown}");
    let script = if run.library.is_python() { "paramiko_client.py" } else { "net_ssh_client.rb" };
    assert_eq!(own.text("ssh.application.name"), script, "{shown}");
    assert_eq!(own.text("ssh.application.script"), stage.folder.join(script).display().to_string(), "{shown}");
    let venv = own.text("ssh.application.venv");
    match run.library {
        Library::ParamikoNewest | Library::ParamikoOld => {
            assert!(venv.starts_with(&stage.folder.display().to_string()), "{shown}: {venv}");
        }
        _ => assert_eq!(venv, "", "{shown}"),
    }
}

/// How the client's connection ended, where it was no session.
fn end(shown: &str, run: &Run, near: &Records) {
    let recorded: Vec<(&str, &str)> =
        near.of("connection-closed").map(|r| (r.text("event.outcome"), r.text("error.code"))).collect();
    let early = !run.library.is_python();
    let expected: &[(&str, &str)] = match run.case {
        Case::WrongPassword | Case::WrongKey => &[("failure", "authentication_failed")],
        // Net::SSH looks before it sends its NEWKEYS, Paramiko after.
        Case::UnknownHost | Case::ChangedHost => &[("failure", "host_key_not_accepted")],
        _ => &[],
    };
    assert_eq!(recorded, expected, "{shown}");
    let connection = near.one("ssh-connection", |_| true);
    let without_keys = early && matches!(run.case, Case::UnknownHost | Case::ChangedHost);
    let code = if without_keys { ("failure", "host_key_not_accepted") } else { ("success", "") };
    assert_eq!((connection.text("event.outcome"), connection.text("error.code")), code, "{shown}");
}

/// What the application's files say of the server's key, and whether it went on.
fn host_key(shown: &str, stage: &Stage, run: &Run, record: &Record) {
    let status = match run.case {
        Case::UnknownHost | Case::UnknownHostAdded | Case::UnknownHostIgnored => "unknown",
        Case::ChangedHost => "changed",
        _ => "known",
    };
    assert_eq!(record.text("ssh.host_key.status"), status, "{shown}: {record:?}");
    let fingerprint = lab::fingerprint(&stage.lab.sshd.file("host_key.pub"));
    assert_eq!(record.text("ssh.host_key.fingerprint"), fingerprint, "{shown}");
    assert_eq!(record.get("ssh.host_key.host_matched"), (status == "known").then_some(&true.into()), "{shown}");
    assert_eq!(record.pid(), run.done.pid, "{shown}");
    let went_on = run.case.knows_host() || run.case.succeeds();
    assert_eq!(record.text("event.outcome"), if went_on { "success" } else { "failure" }, "{shown}");
}

/// By the client's own log.
fn attempts(stage: &Stage, run: &Run) -> Vec<Attempt> {
    let key = if run.case == Case::WrongKey { "stranger" } else { "ed25519" };
    let (user, fingerprint) = (&stage.lab.one.name, stage.lab.fingerprint(key));
    let read = if run.library.is_python() { attempts::by_paramiko } else { attempts::by_net_ssh };
    let mut all = read(&run.done.log, user, &fingerprint);
    // The inner connection of a jump writes into the same log.
    if run.case == Case::Jump {
        all.truncate(all.len() / 2);
    }
    all
}

/// One side's records of a connection against what the program says that it did.
fn acts(shown: &str, stage: &Stage, run: &Run, side: &Records) {
    let expected = usize::from(run.case.succeeds());
    for action in ["ssh-session-started", "ssh-session-ended"] {
        assert_eq!(side.count(action), expected, "{shown}: {action}");
    }
    let of_connection: Vec<_> =
        run.done.acts.iter().filter(|act| act["act"] != "exec" || run.case != Case::Jump).collect();
    let of = |name: &str| of_connection.iter().filter(|act| act["act"] == name).copied().collect::<Vec<_>>();
    let commands: Vec<(&str, String, Option<u64>, bool)> = side
        .of("ssh-command-ended")
        .map(|r| {
            let pty = r.get("ssh.command.pty") == Some(&true.into());
            (
                r.text("ssh.command.kind"),
                r.text("ssh.command.line").to_owned(),
                r.number("ssh.command.exit_status"),
                pty,
            )
        })
        .collect();
    let mut truth = Vec::new();
    for act in &of_connection {
        let line = || act["line"].as_str().unwrap().to_owned();
        match act["act"].as_str().unwrap() {
            "exec" => truth.push(("exec", line(), act["status"].as_u64(), false)),
            // It vanished before the end.
            "start" => truth.push(("exec", line(), None, false)),
            "shell" => truth.push(("shell", String::new(), act["status"].as_u64(), true)),
            "sftp" => truth.push(("subsystem", "sftp".into(), Some(0), false)),
            _ => {}
        }
    }
    assert_eq!(commands, truth, "{shown}");
    assert_eq!(side.count("ssh-command-started"), truth.len(), "{shown}");
    if let [sftp] = of("sftp")[..] {
        assert_eq!(sftp["same"], true, "{shown}");
        let closed = side.one("ssh-channel-closed", |_| true);
        for bytes in ["ssh.channel.bytes_in", "ssh.channel.bytes_out"] {
            assert!(closed.number(bytes).unwrap() > 300_000, "{shown}: {closed:?}");
        }
    }
    if let [reverse] = of("reverse")[..] {
        let asked = side.one("ssh-forward-requested", |r| r.text("ssh.forward.type") == "tcpip-forward");
        assert_eq!(asked.text("event.outcome"), "success", "{shown}");
        assert_eq!(asked.number("ssh.forward.bind_port"), reverse["port"].as_u64(), "{shown}");
        let closed = side.one("ssh-channel-closed", |r| r.text("ssh.channel.type") == "forwarded-tcpip");
        let bytes = [closed.number("ssh.channel.bytes_in"), closed.number("ssh.channel.bytes_out")];
        assert!(bytes.contains(&Some(5)) && bytes.contains(&Some(0)), "{shown}: {bytes:?}");
    }
    if let [good, bad] = of("direct")[..] {
        assert_eq!((&good["got"], &bad["code"]), (&"12345".into(), &2.into()), "{shown}");
        let opened =
            side.one("ssh-channel-opened", |r| r.number("ssh.channel.destination.port") == Some(stage.echo.into()));
        assert_eq!(
            (opened.text("ssh.channel.type"), opened.text("event.outcome")),
            ("direct-tcpip", "success"),
            "{shown}"
        );
        let closed = side.one("ssh-channel-closed", |r| r.text("ssh.channel.type") == "direct-tcpip");
        let bytes = [closed.number("ssh.channel.bytes_in"), closed.number("ssh.channel.bytes_out")];
        assert_eq!(bytes, [Some(5), Some(5)], "{shown}");
        let refused =
            side.one("ssh-channel-opened", |r| r.number("ssh.channel.destination.port") == Some(stage.nobody.into()));
        assert_eq!(refused.text("ssh.channel.reason"), "connect_failed", "{shown}");
    }
}

/// The connection inside a jump's: its server knows it; its client has no socket for it.
fn inner(shown: &str, run: &Run, server: &Records, records: &Records) {
    let said = run.done.one("exec");
    assert_eq!((&said["out"], &said["status"]), (&"inner\n".into(), &6.into()), "{shown}");
    // Each library's inner command has the same line: as many as there are such runs.
    let fits = |r: &&Record| {
        r.text("ssh.command.line") == "echo inner; exit 6" && r.number("ssh.command.exit_status") == Some(6)
    };
    assert_eq!(server.of("ssh-command-ended").filter(fits).count(), Library::ALL.len(), "{shown}");
    let own = |r: &&Record| fits(r) && r.text("ssh.role") == "client" && r.pid() == run.done.pid;
    assert_eq!(records.of("ssh-command-ended").filter(own).count(), 1, "{shown}");
}
