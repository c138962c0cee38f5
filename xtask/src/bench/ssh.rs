//! `cargo xtask bench ssh`: what the sensor takes from SSH, and from everything that is not SSH, as ratios of rates
//! with it to rates without.
//!
//! SSH: a copy over loopback by a real ssh from a real sshd (both ends are here, so each packet is decrypted twice),
//! and logins with a command, two at a time. Not SSH: a TLS server that uses the same cipher function of the same
//! library, a TCP ping-pong of single bytes, and a TCP stream. Measured in pairs ([`super::paired`]), one load after
//! the other. Needs root.

use std::{
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};

use super::{
    others::{self, Tls},
    paired::{self, Paired},
    sessions::Sshd,
};

const LOGINS_AT_ONCE: u32 = 2;

#[derive(clap::Args)]
pub(super) struct SshArgs {
    /// Pairs of samples of each load
    #[arg(long, default_value_t = 10)]
    pairs: u32,
    /// GiB that a copy moves
    #[arg(long, default_value_t = 2.0)]
    gib: f64,
    /// Logins in a sample
    #[arg(long, default_value_t = 40)]
    logins: u32,
    /// One load only: chacha20, aes-gcm, logins, tls, ping-pong or stream
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// By this cipher.
    Copy(&'static str),
    Logins,
    Tls,
    PingPong,
    Stream,
}

/// Name, what is counted, the load, and the ratio to reach; None: as good as without, within the noise of this run.
const LOADS: [(&str, &str, Load, Option<f64>); 6] = [
    ("chacha20", "GiB/s", Load::Copy("chacha20-poly1305@openssh.com"), Some(0.97)),
    ("aes-gcm", "GiB/s", Load::Copy("aes128-gcm@openssh.com"), Some(0.95)),
    ("logins", "/s", Load::Logins, Some(0.97)),
    ("tls", "/s", Load::Tls, None),
    ("ping-pong", "/s", Load::PingPong, Some(0.98)),
    ("stream", "GiB/s", Load::Stream, Some(0.98)),
];

struct Bench<'a> {
    args: &'a SshArgs,
    sshd: Sshd,
    tls: Tls,
}

pub(super) fn run(args: &SshArgs) -> Result<()> {
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    ensure!(LOADS.iter().any(|(name, ..)| wanted(name)), "no such load");
    println!("copies of {} GiB, {} logins a sample", args.gib, args.logins);
    let paired = Paired::prepare(args.pairs)?;
    let bench =
        Bench { args, sshd: Sshd::start(|name| paired.file(name))?, tls: Tls::start(|name| paired.file(name))? };
    for (name, unit, load, aim) in LOADS.iter().filter(|(name, ..)| wanted(name)) {
        // Both ends tell each session.
        let sessions = match load {
            Load::Copy(_) => 2,
            Load::Logins => 2 * args.logins as usize,
            Load::Tls | Load::PingPong | Load::Stream => 0,
        };
        let records = ("ssh-session-ended", sessions);
        paired.measure(&paired::Load { name, unit, aim: *aim, records, rate: &|| bench.rate(*load) })?;
    }
    Ok(())
}

impl Bench<'_> {
    /// How much a second.
    fn rate(&self, load: Load) -> Result<f64> {
        match load {
            Load::Copy(cipher) => self.copy(cipher),
            Load::Logins => self.logins(),
            Load::Tls => self.tls.rate(),
            Load::PingPong => others::ping_pong(),
            Load::Stream => others::stream(),
        }
    }

    fn ssh(&self, options: &[&str], command: &str) -> Result<()> {
        let mut ssh = Command::new("ssh");
        self.sshd.describe(&mut ssh);
        let status = ssh.args(options).args(["root@127.0.0.1", command]).stdin(Stdio::null()).stdout(Stdio::null());
        let status = status.status()?;
        ensure!(status.success(), "ssh failed: {status}");
        Ok(())
    }

    #[expect(clippy::cast_sign_loss, reason = "a size")]
    fn copy(&self, cipher: &str) -> Result<f64> {
        let bytes = (self.args.gib * f64::from(1 << 30)) as u64;
        let began = Instant::now();
        self.ssh(&["-c", cipher], &format!("head -c {bytes} /dev/zero"))?;
        Ok(self.args.gib / began.elapsed().as_secs_f64())
    }

    fn logins(&self) -> Result<f64> {
        let began = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..LOGINS_AT_ONCE)
                .map(|nth| {
                    let own = (nth..self.args.logins).step_by(LOGINS_AT_ONCE as usize);
                    scope.spawn(move || own.into_iter().try_for_each(|_| self.ssh(&[], "true")))
                })
                .collect();
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })?;
        Ok(f64::from(self.args.logins) / began.elapsed().as_secs_f64())
    }
}
