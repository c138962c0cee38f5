//! The ring's reader sleeps when there is nothing, and no record is slept over: a real kernel, real records, and a
//! producer that comes at every moment of the reader's way to sleep.
//!
//! `SENSOR_RING_ROUNDS` says how many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    hint,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use sensor::{
    host::mounts,
    kernel::{Drained, Kernel, Options, Ring},
};
use sensor_tests::Machine;

const ROUNDS: u64 = 40_000;
const TIMEOUT: Duration = Duration::from_millis(500);

fn load() -> Kernel {
    Kernel::load(&Options { cgroup2: mounts::cgroup2(), ..Options::default() }).unwrap()
}

/// Nothing listens there: two records by this process, and no packet leaves the host.
fn refused() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert!(TcpStream::connect(address).is_err());
}

/// A connect by this process (kind 5; the tgid lies behind the head of 16 bytes and three words of 8).
fn is_own(record: &[u8]) -> bool {
    record[..2] == 5u16.to_ne_bytes() && record[40..44] == std::process::id().to_ne_bytes()
}

struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }
}

/// Drains and sleeps until the end. Returns the sleeps that ended by their timeout, and those of them with a record
/// that had been there.
fn read(mut ring: Ring, seen: &AtomicU64, ends: &AtomicBool) -> (u64, u64, u64) {
    let (mut sleeps, mut timeouts, mut slept_over) = (0, 0, 0);
    while !ends.load(Ordering::Relaxed) {
        let begun = Instant::now();
        ring.wait(Some(TIMEOUT)).unwrap();
        let timed_out = begun.elapsed() >= TIMEOUT;
        sleeps += 1;
        timeouts += u64::from(timed_out);
        let mut own = 0;
        while ring.drain(1024, |record| own += u64::from(is_own(record))) == Drained::More {}
        slept_over += u64::from(timed_out && own > 0);
        seen.fetch_add(own, Ordering::Release);
    }
    (sleeps, timeouts, slept_over)
}

#[test]
fn no_record_is_slept_over() {
    let rounds = std::env::var("SENSOR_RING_ROUNDS").map_or(ROUNDS, |count| count.parse().unwrap());
    let _machine = Machine::take();
    let mut kernel = load();
    let ring = kernel.ring().unwrap();
    let waker = ring.waker();
    let (seen, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut random, mut sent, mut slowest) = (Random(1), 0, Duration::ZERO);
    let (sleeps, timeouts, slept_over) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(ring, &seen, &ends));
        for _ in 0..rounds {
            // From when the reader has drained the last one: it is on its way to sleep, or there.
            for _ in 0..random.next() % 4_000 {
                hint::spin_loop();
            }
            let burst = match random.next() % 16 {
                0 => 8,
                _ => 1,
            };
            for _ in 0..burst {
                refused();
            }
            sent += burst;
            let begun = Instant::now();
            while seen.load(Ordering::Acquire) < sent && begun.elapsed() < 4 * TIMEOUT {
                hint::spin_loop();
            }
            slowest = slowest.max(begun.elapsed());
            if slowest >= 4 * TIMEOUT {
                break;
            }
        }
        ends.store(true, Ordering::Relaxed);
        waker.wake();
        reader.join().unwrap()
    });
    println!(
        "{rounds} bursts, {sent} connects, {sleeps} sleeps, {timeouts} timeouts, {slept_over} with a record there; slowest {slowest:?}"
    );
    assert_eq!(seen.load(Ordering::Relaxed), sent);
    assert_eq!(slept_over, 0);
}

#[test]
fn a_reader_that_sleeps_is_woken_from_outside_and_by_the_next_record() {
    let _machine = Machine::take();
    let mut kernel = load();
    let mut ring = kernel.ring().unwrap();
    let mut drain = || {
        let mut own = 0;
        while ring.drain(1024, |record| own += u64::from(is_own(record))) == Drained::More {}
        own
    };
    drain();
    refused();
    assert_eq!(drain(), 1, "a reader that is awake takes it unasked");
    ring.waker().wake();
    let begun = Instant::now();
    ring.wait(None).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "a wake that came before the sleep is kept");
    let waker = ring.waker();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            waker.wake();
        });
        // Others on this host make records too: until the ring stays empty.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {
            ring.wait(Some(Duration::from_secs(20))).unwrap();
            while ring.drain(1024, |_| ()) == Drained::More {}
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn a_silenced_kernel_sends_nothing() {
    let _machine = Machine::take();
    let mut kernel = load();
    let (mut ring, account) = (kernel.ring().unwrap(), kernel.account().unwrap());
    let mut drain = || {
        let mut all = 0u64;
        while ring.drain(1024, |_| all += 1) == Drained::More {}
        all
    };
    refused();
    assert!(drain() > 0);
    kernel.control().silence();
    thread::sleep(Duration::from_millis(10));
    drain();
    let before = account.read().unwrap();
    refused();
    assert!(std::process::Command::new("/bin/true").status().unwrap().success());
    assert_eq!(drain(), 0);
    let after = account.read().unwrap();
    assert_eq!(before, after, "what is silenced is not counted as seen");
    assert!(after.iter().all(sensor::kernel::Program::reconciles), "{after:?}");
}
