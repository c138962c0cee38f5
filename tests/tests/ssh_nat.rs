//! `ssh.connection.id` joins the records of the two ends of a connection, whatever is between them. Real ssh and sshd
//! in network namespaces, the sensor on their host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use sensor_tests::{
    Account, Folder, Machine, Record, Records, Sensor, Sshd,
    lab::fingerprint,
    nat::{Nat, Place, ROUTER_PORTS},
    running,
};

/// A port that the router has for the server.
const PUBLIC: u16 = 2222;

/// (source, destination) with their ports.
fn ends(record: &Record) -> [(String, u64); 2] {
    ["source", "destination"].map(|end| {
        let port = record.number(&format!("{end}.port")).unwrap();
        (record.text(&format!("{end}.ip")).to_owned(), port)
    })
}

fn connection<'a>(records: &'a Records, role: &str, port: u16) -> &'a Record {
    let is = |r: &Record| r.text("ssh.role") == role && r.number("destination.port") == Some(port.into());
    records.one("ssh-connection", is)
}

#[test]
fn a_connection_has_one_id_on_both_ends_directly_and_through_a_nat() {
    let _machine = Machine::take();
    let folder = Folder::new("nat");
    let account = Account::create("sensor-test");
    let nat = Nat::create();
    let server = Place::Server.address();
    let sshd = Sshd::start_by(&Place::Server.prefix(), &folder, &format!("ListenAddress {server}\n"), "");
    let mut sensor = Sensor::run(&folder, "");
    let login = |address: &str, port: u16, code: i32| {
        let (host, port) = (format!("HostName={address}"), port.to_string());
        let mut ssh = sshd.ssh(&account.name, &["-o", &host, "-p", &port]);
        let ended = running::finish(&mut Place::Client.inside(ssh.arg(format!("exit {code}"))));
        assert_eq!(ended.code(), code, "{ended:?}");
    };
    login(&server.to_string(), sshd.port, 3);
    // One end's records are those of one connection.
    sensor.until_sessions_end(sshd.port, 1);
    let direct = sensor.stop();
    direct.assert_nothing_lost();

    nat.translate(PUBLIC, sshd.port);
    let mut sensor = Sensor::run(&folder.private("through"), "");
    login(&Place::Router.address().to_string(), PUBLIC, 4);
    sensor.until_sessions_end(sshd.port, 1);
    let through = sensor.stop();
    through.assert_nothing_lost();

    for (records, port, code) in [(&direct, sshd.port, 3), (&through, PUBLIC, 4)] {
        let (client, server) = (connection(records, "client", port), connection(records, "server", sshd.port));
        let id = client.text("ssh.connection.id");
        assert_eq!(id.len(), 32);
        assert_eq!(id, server.text("ssh.connection.id"));
        let host_key = fingerprint(&sshd.file("host_key.pub"));
        for end in [client, server] {
            assert_eq!(end.text("ssh.host_key.fingerprint"), host_key);
        }
        // Every record of the two ends has it.
        for role in ["client", "server"] {
            let own = |r: &&Record| r.text("ssh.role") == role && r.text("ssh.connection.id") == id;
            let is = |action: &str| records.of(action).filter(own).count();
            let login = records.of("ssh-authentication").filter(own);
            assert_eq!(login.filter(|r| r.text("event.outcome") == "success").count(), 1, "{role}");
            assert_eq!((is("ssh-session-started"), is("ssh-session-ended")), (1, 1), "{role}");
            let ended = records.one("ssh-command-ended", |r| r.text("ssh.role") == role);
            assert_eq!((ended.text("ssh.connection.id"), ended.number("ssh.command.exit_status")), (id, Some(code)));
        }
    }
    let (client, server) = (connection(&direct, "client", sshd.port), connection(&direct, "server", sshd.port));
    assert_eq!(ends(client), ends(server));
    assert_eq!(client.text("network.community_id"), server.text("network.community_id"));

    let (client, server) = (connection(&through, "client", PUBLIC), connection(&through, "server", sshd.port));
    let ([from, to], [seen_from, seen_to]) = (ends(client), ends(server));
    assert_eq!(
        (from.0, to),
        (Place::Client.address().to_string(), (Place::Router.address().to_string(), PUBLIC.into()))
    );
    assert_eq!(seen_from.0, Place::behind_router().to_string());
    assert_eq!(seen_to, (Place::Server.address().to_string(), sshd.port.into()));
    assert!(ROUTER_PORTS.contains(&seen_from.1) && !ROUTER_PORTS.contains(&from.1), "{} {}", from.1, seen_from.1);
    assert_ne!(client.text("network.community_id"), server.text("network.community_id"));
    assert_ne!(client.text("ssh.connection.id"), connection(&direct, "client", sshd.port).text("ssh.connection.id"));
}
