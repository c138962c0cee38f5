//! Two networks and a router between them that translates addresses: network namespaces, gone when dropped.
//!
//! A client reaches the server at its own address, routed; or at the router's, where both ends of the connection become
//! others for the server.

use std::{ffi::OsString, fs, net::Ipv4Addr, process::Command};

use crate::running;

/// Who is in these networks.
#[derive(Clone, Copy)]
pub enum Place {
    Client,
    Router,
    Server,
}

/// Ports that the router puts in the place of a client's; it has chosen from others (`CLIENT_PORTS`).
pub const ROUTER_PORTS: std::ops::RangeInclusive<u64> = 40_000..=40_999;
const CLIENT_PORTS: &str = "50000 50999";

pub struct Nat;

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "sensor-client",
            Self::Router => "sensor-router",
            Self::Server => "sensor-server",
        }
    }

    /// Its address, as its network has it; of the router, in the client's network.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Client => Ipv4Addr::new(10, 77, 1, 2),
            Self::Router => Ipv4Addr::new(10, 77, 1, 1),
            Self::Server => Ipv4Addr::new(10, 77, 2, 2),
        }
    }

    /// The router's address in the server's network.
    pub fn behind_router() -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 2, 1)
    }

    /// What to put before a command that is to run here: it becomes that command, and shares all but the network with
    /// this process.
    pub fn prefix(self) -> [String; 2] {
        ["nsenter".into(), format!("--net=/run/netns/{}", self.name())]
    }

    /// The same command, here.
    pub fn inside(self, command: &Command) -> Command {
        let [program, place] = self.prefix();
        let mut inside = Command::new(program);
        inside.arg(place).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

impl Nat {
    /// Those that a crashed test left behind are replaced.
    pub fn create() -> Self {
        remove();
        let nat = Self;
        for place in PLACES {
            ip(&["netns", "add", place.name()]);
            ip(&["-n", place.name(), "link", "set", "lo", "up"]);
        }
        let router = Place::Router.name();
        let links = [(Place::Client, Place::Router.address()), (Place::Server, Place::behind_router())];
        for (place, address) in links {
            // The router's end bears the name of whom it leads to.
            let (name, there) = (place.name(), if matches!(place, Place::Client) { "client" } else { "server" });
            ip(&["link", "add", "uplink", "netns", name, "type", "veth", "peer", "name", there, "netns", router]);
            ip(&["-n", name, "addr", "add", &format!("{}/24", place.address()), "dev", "uplink"]);
            ip(&["-n", router, "addr", "add", &format!("{address}/24"), "dev", there]);
            ip(&["-n", name, "link", "set", "uplink", "up"]);
            ip(&["-n", router, "link", "set", there, "up"]);
            ip(&["-n", name, "route", "add", "default", "via", &address.to_string()]);
        }
        set(Place::Router, "ip_forward", "1");
        set(Place::Client, "ip_local_port_range", CLIENT_PORTS);
        nat
    }

    /// From now on `port` of the router is `to` of the server, and the server sees the router as who connects.
    pub fn translate(&self, port: u16, to: u16) {
        let server = Place::Server.address();
        let (first, last) = (ROUTER_PORTS.start(), ROUTER_PORTS.end());
        let rules = format!(
            "add table ip sensor; \
             add chain ip sensor before {{ type nat hook prerouting priority dstnat; }}; \
             add chain ip sensor after {{ type nat hook postrouting priority srcnat; }}; \
             add rule ip sensor before tcp dport {port} dnat to {server}:{to}; \
             add rule ip sensor after meta l4proto tcp oifname server masquerade to :{first}-{last}"
        );
        running::succeed(&mut Place::Router.inside(Command::new("nft").arg(rules)));
    }
}

const PLACES: [Place; 3] = [Place::Client, Place::Router, Place::Server];

impl Drop for Nat {
    fn drop(&mut self) {
        remove();
    }
}

fn remove() {
    for place in PLACES.into_iter().filter(|place| fs::exists(format!("/run/netns/{}", place.name())).unwrap_or(false))
    {
        let _ = running::finish(Command::new("ip").args(["netns", "del", place.name()]));
    }
}

fn ip(args: &[&str]) {
    running::succeed(Command::new("ip").args(args));
}

/// A file of /proc/sys/net/ipv4 shows the settings of the process that opens it.
fn set(place: Place, name: &str, value: &str) {
    let line: OsString = format!("echo {value} >/proc/sys/net/ipv4/{name}").into();
    running::succeed(&mut place.inside(Command::new("sh").arg("-c").arg(line)));
}
