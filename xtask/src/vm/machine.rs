//! One guest: virtiofsd for each shared folder, QEMU, and its output relayed until the command's status or the end.
//!
//! In: the host's programs, a kernel, the settings. Out: the guest's output on this process's own, live, and an
//! [`Outcome`]. QEMU's standard streams are pipes: 0 takes the guest's stderr and 1 its stdout, both by virtio ports;
//! 2 takes the serial console and QEMU's own messages, whose last lines are shown when the guest dies.
//! `/` is served through a read-only bind mount in a mount namespace of virtiofsd's own, so not even a broken guest
//! can write to it. Emulation uses one thread: with several, a guest that patches its code, as each attachment of a
//! probe does, now and then oopses on a half-written instruction.
//!
//! Every child dies with this process (`PR_SET_PDEATHSIG`). A guest that takes too long is killed; one that panics ends
//! QEMU (`panic=-1`, `-no-reboot`), which closes the pipes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::commands::tool;
use super::host::{Accel, Host};
use super::initramfs::{self, Share};
use super::kernels::Kernel;
use super::relay::relay;
use super::scratch::Scratch;

/// What an emulated boot may take: some 4 s on an idle machine, so this is for a very busy one.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// With KVM a boot takes about a second, and what hangs is better emulated soon.
const KVM_BOOT_LIMIT: Duration = Duration::from_secs(30);
/// How many of the console's last lines are kept: a kernel's oops fits.
const CONSOLE_LINES: usize = 60;
/// Where virtiofsd sees the folder it serves, in its own mount namespace.
const VIEW: &str = "/mnt";

pub(super) struct Settings {
    pub(super) memory: String,
    pub(super) cpus: u32,
    pub(super) timeout: Duration,
    /// More kernel parameters.
    pub(super) append: String,
    pub(super) shares: Vec<Share>,
    /// What the guest runs, for its shell.
    pub(super) script: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Status {
    Exited(i32),
    TimedOut,
    Died,
}

impl Status {
    /// As a shell would have it: 124 is timeout(1)'s, 125 means that it is not the command that failed.
    pub(super) fn code(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::TimedOut => 124,
            Self::Died => 125,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("passed"),
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::TimedOut => f.write_str("out of time"),
            Self::Died => f.write_str("the guest died"),
        }
    }
}

/// What the guest said when it started the command.
pub(super) struct Up {
    pub(super) release: String,
    pub(super) seconds: String,
}

pub(super) struct Outcome {
    pub(super) status: Status,
    /// None where the guest did not get to run the command.
    pub(super) up: Option<Up>,
    pub(super) took: Duration,
    pub(super) console: VecDeque<String>,
}

enum Event {
    Up(Up),
    /// Standard output ended, with the status if the guest lived to send it.
    Ended(Option<i32>),
}

/// A child that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn run(host: &Host, kernel: &Kernel, settings: &Settings) -> Result<Outcome> {
    let start = Instant::now();
    let scratch = Scratch::new()?;
    let mark = format!("{:016x}", RandomState::new().hash_one(start));
    let initrd = scratch.path("initramfs");
    let built = initramfs::build(kernel, &settings.shares, &mark, &settings.script);
    fs::write(&initrd, built.with_context(|| format!("vm: no initramfs for {}", kernel.release))?)?;
    let mut command = qemu(host, kernel, settings, &initrd);
    let mut servers = Vec::new();
    let root = Share { path: PathBuf::from("/"), writable: false };
    let tagged = settings.shares.iter().enumerate().map(|(number, share)| (initramfs::tag(number), share));
    for (tag, share) in [("root".to_owned(), &root)].into_iter().chain(tagged) {
        let socket = scratch.path(&tag);
        servers.push(serve(host, share, &socket, &scratch.path("virtiofsd.log"))?);
        command.arg("-chardev").arg(format!("socket,id={tag},path={}", socket.display()));
        command.args(["-device", &format!("vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024")]);
    }
    let (out, out_end) = io::pipe()?;
    let (err, err_end) = io::pipe()?;
    let (console, console_end) = io::pipe()?;
    command.stdin(err_end).stdout(out_end).stderr(console_end);
    let vm = Killed(command.spawn().context("vm: cannot start QEMU")?);
    // The command holds the pipes' other ends, and readers see the end only when all are closed.
    drop(command);

    let (events, happened) = mpsc::channel();
    let out_mark = mark.clone();
    let out = thread::spawn(move || relay_out(out, &out_mark, &events));
    let err = thread::spawn(move || relay(err, io::stderr(), &mark, |_| ()));
    let console = thread::spawn(move || last_lines(console));

    let boot_limit = if host.accel == Accel::Kvm { KVM_BOOT_LIMIT } else { BOOT_LIMIT };
    let mut deadline = start + boot_limit.min(settings.timeout);
    let mut up = None;
    let status = loop {
        match happened.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Up(at)) => {
                up = Some(at);
                deadline = start + settings.timeout;
            }
            Ok(Event::Ended(Some(status))) => {
                // It has its own end mark, so all of it came before the guest is killed.
                let _ = err.join();
                break Status::Exited(status);
            }
            Ok(Event::Ended(None)) | Err(RecvTimeoutError::Disconnected) => break Status::Died,
            Err(RecvTimeoutError::Timeout) => break Status::TimedOut,
        }
    };
    drop(vm);
    drop(servers);
    let _ = out.join();
    let console = console.join().map_err(|_| anyhow!("vm: the console's reader failed"))?;
    Ok(Outcome { status, up, took: start.elapsed(), console })
}

/// QEMU's command line, but for the shared folders.
fn qemu(host: &Host, kernel: &Kernel, settings: &Settings, initrd: &Path) -> Command {
    let (accel, cpu) = match host.accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Tcg => ("tcg,thread=single", "max"),
    };
    let memory = &settings.memory;
    let mut command = tool("setpriv");
    command.args(["--pdeathsig", "KILL"]).args(&host.qemu);
    command.args(["-machine", "q35,memory-backend=ram", "-accel", accel, "-cpu", cpu]);
    command.args(["-smp", &settings.cpus.to_string(), "-m", memory]);
    // virtiofsd reads and writes the guest's memory itself, so it must be shareable.
    command.args(["-object", &format!("memory-backend-memfd,id=ram,size={memory},share=on")]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(kernel.vmlinux()).arg("-initrd").arg(initrd);
    let parameters = "console=ttyS0 quiet panic=-1 oops=panic tsc=reliable";
    command.args(["-append", &format!("{parameters} {}", settings.append)]);
    command.args(["-chardev", "file,id=console,path=/dev/fd/2", "-serial", "chardev:console"]);
    command.args(["-device", "virtio-serial-pci"]);
    for (id, descriptor, number) in [("out", 1, 1), ("err", 0, 2)] {
        command.args(["-chardev", &format!("file,id={id},path=/dev/fd/{descriptor}")]);
        command.args(["-device", &format!("virtserialport,chardev={id},nr={number}")]);
    }
    command
}

/// Starts virtiofsd for a folder and waits until it listens.
fn serve(host: &Host, share: &Share, socket: &Path, log: &Path) -> Result<Killed> {
    let readonly = if share.writable { "" } else { "\nmount -o remount,bind,ro \"$view\"" };
    let script = format!("source=$1 view=$2; shift 2\nmount --bind \"$source\" \"$view\"{readonly}\nexec \"$@\"");
    let mut command = tool("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-ec", &script, "sh"]);
    let program: Vec<OsString> = host.virtiofsd.command(VIEW, socket);
    command.arg(&share.path).arg(VIEW).args(program);
    let output = File::create(log)?;
    let mut server = Killed(command.stdout(Stdio::from(output.try_clone()?)).stderr(output).spawn()?);
    while !socket.exists() {
        if let Some(status) = server.0.try_wait()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            bail!("vm: cannot serve {}: virtiofsd: {status}: {}", share.path.display(), said.trim_end());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

fn relay_out(channel: PipeReader, mark: &str, events: &Sender<Event>) {
    let noted = |note: &str| {
        let mut words = note.split(' ').skip(1).map(str::to_owned);
        if let (Some(release), Some(seconds)) = (words.next(), words.next()) {
            let _ = events.send(Event::Up(Up { release, seconds }));
        }
    };
    let status = relay(channel, io::stdout(), mark, noted).unwrap_or_default();
    // The receiver is gone where the time is up.
    let _ = events.send(Event::Ended(status));
}

fn last_lines(console: PipeReader) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
        if lines.len() == CONSOLE_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    lines
}
