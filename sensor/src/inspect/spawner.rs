//! The spawner: forks the broker, and forks it anew when it dies. It reads nothing and opens nothing.
//!
//! It keeps the broker's end of the daemon's socket, which therefore outlives a broker: questions that wait in it are
//! for the next one. It reports each death, since the daemon sees none. It is the subreaper of all below it (prctl(2)):
//! what a dead broker leaves is waited for here. Ends: with the broker that saw the daemon's socket closed (exit code
//! 0), and by the kernel when the thread that started it ends (PR_SET_PDEATHSIG). It fails by ending: the daemon sees
//! its socket closed, and all later questions are refused.

use std::{
    io::{self, IsTerminal as _},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, WaitOptions, getpid, set_child_subreaper, setsid, waitpid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{
    broker,
    channel::{Channel, Wait},
    confine, fork,
    message::{self, FromBroker},
    options::{Options, StartError},
};

/// Between a death and the next start: twice as long each time, up to the second.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A broker that lived for so long did not die of its start.
const SOUND_AFTER: Duration = Duration::from_mins(1);

/// Forks it; the daemon's end of the socket and the spawner's number.
pub(super) fn start(options: &Options) -> Result<(Channel, Pid), StartError> {
    let failed = |what| move |source| StartError::System { what, source };
    let (own, other) = Channel::pair().map_err(|error| failed("socketpair")(error.into()))?;
    own.widen();
    other.widen();
    let daemon = getpid();
    let pid = fork::fork(|| match prepare(other, daemon) {
        Ok(channel) => supervise(&channel, options),
        Err(_) => 1,
    });
    Ok((own, pid.map_err(failed("fork"))?))
}

/// Leaves everything behind that is the daemon's but the socket.
fn prepare(channel: Channel, daemon: Pid) -> io::Result<Channel> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    fork::ignore_stops()?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    if io::stderr().is_terminal() {
        dup2_stderr(&null)?;
    }
    drop(null);
    let [descriptor] = fork::keep_only([channel.into_descriptor()])?;
    let _ = rustix::thread::set_name(c"sensor-spawner");
    let keep = confine::broker_capabilities();
    let all = rustix::thread::capabilities(None)?.permitted;
    let confined = confine::end_with(daemon)
        .and_then(|()| confine::hide())
        .and_then(|()| confine::limit_capabilities(keep, keep | confine::mapped_capability(all)));
    confined.map_err(io::Error::other)?;
    Ok(Channel::from_descriptor(descriptor))
}

/// The wait status of the broker. Others that end meanwhile are orphans of its predecessors.
fn end_of(broker: Pid) -> Option<i32> {
    loop {
        match waitpid(None, WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == broker => return Some(status.as_raw()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn supervise(channel: &Channel, options: &Options) -> i32 {
    let own = getpid();
    let mut pause = PAUSE_FIRST;
    for generation in 0.. {
        let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(channel, 0) else { return 2 };
        let started = Instant::now();
        let broker = fork::fork(|| broker::start(Channel::from_descriptor(copy), options, generation, own));
        let status = match broker {
            Ok(pid) => match end_of(pid) {
                Some(0) => return 0,
                Some(status) => status,
                None => return 3,
            },
            Err(_) => -1,
        };
        let died = message::encode(&FromBroker::Died { generation, status }).unwrap_or_default();
        // A full socket: the daemon does not read, and its deadlines do the same service.
        if matches!(channel.send(&died, &[], Wait::No), Err(Errno::PIPE | Errno::CONNRESET)) {
            return 0;
        }
        if started.elapsed() >= SOUND_AFTER {
            pause = PAUSE_FIRST;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
    4
}
