//! Loads that are not SSH, on loopback: what they lose is what the sensor costs those who have nothing to do with it.
//!
//! The TLS server is OpenSSL's own, which answers each line with the same line reversed: its records go through the
//! cipher function of libcrypto that sshd and ssh call too, and each is a packet for the sensor's cgroup programs. A
//! connection is new in each sample, since a connection that the sensor has not seen begin is left alone. Fails where
//! there is no openssl.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::child::{self, Running};
use crate::shell;

const REQUESTS: u32 = 10_000;
const ROUND_TRIPS: u32 = 40_000;
const STREAM_BYTES: u64 = 4 << 30;
/// What bulk senders write at a time.
const CHUNK: usize = 128 << 10;
const START: Duration = Duration::from_secs(10);

/// `openssl s_server`.
pub(super) struct Tls {
    port: u16,
    _server: Running,
}

impl Tls {
    pub(super) fn start(files: impl Fn(&str) -> PathBuf) -> Result<Self> {
        ensure!(shell::has("openssl"), "there is no openssl here (Debian: apt-get install openssl)");
        let (key, certificate, errors) = (files("tls.key"), files("tls.crt"), files("tls.err"));
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
        make.args(["-subj", "/CN=localhost", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
        shell::run(make.stderr(Stdio::null()))?;
        // Free a moment ago; if somebody takes it, the server says so.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = child::command("openssl", None)?;
        command.args(["s_server", "-rev", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-key").arg(&key).arg("-cert").arg(&certificate);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        let mut server = Running::start(&mut command)?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.has_ended()? {
                bail!("openssl s_server ended ({status}): {}", std::fs::read_to_string(&errors)?.trim());
            }
            ensure!(began.elapsed() < START, "openssl s_server does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { port, _server: server })
    }

    /// Requests and answers a second, on one connection.
    pub(super) fn rate(&self) -> Result<f64> {
        let mut command = child::command("openssl", None)?;
        command.args(["s_client", "-quiet", "-verify_quiet", "-connect", &format!("127.0.0.1:{}", self.port)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Running::start(&mut command)?;
        let mut input = client.child().stdin.take().context("no input")?;
        let mut output = BufReader::new(client.child().stdout.take().context("no output")?);
        let mut ask = || -> Result<()> {
            let mut line = String::new();
            input.write_all(b"a line of some length, as requests have it\n")?;
            output.read_line(&mut line)?;
            ensure!(line.starts_with("ti evah stseuqer sa"), "openssl answered {line:?}");
            Ok(())
        };
        ask()?; // after the handshake
        let began = Instant::now();
        for _ in 0..REQUESTS {
            ask()?;
        }
        Ok(f64::from(REQUESTS) / began.elapsed().as_secs_f64())
    }
}

/// Two ends of a connection.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

/// Round trips of a byte a second.
pub(super) fn ping_pong() -> Result<f64> {
    let (mut here, mut there) = connection()?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        while there.read(&mut byte)? > 0 {
            there.write_all(&byte)?;
        }
        Ok(())
    });
    let began = Instant::now();
    let mut byte = [1];
    for _ in 0..ROUND_TRIPS {
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    let rate = f64::from(ROUND_TRIPS) / began.elapsed().as_secs_f64();
    drop(here);
    let _ = echo.join();
    Ok(rate)
}

/// GiB of a stream a second.
pub(super) fn stream() -> Result<f64> {
    let (mut here, mut there) = connection()?;
    let began = Instant::now();
    let sink = thread::spawn(move || -> std::io::Result<u64> {
        let (mut buffer, mut total) = (vec![0; CHUNK], 0);
        loop {
            match there.read(&mut buffer)? {
                0 => return Ok(total),
                len => total += len as u64,
            }
        }
    });
    let chunk = vec![0; CHUNK];
    for _ in 0..STREAM_BYTES / CHUNK as u64 {
        here.write_all(&chunk)?;
    }
    drop(here);
    let total = sink.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
    ensure!(total == STREAM_BYTES, "{total} bytes came");
    Ok(total as f64 / f64::from(1 << 30) / began.elapsed().as_secs_f64())
}
