//! Deaths: of workers, of the broker, of the spawner, of the daemon.

use super::*;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_worker_is_one_answer_less() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let ticket = lab.send(&user.subject(), Trial::Sleep { milliseconds: 60_000 }, PATIENCE);
    wait_until("a worker", || !lab.processes("sensor-worker").is_empty());
    std::thread::sleep(Duration::from_millis(50));
    lab.kill("sensor-worker");
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Crashed));
    assert!(lab.text(&user.subject(), Trial::Status).contains("61179"), "a new one");
    lab.kill("sensor-worker");
    wait_until("it is noticed", || lab.processes("sensor-worker").is_empty());
    assert!(lab.text(&user.subject(), Trial::Status).contains("61179"), "without work it may end too");
    assert_eq!(lab.inspector.counters().children.died, 2);
}

#[test]
fn a_killed_broker_is_replaced_and_its_questions_are_answered() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let sleep = || Trial::Sleep { milliseconds: 60_000 };
    let tickets: Vec<Ticket> = (0..5).map(|_| lab.send(&user.subject(), sleep(), PATIENCE)).collect();
    wait_until("workers", || lab.processes("sensor-worker").len() == 2);
    let workers = lab.processes("sensor-worker");
    let began = Instant::now();
    lab.kill("sensor-broker");
    for ticket in tickets {
        assert_eq!(lab.wait(ticket).answer, Err(Unknown::Crashed));
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    wait_until("its workers end with it", || !workers.iter().any(is_there));
    let until = Instant::now() + PATIENCE;
    while let Err(refused) = lab.inspector.ask(&user.subject(), Question::Trial(Trial::Status), PATIENCE) {
        assert!(refused == Refused::Down && Instant::now() < until);
        lab.turn();
    }
    assert!(lab.text(&user.subject(), Trial::Status).contains("61179"), "by a new broker");
    assert_eq!(lab.inspector.counters().broker_deaths, 1);
    assert_eq!(lab.inspector.take_degraded().len(), 1);
}

#[test]
fn a_broker_that_hangs_is_killed() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let broker = Pid::from_raw(lab.processes("sensor-broker")[0] as i32).unwrap();
    rustix::process::kill_process(broker, rustix::process::Signal::STOP).unwrap();
    let began = Instant::now();
    let ticket = lab.send(&user.subject(), Trial::Status, Duration::from_millis(200));
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Deadline));
    assert!(began.elapsed() < Duration::from_secs(2));
    wait_until("a death", || {
        lab.turn();
        lab.inspector.counters().broker_deaths == 1
    });
    assert_eq!(lab.inspector.counters().broker_kills, 1);
}

#[test]
fn without_a_spawner_everything_is_refused_and_nothing_hangs() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let ticket = lab.send(&user.subject(), Trial::Sleep { milliseconds: 60_000 }, PATIENCE);
    lab.kill("sensor-spawner");
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Crashed));
    let refused = lab.inspector.ask(&user.subject(), Question::Trial(Trial::Status), PATIENCE);
    assert_eq!(refused, Err(Refused::Down));
    assert_eq!(lab.inspector.take_degraded().len(), 1);
    assert_eq!(lab.inspector.take_degraded().len(), 0, "once");
}

#[test]
fn all_processes_end_with_the_inspector_and_none_of_them_has_a_terminal() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    lab.text(&user.subject(), Trial::Status);
    let names = ["sensor-spawner", "sensor-broker", "sensor-worker"];
    let pids: Vec<u32> = names.iter().flat_map(|name| lab.processes(name)).collect();
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        assert_eq!((fields[3], fields[4]), (pids[0].to_string().as_str(), "0"), "session of the spawner, no terminal");
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
            rustix::process::kill_process(Pid::from_raw(*pid as i32).unwrap(), signal).unwrap();
        }
    }
    assert!(lab.text(&user.subject(), Trial::Status).contains("61179"), "a stop is the daemon's business");
    drop(lab);
    wait_until("the end", || pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[test]
fn the_broker_keeps_five_capabilities_and_opens_its_files_without_others() {
    let lab = Lab::new();
    let status = fs::read_to_string(format!("/proc/{}/status", lab.processes("sensor-broker")[0])).unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    // CAP_DAC_READ_SEARCH 2, CAP_KILL 5, CAP_SETGID 6, CAP_SETUID 7, CAP_SYS_PTRACE 19.
    assert_eq!(u64::from_str_radix(effective, 16).unwrap(), 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19);
    assert!(status.contains("Seccomp:\t2"));
}
