//! Whose rights count: what a user may not read, a worker of that user does not read, and the user cannot reach the
//! worker.

use std::os::unix::process::CommandExt as _;

use super::*;

const DENIED: Result<Vec<u8>, Unknown> = Err(Unknown::Refused(Why::Permission));

#[test]
fn a_worker_reads_what_its_user_may_read_and_nothing_else() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, "77"));
    let subject = user.subject();
    let file = |name, owner, mode| file(&folder, name, owner, mode);
    assert_eq!(lab.read(&subject, &file("own", (1234, 1234), 0o600)), Ok(b"own".into()));
    assert_eq!(lab.read(&subject, &file("all", (0, 0), 0o644)), Ok(b"all".into()));
    assert_eq!(lab.read(&subject, &file("root", (0, 0), 0o600)), DENIED);
    assert_eq!(lab.read(&subject, &file("other", (1235, 1235), 0o600)), DENIED);
    assert_eq!(lab.read(&subject, &file("dedicated", (61_179, 61_179), 0o600)), DENIED);
    assert_eq!(lab.read(&subject, &file("primary", (0, 1234), 0o640)), Ok(b"primary".into()));
    assert_eq!(lab.read(&subject, &file("group", (0, 77), 0o640)), Ok(b"group".into()));
    assert_eq!(lab.read(&subject, &file("others-group", (0, 78), 0o640)), DENIED);
    assert_eq!(lab.read(&subject, "/etc/shadow".as_ref()), DENIED);
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), "x").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(lab.read(&subject, &closed.join("file")), DENIED, "through root's folder");
}

#[test]
fn groups_count_only_if_the_process_still_has_the_ids_of_the_event() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, "77"));
    let group = file(&folder, "group", (0, 77), 0o640);
    let mut subject = user.subject();
    // An event of a user, while the process has become another's (or its number has).
    subject.credentials = Some(Credentials { uid: 1236, euid: 1236, gid: 1236, egid: 1236 });
    assert_eq!(lab.read(&subject, &group), DENIED);
    subject.credentials = None;
    assert_eq!(lab.read(&subject, &group), Ok(b"group".into()), "without an event, the process counts");
}

#[test]
fn a_set_user_id_program_does_not_lend_its_rights_to_its_caller() {
    let (mut lab, folder, user) = (Lab::new(), folder(), User::new(1234, 1234, ""));
    let mut subject = user.subject();
    subject.credentials = Some(Credentials { uid: 1234, euid: 0, gid: 1234, egid: 0 });
    assert_eq!(lab.read(&subject, &file(&folder, "root", (0, 0), 0o600)), DENIED);
}

#[test]
fn root_has_what_the_modes_say_and_no_more() {
    let (mut lab, folder) = (Lab::new(), folder());
    assert_eq!(lab.read(&own(), &file(&folder, "root", (0, 0), 0o600)), Ok(b"root".into()));
    assert_eq!(lab.read(&own(), &file(&folder, "user", (1234, 1234), 0o600)), DENIED);
}

#[test]
fn a_worker_has_no_capabilities_and_may_ask_the_kernel_for_little() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, "77"));
    let status = lab.text(&user.subject(), Trial::Status);
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Uid:"), "61179 61179 61179 1234");
    assert_eq!(line("Gid:"), "61179 61179 61179 1234");
    assert_eq!(line("Groups:"), "77");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!((line("NoNewPrivs:").as_str(), line("Seccomp:").as_str()), ("1", "2"));
    assert_eq!(line("Name:"), "sensor-worker");
    let folder = folder();
    let own = file(&folder, "own", (1234, 1234), 0o600);
    std::os::unix::fs::chown(folder.path(), Some(1234), Some(1234)).unwrap();
    assert!(lab.inspector.has_landlock(), "this machine's kernel has it");
    let forbidden = lab.text(&user.subject(), Trial::Forbidden(folder.path().to_str().unwrap().into()));
    for line in forbidden.lines() {
        let (name, error) = line.split_once(' ').unwrap();
        let expected = match name {
            "fsuid" => "0",
            // Landlock's answer.
            "create2" | "write2" | "truncate2" => "13",
            _ => "1",
        };
        assert_eq!(error, expected, "{forbidden}");
    }
    assert!(!folder.path().join("new").exists());
    assert_eq!(fs::read_to_string(own).unwrap(), "own");
}

#[test]
fn a_user_can_neither_signal_nor_look_into_the_worker() {
    let (mut lab, user) = (Lab::new(), User::new(1234, 1234, ""));
    lab.text(&user.subject(), Trial::Status);
    let worker = *lab.processes("sensor-worker").first().unwrap();
    let run = |script: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).uid(1234).gid(1234).stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(run(format!("kill -0 {}", user.0.id())), "its own processes it can");
    assert!(run(format!("cat /proc/{}/environ >/dev/null", user.0.id())));
    assert!(!run(format!("kill -0 {worker}")));
    // The check of ptrace(2), without a debugger.
    assert!(!run(format!("cat /proc/{worker}/environ")));
    assert!(!run(format!("readlink /proc/{worker}/exe")));
    assert!(!run(format!("ls /proc/{worker}/fd")));
}

#[test]
fn what_the_kernel_executed_is_read_whatever_its_mode_is() {
    let (mut lab, folder) = (Lab::new(), folder());
    let program = folder.path().join("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
    let mut child = Command::new(&program).arg("1000").uid(1234).gid(1234).spawn().unwrap();
    let subject = subject_of(child.id());
    assert_eq!(lab.read(&subject, &program), DENIED, "not by its path");
    assert_eq!(lab.try_bytes(&subject, Trial::Content), Ok(b"\x7fELF".into()));
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let (start, end) = range(&maps, &program);
    fs::remove_file(&program).unwrap();
    let mapped = lab.try_bytes(&subject, Trial::Mapped(start, end));
    assert_eq!(mapped, Ok(b"\x7fELF".into()), "nor whether it has been deleted");
    assert_eq!(
        lab.try_bytes(&subject, Trial::Cmdline),
        Ok([program.to_str().unwrap().as_bytes(), b"\x001000\0"].concat())
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Of the unit.
const CAPABILITIES: &str =
    "bpf perfmon net_admin sys_admin sys_ptrace dac_read_search sys_resource setuid setgid kill sys_nice";
/// Where the test below finds a program of mode 0111 and a file of root.
const FOLDER: &str = "SENSOR_TEST_FOLDER";

#[test]
fn the_units_bounding_set_suffices() {
    let folder = folder();
    let program = folder.path().join("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
    file(&folder, "own", (1234, 1234), 0o600);
    file(&folder, "root", (0, 0), 0o600);
    let bounding = CAPABILITIES.split(' ').fold(String::from("-all"), |set, name| format!("{set},+{name}"));
    run(&bounding, "inner", folder.path());
}

#[test]
fn a_capability_that_is_missing_is_named_at_the_start() {
    run("-setuid", "inner_without", "/".as_ref());
}

#[test]
#[ignore = "run by a_capability_that_is_missing_is_named_at_the_start"]
fn inner_without() {
    let error = Inspector::start(&Options::default()).unwrap_err().to_string();
    assert!(error.contains("SETUID") && error.contains("CapabilityBoundingSet"), "{error}");
}

/// Runs a test of this module with fewer capabilities.
fn run(bounding: &str, name: &str, folder: &Path) {
    let mut inner = Command::new("setpriv");
    inner.args(["--bounding-set", bounding, "--no-new-privs"]).arg(std::env::current_exe().unwrap());
    let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    inner.args(["--ignored", "--exact", &name]).env(FOLDER, folder);
    let output = inner.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by the_units_bounding_set_suffices"]
fn inner() {
    use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
    assert_eq!(capability_is_in_bounding_set(CapabilitySet::SETPCAP), Ok(false));
    assert_eq!(capability_is_in_bounding_set(CapabilitySet::SYS_PTRACE), Ok(true));
    let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let mut child = Command::new(folder.join("sleep")).arg("1000").uid(1234).gid(1234).spawn().unwrap();
    let (mut lab, subject) = (Lab::new(), subject_of(child.id()));
    assert_eq!(lab.read(&subject, &folder.join("own")), Ok(b"own".into()));
    assert_eq!(lab.read(&subject, &folder.join("root")), DENIED);
    assert_eq!(lab.read(&own(), &folder.join("own")), DENIED);
    assert_eq!(lab.try_bytes(&subject, Trial::Content), Ok(b"\x7fELF".into()));
    let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let (start, end) = range(&maps, &folder.join("sleep"));
    assert_eq!(lab.try_bytes(&subject, Trial::Mapped(start, end)), Ok(b"\x7fELF".into()));
    let ticket = lab.send(&subject, Trial::Sleep { milliseconds: 60_000 }, Duration::from_millis(200));
    assert_eq!(lab.wait(ticket).answer, Err(Unknown::Deadline));
    let until = Instant::now() + PATIENCE;
    while !lab.processes("sensor-worker").is_empty() {
        assert!(Instant::now() < until, "a worker outlives its deadline");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The first range of addresses at which a file is mapped.
fn range(maps: &str, file: &Path) -> (u64, u64) {
    let line = maps.lines().find(|line| line.contains(file.to_str().unwrap())).unwrap();
    let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    (address(start), address(end))
}

#[test]
fn an_environment_is_read_by_a_worker() {
    let mut lab = Lab::new();
    let mut child = Command::new("sleep").arg("1000").env_clear().env("A", "b").uid(1234).gid(1234).spawn().unwrap();
    assert_eq!(lab.try_bytes(&subject_of(child.id()), Trial::Environ), Ok(b"A=b\0".into()));
    child.kill().unwrap();
    child.wait().unwrap();
}
