//! TCP connections that processes of a session make: opened, closed, refused, failed at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use sensor_tests::{Record, Records, Stage};

/// A session of bash that connects, says five bytes and reads to the end.
fn talk(address: &str, port: u16) -> String {
    format!("exec 3<>/dev/tcp/{address}/{port} && printf 12345 >&3 && cat <&3")
}

/// What the records say of the connections to this port.
fn to_port(records: &Records, port: u16) -> Vec<&Record> {
    records.iter().filter(|record| record.number("destination.port") == Some(port.into())).collect()
}

fn a_connection_is_told(name: &str, address: &str, kind: &str) {
    let mut stage = Stage::new(name, "");
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(&[b'x'; 10_000]).unwrap();
        peer
    });
    let ended = stage.session(&talk(address, port));
    assert_eq!((ended.code(), ended.stdout.len()), (0, 10_000), "{ended:?}");
    let peer = server.join().unwrap();
    stage.until_sessions_end(1);
    stage.until("the end of the connection", |r| {
        r.is("connection-closed") && r.number("destination.port") == Some(port.into())
    });

    let records = stage.records();
    let about = to_port(&records, port);
    let actions: Vec<&str> = about.iter().map(|record| record.action()).collect();
    assert_eq!(actions, ["connection-opened", "connection-closed"]);
    let session = records.one("ssh-session-started", |_| true).session();
    for record in &about {
        assert_eq!(record.session(), session);
        assert_eq!(record.text("process.name"), "bash");
        assert_eq!(record.text("user.name"), "sensor-test");
        assert_eq!((record.text("source.ip"), record.text("destination.ip")), (address, address));
        assert_eq!(record.number("source.port"), Some(peer.port().into()));
        assert_eq!((record.text("network.type"), record.text("network.direction")), (kind, "egress"));
        assert_eq!(record.text("event.outcome"), "success");
    }
    assert_eq!(about[1].number("source.bytes"), Some(5), "{:?}", about[1]);
    assert_eq!(about[1].number("destination.bytes"), Some(10_000));
}

#[test]
fn a_connection_is_opened_and_closed_with_its_bytes() {
    a_connection_is_told("tcp4", "127.0.0.1", "ipv4");
}

#[test]
fn a_connection_over_ipv6_is_opened_and_closed_with_its_bytes() {
    a_connection_is_told("tcp6", "::1", "ipv6");
}

#[test]
fn a_refused_connection_says_so() {
    let mut stage = Stage::new("refused", "");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_ne!(stage.session(&talk("127.0.0.1", port)).code(), 0);
    stage.until_sessions_end(1);

    let records = stage.records();
    let [failed] = to_port(&records, port)[..] else { panic!("one record of port {port}") };
    assert!(failed.is("connection-failed"));
    assert_eq!(failed.text("error.code"), "ECONNREFUSED");
    assert_eq!(failed.text("event.outcome"), "failure");
    assert_eq!(failed.text("process.name"), "bash");
    assert!(!failed.session().is_empty());
}

#[test]
fn a_connection_that_fails_at_once_is_told() {
    let mut stage = Stage::new("no-route", "");
    stage.account.may_sudo();
    // A network namespace of its own has no route at all; the address is for documentation.
    let inner = "exec 3<>/dev/tcp/198.51.100.7/4242";
    let ended = stage.session(&format!("sudo -n unshare --net bash -c '{inner}'"));
    assert!(ended.stderr.contains("unreachable"), "{ended:?}");
    stage.until("the failed connection", |r| r.is("connection-failed"));

    let records = stage.records();
    let [failed] = to_port(&records, 4242)[..] else { panic!("one record of port 4242") };
    assert!(failed.is("connection-failed"));
    assert_eq!(failed.text("destination.ip"), "198.51.100.7");
    assert_eq!(failed.text("user.id"), "0");
    assert_eq!(failed.text("user.audit.name"), "sensor-test");
    assert!(!failed.session().is_empty());
    assert_eq!(failed.text("event.outcome"), "failure");
}

#[test]
fn connections_of_others_are_not_told_unless_all_are_wanted() {
    for (config, recorded) in [("", 0), ("[scope]\nall = true\n", 2)] {
        let mut stage = Stage::new("others", config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        drop(listener.accept().unwrap());
        // A test that itself runs in a session of SSH is recorded anyway, in that session.
        let records = if recorded == 0 { stage.records() } else { stage.sensor.stop() };
        assert_eq!(to_port(&records, port).len(), recorded, "{config}");
    }
}
