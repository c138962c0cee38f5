//! Many questions: fairness, bounds, and what a question costs.

use super::*;

#[test]
fn a_thousand_questions_of_one_user_do_not_delay_anothers() {
    let mut lab = Lab::new();
    let (many, other) = (User::new(1234, 1234, ""), User::new(1235, 1235, ""));
    let sleep = || Trial::Sleep { milliseconds: 20 };
    let tickets: Vec<Ticket> = (0..1000).map(|_| lab.send(&many.subject_quick(), sleep(), PATIENCE)).collect();
    let began = Instant::now();
    lab.text(&other.subject(), Trial::Status);
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    let mut ends = HashMap::new();
    for ticket in tickets {
        let end = match lab.wait(ticket).answer {
            Ok(_) => "answered",
            Err(Unknown::Refused(Why::Queue)) => "queue",
            Err(other) => panic!("{other:?}"),
        };
        *ends.entry(end).or_insert(0) += 1;
    }
    assert!(ends["answered"] >= 64 && ends["queue"] > 0, "{ends:?}");
    let counters = lab.inspector.counters();
    assert_eq!(counters.asked, 1001);
    assert_eq!(counters.answered + counters.refused, 1001, "each is accounted for");
}

impl User {
    /// Without a look into /proc for each.
    fn subject_quick(&self) -> Subject {
        thread_local!(static KNOWN: std::cell::RefCell<HashMap<u32, Subject>> = std::cell::RefCell::default());
        KNOWN.with_borrow_mut(|known| known.entry(self.0.id()).or_insert_with(|| self.subject()).clone())
    }
}

#[test]
#[ignore = "prints what is to be measured: --ignored --nocapture"]
fn figures() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    let subject = user.subject();
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let ticket = lab.inspector.ask(&subject, Question::Names { uids: vec![0, 1234] }, PATIENCE).unwrap();
        lab.wait(ticket).answer.unwrap();
        times.push(began.elapsed());
    }
    let first = times.remove(0);
    times.sort_unstable();
    println!(
        "names: first {first:?}, then median {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    let began = Instant::now();
    lab.try_bytes(&subject, Trial::Content).unwrap();
    println!("content, with an opener: {:?}", began.elapsed());
    for name in ["sensor-spawner", "sensor-broker", "sensor-worker"] {
        let status = fs::read_to_string(format!("/proc/{}/status", lab.processes(name)[0])).unwrap();
        let rss: Vec<&str> = status.lines().filter(|line| line.starts_with("Rss")).collect();
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", lab.processes(name)[0])).unwrap();
        let private: Vec<&str> =
            rollup.lines().filter(|line| line.starts_with("Private_D") || line.starts_with("Pss_A")).collect();
        println!("{name}: {rss:?} {private:?}");
    }
}
